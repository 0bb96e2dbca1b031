//! UpKern against the official network: the resized weights as PyTorch made them, and what the network computes with them.
#![allow(clippy::unwrap_used)]

use mnx_interp::{Array, Interpreter};
use mnx_model::{Config, build, signature};
use mnx_passes::{Pipeline, Upkern, UpkernOptions, manager, upkern};
use mnx_weights::{Checkpoint, Role, Signature, WeightsError, det_input, golden_weight};
use serde_json::Value;

const FORWARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/forward");

/// The official constructor's arguments as a config, with another kernel size.
fn config(case: &Value, kernel_size: &Value) -> Config {
    let mut toml = format!("kernel_size = {kernel_size}\n");
    for (key, value) in case["config"].as_object().unwrap().iter().filter(|(k, _)| *k != "kernel_size") {
        toml += &format!("{key} = {value}\n");
    }
    Config::from_toml(&toml, "case.toml").unwrap()
}

fn formula(case: &str, s: &Signature) -> Checkpoint {
    s.tensors.iter().map(|t| (t.key.clone(), golden_weight(case, &t.key, &t.shape))).collect()
}

/// Distance in steps of float32.
fn ulps(a: f32, b: f32) -> u64 {
    let rank = |x: f32| {
        let bits = i64::from(x.to_bits() as i32);
        if bits < 0 { i64::from(i32::MIN) - bits } else { bits }
    };
    if a.is_nan() || b.is_nan() { u64::MAX } else { rank(a).abs_diff(rank(b)) }
}

fn check(name: &str) -> (Upkern, Checkpoint) {
    let stored = Checkpoint::load(format!("{FORWARD}/{name}.safetensors")).unwrap();
    let case: Value = serde_json::from_str(&stored.metadata["case"]).unwrap();
    let from = config(&case, &case["upkern_from"]["kernel_size"]);
    let to = config(&case, &case["config"]["kernel_size"]);
    let (from, to_signature) = (signature(&from), signature(&to));
    let source = formula(case["upkern_from"]["name"].as_str().unwrap(), &from);
    let made = upkern(&from, &to_signature, &source, &UpkernOptions::default()).unwrap();
    assert!(made.fresh.is_empty() && made.notes.is_empty());
    // 17 blocks: every depthwise kernel, strided and transposed ones included, and nothing else.
    let kernels: Vec<&str> = to_signature.tensors.iter().filter(|t| t.role == Role::SpatialKernel).map(|t| t.key.as_str()).collect();
    assert_eq!(made.resized, kernels);
    assert_eq!(kernels.len(), 17);

    let mut g = build(&to, 1, &[32, 32, 32]).unwrap();
    manager::run(&Pipeline::parse("infer").unwrap(), &mut g).unwrap();
    let input = Array::<f64>::from_tensor(&det_input(&format!("{name}/input"), &[1, 1, 32, 32, 32]));
    let out = Interpreter::<f64>::new().run(&g, &made.checkpoint, &[("input", &input)]).unwrap().outputs;
    let want = stored.get("out_0").unwrap();
    let largest = want.data.iter().fold(0f64, |m, v| m.max(f64::from(*v).abs()));
    assert!(largest > 0.1 && out[0].1.shape == want.shape);
    for (a, b) in out[0].1.data.iter().zip(&want.data) {
        let close = (a - f64::from(*b)).abs() <= 1e-6 * (1.0 + largest);
        assert!(close, "{name}: {a} is not {b}");
    }
    (made, stored)
}

#[test]
fn three_to_five_equals_the_official_weights() {
    let (made, stored) = check("tiny_upkern_3to5");
    for (key, tensor) in made.checkpoint.iter() {
        let want = stored.get(&format!("weight/{key}")).unwrap();
        // Bit for bit.
        assert_eq!(tensor, want, "{key}");
    }
    assert_eq!(made.checkpoint.len(), stored.names().filter(|n| n.starts_with("weight/")).count());
}

#[test]
fn three_to_seven_computes_as_the_official_network() {
    check("tiny_upkern_3to7");
}

/// In 2-D kernels are resized bilinearly: a 3-D kernel that is constant along depth says the same.
#[test]
fn two_dimensional_networks_are_resized_bilinearly() {
    let text = |k: usize, dim: &str| {
        format!("in_channels = 1\nn_channels = 4\nn_classes = 2\nkernel_size = {k}\ndim = \"{dim}\"\nblock_counts = [1,1,1,1,1,1,1,1,1]\n")
    };
    let of = |k: usize, dim: &str| signature(&Config::from_toml(&text(k, dim), "t.toml").unwrap());
    let flat = upkern(&of(3, "2d"), &of(7, "2d"), &formula("flat", &of(3, "2d")), &UpkernOptions::default()).unwrap();
    let mut deep = formula("flat", &of(3, "3d"));
    for key in &flat.resized {
        let plane = golden_weight("flat", key, &of(3, "2d").get(key).unwrap().shape);
        let mut tensor = deep.remove(key).unwrap();
        for (c, channel) in tensor.data.chunks_mut(27).enumerate() {
            channel.chunks_mut(9).for_each(|p| p.copy_from_slice(&plane.data[9 * c..9 * c + 9]));
        }
        deep.insert(key.clone(), tensor);
    }
    let deep = upkern(&of(3, "3d"), &of(7, "3d"), &deep, &UpkernOptions::default()).unwrap();
    assert_eq!(flat.resized.len(), 17);
    for key in &flat.resized {
        let (flat, deep) = (flat.checkpoint.get(key).unwrap(), deep.checkpoint.get(key).unwrap());
        for (channel, plane) in deep.data.chunks(343).zip(flat.data.chunks(49)) {
            assert!(channel.chunks(49).all(|p| p.iter().zip(plane).all(|(a, b)| ulps(*a, *b) <= 1)), "{key}");
        }
    }
}

/// Other classes, ratios, channels: everything that does not fit is named at once, or starts afresh if that is allowed.
#[test]
fn networks_that_do_not_fit_are_refused_whole() {
    let of = |k: usize, more: &str| {
        let text = format!("in_channels = 1\nkernel_size = {k}\nblock_counts = [1,1,1,1,1,1,1,1,1]\n{more}");
        signature(&Config::from_toml(&text, "t.toml").unwrap())
    };
    let from = of(3, "n_channels = 4\nn_classes = 2\nexp_r = 2\n");
    let source = formula("source", &from);
    let to = of(5, "n_channels = 4\nn_classes = 3\nexp_r = [2,2,2,2,2,2,2,2,3]\ndeep_supervision = true\n");
    let WeightsError::Mismatch(lines) = upkern(&from, &to, &source, &UpkernOptions::default()).unwrap_err() else {
        panic!("a mismatch is expected")
    };
    // Head, eight heads' tensors, and three tensors of two blocks whose ratio differs (up_0 and dec_block_0).
    assert_eq!(lines.len(), 2 + 8 + 6, "{lines:#?}");
    assert!(
        lines.iter().any(
            |l| l == "tensor \"out_0.conv_out.weight\" has shape [4, 2, 1, 1, 1] in the source network, [4, 3, 1, 1, 1] in the new one"
        )
    );
    let options = UpkernOptions { allow_mismatch: true, ..UpkernOptions::default() };
    let made = upkern(&from, &to, &source, &options).unwrap();
    assert_eq!((made.fresh.len(), made.resized.len(), made.checkpoint.len()), (16, 17, to.tensors.len()));
    for t in &to.tensors {
        made.checkpoint.require(&t.key, &t.shape).unwrap();
    }
}
