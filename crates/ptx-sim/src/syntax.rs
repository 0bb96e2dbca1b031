//! The module as written: variables, functions, statements, before any name has a meaning.

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
