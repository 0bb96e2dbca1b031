//! Checkpoint files: round trips, every readable dtype, golden weights, and damaged files.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use mnx_weights::file::{Entry, write_file};
use mnx_weights::{Checkpoint, Tensor, det, det_input, golden_weight};
use safetensors::Dtype;

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name)
}

fn sample() -> Checkpoint {
    let mut ckpt = Checkpoint::new();
    for (name, shape) in [("z.weight", vec![3, 1, 5]), ("a.bias", vec![7]), ("scalar", vec![]), ("empty", vec![0, 4])] {
        let n = shape.iter().product();
        ckpt.insert(name, Tensor::new(shape, det(name, n).map(|v| v as f32).collect()));
    }
    ckpt.metadata.insert("case".into(), "{\"quoted\": \"yes\"}".into());
    ckpt.metadata.insert("another".into(), "ümläut".into());
    ckpt
}

#[test]
fn golden_weights_follow_the_formula_bit_for_bit() {
    let ckpt = Checkpoint::load(vector("forward/tiny_k3.safetensors")).unwrap();
    let mut checked = 0;
    for (name, stored) in ckpt.iter() {
        if let Some(key) = name.strip_prefix("weight/") {
            let made = golden_weight("tiny_k3", key, &stored.shape);
            assert!(made.data.iter().zip(&stored.data).all(|(a, b)| a.to_bits() == b.to_bits()), "{key}");
            checked += stored.len();
        }
    }
    assert!(checked >= 253_904, "{checked} weights checked");
    assert!(ckpt.metadata["case"].contains("tiny_k3"));
    let input = det_input("tiny_k3/input", &[1, 2, 32, 48, 32]);
    let power = input.data.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / input.len() as f64;
    assert!((power - 1.0).abs() < 0.02, "{power}");
}

#[test]
fn round_trip_keeps_everything_and_bytes_are_stable() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.safetensors"), dir.path().join("b.safetensors"));
    let ckpt = sample();
    ckpt.save(&a).unwrap();
    let back = Checkpoint::load(&a).unwrap();
    assert_eq!(back.metadata, ckpt.metadata);
    assert_eq!(back.len(), ckpt.len());
    for (name, tensor) in ckpt.iter() {
        assert_eq!(back.get(name).unwrap(), tensor, "{name}");
    }
    ckpt.save(&b).unwrap();
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    // The reference reader accepts it too.
    let bytes = std::fs::read(&a).unwrap();
    let other = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(other.tensor("z.weight").unwrap().shape(), [3, 1, 5]);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "temporary files left behind");
}

#[test]
fn half_and_double_become_single_and_others_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    let values: Vec<f64> = det("dtypes", 33).collect();
    let f64s: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let f16s: Vec<u8> = values.iter().flat_map(|v| f16::from_f64(*v).to_le_bytes()).collect();
    let bf16s: Vec<u8> = values.iter().flat_map(|v| bf16::from_f64(*v).to_le_bytes()).collect();
    let entry = |name, dtype, bytes| Entry { name, dtype, shape: &[3, 11], bytes };
    let entries = [entry("d", Dtype::F64, &f64s), entry("h", Dtype::F16, &f16s), entry("b", Dtype::BF16, &bf16s)];
    write_file(&path, &entries, &BTreeMap::new()).unwrap();
    let ckpt = Checkpoint::load(&path).unwrap();
    for (i, &v) in values.iter().enumerate() {
        assert_eq!(ckpt.get("d").unwrap().data[i], v as f32);
        assert_eq!(ckpt.get("h").unwrap().data[i], f16::from_f64(v).to_f32());
        assert_eq!(ckpt.get("b").unwrap().data[i], bf16::from_f64(v).to_f32());
    }
    let ints = [Entry { name: "labels", dtype: Dtype::I64, shape: &[2], bytes: &[0; 16] }];
    write_file(&path, &ints, &BTreeMap::new()).unwrap();
    let err = Checkpoint::load(&path).unwrap_err().to_string();
    assert!(err.contains("labels") && err.contains("I64") && err.contains("t.safetensors"), "{err}");
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

#[test]
fn hostile_headers_are_refused_with_the_reason() {
    let t = |offsets: &str| format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{offsets}}}}}");
    let two =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}";
    let huge = "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}";
    let mut not_utf8 = with_header("{\"aa\":1}", &[]);
    not_utf8[10] = 0xff;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![1, 2, 3], "3 bytes"),
        (u64::MAX.to_le_bytes().to_vec(), "header should have"),
        (b"PK\x03\x04\x00\x00\x08\x08".to_vec(), "a PyTorch file: `mnxc import` reads it"),
        (b"\x80\x02\x8a\nl\xfc\x9cF".to_vec(), "a PyTorch file: `mnxc import` reads it"),
        (with_header("not json", &[]), "not JSON"),
        (with_header("[1,2]", &[]), "not a JSON object"),
        (not_utf8, "not UTF-8"),
        (with_header(&t("[0,8]"), &[0; 4]), "truncated"),
        (with_header(&t("[0,8]"), &[0; 12]), "4 bytes after the last tensor"),
        (with_header(&t("[8,0]"), &[0; 8]), "does not fill"),
        (with_header(&t("[4,12]"), &[0; 12]), "hole"),
        (with_header(&t("[0,9]"), &[0; 9]), "does not fill"),
        (with_header(two, &[0; 12]), "overlaps"),
        (with_header(huge, &[]), "does not fill"),
        (with_header("{\"a\":{\"dtype\":\"Q7\",\"shape\":[1],\"data_offsets\":[0,4]}}", &[0; 4]), "Q7"),
        (with_header("{\"a\":7}", &[]), "no dtype"),
    ];
    for (bytes, reason) in cases {
        let err = Checkpoint::from_bytes("hostile.safetensors", &bytes).unwrap_err().to_string();
        assert!(err.contains(reason) && err.contains("hostile.safetensors"), "{reason}: {err}");
    }
}

#[test]
fn every_truncation_and_random_bit_flips_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    sample().save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        assert!(Checkpoint::from_bytes("cut", &bytes[..length]).is_err(), "cut to {length}");
    }
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        // Values may change silently (the format has no digest); the reader must just stay in bounds.
        let _ = Checkpoint::from_bytes("flipped", &flipped);
    }
}

#[test]
fn missing_files_and_directories_are_named() {
    let err = Checkpoint::load("/nowhere/w.safetensors").unwrap_err().to_string();
    assert!(err.contains("/nowhere/w.safetensors"), "{err}");
    let err = Checkpoint::load(env!("CARGO_MANIFEST_DIR")).unwrap_err().to_string();
    assert!(err.contains("directory"), "{err}");
}
