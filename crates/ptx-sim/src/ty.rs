//! The fundamental types of PTX.

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
