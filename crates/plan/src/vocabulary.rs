//! Words that every kernel's description uses.
//!
//! Inside the network activations are channels-last (`[n, d, h, w, c]`), ports are channels-first (`[n, c, d, h, w]`).
//! 2-D networks have `d = 1` and taps `[1, k, k]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Extents along d, h, w.
pub type Extent = [usize; 3];

/// Number of voxels.
pub fn voxels(e: Extent) -> usize {
    e.iter().product()
}

/// A float64 constant, compared and hashed by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bits(pub u64);

impl Bits {
    /// From a number.
    pub fn of(v: f64) -> Self {
        Self(v.to_bits())
    }
    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.get())
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        f64::deserialize(d).map(Self::of)
    }
}

/// How closely GELU (erf form) is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gelu {
    /// Absolute error at most 1e-6, and half a unit in the last place of large values.
    #[default]
    Accurate,
    /// Absolute error at most 2e-4 (and as above): four multiply-adds less per value.
    Fast,
}

impl Gelu {
    /// The word for it on command lines and in bundles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accurate => "accurate",
            Self::Fast => "fast",
        }
    }

    /// By the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Accurate, Self::Fast].into_iter().find(|g| g.as_str() == word)
    }
}

/// How activations and GEMM weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// float32, multiplied by FMA.
    F32,
    /// bfloat16, multiplied by tensor cores.
    #[default]
    Bf16,
    /// float16, multiplied by tensor cores.
    F16,
}

impl Storage {
    /// Name on command lines and in bundles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// By name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::F32, Self::Bf16, Self::F16].into_iter().find(|s| s.as_str() == name)
    }

    /// Element type of a buffer.
    pub fn element(self) -> crate::slot::Element {
        match self {
            Self::F32 => crate::slot::Element::F32,
            Self::Bf16 => crate::slot::Element::Bf16,
            Self::F16 => crate::slot::Element::F16,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        self.element().bytes()
    }
}
