//! Names to slots, statements to instructions. Device functions are expanded where they are called, so that running knows no call stack.

mod control;
mod convert;
mod float;
mod integer;
mod memory;
mod mnemonic;
mod moves;
mod operands;
mod warp;

pub(crate) use integer::permute;

use std::collections::HashMap;

use crate::dataflow;
use crate::error::PtxError;
use crate::program::{BoolOp, Constant, Inst, NO_GUARD, Op, P, Program, Reg};
use crate::syntax::{Function, Instruction, Space, Statement, Unit, Var};
use crate::ty::Ty;
use mnemonic::Mnemonic;

/// Message of a refused instruction; the caller knows its line.
type Result<T> = std::result::Result<T, String>;

/// Instructions after expansion of calls: more means a runaway expansion.
const MOST_INSTRUCTIONS: usize = 1 << 20;
const MOST_CALLS: usize = 32;
/// Limits of the device.
const MOST_LOCAL: u32 = 512 << 10;
const MOST_PARAM: u64 = 32_764;
/// Slots of one register class; each takes 128 or 256 bytes per warp.
const MOST_SLOTS: u32 = 1 << 21;

/// Where the module's variables lie.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    /// Byte offset in the module's `.global` or `.const` image.
    pub offsets: HashMap<String, (Space, u64)>,
}

/// What a name means.
#[derive(Debug, Clone, Copy)]
enum Symbol {
    Register(Reg, Ty),
    /// An address of a state space.
    Address(Space, Constant),
}

#[derive(Debug, Default)]
struct Scope<'u> {
    symbols: HashMap<&'u str, Symbol>,
    /// `%r<n>`: first slot, count, type.
    families: HashMap<&'u str, (u32, u32, Ty)>,
    labels: HashMap<&'u str, u32>,
    targets: HashMap<&'u str, &'u [String]>,
}

pub(crate) struct Decoder<'u> {
    unit: &'u Unit,
    layout: &'u Layout,
    scopes: Vec<Scope<'u>>,
    program: Program,
    words: HashMap<Constant, u32>,
    doubles: HashMap<Constant, u32>,
    predicates: HashMap<bool, P>,
    mnemonics: HashMap<String, u16>,
    shared: HashMap<String, Symbol>,
    /// Instruction index of each label, once known.
    labels: Vec<Option<u32>>,
    /// Where `ret` of the function being expanded goes; `None` in the kernel.
    ret: Option<u32>,
    calls: Vec<&'u str>,
    uses: Vec<Reg>,
    defs: Vec<Reg>,
    guard: (P, bool),
    line: u32,
    mnemonic: u16,
    flops: u8,
}

/// Bytes and offset of each kernel parameter.
pub(crate) fn parameters(f: &Function) -> Vec<(u64, u64)> {
    let mut at = 0u64;
    f.params
        .iter()
        .map(|v| {
            at = at.next_multiple_of(v.align);
            let offset = at;
            at += v.bytes;
            (offset, v.bytes)
        })
        .collect()
}

/// Decodes one kernel.
pub(crate) fn decode(unit: &Unit, layout: &Layout, f: &Function) -> std::result::Result<Program, PtxError> {
    let empty = Program {
        code: Vec::new(),
        mnemonic: Vec::new(),
        mnemonics: Vec::new(),
        flops: Vec::new(),
        watched: Vec::new(),
        uses: Vec::new(),
        defs: Vec::new(),
        words: 0,
        doubles: 0,
        predicates: 0,
        word_constants: Vec::new(),
        double_constants: Vec::new(),
        predicate_constants: Vec::new(),
        local_bytes: 0,
        static_shared: 0,
        dynamic_shared_align: 1,
        uses_dynamic_shared: false,
        names: Vec::new(),
    };
    let mut d = Decoder {
        unit,
        layout,
        scopes: vec![Scope::default()],
        program: empty,
        words: HashMap::new(),
        doubles: HashMap::new(),
        predicates: HashMap::new(),
        mnemonics: HashMap::new(),
        shared: HashMap::new(),
        labels: Vec::new(),
        ret: None,
        calls: Vec::new(),
        uses: Vec::new(),
        defs: Vec::new(),
        guard: (NO_GUARD, false),
        line: f.line,
        mnemonic: 0,
        flops: 0,
    };
    for (v, (offset, _)) in f.params.iter().zip(parameters(f)) {
        d.scopes[0].symbols.insert(&v.name, Symbol::Address(Space::Param, Constant::Value(offset)));
    }
    let bytes = parameters(f).last().map_or(0, |(offset, size)| offset + size);
    if bytes > MOST_PARAM {
        return Err(PtxError::new(f.line, format!("kernel `{}` has {bytes} bytes of parameters; at most {MOST_PARAM}", f.name)));
    }
    let Some(body) = &f.body else { return Err(PtxError::new(f.line, format!("kernel `{}` has no body", f.name))) };
    d.block(body).and_then(|()| d.finish()).map_err(|m| PtxError::new(d.line, m))?;
    let mut program = d.program;
    dataflow::mark(&mut program);
    Ok(program)
}

impl<'u> Decoder<'u> {
    fn finish(&mut self) -> Result<()> {
        self.mnemonic = self.mnemonic_index("exit");
        self.guard = (NO_GUARD, false);
        self.emit(Op::Exit);
        let labels = &self.labels;
        let target = |l: u32| labels[l as usize].ok_or_else(|| "a label is never placed".to_string());
        for inst in &mut self.program.code {
            match &mut inst.op {
                Op::Bra(l) => *l = target(*l)?,
                Op::BrxIdx(_, ls) => {
                    for l in ls.iter_mut() {
                        *l = target(*l)?;
                    }
                }
                _ => {}
            }
        }
        self.program.words = self.program.words.max(1);
        self.program.static_shared = self.program.static_shared.next_multiple_of(self.program.dynamic_shared_align);
        Ok(())
    }

    fn mnemonic_index(&mut self, text: &str) -> u16 {
        if let Some(&i) = self.mnemonics.get(text) {
            return i;
        }
        let i = self.program.mnemonics.len().min(usize::from(u16::MAX)) as u16;
        if usize::from(i) == self.program.mnemonics.len() {
            self.program.mnemonics.push(text.to_string());
        }
        self.mnemonics.insert(text.to_string(), i);
        i
    }

    fn emit(&mut self, op: Op) {
        let (guard, negated) = self.guard;
        if guard != NO_GUARD {
            self.uses.push(Reg::P(guard));
        }
        self.program.code.push(Inst { op, guard, negated, watch: false, track: false, line: self.line });
        self.program.mnemonic.push(self.mnemonic);
        self.program.flops.push(self.flops);
        self.program.uses.push(std::mem::take(&mut self.uses).into());
        self.program.defs.push(std::mem::take(&mut self.defs).into());
    }

    fn new_label(&mut self) -> u32 {
        self.labels.push(None);
        self.labels.len() as u32 - 1
    }

    fn place(&mut self, label: u32) {
        self.labels[label as usize] = Some(self.program.code.len() as u32);
    }

    fn scope(&mut self) -> &mut Scope<'u> {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// The statements of one scope, already entered.
    fn block(&mut self, body: &'u [Statement]) -> Result<()> {
        for s in body {
            match s {
                Statement::Label(name, line) => {
                    self.line = *line;
                    let id = self.new_label();
                    if self.scope().labels.insert(name, id).is_some() {
                        return Err(format!("label `{name}` stands twice in one scope"));
                    }
                }
                Statement::Targets(name, list) => {
                    self.scope().targets.insert(name, list);
                }
                _ => {}
            }
        }
        for s in body {
            self.statement(s)?;
        }
        Ok(())
    }

    fn statement(&mut self, s: &'u Statement) -> Result<()> {
        match s {
            Statement::Label(name, _) => {
                let id = self.scope().labels.get(name.as_str()).copied();
                if let Some(id) = id {
                    self.place(id);
                }
            }
            Statement::Targets(..) => {}
            Statement::Register { name, ty, line } => {
                self.line = *line;
                let first = self.slots(*ty, 1)?;
                let reg = register(*ty, first);
                self.program.names.push((reg, 1, name.clone()));
                self.declare(name, Symbol::Register(reg, *ty))?;
            }
            Statement::Registers { prefix, count, ty, line } => {
                self.line = *line;
                let first = self.slots(*ty, *count)?;
                self.program.names.push((register(*ty, first), *count, prefix.clone()));
                self.scope().families.insert(prefix, (first, *count, *ty));
            }
            Statement::Var(v) => {
                self.line = v.line;
                let symbol = self.variable(v)?;
                self.declare(&v.name, symbol)?;
            }
            Statement::ImplicitDef(name) => {
                if let Some(Symbol::Register(reg, _)) = self.lookup(name) {
                    self.defs.push(reg);
                    self.guard = (NO_GUARD, false);
                    self.flops = 0;
                    self.mnemonic = self.mnemonic_index("(implicit-def)");
                    self.emit(Op::Nop);
                }
            }
            Statement::Scope(body) => {
                self.scopes.push(Scope::default());
                let result = self.block(body);
                if result.is_ok() {
                    self.scopes.pop();
                }
                result?;
            }
            Statement::Instruction(i) => self.instruction(i)?,
        }
        Ok(())
    }

    fn declare(&mut self, name: &'u str, symbol: Symbol) -> Result<()> {
        match self.scope().symbols.insert(name, symbol) {
            Some(_) => Err(format!("`{name}` is declared twice in one scope")),
            None => Ok(()),
        }
    }

    fn slots(&mut self, ty: Ty, count: u32) -> Result<u32> {
        let counter = match ty.bits() {
            1 => &mut self.program.predicates,
            64 => &mut self.program.doubles,
            _ => &mut self.program.words,
        };
        let first = *counter;
        *counter = first.checked_add(count).filter(|n| *n <= MOST_SLOTS).ok_or("the kernel has too many registers")?;
        Ok(first)
    }

    fn variable(&mut self, v: &'u Var) -> Result<Symbol> {
        match v.space {
            Space::Shared => self.place_shared(v),
            Space::Local | Space::Param => {
                let at = u64::from(self.program.local_bytes).next_multiple_of(v.align);
                let end = at + v.bytes;
                self.program.local_bytes = u32::try_from(end)
                    .ok()
                    .filter(|n| *n <= MOST_LOCAL)
                    .ok_or_else(|| format!("`{}`: {end} bytes of local memory", v.name))?;
                Ok(Symbol::Address(Space::Local, Constant::Value(at)))
            }
            _ => Err(format!("`{}`: a {} variable inside a function", v.name, v.space)),
        }
    }

    fn place_shared(&mut self, v: &Var) -> Result<Symbol> {
        if v.dynamic {
            self.program.uses_dynamic_shared = true;
            self.program.dynamic_shared_align = self.program.dynamic_shared_align.max(v.align as u32);
            return Ok(Symbol::Address(Space::Shared, Constant::DynamicShared(0)));
        }
        let at = u64::from(self.program.static_shared).next_multiple_of(v.align);
        let end = at + v.bytes;
        self.program.static_shared =
            u32::try_from(end).ok().filter(|n| *n <= 1 << 24).ok_or_else(|| format!("`{}`: {end} bytes of shared memory", v.name))?;
        Ok(Symbol::Address(Space::Shared, Constant::Value(at)))
    }

    /// The meaning of a name, innermost scope first, then the module.
    fn lookup(&mut self, name: &str) -> Option<Symbol> {
        let split = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (prefix, digits) = name.split_at(split);
        let number = if digits.len() > 1 && digits.starts_with('0') { None } else { digits.parse::<u32>().ok() };
        for s in self.scopes.iter().rev() {
            if let Some(&symbol) = s.symbols.get(name) {
                return Some(symbol);
            }
            if let (Some(&(first, count, ty)), Some(n)) = (s.families.get(prefix), number)
                && n < count
            {
                return Some(Symbol::Register(register(ty, first + n), ty));
            }
        }
        if let Some(&symbol) = self.shared.get(name) {
            return Some(symbol);
        }
        if let Some(&(space, offset)) = self.layout.offsets.get(name) {
            let address = if space == Space::Global { Constant::ModuleGlobal(offset) } else { Constant::Value(offset) };
            return Some(Symbol::Address(space, address));
        }
        let unit = self.unit;
        let var = unit.vars.iter().find(|v| v.name == name && v.space == Space::Shared)?;
        let symbol = self.place_shared(var).ok()?;
        self.shared.insert(name.to_string(), symbol);
        Some(symbol)
    }

    fn instruction(&mut self, i: &'u Instruction) -> Result<()> {
        self.line = i.line;
        if self.program.code.len() > MOST_INSTRUCTIONS {
            return Err("the kernel grows beyond all bounds while its calls are expanded".into());
        }
        self.uses.clear();
        self.defs.clear();
        self.guard = (NO_GUARD, false);
        if let Some((name, negated)) = &i.guard {
            match self.lookup(name) {
                Some(Symbol::Register(Reg::P(p), _)) => self.guard = (p, *negated),
                _ => return Err(format!("`@{name}`: no such predicate")),
            }
        }
        self.mnemonic = self.mnemonic_index(&i.mnemonic);
        self.flops = 0;
        let m = Mnemonic::new(&i.mnemonic);
        let text = || format!("`{}`", i.mnemonic);
        let known = self.dispatch(&m, i).map_err(|e| format!("{}: {e}", text()))?;
        if known { Ok(()) } else { Err(format!("unknown instruction {}", text())) }
    }

    fn dispatch(&mut self, m: &Mnemonic<'u>, i: &'u Instruction) -> Result<bool> {
        let ops = &i.operands[..];
        Ok(match m.base {
            "add" | "sub" | "mul" | "mad" | "fma" | "min" | "max" | "abs" | "neg" | "div" | "rem" | "sqrt" | "rsqrt" | "rcp" | "ex2"
            | "lg2" | "sin" | "cos" | "tanh" | "copysign" | "testp" => {
                if m.ty()?.is_int() {
                    self.integer(m, ops)?
                } else {
                    self.float(m, ops)?
                }
            }
            "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "shf" | "bfe" | "bfi" | "bfind" | "fns" | "prmt" | "popc" | "clz"
            | "brev" | "lop3" | "sad" | "mul24" | "mad24" => self.integer(m, ops)?,
            "setp" => self.setp(m, ops)?,
            "selp" => self.selp(m, ops)?,
            "mov" => self.mov(m, ops)?,
            "cvt" => self.cvt(m, ops)?,
            "cvta" | "isspacep" => self.address_conversion(m, ops)?,
            "ld" | "ldu" => self.load(m, ops)?,
            "st" => self.store(m, ops)?,
            "atom" | "red" => self.atomic(m, ops)?,
            "cp" => self.cp_async(m, ops)?,
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" => self.control(m, ops)?,
            "bar" | "barrier" | "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" => self.warp(m, ops)?,
            "ldmatrix" | "stmatrix" | "movmatrix" | "mma" => self.matrix(m, ops)?,
            // Ordering of memory is sequentially consistent here; nothing to wait for.
            "membar" | "fence" | "griddepcontrol" | "prefetch" | "prefetchu" | "nanosleep" | "discard" | "applypriority" | "setmaxnreg" => {
                self.emit(Op::Nop);
                true
            }
            _ => false,
        })
    }

    /// `and.pred` and friends.
    fn predicate_logic(&mut self, op: BoolOp, ops: &[crate::syntax::Operand]) -> Result<bool> {
        let [d, a, b] = ops else { return Err("expected three operands".into()) };
        let (a, b) = (self.predicate(a)?, self.predicate(b)?);
        let d = self.predicate_out(d)?;
        self.emit(Op::PredLogic(op, d, a, b));
        Ok(true)
    }
}

fn register(ty: Ty, slot: u32) -> Reg {
    match ty.bits() {
        1 => Reg::P(slot),
        64 => Reg::D(slot),
        _ => Reg::W(slot),
    }
}
