//! The module as written: variables, functions, statements, before any name has a meaning.

use std::fmt;

use crate::ty::Ty;

/// State space of a variable or an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Device memory.
    Global,
    /// Shared memory of the CTA.
    Shared,
    /// Memory of one thread.
    Local,
    /// Read-only bank of the module.
    Const,
    /// Kernel parameters.
    Param,
    /// Any of the others, by address.
    Generic,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Const => "const",
            Self::Param => "param",
            Self::Generic => "generic",
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Var {
    pub name: String,
    pub space: Space,
    pub align: u64,
    pub bytes: u64,
    /// `.extern .shared x[]`: the launch gives its size.
    pub dynamic: bool,
    pub init: Vec<u8>,
    pub line: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// A name plus a byte offset: register, symbol, label.
    Name(String, i64),
    /// `!%p`.
    Not(String),
    Int(i64),
    F32(u32),
    F64(u64),
    /// `[base+offset]`.
    Address(Box<Operand>, i64),
    /// `{a, b, ...}` and `(a, b, ...)`.
    List(Vec<Operand>),
    /// `a|b`.
    Pair(Box<Operand>, Box<Operand>),
    /// `_`.
    Sink,
}

/// As PTX writes it; floating-point literals by their bits.
impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = |f: &mut fmt::Formatter<'_>, by: i64| if by == 0 { Ok(()) } else { write!(f, "{by:+}") };
        match self {
            Self::Name(name, by) => {
                f.write_str(name)?;
                offset(f, *by)
            }
            Self::Not(name) => write!(f, "!{name}"),
            Self::Int(v) => write!(f, "{v}"),
            Self::F32(bits) => write!(f, "0f{bits:08X}"),
            Self::F64(bits) => write!(f, "0d{bits:016X}"),
            Self::Address(base, by) => {
                write!(f, "[{base}")?;
                offset(f, *by)?;
                f.write_str("]")
            }
            Self::List(items) => write!(f, "{{{}}}", mnx_words::commas(items)),
            Self::Pair(a, b) => write!(f, "{a}|{b}"),
            Self::Sink => f.write_str("_"),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    pub line: u32,
    /// Predicate and whether it is negated.
    pub guard: Option<(String, bool)>,
    pub mnemonic: String,
    pub operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(crate) enum Statement {
    Label(String, u32),
    Register {
        name: String,
        ty: Ty,
        line: u32,
    },
    /// `%r<count>`.
    Registers {
        prefix: String,
        count: u32,
        ty: Ty,
        line: u32,
    },
    Var(Var),
    ImplicitDef(String),
    Instruction(Instruction),
    Scope(Vec<Statement>),
    /// `name: .branchtargets a, b;`
    Targets(String, Vec<String>),
}

#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub name: String,
    pub line: u32,
    pub entry: bool,
    pub returns: Vec<Var>,
    pub params: Vec<Var>,
    pub body: Option<Vec<Statement>>,
    pub reqntid: Option<[u32; 3]>,
    pub maxntid: Option<[u32; 3]>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Unit {
    pub version: String,
    pub target: String,
    pub vars: Vec<Var>,
    pub functions: Vec<Function>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_written_as_ptx_writes_them() {
        let name = |n: &str| Operand::Name(n.to_owned(), 0);
        let said = |op: Operand| op.to_string();
        assert_eq!(said(Operand::Name("buf".to_owned(), 8)), "buf+8");
        assert_eq!(said(Operand::Address(Box::new(name("%rd1")), -16)), "[%rd1-16]");
        assert_eq!(said(Operand::List(vec![name("%f1"), Operand::Sink])), "{%f1, _}");
        assert_eq!(said(Operand::Pair(Box::new(name("%p1")), Box::new(Operand::Not("%p2".to_owned())))), "%p1|!%p2");
        assert_eq!((said(Operand::F32(0x3f80_0000)), said(Operand::Int(-3))), ("0f3F800000".to_owned(), "-3".to_owned()));
    }
}
