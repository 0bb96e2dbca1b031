//! The reference interpreter against the official PyTorch network: one test per stored case, so that they run in parallel.
#![allow(clippy::unwrap_used)]

use mnx_interp::{Array, Interpreter, Real};
use mnx_model::{Config, Flavour};
use mnx_weights::{Checkpoint, Tensor, det_input, golden_weight};
use serde_json::Value;

const FORWARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/forward");

struct Case {
    json: Value,
    stored: Checkpoint,
}

impl Case {
    fn load(name: &str) -> Self {
        let stored = Checkpoint::load(format!("{FORWARD}/{name}.safetensors")).unwrap();
        let json: Value = serde_json::from_str(&stored.metadata["case"]).unwrap();
        assert_eq!(json["name"], name);
        Self { json, stored }
    }

    /// The official constructor's arguments as a config.
    fn config(&self, kernel_size: &Value) -> Config {
        let mut toml = String::new();
        for (key, value) in self.json["config"].as_object().unwrap() {
            if key != "kernel_size" {
                toml += &format!("{key} = {value}\n");
            }
        }
        match kernel_size.as_array() {
            Some(pair) => {
                toml += &format!("enc_kernel_size = {}\ndec_kernel_size = {}\n", pair[0], pair[1]);
            }
            None => toml += &format!("kernel_size = {kernel_size}\n"),
        }
        Config::from_toml(&toml, "case.toml").unwrap()
    }

    fn input_shape(&self) -> Vec<usize> {
        let list = self.json["input"].as_array().unwrap();
        list.iter().map(|n| n.as_u64().unwrap() as usize).collect()
    }
}

fn formula_weights(case: &str, config: &Config) -> Checkpoint {
    mnx_model::signature(config).tensors.iter().map(|t| (t.key.clone(), golden_weight(case, &t.key, &t.shape))).collect()
}

fn subsample<T: Real>(x: &Array<T>, stride: usize) -> Array<T> {
    let extents: Vec<usize> = x.shape.iter().enumerate().map(|(axis, n)| if axis < 2 { *n } else { n.div_ceil(stride) }).collect();
    let mut data = Vec::new();
    for flat in 0..extents.iter().product::<usize>() {
        let (mut rest, mut at, mut pitch) = (flat, 0, 1);
        for axis in (0..extents.len()).rev() {
            let step = if axis < 2 { 1 } else { stride };
            at += rest % extents[axis] * step * pitch;
            rest /= extents[axis];
            pitch *= x.shape[axis];
        }
        data.push(x.data[at]);
    }
    Array::new(&extents, data)
}

fn compare<T: Real>(name: &str, got: &Array<T>, want: &Tensor, tolerance: f64) {
    assert_eq!(got.shape, want.shape, "{name}");
    let largest = want.data.iter().fold(0f64, |m, v| m.max(f64::from(*v).abs()));
    assert!(largest > 0.1, "{name}: the stored output is nearly empty");
    let mut worst = 0f64;
    for (g, w) in got.data.iter().zip(&want.data) {
        let error = (g.to_f64() - f64::from(*w)).abs();
        // A NaN must fail, so the comparison is written to be false for it.
        assert!(error <= tolerance * (1.0 + largest), "{name}: {g:?} is not {w}");
        worst = worst.max(error);
    }
    println!("{name}: worst error {worst:.2e} of {largest:.2}");
}

fn check<T: Real>(name: &str, tolerance: f64) {
    let case = Case::load(name);
    let config = case.config(&case.json["config"]["kernel_size"]);
    assert_eq!(mnx_model::signature(&config).parameters(), case.json["params"].as_u64().unwrap());
    let shape = case.input_shape();
    let graph = mnx_model::build(&config, shape[0], &shape[2..]).unwrap();
    let weights = if case.json.get("upkern_from").is_some() { stored_weights(&case) } else { formula_weights(name, &config) };
    let input = Array::from_tensor(&det_input(&format!("{name}/input"), &shape));
    let outputs = Interpreter::<T>::new().run(&graph, &weights, &[("input", &input)]).unwrap();
    assert_eq!(outputs.len(), config.outputs());
    let stride = case.json["stride"].as_u64().unwrap_or(1) as usize;
    for (output, value) in &outputs {
        let want = case.stored.get(output).unwrap();
        compare(&format!("{name} {output}"), &subsample(value, stride), want, tolerance);
    }
}

/// `weight/<key>` of a case.
fn stored_weights(case: &Case) -> Checkpoint {
    let weights: Checkpoint =
        case.stored.iter().filter_map(|(key, t)| Some((key.strip_prefix("weight/")?.to_string(), t.clone()))).collect();
    assert!(!weights.is_empty(), "the case stores no weights");
    weights
}

macro_rules! golden {
    ($($test:ident: $ty:ty, $name:literal, $tolerance:literal;)*) => {$(
        #[test]
        fn $test() {
            check::<$ty>($name, $tolerance);
        }
    )*};
}

golden! {
    l_k5_f64: f64, "L_k5", 1e-6;
    l_k3_f64: f64, "L_k3", 1e-6;
    s_k3_f64: f64, "S_k3", 1e-6;
    s_k5_f64: f64, "S_k5", 1e-6;
    m_k5_f64: f64, "M_k5", 1e-6;
    m_k3_f64: f64, "M_k3", 1e-6;
    b_k5_f64: f64, "B_k5", 1e-6;
    b_k3_f64: f64, "B_k3", 1e-6;
    tiny_2d_f64: f64, "tiny_2d", 1e-6;
    tiny_enc3_dec5_f64: f64, "tiny_enc3_dec5", 1e-6;
    tiny_grn_f64: f64, "tiny_grn", 1e-6;
    tiny_k3_f64: f64, "tiny_k3", 1e-6;
    tiny_k5_f64: f64, "tiny_k5", 1e-6;
    tiny_k7_f64: f64, "tiny_k7", 1e-6;
    tiny_layernorm_f64: f64, "tiny_layernorm", 1e-6;
    tiny_nores_f64: f64, "tiny_nores", 1e-6;
    tiny_upkern_3to5_f64: f64, "tiny_upkern_3to5", 1e-6;
    l_k5_f32: f32, "L_k5", 1e-4;
    l_k3_f32: f32, "L_k3", 1e-4;
    s_k3_f32: f32, "S_k3", 1e-4;
    m_k5_f32: f32, "M_k5", 1e-4;
    m_k3_f32: f32, "M_k3", 1e-4;
    b_k5_f32: f32, "B_k5", 1e-4;
    tiny_upkern_3to5_f32: f32, "tiny_upkern_3to5", 1e-4;
    b_k3_f32: f32, "B_k3", 1e-4;
    s_k5_f32: f32, "S_k5", 1e-4;
    tiny_2d_f32: f32, "tiny_2d", 1e-4;
    tiny_enc3_dec5_f32: f32, "tiny_enc3_dec5", 1e-4;
    tiny_grn_f32: f32, "tiny_grn", 1e-4;
    tiny_k3_f32: f32, "tiny_k3", 1e-4;
    tiny_k5_f32: f32, "tiny_k5", 1e-4;
    tiny_k7_f32: f32, "tiny_k7", 1e-4;
    tiny_layernorm_f32: f32, "tiny_layernorm", 1e-4;
    tiny_nores_f32: f32, "tiny_nores", 1e-4;
}

/// The formula makes the very weights that PyTorch ran with, bit for bit.
#[test]
fn formula_equals_stored_weights() {
    let case = Case::load("tiny_k3");
    let config = case.config(&case.json["config"]["kernel_size"]);
    let made = formula_weights("tiny_k3", &config);
    let stored = stored_weights(&case);
    assert_eq!(made.len(), stored.len());
    for (key, tensor) in made.iter() {
        assert_eq!(Some(tensor), stored.get(key), "{key}");
    }
}

/// With all ratios 2, MONAI's network is the official one under other names: renamed weights give the same outputs.
#[test]
fn monai_names_give_the_official_outputs() {
    let case = Case::load("tiny_k3");
    let official = case.config(&case.json["config"]["kernel_size"]);
    let weights = mnx_model::map_keys(&formula_weights("tiny_k3", &official), Flavour::Monai).unwrap();
    let config = Config { flavour: Flavour::Monai, ..official };
    let shape = case.input_shape();
    let graph = mnx_model::build(&config, shape[0], &shape[2..]).unwrap();
    let input = Array::<f64>::from_tensor(&det_input("tiny_k3/input", &shape));
    for (output, value) in Interpreter::new().run(&graph, &weights, &[("input", &input)]).unwrap() {
        compare(&output, &value, case.stored.get(&output).unwrap(), 1e-6);
    }
}
