//! Element types, shapes, layouts.

use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

/// Element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE double.
    F64,
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
    /// Signed 32-bit integer (class labels).
    I32,
}

impl DType {
    /// All element types.
    pub const ALL: [Self; 5] = [Self::F64, Self::F32, Self::F16, Self::Bf16, Self::I32];

    /// Whether it holds numbers to compute with, and not class labels.
    pub fn is_float(self) -> bool {
        match self {
            Self::F64 | Self::F32 | Self::F16 | Self::Bf16 => true,
            Self::I32 => false,
        }
    }

    /// The type that an op gives when it reads this one: float32 for 16-bit floats, which `cast` alone makes; else the same.
    pub fn computed(self) -> Self {
        match self {
            Self::F16 | Self::Bf16 => Self::F32,
            Self::F64 | Self::F32 | Self::I32 => self,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I32 => "i32",
        })
    }
}

impl FromStr for DType {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|d| d.to_string() == s)
            .ok_or_else(|| format!("unknown element type `{s}`, expected f64, f32, f16, bf16 or i32"))
    }
}

/// Extents, outermost first. Activations are `[n, c, (d,) h, w]` whatever their layout in memory.
pub type Shape = SmallVec<[usize; 5]>;

/// How an activation lies in memory. Shapes are always written N, C, space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// `n c d h w`: PyTorch's default, and that of ports.
    #[default]
    ChannelsFirst,
    /// `n d h w c`: what the host kernels work on.
    ChannelsLast,
}

/// Type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
    /// Memory order.
    pub layout: Layout,
}

impl TensorType {
    /// A channels-first tensor.
    pub fn new(dtype: DType, shape: &[usize]) -> Self {
        Self { dtype, shape: Shape::from_slice(shape), layout: Layout::ChannelsFirst }
    }

    /// A channels-first float32 tensor.
    pub fn f32(shape: &[usize]) -> Self {
        Self::new(DType::F32, shape)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.bytes()
    }

    /// The spatial extents of an activation (everything after N and C).
    pub fn space(&self) -> &[usize] {
        self.shape.get(2..).unwrap_or(&[])
    }

    /// Whether it is an activation `[n, c, (d,) h, w]`, which has a memory layout: four or five axes of a float type. Labels `[n, (d,) h, w]`
    /// have as many axes and are none; weights are told apart by [`crate::Graph::is_weight`].
    pub fn is_activation(&self) -> bool {
        self.dtype.is_float() && matches!(self.shape.len(), 4 | 5)
    }

    /// The type with other extents.
    pub fn with_shape(&self, shape: &[usize]) -> Self {
        Self { dtype: self.dtype, shape: Shape::from_slice(shape), layout: self.layout }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, n) in self.shape.iter().enumerate() {
            write!(f, "{}{n}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("]")?;
        match self.layout {
            Layout::ChannelsFirst => Ok(()),
            Layout::ChannelsLast => f.write_str(":channels_last"),
        }
    }
}
