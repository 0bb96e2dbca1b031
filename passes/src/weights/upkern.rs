//! `upkern`: initialises a network from a trained one with other kernel sizes.

use mnx_ir::Diagnostic;
use mnx_weights::{Checkpoint, Role, Signature, Tensor, TensorRole, WeightsError};

use super::fresh::fresh;
use super::resize::resize_linear;

/// How `upkern` treats tensors that do not fit.
#[derive(Clone, Copy)]
pub struct UpkernOptions<'a> {
    /// Keep freshly initialised values for tensors that do not fit, and list them; else any such tensor is an error.
    pub allow_mismatch: bool,
    /// Start value of such a tensor.
    pub init: &'a dyn Fn(&TensorRole) -> Tensor,
}

impl Default for UpkernOptions<'_> {
    fn default() -> Self {
        Self { allow_mismatch: false, init: &|role| fresh(role, 0) }
    }
}

/// A checkpoint made by `upkern`.
#[derive(Debug, Clone)]
pub struct Upkern {
    /// The new network's tensors, in the order of its signature.
    pub checkpoint: Checkpoint,
    /// Keys of the kernels that were resized.
    pub resized: Vec<String>,
    /// Keys of the tensors that hold freshly initialised values.
    pub fresh: Vec<String>,
    /// What the user should know: tensors that kept fresh values, tensors of the source that found no place.
    pub notes: Vec<Diagnostic>,
}

/// Initialises the network `to` from a checkpoint of the network `from` (UpKern, as the official code (MIC-DKFZ/MedNeXt, commit 0b78ed8) does it).
///
/// Tensors of equal shape are copied. Spatial kernels (by role, not by key) of equal channels are resized linearly (trilinear, in 2-D
/// bilinear, corners not aligned), in float64, rounded once; nothing is rescaled. Everything else does not fit.
/// The dummy tensor is always 1 and needs no source.
///
/// # Errors
/// `Mismatch` that lists every tensor that does not fit, with both shapes, and nothing is made; under `allow_mismatch` only a
/// checkpoint that is not one of `from` is an error.
pub fn upkern(from: &Signature, to: &Signature, source: &Checkpoint, options: &UpkernOptions<'_>) -> Result<Upkern, WeightsError> {
    belongs(from, source)?;
    let mut out = Upkern { checkpoint: Checkpoint::new(), resized: Vec::new(), fresh: Vec::new(), notes: Vec::new() };
    let mut problems = Vec::new();
    for target in &to.tensors {
        let given = from.get(&target.key).and_then(|role| source.get(&target.key).map(|t| (role, t)));
        let tensor = match fit(target, given) {
            Ok((tensor, resized)) => {
                if resized {
                    out.resized.push(target.key.clone());
                }
                tensor
            }
            Err(why) => {
                let note = format!("tensor \"{}\" {why}", target.key);
                out.fresh.push(target.key.clone());
                out.notes.push(Diagnostic::new("upkern-0301", &target.key, format!("{note}: freshly initialised")));
                problems.push(note);
                let tensor = (options.init)(target);
                assert_eq!(tensor.shape, target.shape, "fresh values of \"{}\" have the tensor's shape", target.key);
                tensor
            }
        };
        out.checkpoint.insert(target.key.clone(), tensor);
    }
    if !problems.is_empty() && !options.allow_mismatch {
        return Err(WeightsError::Mismatch(problems));
    }
    for role in &from.tensors {
        if to.get(&role.key).is_none() && role.role != Role::Dummy {
            let message = format!("tensor \"{}\" {} has no place in the new network: left out", role.key, mnx_words::list(&role.shape));
            out.notes.push(Diagnostic::new("upkern-0302", &role.key, message));
        }
    }
    Ok(out)
}

/// The value of a target tensor and whether it was resized; or why it has none.
fn fit(target: &TensorRole, given: Option<(&TensorRole, &Tensor)>) -> Result<(Tensor, bool), String> {
    if target.role == Role::Dummy {
        return Ok((Tensor::new(target.shape.clone(), vec![1.0; target.shape.iter().product()]), false));
    }
    let Some((role, tensor)) = given else {
        return Err(format!("{} is not in the source network", mnx_words::list(&target.shape)));
    };
    if tensor.shape == target.shape {
        return Ok((tensor.clone(), false));
    }
    let kernels = target.role == Role::SpatialKernel && role.role == Role::SpatialKernel;
    if kernels && tensor.shape.len() == target.shape.len() && tensor.shape[..2] == target.shape[..2] {
        return Ok((resize_linear(tensor, &target.shape[2..]), true));
    }
    Err(format!("has shape {} in the source network, {} in the new one", mnx_words::list(&tensor.shape), mnx_words::list(&target.shape)))
}

/// Whether the checkpoint is one of the network it is said to be.
fn belongs(from: &Signature, source: &Checkpoint) -> Result<(), WeightsError> {
    let problems: Vec<String> = from
        .tensors
        .iter()
        .filter_map(|role| match source.get(&role.key) {
            Some(t) if t.shape == role.shape => None,
            Some(t) => Some(format!(
                "tensor \"{}\" has shape {} in the checkpoint, {} in the source network's config",
                role.key,
                mnx_words::list(&t.shape),
                mnx_words::list(&role.shape)
            )),
            // Official checkpoints hold it, converted ones may not; it carries nothing.
            None if role.role == Role::Dummy => None,
            None => Some(format!("tensor \"{}\" {} is missing from the checkpoint", role.key, mnx_words::list(&role.shape))),
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(WeightsError::Mismatch(problems)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use mnx_weights::det;

    fn role(key: &str, shape: &[usize], role: Role) -> TensorRole {
        TensorRole { key: key.to_string(), shape: shape.to_vec(), role, fan_in: 27 }
    }

    /// A block of `c` channels, kernel `k`, `n` classes.
    fn signature(c: usize, k: usize, n: usize) -> Signature {
        Signature {
            tensors: vec![
                role("dummy_tensor", &[1], Role::Dummy),
                role("b.conv1.weight", &[c, 1, k, k, k], Role::SpatialKernel),
                role("b.conv1.bias", &[c], Role::Bias),
                role("b.norm.weight", &[c], Role::NormScale),
                role("out.weight", &[c, n, 1, 1, 1], Role::PointwiseTransposed),
            ],
        }
    }

    fn checkpoint(s: &Signature) -> Checkpoint {
        s.tensors
            .iter()
            .map(|t| {
                let n = t.shape.iter().product();
                (t.key.clone(), Tensor::new(t.shape.clone(), det(&t.key, n).map(|v| v as f32).collect()))
            })
            .collect()
    }

    #[test]
    fn kernels_are_resized_by_role_and_the_rest_is_copied() {
        let (from, to) = (signature(4, 3, 2), signature(4, 5, 2));
        let source = checkpoint(&from);
        let made = upkern(&from, &to, &source, &UpkernOptions::default()).unwrap();
        assert_eq!(made.resized, ["b.conv1.weight"]);
        assert!(made.fresh.is_empty() && made.notes.is_empty());
        assert_eq!(made.checkpoint.names().collect::<Vec<_>>(), to.tensors.iter().map(|t| t.key.as_str()).collect::<Vec<_>>());
        assert_eq!(made.checkpoint.get("out.weight"), source.get("out.weight"));
        assert_eq!(made.checkpoint.get("dummy_tensor").unwrap().data, [1.0]);
        let (k3, k5) = (source.get("b.conv1.weight").unwrap(), made.checkpoint.get("b.conv1.weight").unwrap());
        // Corners and centre of an odd kernel are kept as they are.
        assert_eq!((k3.data[0], k3.data[13], k3.data[26]), (k5.data[0], k5.data[62], k5.data[124]));
    }

    #[test]
    fn what_does_not_fit_is_listed_whole_and_nothing_is_made() {
        let (from, mut to) = (signature(4, 3, 2), signature(4, 5, 3));
        to.tensors.push(role("extra.weight", &[7], Role::NormScale));
        let source = checkpoint(&from);
        let error = upkern(&from, &to, &source, &UpkernOptions::default()).unwrap_err().to_string();
        assert!(
            error.contains("\"out.weight\" has shape [4, 2, 1, 1, 1] in the source network, [4, 3, 1, 1, 1] in the new one"),
            "{error}"
        );
        assert!(error.contains("\"extra.weight\" [7] is not in the source network"), "{error}");
        let made = upkern(&from, &to, &source, &UpkernOptions { allow_mismatch: true, ..UpkernOptions::default() }).unwrap();
        assert_eq!(made.fresh, ["out.weight", "extra.weight"]);
        assert_eq!(made.notes.len(), 2);
        assert_eq!(made.checkpoint.get("extra.weight").unwrap().data, [1.0; 7]);
    }

    #[test]
    fn a_kernel_of_other_channels_does_not_fit() {
        let (from, to) = (signature(4, 3, 2), signature(8, 5, 2));
        let error = upkern(&from, &to, &checkpoint(&from), &UpkernOptions::default()).unwrap_err();
        assert!(matches!(error, WeightsError::Mismatch(list) if list.len() == 4));
    }

    #[test]
    fn a_foreign_checkpoint_is_refused_even_if_mismatches_are_allowed() {
        let (from, to) = (signature(4, 3, 2), signature(4, 5, 2));
        let mut source = checkpoint(&from);
        source.insert("b.conv1.bias", Tensor::zeros(vec![5]));
        source.remove("b.norm.weight");
        let options = UpkernOptions { allow_mismatch: true, ..UpkernOptions::default() };
        let error = upkern(&from, &to, &source, &options).unwrap_err().to_string();
        assert!(error.contains("\"b.conv1.bias\" has shape [5]") && error.contains("\"b.norm.weight\" [4] is missing"), "{error}");
    }

    #[test]
    fn tensors_left_out_are_named() {
        let (from, mut to) = (signature(4, 3, 2), signature(4, 3, 2));
        to.tensors.pop();
        let made = upkern(&from, &to, &checkpoint(&from), &UpkernOptions::default()).unwrap();
        assert!(made.notes[0].message.contains("\"out.weight\" [4, 2, 1, 1, 1] has no place"));
    }
}
