//! A thin typed layer over melior: values that know their type, index arithmetic that folds, loops as closures.
//!
//! Nothing outside this folder names a melior type.

mod arith;
mod builder;
mod control;
mod function;
mod gpu;
mod memory;
mod vector;

pub use builder::Builder;
pub use control::Steps;
pub use function::{Session, Unit};
pub use gpu::{Multiplicand, Shuffle, Transfer};
pub use memory::Buffer;

use melior::ir::Value;

/// Element types that kernels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// Boolean.
    I1,
    /// Byte.
    I8,
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// Address arithmetic, 64 bits, signed where it matters.
    Index,
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
}

impl Scalar {
    /// Bytes of one element in memory.
    pub fn bytes(self) -> usize {
        match self {
            Self::I1 | Self::I8 => 1,
            Self::Bf16 | Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::Index | Self::F64 => 8,
        }
    }

    /// Whether it is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::Bf16 | Self::F16)
    }
}

/// Type of a value: a scalar, or a one-dimensional vector of `lanes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ty {
    /// The element.
    pub scalar: Scalar,
    /// Lanes of a vector; `None` for a scalar.
    pub lanes: Option<usize>,
}

impl Ty {
    /// `index`.
    pub const INDEX: Self = Self::of(Scalar::Index);
    /// `i1`.
    pub const I1: Self = Self::of(Scalar::I1);
    /// `i32`.
    pub const I32: Self = Self::of(Scalar::I32);
    /// `i64`.
    pub const I64: Self = Self::of(Scalar::I64);
    /// `f32`.
    pub const F32: Self = Self::of(Scalar::F32);
    /// `f64`.
    pub const F64: Self = Self::of(Scalar::F64);

    /// A scalar.
    pub const fn of(scalar: Scalar) -> Self {
        Self { scalar, lanes: None }
    }

    /// `vector<lanes x scalar>`.
    pub const fn vec(scalar: Scalar, lanes: usize) -> Self {
        Self { scalar, lanes: Some(lanes) }
    }

    /// The type of this shape with another element.
    pub const fn with(self, scalar: Scalar) -> Self {
        Self { scalar, lanes: self.lanes }
    }
}

/// An SSA value with its type. Constant indices (and the truth of comparing them) carry their value and are materialised where used,
/// so that address arithmetic folds while it is written.
#[derive(Clone, Copy)]
pub struct Val<'c> {
    raw: Option<Value<'c, 'c>>,
    ty: Ty,
    constant: Option<i64>,
}

impl Val<'_> {
    /// The value's type.
    pub fn ty(&self) -> Ty {
        self.ty
    }

    /// The number behind a constant index or boolean.
    pub fn constant(&self) -> Option<i64> {
        self.constant
    }

    /// Lanes of a vector, 1 for a scalar.
    pub fn lanes(&self) -> usize {
        self.ty.lanes.unwrap_or(1)
    }

    fn known(ty: Ty, value: i64) -> Self {
        Self { raw: None, ty, constant: Some(value) }
    }
}

impl From<usize> for Val<'_> {
    /// A constant index.
    fn from(value: usize) -> Self {
        Self::known(Ty::INDEX, value as i64)
    }
}

impl From<i32> for Val<'_> {
    /// A constant index, written as a literal.
    fn from(value: i32) -> Self {
        Self::known(Ty::INDEX, i64::from(value))
    }
}

impl From<i64> for Val<'_> {
    /// A constant index, possibly negative.
    fn from(value: i64) -> Self {
        Self::known(Ty::INDEX, value)
    }
}
