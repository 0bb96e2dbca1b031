//! The reference interpreter against the official PyTorch network: one test per stored case, so that they run in parallel.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use mnx_interp::{Array, Interpreter, Real};
use mnx_model::{Config, Flavour};
use mnx_tests::cases::{Case, formula};
use mnx_weights::Checkpoint;

fn check<T: Real>(name: &str, tolerance: f64) {
    let case = Case::load(name);
    let config = case.config();
    assert_eq!(mnx_model::signature(&config).parameters(), case.json["params"].as_u64().unwrap());
    let shape = case.input_shape();
    let graph = mnx_model::build(&config, shape[0], &shape[2..]).unwrap();
    let input = Array::from_tensor(&case.input());
    let outputs = Interpreter::<T>::new().run(&graph, &case.weights(), &[("input", &input)]).unwrap().outputs;
    assert_eq!(outputs.len(), config.outputs());
    for (output, value) in &outputs {
        let error = case.error(output, &value.shape, &|i| value.data[i].to_f64());
        println!("{name} {output}: {error:.2e}");
        assert!(error <= tolerance, "{name} {output}: error {error:.3e} of 1 + maximum");
    }
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
    tiny_upkern_3to7_f64: f64, "tiny_upkern_3to7", 1e-6;
    s_k3_f32: f32, "S_k3", 1e-4;
    tiny_upkern_3to5_f32: f32, "tiny_upkern_3to5", 1e-4;
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
    let stored: Checkpoint =
        case.stored.iter().filter_map(|(key, t)| Some((key.strip_prefix("weight/")?.to_string(), t.clone()))).collect();
    assert!(!stored.is_empty(), "the case stores no weights");
    let made = formula("tiny_k3", &case.config());
    assert_eq!(made.len(), stored.len());
    for (key, tensor) in made.iter() {
        assert_eq!(Some(tensor), stored.get(key), "{key}");
    }
}

/// With all ratios 2, MONAI's network is the official one under other names: renamed weights give the same outputs.
#[test]
fn monai_names_give_the_official_outputs() {
    let case = Case::load("tiny_k3");
    let weights = mnx_model::map_keys(&formula("tiny_k3", &case.config()), Flavour::Monai).unwrap();
    let config = Config { flavour: Flavour::Monai, ..case.config() };
    let shape = case.input_shape();
    let graph = mnx_model::build(&config, shape[0], &shape[2..]).unwrap();
    for (output, value) in
        Interpreter::<f64>::new().run(&graph, &weights, &[("input", &Array::from_tensor(&case.input()))]).unwrap().outputs
    {
        assert!(case.error(&output, &value.shape, &|i| value.data[i]) <= 1e-6, "{output}");
    }
}
