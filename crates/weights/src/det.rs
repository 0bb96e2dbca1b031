//! Deterministic values that any language can repeat: test weights and inputs, and default initialisation.

use crate::tensor::Tensor;

/// FNV-1a, 64 bit, over the UTF-8 bytes of `s`.
pub fn fnv1a64(s: &str) -> u64 {
    s.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The finaliser of splitmix64.
fn mix(mut z: u64) -> u64 {
    z ^= z >> 30;
    z = z.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^= z >> 27;
    z = z.wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The `i`-th value in `[-1, 1)` of the stream with key `key`, counted from 1: 24 random bits.
fn value(key: u64, i: u64) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let z = mix(key.wrapping_add(i.wrapping_mul(GOLDEN)));
    2.0 * ((z >> 40) as f64 / f64::from(1 << 24)) - 1.0
}

/// `n` values in `[-1, 1)` that follow from `name` alone (splitmix64 of its FNV-1a hash and a counter from 1).
pub fn det(name: &str, n: usize) -> impl ExactSizeIterator<Item = f64> + use<> {
    let key = fnv1a64(name);
    // A 0-based range keeps `ExactSizeIterator`.
    (0..n).map(move |i| value(key, i as u64 + 1))
}

/// The test input of a name: `sqrt(3) * det(name, n)` in float64, rounded once; unit variance.
pub fn det_input(name: &str, shape: &[usize]) -> Tensor {
    let root = 3f64.sqrt();
    let n = shape.iter().product();
    let data = det(name, n).map(|v| (root * v) as f32).collect();
    Tensor::new(shape.to_vec(), data)
}

/// The test weight `key` of case `case`: how the golden cases' weights are made.
///
/// With `v = det("case/key", n)`: `dummy_tensor` is 1; a key that contains `grn_` is `0.2 v`; `.norm.weight` gives `1 + 0.2 v`;
/// `.norm.bias` or a final `.bias` gives `0.1 v`; any other weight is `v * sqrt(3 / product(shape[1..]))`.
/// Computed in float64, rounded once.
pub fn golden_weight(case: &str, key: &str, shape: &[usize]) -> Tensor {
    let n = shape.iter().product();
    let values = det(&format!("{case}/{key}"), n);
    let data: Vec<f32> = if key.ends_with("dummy_tensor") {
        vec![1.0; n]
    } else if key.contains("grn_") {
        values.map(|v| (0.2 * v) as f32).collect()
    } else if key.contains(".norm.weight") {
        values.map(|v| (1.0 + 0.2 * v) as f32).collect()
    } else if key.contains(".norm.bias") || key.ends_with(".bias") {
        values.map(|v| (0.1 * v) as f32).collect()
    } else {
        let fan: usize = shape.iter().skip(1).product();
        let scale = (3.0 / fan.max(1) as f64).sqrt();
        values.map(|v| (v * scale) as f32).collect()
    };
    Tensor::new(shape.to_vec(), data)
}

/// PyTorch's default initialisation of a convolution's weight or bias: uniform in `[-b, b)`, `b = 1 / sqrt(fan_in)`.
///
/// The stream follows from `seed` and `key` alone, so tensors do not depend on the order they are made in.
/// The numbers are our own, not PyTorch's.
pub fn init_uniform(key: &str, shape: &[usize], fan_in: usize, seed: u64) -> Tensor {
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    let stream = mix(fnv1a64(key) ^ mix(seed));
    let n: usize = shape.iter().product();
    let data = (0..n).map(|i| (bound * value(stream, i as u64 + 1)) as f32).collect();
    Tensor::new(shape.to_vec(), data)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fnv_matches_the_published_vectors() {
        assert_eq!(fnv1a64(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn initial_values_have_the_uniform_moments_and_depend_on_key_and_seed() {
        let (fan_in, n) = (27usize, 40_000usize);
        let t = init_uniform("enc.conv1.weight", &[n], fan_in, 7);
        let bound = 1.0 / (fan_in as f64).sqrt();
        let mean = t.data.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
        let var = t.data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n as f64;
        assert!(t.data.iter().all(|&v| f64::from(v).abs() <= bound * (1.0 + 1e-6)));
        assert!(mean.abs() < 4.0 * bound / (3.0 * n as f64).sqrt(), "mean {mean}");
        assert!((var / (bound * bound / 3.0) - 1.0).abs() < 0.03, "variance {var}");
        assert_eq!(t, init_uniform("enc.conv1.weight", &[n], fan_in, 7));
        assert_ne!(t, init_uniform("enc.conv1.weight", &[n], fan_in, 8));
        assert_ne!(t, init_uniform("enc.conv2.weight", &[n], fan_in, 7));
    }
}
