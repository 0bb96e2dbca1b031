//! What `cast-precision` says of every box, how far its roundings carry, and that GPU kernels round where it says.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use mnx_interp::{Array, Interpreter};
use mnx_ir::print::{print, yields};
use mnx_ir::{DType, Graph, Layout, Op, Part, Pattern};
use mnx_passes::{Manager, Pipeline};
use mnx_tests::cases::Case;
use mnx_tests::golden::run_checked;
use mnx_tests::networks::networks;
use mnx_tests::same;
use proptest::prelude::*;

const CASES: &[&str] = &["tiny_k3", "tiny_k5", "tiny_2d", "tiny_grn", "tiny_layernorm", "tiny_nores", "tiny_enc3_dec5"];

fn run(g: &mut Graph, pipeline: &str) {
    run_checked(&Pipeline::parse(pipeline).unwrap(), g).unwrap();
}

fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::Bf16 | DType::F16)
}

/// Every box against the documentation's table.
fn check_boxes(g: &Graph, storage: DType) {
    let dtype = |v| g.ty(v).dtype;
    for &id in g.order() {
        let (op, v) = (g.op(id), g.result(id));
        assert_eq!(is_half(dtype(v)), matches!(op, Op::Cast(_)), "only casts make 16-bit values: {}", g.node(id).loc);
        if let Op::Cast(_) = op {
            assert!(!is_half(dtype(g.operands(id)[0])) && !g.is_output(v), "{}", g.node(id).loc);
        }
    }
    for (d, ops) in g.boxes() {
        let (name, pattern) = (&g.dispatch(d).name, g.dispatch(d).pattern);
        assert!(!matches!(pattern, Pattern::Alone | Pattern::Fragment), "@{name}");
        for v in yields(g, d) {
            let ty = g.ty(v);
            let inner = ty.is_activation() && ty.layout == Layout::ChannelsLast;
            let def = g.def(v).unwrap();
            let conv = inner && g.def(g.operands(def)[0]).is_some_and(|c| g.node(c).part == Some(Part::Conv));
            let want = match (inner, conv) {
                (false, _) => DType::F32,
                // No network of ours reads a convolution without normalising it.
                (true, true) => DType::F16,
                (true, false) => storage,
            };
            assert!(ty.dtype == want || ty.dtype == DType::I32, "@{name} yields {ty}, expected {want}");
        }
        let first = g.part(d, Part::Norm).or_else(|| g.part(d, Part::Expand)).map(|op| dtype(g.operands(op)[0]));
        for id in ops {
            let part = g.node(id).part.unwrap();
            let x: Vec<DType> = g.operands(id).iter().map(|&v| dtype(v)).collect();
            let single = |at: usize| x.get(at).is_none_or(|&d| d == DType::F32);
            match part {
                Part::Expand => {
                    let normed = matches!(g.part(d, Part::Norm).map(|n| g.op(n)), Some(Op::NormApply(_)));
                    assert!(is_half(x[1]) && Some(x[1]) == first && single(2), "@{name} {part}: {x:?}");
                    assert!(if normed { single(0) } else { x[0] == x[1] }, "@{name} {part}: {x:?}");
                }
                Part::Compress => {
                    let grn = g.part(d, Part::Grn).is_some();
                    assert!(is_half(x[1]) && Some(x[1]) == first && single(2), "@{name} {part}: {x:?}");
                    assert!(if grn { single(0) } else { x[0] == x[1] }, "@{name} {part}: {x:?}");
                }
                Part::Grn if pattern == Pattern::GrnStats => assert!(single(0), "@{name} {part}: {x:?}"),
                Part::Grn => assert!(Some(x[0]) == first && (1..4).all(single), "@{name} {part}: {x:?}"),
                Part::Conv => assert!(x[0] == storage && (1..3).all(single), "@{name} {part}: {x:?}"),
                Part::Norm if matches!(g.op(id), Op::NormLayer(_)) => assert!(x[0] == DType::F16 && (1..3).all(single), "@{name}: {x:?}"),
                Part::Norm => assert!(is_half(x[0]) && (1..4).all(single), "@{name} {part}: {x:?}"),
                Part::Residual if matches!(g.op(id), Op::ConvPointwise(_)) => {
                    let recomputed = g.def(g.operands(id)[0]).is_none();
                    let want = if recomputed { DType::F32 } else { storage };
                    assert!(x[..2] == [want; 2] && single(2), "@{name} {part}: {x:?}");
                }
                Part::Residual => assert_eq!(x, [storage], "@{name} {part}"),
                Part::Pointwise => {
                    let port = g.def(g.operands(id)[0]).is_none() || g.ty(g.result(id)).layout == Layout::ChannelsFirst;
                    assert!(x[1] == (if port { DType::F32 } else { storage }) && single(2), "@{name} {part}: {x:?}");
                }
                Part::Stem | Part::Stats | Part::Classify => assert!((0..3).all(single), "@{name} {part}: {x:?}"),
                Part::Head => assert!((0..3).all(single), "@{name} {part}: {x:?}"),
                Part::Skip => assert!(x.contains(&storage) && x.contains(&DType::F32), "@{name} {part}: {x:?}"),
                Part::Gelu | Part::Bias | Part::Sum | Part::Pad | Part::Cast | Part::Alone => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Boxes of networks of every flavour, once and twice.
    #[test]
    fn every_box_is_rounded_once(network in networks(1..=5, 5), stem in any::<bool>(), head in any::<bool>(), half in any::<bool>()) {
        let mut g = network.graph();
        run(&mut g, &format!("infer{{recompute-stem={stem},fuse-head={head}}}"));
        let (plain, storage) = (print(&g), if half { DType::F16 } else { DType::Bf16 });
        run(&mut g, "cast-precision{storage=f32}");
        prop_assert_eq!(&plain, &print(&g));
        run(&mut g, &format!("cast-precision{{storage={storage}}}"));
        check_boxes(&g, storage);
        let once = print(&g);
        prop_assert!(once != plain);
        for again in [storage, DType::Bf16, DType::F16] {
            run(&mut g, &format!("cast-precision{{storage={again}}},dce,assign-layouts"));
            prop_assert_eq!(&once, &print(&g), "what is rounded stays as it is");
        }
    }

    /// Wherever the patch limit falls, the graph is sound and computes about the same.
    #[test]
    fn every_prefix_of_roundings_is_sound(network in networks(4..=5, 3), share in 0.0..1.0f64) {
        let mut g = network.graph();
        run(&mut g, "infer");
        let pipeline = Pipeline::parse("cast-precision{storage=f16}").unwrap();
        let all = Manager::default().run(&pipeline, &mut g.clone(), &mut |_| Ok(())).unwrap().applied.len();
        let limit = (all as f64 * share) as usize;
        let report = Manager { patch_limit: Some(limit) }.run(&pipeline, &mut g, &mut |_| Ok(())).unwrap();
        prop_assert!(report.stopped && report.applied.len() == limit);
        prop_assert!(mnx_ir::verify::verify(&g).is_ok(), "{:?}", mnx_ir::verify::verify(&g));
        prop_assert!(same::outputs(&g, 1).unwrap().iter().all(|(_, a)| a.data.iter().all(|v| v.is_finite())));
    }
}

/// A stored case's boxes without and with roundings.
fn graphs(case: &Case, storage: &str) -> [Graph; 2] {
    let shape = case.input_shape();
    let mut plain = mnx_model::build(&case.config(), shape[0], &shape[2..]).unwrap();
    run(&mut plain, "infer");
    let mut rounded = plain.clone();
    run(&mut rounded, &format!("cast-precision{{storage={storage}}}"));
    [plain, rounded]
}

fn outputs(case: &Case, g: &Graph) -> Vec<(String, Array<f64>)> {
    let input = Array::from_tensor(&case.input());
    Interpreter::<f64>::new().run(g, &case.weights(), &[("input", &input)]).unwrap().outputs
}

/// Largest difference and root of the mean square difference, both relative to the largest value of `want`.
fn distance(want: &[f64], got: impl Fn(usize) -> f64) -> (f64, f64) {
    let largest = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let apart: Vec<f64> = want.iter().enumerate().map(|(i, v)| (v - got(i)).abs() / largest).collect();
    let worst = apart.iter().fold(0.0, |m: f64, v| if v.is_nan() { f64::NAN } else { m.max(*v) });
    (worst, (apart.iter().map(|v| v * v).sum::<f64>() / apart.len() as f64).sqrt())
}

#[test]
fn roundings_carry_as_far_as_expected() {
    for name in CASES {
        let case = Case::load(name);
        let mut worst = [0.0f64; 2];
        for (worst, storage) in worst.iter_mut().zip(["bf16", "f16"]) {
            let [plain, rounded] = graphs(&case, storage);
            for ((output, want), (_, got)) in outputs(&case, &plain).iter().zip(&outputs(&case, &rounded)) {
                let (max, rms) = distance(&want.data, |i| got.data[i]);
                println!("{name} {output} {storage}: {max:.2e} at most, {rms:.2e} root mean square");
                assert!(max.is_finite(), "{name} {output} {storage}");
                *worst = worst.max(max);
            }
        }
        // What GPU code is held to (`ptx_golden.rs`), and an eighth of it with three bits more in all places.
        assert!(worst[0] > 1e-4 && worst[0] <= 2e-2, "{name} in bf16: {:.2e}", worst[0]);
        assert!(worst[1] > 1e-5 && worst[1] <= 4e-3, "{name} in f16: {:.2e}", worst[1]);
        assert!(worst[1] < worst[0], "{name}: {worst:?}");
    }
}

/// A network as GPU code in the PTX interpreter: its results lie nearer to the graph with casts than to the one without.
///
/// Much nearer they cannot be at the end of a network: a rounding turns a difference of a fraction d of its step, as the last bits of float32 sums are, into
/// whole steps at a share d of the values, whose root mean square is the root of d. Three layers on, little is left in common. Without casts the
/// two distances would be equal. Layer norm, because there kernels fold nothing into weights.
#[cfg(feature = "llvm")]
#[test]
fn kernels_round_where_the_pass_says() {
    use mnx_runtime::Session;
    use mnx_runtime::device::ptx_sim::PtxSim;
    use mnx_tests::host::Compiled;

    let case = Case::load("tiny_layernorm");
    let shape = case.input_shape();
    let more = ["--vectors", "none", "--target", "sm_90a", "--precision", "bf16"];
    let net = Compiled::new(&case.toml(None), &case.weights(), shape[0], &shape[2..], &more);
    let mut session = Session::on(Box::new(PtxSim::new(2)), &net.bundle, None).unwrap();
    let got = session.run(&[&case.input().data]).unwrap();
    let [plain, rounded] = graphs(&case, "bf16").map(|g| outputs(&case, &g));
    for (((output, plain), (_, rounded)), data) in plain.iter().zip(&rounded).zip(&got) {
        let value = |i: usize| data.value(i).unwrap();
        let (without, with) = (distance(&plain.data, value).1, distance(&rounded.data, value).1);
        println!("{output}: kernels differ by {without:.2e} from the graph without casts, by {with:.2e} from the one with");
        assert!(with < 0.8 * without, "{output}: {with:.2e} with casts, {without:.2e} without");
    }
}
