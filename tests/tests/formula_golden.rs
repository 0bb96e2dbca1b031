//! Published golden vectors G1..G9 of the official network in float64, with weights that no float32 rounding touched.
//!
//! Fill: for tensor number `t` (state-dict order without `dummy_tensor`; the input is 999) and flat index `j`,
//! `u = ((j*2654435761 + t*40503 + 12345) mod 2^32) / 2^32`, `g = 2u - 1`; `norm.weight` is `1 + 0.1 g`, another `.weight`
//! is `g / sqrt(product of shape[1..])`, everything else `0.1 g`. Computed with the official code (commit 0b78ed8), float64, eval.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use mnx_interp::{Array, Interpreter};
use mnx_model::Config;
use mnx_weights::Role;

fn g(t: u64, j: u64) -> f64 {
    let u = (j * 2_654_435_761 + t * 40_503 + 12_345) % (1 << 32);
    2.0 * (u as f64 / (1u64 << 32) as f64) - 1.0
}

fn fill(t: u64, shape: &[usize], value: impl Fn(f64) -> f64) -> Array<f64> {
    let n = shape.iter().product::<usize>() as u64;
    Array::new(shape, (0..n).map(|j| value(g(t, j))).collect())
}

fn weights(config: &Config) -> BTreeMap<String, Array<f64>> {
    let tensors = mnx_model::signature(config).tensors;
    let named = tensors.iter().filter(|t| t.role != Role::Dummy);
    named
        .enumerate()
        .map(|(t, tensor)| {
            let fan = tensor.shape[1..].iter().product::<usize>() as f64;
            let value = |g: f64| {
                if tensor.key.ends_with("norm.weight") {
                    1.0 + 0.1 * g
                } else if tensor.key.ends_with(".weight") {
                    g / fan.sqrt()
                } else {
                    0.1 * g
                }
            };
            (tensor.key.clone(), fill(t as u64, &tensor.shape, value))
        })
        .collect()
}

/// Output, sum, sum of squares, values at 0, n/3, n/2, n - 1.
type Row = (usize, [f64; 6]);

fn check(toml: &str, input: &[usize], rows: &[Row]) {
    let config = Config::from_toml(toml, "golden.toml").unwrap();
    check_with(&config, &weights(&config), input, rows, 1e-9);
}

fn check_with(config: &Config, weights: &BTreeMap<String, Array<f64>>, input: &[usize], rows: &[Row], tolerance: f64) {
    let graph = mnx_model::build(config, input[0], &input[2..]).unwrap();
    let image = fill(999, input, |g| g);
    let outputs = Interpreter::<f64>::new().run(&graph, weights, &[("input", &image)]).unwrap().outputs;
    for (index, want) in rows {
        let (name, y) = &outputs[*index];
        assert_eq!(*name, format!("out_{index}"));
        let n = y.data.len();
        let got = [y.data.iter().sum(), y.data.iter().map(|v| v * v).sum(), y.data[0], y.data[n / 3], y.data[n / 2], y.data[n - 1]];
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{name}: {got:.12e} is not {want:.12e}");
        }
    }
}

const TINY: &str = "in_channels = 2\nn_channels = 8\nn_classes = 3\nexp_r = [2,3,4,4,4,4,4,3,2]\nblock_counts = [1,1,1,1,1,1,1,1,1]\n\
    do_res = true\ndo_res_up_down = true\ndeep_supervision = true\n";

fn tiny(more: &str) -> String {
    format!("{TINY}{more}")
}

#[test]
fn the_fill_is_the_published_one() {
    let want = [-0.9999942514114082, 0.2360737221315503, -0.5278583043254912, 0.7082096692174673];
    for (j, want) in want.iter().enumerate() {
        assert_eq!(g(0, j as u64), *want);
    }
    assert_eq!(g(999, 0), -0.9811524329707026);
    assert_eq!(g(999, 1), 0.25491554057225585);
}

#[test]
fn g1_kernel_3() {
    check(
        &tiny("kernel_size = 3"),
        &[1, 2, 32, 32, 32],
        &[
            (
                0,
                [
                    -9.233729567526e+03,
                    2.171788628631e+04,
                    -1.324992561283e-01,
                    4.826158700038e-01,
                    -6.118447439112e-01,
                    -5.576467875555e-01,
                ],
            ),
            (
                1,
                [-2.981194940818e+03, 4.668724823384e+03, -1.334527154078e-01, 4.801221608300e-01, -3.790331751303e-01, 7.167955249893e-02],
            ),
            (
                2,
                [-4.097711942027e+02, 1.115263271679e+03, 3.214480362768e-01, 3.966819625005e-01, -9.360277208019e-02, -3.673531283082e+00],
            ),
            (
                3,
                [3.464366105540e+01, 3.338200297027e+02, 6.667196819192e-01, -2.285253448154e-01, -6.653632204865e-01, -1.893424833118e+00],
            ),
            (4, [2.278642649227e+01, 7.450446293609e+01, 2.797608941716e+00, -2.796705873452e-01, -7.067731210195e-01, 7.018568510331e-01]),
        ],
    );
}

#[test]
fn g2_kernel_5() {
    check(
        &tiny("kernel_size = 5"),
        &[1, 2, 32, 32, 32],
        &[
            (
                0,
                [
                    -1.106907712646e+04,
                    2.302333424627e+04,
                    -4.580552824599e-01,
                    6.012630998942e-01,
                    -4.439090637434e-01,
                    -5.399763097426e-01,
                ],
            ),
            (
                1,
                [
                    -2.900223462633e+03,
                    4.572508244623e+03,
                    7.673008834522e-02,
                    -1.077971854284e-01,
                    -1.798332975219e-01,
                    -1.126027163479e-01,
                ],
            ),
            (2, [-3.715393374548e+02, 9.954660984266e+02, 3.808843427254e-01, 4.408042915306e-01, 1.816932004262e-01, -3.143083840487e+00]),
            (
                3,
                [4.634426448760e+01, 3.627431641814e+02, 8.523878472564e-01, -4.903451818021e-01, -6.578123431329e-01, -1.660800472266e+00],
            ),
            (
                4,
                [2.103846640387e+01, 7.254226609028e+01, 2.870387953318e+00, -6.241987028553e-01, -1.209966522149e+00, -6.026932507441e-02],
            ),
        ],
    );
}

#[test]
fn g3_grn_everywhere_but_down_0() {
    check(
        &tiny("kernel_size = 3\ngrn = true"),
        &[1, 2, 32, 32, 32],
        &[
            (
                0,
                [-2.182693455054e+04, 2.702095666540e+04, -2.971305156258e-01, 6.084488015134e-01, -5.223998580876e-01, 1.357008579039e-01],
            ),
            (
                1,
                [-6.125570931718e+03, 1.300475733797e+04, -5.561003352312e-01, 6.228913213941e-01, -1.038086625943e-01, 1.052152542102e+00],
            ),
        ],
    );
}

#[test]
fn g4_layer_norm() {
    check(
        &tiny("kernel_size = 3\nnorm_type = \"layer\""),
        &[1, 2, 32, 32, 32],
        &[(
            0,
            [-4.518603893633e+03, 2.346320624787e+04, -1.868683206886e-02, 4.270267372027e-01, -4.675937000234e-01, -9.126891335831e-01],
        )],
    );
}

#[test]
fn g5_two_dimensions() {
    check(
        &tiny("kernel_size = 3\ndim = \"2d\""),
        &[1, 2, 64, 64],
        &[(0, [-1.236004594479e+03, 3.413700379332e+03, -4.602407361604e-01, 6.938356492824e-01, -6.948126705733e-01, 7.149457696008e-01])],
    );
}

#[test]
fn g6_unequal_extents() {
    check(
        &tiny("kernel_size = 3"),
        &[1, 2, 32, 48, 16],
        &[(
            0,
            [-4.728517862402e+03, 1.618711549911e+04, -2.291898778488e-01, 5.683740610233e-01, -2.272684418373e-02, -1.327723125863e+00],
        )],
    );
}

#[test]
fn g7_official_s() {
    check(
        "variant = \"S\"\nin_channels = 1\nn_classes = 3\nkernel_size = 3",
        &[1, 1, 32, 32, 32],
        &[(
            0,
            [-2.423998708376e+04, 2.438587243297e+05, -1.698566182208e+00, 1.022287430957e+00, -2.133820965488e+00, -7.062383586539e+00],
        )],
    );
}

#[test]
fn g8_official_b() {
    check(
        "variant = \"B\"\nin_channels = 1\nn_classes = 3\nkernel_size = 3",
        &[1, 1, 32, 32, 32],
        &[(
            0,
            [-1.517676615558e+04, 4.524373161965e+05, -1.643276015846e+00, 1.005740880415e+00, -2.108799830576e+00, -9.422206761956e+00],
        )],
    );
}

/// UpKern from G1's weights to kernel 5. Checkpoints hold float32, so the kernels are rounded and the tolerance is float32's.
#[test]
fn g9_upkern() {
    let source = Config::from_toml(&tiny("kernel_size = 3"), "from.toml").unwrap();
    let target = Config::from_toml(&tiny("kernel_size = 5"), "to.toml").unwrap();
    let mut weights = weights(&source);
    for t in mnx_model::signature(&source).tensors.iter().filter(|t| t.role == Role::SpatialKernel) {
        let resized = mnx_passes::weights::resize::resize_linear(&weights[&t.key].to_tensor(), &[5; 3]);
        weights.insert(t.key.clone(), Array::from_tensor(&resized));
    }
    let kernel = &weights["enc_block_0.0.conv1.weight"];
    let rows = [
        (0, [-0.192441723934707, -0.09728916696648003, 0.045439668485860445, -0.04277160373764938, -0.10157911855332262]),
        (7, [0.06891485587788637, 0.010107341062213141, -0.07810393116129671, -0.07393916031446646, -0.0711626464165796]),
    ];
    for (row, want) in rows {
        for (got, want) in kernel.data[row * 5..][..5].iter().zip(want) {
            assert!((got - want).abs() < 2e-8, "{got} is not {want}");
        }
    }
    let want = [-8.320267304560e+03, 2.803122804115e+04, -3.906210221060e-01, 5.529218932827e-01, -7.603169808042e-01, -3.137574751679e-01];
    check_with(&target, &weights, &[1, 2, 32, 32, 32], &[(0, want)], 1e-5);
}
