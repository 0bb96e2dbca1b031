//! Freshly initialised values, by role: what a network starts from.

use mnx_weights::{Checkpoint, Role, Signature, Tensor, TensorRole, init_uniform};

/// The start value of one tensor as PyTorch's default constructors have it: convolution weights and
/// biases uniform in `+-1/sqrt(fan_in)`, norm scales 1, norm shifts and GRN 0, the dummy 1. Seeded by `seed` and the key.
pub fn fresh(role: &TensorRole, seed: u64) -> Tensor {
    let constant = |v: f32| Tensor::new(role.shape.clone(), vec![v; role.shape.iter().product()]);
    match role.role {
        Role::SpatialKernel | Role::Pointwise | Role::PointwiseTransposed | Role::Bias => {
            init_uniform(&role.key, &role.shape, role.fan_in, seed)
        }
        Role::NormScale | Role::Dummy => constant(1.0),
        Role::NormShift | Role::Grn => constant(0.0),
    }
}

/// A whole network's start values, in the order of its signature.
pub fn fresh_checkpoint(signature: &Signature, seed: u64) -> Checkpoint {
    signature.tensors.iter().map(|t| (t.key.clone(), fresh(t, seed))).collect()
}
