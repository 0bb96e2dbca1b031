//! The fundamental types of PTX.

use std::fmt;

/// A type suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    Pred,
    B(u8),
    U(u8),
    S(u8),
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F32x2,
    F64,
}

/// The suffix without its dot, as [`Ty::parse`] reads it.
impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pred => f.write_str("pred"),
            Self::B(bits) => write!(f, "b{bits}"),
            Self::U(bits) => write!(f, "u{bits}"),
            Self::S(bits) => write!(f, "s{bits}"),
            Self::F16 => f.write_str("f16"),
            Self::F16x2 => f.write_str("f16x2"),
            Self::Bf16 => f.write_str("bf16"),
            Self::Bf16x2 => f.write_str("bf16x2"),
            Self::Tf32 => f.write_str("tf32"),
            Self::F32 => f.write_str("f32"),
            Self::F32x2 => f.write_str("f32x2"),
            Self::F64 => f.write_str("f64"),
        }
    }
}

impl Ty {
    /// From a suffix without its dot.
    pub(crate) fn parse(s: &str) -> Option<Self> {
        Some(match s {
            "pred" => Self::Pred,
            "b8" => Self::B(8),
            "b16" => Self::B(16),
            "b32" => Self::B(32),
            "b64" => Self::B(64),
            "b128" => Self::B(128),
            "u8" => Self::U(8),
            "u16" => Self::U(16),
            "u32" => Self::U(32),
            "u64" => Self::U(64),
            "s8" => Self::S(8),
            "s16" => Self::S(16),
            "s32" => Self::S(32),
            "s64" => Self::S(64),
            "f16" => Self::F16,
            "f16x2" => Self::F16x2,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "tf32" => Self::Tf32,
            "f32" => Self::F32,
            "f32x2" => Self::F32x2,
            "f64" => Self::F64,
            _ => return None,
        })
    }

    /// Width in bits; a predicate counts one.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Pred => 1,
            Self::B(n) | Self::U(n) | Self::S(n) => u32::from(n),
            Self::F16 | Self::Bf16 => 16,
            Self::F16x2 | Self::Bf16x2 | Self::F32 | Self::Tf32 => 32,
            Self::F32x2 | Self::F64 => 64,
        }
    }

    pub(crate) fn signed(self) -> bool {
        matches!(self, Self::S(_))
    }

    pub(crate) fn is_int(self) -> bool {
        matches!(self, Self::B(_) | Self::U(_) | Self::S(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_they_are_read() {
        for word in "pred b8 b16 b32 b64 b128 u8 u16 u32 u64 s8 s16 s32 s64 f16 f16x2 bf16 bf16x2 tf32 f32 f32x2 f64".split(' ') {
            assert_eq!(Ty::parse(word).map(|t| t.to_string()).as_deref(), Some(word));
        }
    }
}
