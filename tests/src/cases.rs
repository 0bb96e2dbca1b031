//! The official network's stored cases (`tests/vectors/forward`): config, weights and input by formula, outputs as stored.

use mnx_model::Config;
use mnx_passes::weights::upkern::{UpkernOptions, upkern};
use mnx_weights::{Checkpoint, Tensor, det_input, golden_weight};
use serde_json::Value;

const FORWARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/forward");

/// Every stored case.
pub const CASES: &[&str] = &[
    "tiny_k3",
    "tiny_k5",
    "tiny_k7",
    "tiny_2d",
    "tiny_grn",
    "tiny_layernorm",
    "tiny_nores",
    "tiny_enc3_dec5",
    "tiny_upkern_3to5",
    "tiny_upkern_3to7",
    "S_k3",
    "S_k5",
    "B_k3",
    "B_k5",
    "M_k3",
    "M_k5",
    "L_k3",
    "L_k5",
];

/// One stored case.
#[derive(Debug)]
pub struct Case {
    /// Name of the case.
    pub name: String,
    /// What it says of itself.
    pub json: Value,
    /// Tensors of the file.
    pub stored: Checkpoint,
}

impl Case {
    /// Reads a case.
    ///
    /// # Panics
    /// If the file is not what the repository ships.
    pub fn load(name: &str) -> Self {
        let stored = Checkpoint::load(format!("{FORWARD}/{name}.safetensors")).expect("a stored case");
        let json: Value = serde_json::from_str(&stored.metadata["case"]).expect("a case's metadata");
        assert_eq!(json["name"], name);
        Self { name: name.to_string(), json, stored }
    }

    /// The official constructor's arguments as TOML, with another kernel size if given.
    pub fn toml(&self, kernel_size: Option<&Value>) -> String {
        let config = self.json["config"].as_object().expect("a case's config");
        let mut toml: String = config.iter().filter(|(k, _)| *k != "kernel_size").map(|(k, v)| format!("{k} = {v}\n")).collect();
        let kernel = kernel_size.unwrap_or(&config["kernel_size"]);
        match kernel.as_array() {
            Some(pair) => toml += &format!("enc_kernel_size = {}\ndec_kernel_size = {}\n", pair[0], pair[1]),
            None => toml += &format!("kernel_size = {kernel}\n"),
        }
        toml
    }

    /// The case's config.
    ///
    /// # Panics
    /// If the stored config is not one.
    pub fn config(&self) -> Config {
        Config::from_toml(&self.toml(None), "case.toml").expect("a stored config")
    }

    /// Weights of the case: by formula, or through UpKern from the source's.
    ///
    /// # Panics
    /// If UpKern refuses.
    pub fn weights(&self) -> Checkpoint {
        let Some(from) = self.json.get("upkern_from") else {
            return formula(&self.name, &self.config());
        };
        let source = Config::from_toml(&self.toml(Some(&from["kernel_size"])), "source.toml").expect("a stored config");
        let weights = formula(from["name"].as_str().expect("a source's name"), &source);
        let (to, from) = (mnx_model::signature(&self.config()), mnx_model::signature(&source));
        upkern(&from, &to, &weights, &UpkernOptions::default()).expect("every tensor fits").checkpoint
    }

    /// Extents of the input: N, C, space.
    ///
    /// # Panics
    /// If the stored case lacks them.
    pub fn input_shape(&self) -> Vec<usize> {
        let list = self.json["input"].as_array().expect("a case's input");
        list.iter().map(|n| n.as_u64().expect("an extent") as usize).collect()
    }

    /// The input.
    pub fn input(&self) -> Tensor {
        det_input(&format!("{}/input", self.name), &self.input_shape())
    }

    /// Every how many voxels outputs are stored.
    pub fn stride(&self) -> usize {
        self.json["stride"].as_u64().unwrap_or(1) as usize
    }

    /// Compares a whole output with the stored one; answers the worst error relative to `1 + maximum`. NaN is infinitely wrong.
    ///
    /// # Panics
    /// If there is no such output, or shapes differ.
    pub fn error(&self, output: &str, shape: &[usize], got: &dyn Fn(usize) -> f64) -> f64 {
        let want = self.stored.get(output).unwrap_or_else(|| panic!("{} stores no {output}", self.name));
        let stride = self.stride();
        let small: Vec<usize> = shape.iter().enumerate().map(|(axis, n)| if axis < 2 { *n } else { n.div_ceil(stride) }).collect();
        assert_eq!(small, want.shape, "{} {output}", self.name);
        let largest = want.data.iter().fold(0f64, |m, v| m.max(f64::from(*v).abs()));
        assert!(largest > 0.1, "{}: the stored output is nearly empty", self.name);
        let mut worst = 0f64;
        for (flat, w) in want.data.iter().enumerate() {
            let (mut rest, mut at, mut pitch) = (flat, 0, 1);
            for axis in (0..small.len()).rev() {
                at += rest % small[axis] * if axis < 2 { 1 } else { stride } * pitch;
                rest /= small[axis];
                pitch *= shape[axis];
            }
            let error = (got(at) - f64::from(*w)).abs() / (1.0 + largest);
            worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
        }
        worst
    }
}

/// Weights by the golden formula.
pub fn formula(case: &str, config: &Config) -> Checkpoint {
    mnx_model::signature(config).tensors.iter().map(|t| (t.key.clone(), golden_weight(case, &t.key, &t.shape))).collect()
}
