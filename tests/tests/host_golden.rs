//! Compiled code against the official PyTorch network: every stored case, every instruction set of this machine, 1 and 2 threads.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use mnx_tests::cases::{CASES, Case};
use mnx_tests::host::Compiled;

/// The stored cases ask for 1e-4 absolute plus 1e-4 of the maximum; float32 code stays well below.
const TOLERANCE: f64 = 2e-5;

fn check(name: &str) {
    let case = Case::load(name);
    let shape = case.input_shape();
    let net = Compiled::new(&case.toml(None), &case.weights(), shape[0], &shape[2..], &["--vectors", "none"]);
    let input = case.input();
    let ports = &net.bundle.manifest().outputs;
    assert_eq!(ports.len(), case.config().outputs());
    let isas = net.isas();
    assert!(!isas.is_empty(), "this machine runs neither x86-64-v3 nor v4 code");
    for isa in isas {
        let one = net.run(&input.data, isa, 1);
        let two = net.run(&input.data, isa, 2);
        for ((port, a), b) in ports.iter().zip(&one).zip(&two) {
            assert!(a.bytes() == b.bytes(), "{name} {} on {isa}: 1 and 2 threads differ", port.name);
            let error = case.error(&port.name, &port.shape, &|i| a.value(i).unwrap());
            println!("{name} {} on {isa}: {error:.2e}", port.name);
            assert!(error <= TOLERANCE, "{name} {} on {isa}: error {error:.3e} of 1 + maximum", port.name);
        }
    }
}

macro_rules! golden {
    ($($name:ident)*) => {
        $(#[test] #[allow(non_snake_case)] fn $name() { check(stringify!($name)); })*
        #[test]
        fn every_case_is_here() {
            assert_eq!(CASES, [$(stringify!($name)),*]);
        }
    };
}

golden! {
    tiny_k3 tiny_k5 tiny_k7 tiny_2d tiny_grn tiny_layernorm tiny_nores tiny_enc3_dec5 tiny_upkern_3to5 tiny_upkern_3to7
    S_k3 S_k5 B_k3 B_k5 M_k3 M_k5 L_k3 L_k5
}
