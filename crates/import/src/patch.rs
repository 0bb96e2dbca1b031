//! Patches that a MedNeXt can take.

use mnx_model::{Config, NormType};

/// The nearest patch that compiles: every axis a multiple of 16 (halfway goes up), group norm has more than one voxel in the bottleneck.
pub(crate) fn fitting(patch: &[usize], norm: NormType) -> Vec<usize> {
    let step = Config::STRIDE;
    let mut out: Vec<usize> = patch.iter().map(|n| ((n + step / 2) / step * step).max(step)).collect();
    if norm == NormType::Group
        && out.iter().all(|n| *n == step)
        && let Some(last) = out.last_mut()
    {
        *last = 2 * step;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_multiple_of_16_that_leaves_a_variance() {
        assert_eq!(fitting(&[24, 96, 80], NormType::Group), [32, 96, 80]);
        assert_eq!(fitting(&[1, 23, 40], NormType::Group), [16, 16, 48]);
        assert_eq!(fitting(&[16, 16, 16], NormType::Group), [16, 16, 32]);
        assert_eq!(fitting(&[7, 16], NormType::Layer), [16, 16]);
    }
}
