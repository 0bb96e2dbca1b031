//! Signatures: which tensors a network's checkpoint holds, in order, and what each is for.

/// What a tensor is for. Transforms go by role, never by substrings of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Depthwise kernel `[C, 1, k, k, k]` (normal, strided or transposed): the tensors that UpKern resizes.
    SpatialKernel,
    /// Pointwise weight `[Co, Ci, 1, ..]`.
    Pointwise,
    /// Transposed pointwise weight `[Ci, Co, 1, ..]`.
    PointwiseTransposed,
    /// Bias of a convolution.
    Bias,
    /// Scale of a norm (starts at 1).
    NormScale,
    /// Shift of a norm (starts at 0).
    NormShift,
    /// GRN's beta or gamma (starts at 0).
    Grn,
    /// The official network's `dummy_tensor` (always 1).
    Dummy,
}

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRole {
    /// Key.
    pub key: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// Inputs that each output sums over: what PyTorch's default initialisation scales by (a transposed pointwise convolution counts its outputs).
    pub fan_in: usize,
}

/// All tensors of a network's checkpoint, in the official order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// The tensors.
    pub tensors: Vec<TensorRole>,
}

impl Signature {
    /// A tensor by key.
    pub fn get(&self, key: &str) -> Option<&TensorRole> {
        self.tensors.iter().find(|t| t.key == key)
    }

    /// Number of values in all tensors: the parameter count as the official network states it.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(|t| t.shape.iter().product::<usize>() as u64).sum()
    }
}
