//! GPU code against the official PyTorch network, without a GPU: the small stored cases run whole in the PTX interpreter, which reports every
//! race, every access outside a buffer, every uninitialised read as an error.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use mnx_runtime::Session;
use mnx_runtime::device::ptx_sim::PtxSim;
use mnx_tests::cases::Case;
use mnx_tests::host::Compiled;

/// In float32 mode, of 1 + maximum.
const SINGLE: f64 = 1e-4;

/// In bf16 and f16, of the output's maximum.
const HALF: f64 = 2e-2;

fn check(name: &str, target: &str, precision: &str) {
    let case = Case::load(name);
    let shape = case.input_shape();
    let more = ["--vectors", "none", "--target", target, "--precision", precision];
    let net = Compiled::new(&case.toml(None), &case.weights(), shape[0], &shape[2..], &more);
    let mut session = Session::on(Box::new(PtxSim::new(2)), &net.bundle, None).unwrap();
    let input = case.input();
    let outputs = session.run(&[&input.data]).unwrap();
    let ports = &net.bundle.manifest().outputs;
    assert_eq!(ports.len(), case.config().outputs());
    for (port, data) in ports.iter().zip(&outputs) {
        let largest = case.stored.get(&port.name).unwrap().data.iter().fold(0f64, |m, v| m.max(f64::from(*v).abs()));
        let error = case.error(&port.name, &port.shape, &|i| data.value(i).unwrap());
        println!("{name} {} for {target} in {precision}: {error:.2e} of 1 + maximum {largest:.2}", port.name);
        let allowed = if precision == "f32" { SINGLE } else { HALF * largest / (1.0 + largest) };
        assert!(error <= allowed, "{name} {} for {target} in {precision}: error {error:.3e}, {allowed:.3e} allowed", port.name);
    }
}

macro_rules! golden {
    ($($name:ident)*) => {
        mod single { $(#[test] fn $name() { super::check(stringify!($name), "sm_80", "f32"); })* }
        mod bf16 { $(#[test] fn $name() { super::check(stringify!($name), "sm_90a", "bf16"); })* }
    };
}

golden! { tiny_k3 tiny_k5 tiny_k7 tiny_2d tiny_grn tiny_layernorm tiny_nores tiny_enc3_dec5 }

/// Of later chips LLVM uses other instructions.
#[test]
fn later_chips_too() {
    check("tiny_k3", "sm_100a", "bf16");
    check("tiny_grn", "sm_120", "bf16");
    check("tiny_2d", "sm_120", "f16");
    check("tiny_2d", "sm_89", "bf16");
}

#[test]
fn f16_too() {
    check("tiny_k3", "sm_86", "f16");
    check("tiny_nores", "sm_86", "f16");
}
