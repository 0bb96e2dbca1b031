//! A kernel decoded: a flat list of instructions over register slots. Immediates and special registers are rows of constants in the
//! same register files, so that every source is one index.

use std::fmt;
use std::sync::Arc;

use crate::numeric::{Half, Rounding};
use crate::syntax::Space;
use crate::tensor::{MmaShape, MmaType};

/// Slot of a 32-bit (also 16-bit, upper half zero) register row.
pub(crate) type W = u32;
/// Slot of a 64-bit register row.
pub(crate) type D = u32;
/// Slot of a predicate: one bit per lane.
pub(crate) type P = u32;

/// A register of any class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reg {
    P(P),
    W(W),
    D(D),
}

/// A special register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    Lane,
    Warp,
    Warps,
    LaneMask(Compare),
    DynamicShared,
    TotalShared,
}

/// What a constant row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    Value(u64),
    Special(Special),
    /// Byte offset into dynamic shared memory, which starts after the static variables.
    DynamicShared(u64),
    /// Byte offset into the module's `.global` variables.
    ModuleGlobal(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Operand type of a vectorised comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompareType {
    S32,
    U32,
    /// True if unordered: the `ltu` family.
    F32(bool),
    S64,
    U64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoolOp {
    And,
    Or,
    Xor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Un {
    Mov,
    Not,
    NegI,
    NegF,
    AbsF,
    Ex2,
    Lg2,
    Rsqrt,
    Rcp,
    Bf16ToF32,
    F16ToF32,
    S32ToF32,
    U32ToF32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bin {
    Add,
    Sub,
    Mul,
    MulHiU,
    MulHiS,
    And,
    Or,
    Xor,
    Shl,
    ShrU,
    ShrS,
    MinU,
    MaxU,
    MinS,
    MaxS,
    AddF,
    SubF,
    MulF,
    MinF,
    MaxF,
    DivF,
    /// `cvt.rn.{bf16x2,f16x2}.f32 d, a, b`: a in the high half.
    PackRn(Half),
    AddH2(Half),
    MulH2(Half),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tri {
    Mad,
    Fma,
    /// `prmt.b32 d, a, b, selector`.
    Prmt,
    /// `lop3.b32` with its truth table.
    Lop3(u8),
    FmaH2(Half),
    /// Funnel shifts: `shf.{l,r}.wrap`.
    ShfL,
    ShfR,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bin64 {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shift64 {
    Shl,
    ShrU,
    ShrS,
}

/// Memory access: where and how wide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub space: Space,
    /// Address register: 64-bit, or 32-bit for shared, local, const and param addresses.
    pub base: Reg,
    pub offset: i64,
    /// Bytes per element: 1, 2, 4, 8.
    pub width: u8,
    /// `.volatile`, `.relaxed`, `.acquire`, `.release`: no data race.
    pub strong: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Inc,
    Dec,
}

impl AtomOp {
    /// The operation that a word of a mnemonic names.
    pub(crate) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "add" => Self::Add,
            "min" => Self::Min,
            "max" => Self::Max,
            "and" => Self::And,
            "or" => Self::Or,
            "xor" => Self::Xor,
            "exch" => Self::Exch,
            "cas" => Self::Cas,
            "inc" => Self::Inc,
            "dec" => Self::Dec,
            _ => return None,
        })
    }
}

/// Type of an atomic's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomType {
    Int { bits: u8, signed: bool },
    F32,
    F64,
    Half(Half),
    Half2(Half),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Bfly,
    Idx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uni,
    Ballot,
}

/// One lane of an instruction that has no vectorised form: sources and result zero-extended to 64 bits.
pub(crate) type Lane = Arc<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

/// What an instruction does.
#[derive(Clone)]
pub(crate) enum Op {
    Nop,
    Un(Un, W, W),
    Bin(Bin, W, W, W),
    Tri(Tri, W, W, W, W),
    Bin64(Bin64, D, D, D),
    Shift64(Shift64, D, D, W),
    Mov64(D, D),
    /// `mul.wide` and `mad.wide`: signed, d, a, b, c (c may be the zero constant).
    MadWide(bool, D, W, W, D),
    Mad64(D, D, D, D),
    /// 32 to 64 bits; signed or not.
    Widen(bool, D, W),
    Narrow(W, D),
    Pack64(D, W, W),
    Unpack64(Option<W>, Option<W>, D),
    /// `mov.b32 d, {lo, hi}`.
    Pack32(W, W, W),
    Unpack32(Option<W>, Option<W>, W),
    Pack16x4(D, [W; 4]),
    Unpack16x4([Option<W>; 4], D),
    /// Comparison, its type, result, complement, sources, combination with a predicate (negated if true).
    Setp {
        compare: Compare,
        ty: CompareType,
        d: Option<P>,
        complement: Option<P>,
        a: u32,
        b: u32,
        with: Option<(BoolOp, P, bool)>,
    },
    /// Comparison of types without a vectorised one.
    SetpLane {
        f: Lane,
        d: Option<P>,
        complement: Option<P>,
        a: Reg,
        b: Reg,
        with: Option<(BoolOp, P, bool)>,
    },
    /// Comparison of packed 16-bit floats: results of the low and of the high half.
    SetpHalves {
        f: Lane,
        low: Option<P>,
        high: Option<P>,
        a: W,
        b: W,
        with: Option<(BoolOp, P, bool)>,
    },
    Selp(W, W, W, P, bool),
    Selp64(D, D, D, P, bool),
    PredLogic(BoolOp, P, P, P),
    PredNot(P, P),
    PredMov(P, P),
    Lane {
        f: Lane,
        d: Reg,
        sources: [Option<Reg>; 3],
    },
    /// `{add,sub,mul,fma}.f32x2` as `a * b + c` on each half.
    PairF32 {
        f: fn(f32, f32, f32) -> f32,
        d: D,
        a: D,
        b: D,
        c: D,
    },
    /// `sign`: bits of the destination to which a signed value is extended; 0 for unsigned.
    Load {
        access: Access,
        sign: u8,
        d: Box<[Option<Reg>]>,
    },
    Store {
        access: Access,
        s: Box<[Reg]>,
    },
    Atom {
        op: AtomOp,
        ty: AtomType,
        access: Access,
        d: Option<Reg>,
        s: Reg,
        compare: Option<Reg>,
    },
    /// Between generic and specific addresses: add or subtract the window of the space.
    Cvta {
        to: bool,
        space: Space,
        d: Reg,
        s: Reg,
    },
    IsSpace(Space, P, D),
    CpAsync {
        shared: Reg,
        shared_offset: i64,
        global: Reg,
        global_offset: i64,
        bytes: u8,
        source_bytes: Option<W>,
        ignore: Option<(P, bool)>,
    },
    CpCommit,
    /// Groups that may stay pending; `None`: all copies, committed or not.
    CpWait(Option<u32>),
    Bra(u32),
    BrxIdx(W, Box<[u32]>),
    Exit,
    Trap,
    /// Barrier number, threads (all if absent), whether every lane must be there, whether to wait.
    Bar {
        id: W,
        threads: Option<W>,
        aligned: bool,
        arrive: bool,
    },
    WarpBar(W),
    Shfl {
        kind: Shuffle,
        d: W,
        p: Option<P>,
        a: W,
        b: W,
        c: W,
        mask: W,
    },
    Vote {
        kind: Vote,
        d: Reg,
        p: P,
        negated: bool,
        mask: W,
    },
    Match {
        all: bool,
        d: W,
        p: Option<P>,
        a: Reg,
        mask: W,
    },
    Redux {
        op: AtomOp,
        signed: bool,
        d: W,
        a: W,
        mask: W,
    },
    ActiveMask(W),
    Elect {
        d: Option<W>,
        p: P,
        mask: W,
    },
    Ldmatrix {
        trans: bool,
        d: Box<[W]>,
        base: Reg,
        offset: i64,
    },
    Stmatrix {
        trans: bool,
        s: Box<[W]>,
        base: Reg,
        offset: i64,
    },
    Movmatrix(W, W),
    Mma(Box<Mma>),
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Op")
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Mma {
    pub shape: MmaShape,
    pub ab: MmaType,
    pub acc_f32: bool,
    pub a: Vec<W>,
    pub b: Vec<W>,
    pub c: Vec<W>,
    pub d: Vec<W>,
    /// Multiplications and additions.
    pub flops: u64,
}

/// One instruction.
#[derive(Debug, Clone)]
pub(crate) struct Inst {
    pub op: Op,
    /// Predicate slot, or `NO_GUARD`.
    pub guard: P,
    pub negated: bool,
    /// Some source may be read before it is written: look at run time.
    pub watch: bool,
    /// Some destination is watched elsewhere.
    pub track: bool,
    pub line: u32,
}

/// `Inst::guard` of an unconditional instruction.
pub(crate) const NO_GUARD: P = P::MAX;

/// A kernel ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub code: Vec<Inst>,
    /// Index into `mnemonics` of each instruction.
    pub mnemonic: Vec<u16>,
    pub mnemonics: Vec<String>,
    /// Floating-point operations per active lane of each instruction.
    pub flops: Vec<u8>,
    /// Bit set of the registers that are watched at run time.
    pub watched: Vec<u64>,
    pub uses: Vec<Box<[Reg]>>,
    pub defs: Vec<Box<[Reg]>>,
    pub words: u32,
    pub doubles: u32,
    pub predicates: u32,
    /// Slots in `words` and in `doubles` that hold constants.
    pub word_constants: Vec<(W, Constant)>,
    pub double_constants: Vec<(D, Constant)>,
    /// Predicate slots that are always true or false.
    pub predicate_constants: Vec<(P, bool)>,
    pub local_bytes: u32,
    pub static_shared: u32,
    pub dynamic_shared_align: u32,
    pub uses_dynamic_shared: bool,
    /// Names of the registers, for messages: the first, how many, and the name (of one) or prefix (of several).
    pub names: Vec<(Reg, u32, String)>,
}

impl Program {
    /// A register as the text calls it.
    pub(crate) fn name(&self, reg: Reg) -> String {
        for (first, count, name) in &self.names {
            let (a, b) = match (first, reg) {
                (Reg::W(a), Reg::W(b)) | (Reg::D(a), Reg::D(b)) | (Reg::P(a), Reg::P(b)) => (*a, b),
                _ => continue,
            };
            if b >= a && b - a < *count {
                return if *count == 1 && !name.ends_with("%r") { name.clone() } else { format!("{name}{}", b - a) };
            }
        }
        "a register".into()
    }
}

/// Rounding and modifiers of a float instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FloatMode {
    pub rounding: Rounding,
    pub ftz: bool,
    pub sat: bool,
}
