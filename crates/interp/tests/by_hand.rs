//! Every op on numbers small enough to check by hand; expected values follow from the definitions in `mnx_ir::ops`.
#![allow(clippy::unwrap_used)]

use mnx_interp::{Array, eval};
use mnx_ir::infer::infer;
use mnx_ir::{
    ApplyAttrs, CastAttrs, ConvAttrs, DType, GrnAttrs, GrnReduce, LayerAttrs, NoAttrs, NormAttrs, Op, OpCode, StrideAttrs, TensorType,
    ops::OPS,
};

type A = Array<f64>;

fn array(shape: &[usize], data: &[f64]) -> A {
    Array::new(shape, data.to_vec())
}

fn apply(op: &Op, x: &[&A]) -> A {
    let types: Vec<TensorType> = x.iter().map(|a| TensorType::new(DType::F64, &a.shape)).collect();
    let ty = infer(op, &types.iter().collect::<Vec<_>>()).unwrap();
    let y = eval(op, x, &ty).unwrap();
    assert_eq!(y.shape[..], ty.shape[..]);
    y
}

fn is(op: &Op, x: &[&A], shape: &[usize], want: &[f64]) {
    let y = apply(op, x);
    assert_eq!(y.shape, shape, "{op:?}");
    for (got, want) in y.data.iter().zip(want) {
        let same = (got.is_nan() && want.is_nan()) || got == want || (got - want).abs() <= 1e-12 * want.abs().max(1.0);
        assert!(same, "{op:?}: {:?} is not {want:?}", y.data);
    }
    assert_eq!(y.data.len(), want.len());
}

const NONE: NoAttrs = NoAttrs {};

fn conv(stride: usize, pad: usize) -> ConvAttrs {
    ConvAttrs { stride, pad }
}

#[test]
fn conv_depthwise() {
    // One row: a 2-D image of height 1 sees only the middle row of the kernel.
    let x = array(&[1, 1, 1, 5], &[1., 2., 3., 4., 5.]);
    let w = array(&[1, 1, 3, 3], &[0., 0., 0., 10., 1., 100., 0., 0., 0.]);
    let b = array(&[1], &[1000.]);
    is(&Op::ConvDepthwise(conv(1, 1)), &[&x, &w], &[1, 1, 1, 5], &[201., 312., 423., 534., 45.]);
    is(&Op::ConvDepthwise(conv(2, 1)), &[&x, &w, &b], &[1, 1, 1, 3], &[1201., 1423., 1045.]);
    // Channels do not mix, and each has its own bias.
    let x = array(&[1, 2, 1, 2], &[1., 2., 3., 4.]);
    let w = array(&[2, 1, 1, 1], &[10., 100.]);
    let b = array(&[2], &[1., 2.]);
    is(&Op::ConvDepthwise(conv(1, 0)), &[&x, &w, &b], &[1, 2, 1, 2], &[11., 21., 302., 402.]);
    // 3-D: kernel 3 over one voxel reads the central tap, over a 2^3 cube eight of 27.
    let taps: Vec<f64> = (0..27).map(f64::from).collect();
    let w = array(&[1, 1, 3, 3, 3], &taps);
    is(&Op::ConvDepthwise(conv(1, 1)), &[&array(&[1, 1, 1, 1, 1], &[2.]), &w], &[1, 1, 1, 1, 1], &[26.]);
    let mut x = array(&[1, 1, 2, 2, 2], &[0.; 8]);
    x.data[7] = 1.0;
    // y[o] = w[7th voxel - o + 1]: at o = 0 the last tap, at o = (1,1,1) the middle one.
    is(&Op::ConvDepthwise(conv(1, 1)), &[&x, &w], &[1, 1, 2, 2, 2], &[26., 25., 23., 22., 17., 16., 14., 13.]);
}

#[test]
fn conv_depthwise_transposed() {
    // n = 2, k = 3, stride 2, pad 1: outputs at -1+q and 1+q, of which 0..3 stay.
    let x = array(&[1, 1, 1, 2], &[1., 10.]);
    let w = array(&[1, 1, 3, 3], &[0., 0., 0., 2., 3., 5., 0., 0., 0.]);
    let b = array(&[1], &[1000.]);
    is(&Op::ConvDepthwiseTransposed(conv(2, 1)), &[&x, &w, &b], &[1, 1, 1, 3], &[1003., 1025., 1030.]);
    // Kernel 5: o = 2i - 2 + q.
    let w = array(&[1, 1, 5, 5], &[[0.; 10].as_slice(), &[1., 2., 3., 4., 5.], &[0.; 10]].concat());
    let x = array(&[1, 1, 1, 3], &[1., 10., 100.]);
    is(&Op::ConvDepthwiseTransposed(conv(2, 2)), &[&x, &w], &[1, 1, 1, 5], &[13., 24., 135., 240., 350.]);
}

#[test]
fn conv_pointwise() {
    let x = array(&[1, 2, 1, 3], &[1., 2., 3., 10., 20., 30.]);
    let w = array(&[3, 2, 1, 1], &[1., 0., 0., 1., 2., 3.]);
    let b = array(&[3], &[0., 100., 0.]);
    let want = [1., 2., 3., 110., 120., 130., 32., 64., 96.];
    is(&Op::ConvPointwise(StrideAttrs { stride: 1 }), &[&x, &w, &b], &[1, 3, 1, 3], &want);
    is(&Op::ConvPointwise(StrideAttrs { stride: 2 }), &[&x, &w], &[1, 3, 1, 2], &[1., 3., 10., 30., 32., 96.]);
}

#[test]
fn conv_pointwise_transposed() {
    let x = array(&[1, 2, 1, 2], &[1., 2., 10., 20.]);
    // [Ci, Co]: channel 0 goes to (1, 2, 3), channel 1 to (4, 5, 6).
    let w = array(&[2, 3, 1, 1], &[1., 2., 3., 4., 5., 6.]);
    let b = array(&[3], &[0., 0., 0.5]);
    let want = [41., 82., 52., 104., 63.5, 126.5];
    is(&Op::ConvPointwiseTransposed(StrideAttrs { stride: 1 }), &[&x, &w, &b], &[1, 3, 1, 2], &want);
    // Stride 2: bias alone between.
    let want = [41., 0., 82., 52., 0., 104., 63.5, 0.5, 126.5];
    is(&Op::ConvPointwiseTransposed(StrideAttrs { stride: 2 }), &[&x, &w, &b], &[1, 3, 1, 3], &want);
}

#[test]
fn norm_group_and_its_parts() {
    // Channel 0: mean 2, variance 1; channel 1: mean 10, variance 4. eps = 0 keeps the numbers round.
    let x = array(&[1, 2, 1, 2], &[1., 3., 8., 12.]);
    let (gamma, beta) = (array(&[2], &[10., 100.]), array(&[2], &[1., 2.]));
    let attrs = NormAttrs { groups: 2, eps: 0.0 };
    is(&Op::NormGroup(attrs.clone()), &[&x, &gamma, &beta], &[1, 2, 1, 2], &[-9., 11., -98., 102.]);
    let stats = array(&[1, 2, 2], &[2., 10., 1., 0.5]);
    is(&Op::NormStats(attrs), &[&x], &[1, 2, 2], &stats.data);
    let attrs = ApplyAttrs { groups: 2 };
    is(&Op::NormApply(attrs.clone()), &[&x, &stats], &[1, 2, 1, 2], &[-1., 1., -1., 1.]);
    is(&Op::NormApply(attrs), &[&x, &stats, &gamma, &beta], &[1, 2, 1, 2], &[-9., 11., -98., 102.]);
    // eps adds to the variance: 1 + 3 = 4.
    let attrs = NormAttrs { groups: 1, eps: 3.0 };
    is(&Op::NormStats(attrs), &[&array(&[1, 1, 1, 2], &[1., 3.])], &[1, 2, 1], &[2., 0.5]);
    // Two channels in one group: mean 6, variance (25 + 9 + 4 + 36) / 4 = 18.5.
    let attrs = NormAttrs { groups: 1, eps: 0.0 };
    is(&Op::NormStats(attrs), &[&x], &[1, 2, 1], &[6., 1. / 18.5f64.sqrt()]);
}

#[test]
fn norm_layer() {
    let x = array(&[1, 2, 1, 2], &[1., 5., 3., 5.]);
    let (gamma, beta) = (array(&[2], &[10., 100.]), array(&[2], &[1., 2.]));
    // First voxel: mean 2, variance 1. Second: no variance.
    is(&Op::NormLayer(LayerAttrs { eps: 0.25 }), &[&x], &[1, 2, 1, 2], &[-1. / 1.25f64.sqrt(), 0., 1. / 1.25f64.sqrt(), 0.]);
    let op = Op::NormLayer(LayerAttrs { eps: 3.0 });
    is(&op, &[&x, &gamma, &beta], &[1, 2, 1, 2], &[-4., 1., 52., 2.]);
}

#[test]
fn grn_and_its_parts() {
    // Norms 5 and 1, mean 3, sum 6.
    let x = array(&[1, 2, 1, 2], &[3., 4., 0., -1.]);
    let (gamma, beta) = (array(&[2], &[6., 0.]), array(&[1, 2, 1, 1], &[0.5, 7.]));
    let mean = GrnAttrs { eps: 0.0, reduce: GrnReduce::Mean };
    let sum = GrnAttrs { eps: 0.0, reduce: GrnReduce::Sum };
    is(&Op::GrnStats(mean.clone()), &[&x], &[1, 2], &[5. / 3., 1. / 3.]);
    is(&Op::GrnStats(sum.clone()), &[&x], &[1, 2], &[5. / 6., 1. / 6.]);
    is(&Op::GrnStats(GrnAttrs { eps: 2.0, reduce: GrnReduce::Mean }), &[&x], &[1, 2], &[1., 0.2]);
    is(&Op::Grn(mean), &[&x, &gamma, &beta], &[1, 2, 1, 2], &[33.5, 44.5, 7., 6.]);
    is(&Op::Grn(sum), &[&x, &gamma, &beta], &[1, 2, 1, 2], &[18.5, 24.5, 7., 6.]);
    let ratio = array(&[1, 2], &[2., 3.]);
    is(&Op::GrnApply(NONE), &[&x, &ratio, &gamma, &beta], &[1, 2, 1, 2], &[39.5, 52.5, 7., 6.]);
    // Zero input: the ratio is 0 thanks to eps, not NaN.
    let still = GrnAttrs { eps: 1e-6, reduce: GrnReduce::Mean };
    is(&Op::GrnStats(still), &[&array(&[1, 2, 1, 1], &[0., 0.])], &[1, 2], &[0., 0.]);
}

#[test]
fn gelu() {
    // x Phi(x) with Phi(1) = 0.841344746068542949 and Phi(2) = 0.977249868051820793 (normal tables).
    let x = array(&[1, 1, 1, 5], &[0., 1., -1., 2., -40.]);
    let phi = 0.841_344_746_068_542_9;
    is(&Op::Gelu(NONE), &[&x], &[1, 1, 1, 5], &[0., phi, phi - 1., 2. * 0.977_249_868_051_820_8, 0.]);
}

#[test]
fn sums() {
    let a = array(&[1, 2, 1, 2], &[1., 2., 3., 4.]);
    let b = array(&[1, 2, 1, 2], &[10., 20., 30., 40.]);
    is(&Op::Add(NONE), &[&a, &b], &[1, 2, 1, 2], &[11., 22., 33., 44.]);
    is(&Op::WeightAdd(NONE), &[&a, &b], &[1, 2, 1, 2], &[11., 22., 33., 44.]);
    let c = array(&[1, 2, 1, 2], &[100., 200., 300., 400.]);
    is(&Op::SumValues(NONE), &[&a], &[1, 2, 1, 2], &a.data);
    is(&Op::SumValues(NONE), &[&a, &b, &c, &a], &[1, 2, 1, 2], &[112., 224., 336., 448.]);
    // From the first to the last: 1e16 + 1 loses the 1, 1e16 - 1e16 + 1 does not.
    let [one, big, small] = [1.0, 1e16, -1e16].map(|v| array(&[1], &[v]));
    assert_eq!(apply(&Op::SumValues(NONE), &[&big, &one, &small]).data, [0.0]);
    assert_eq!(apply(&Op::SumValues(NONE), &[&big, &small, &one]).data, [1.0]);
    is(&Op::AddBias(NONE), &[&a, &array(&[2], &[5., 7.])], &[1, 2, 1, 2], &[6., 7., 10., 11.]);
}

#[test]
fn casts() {
    // 8 bits: between 256 and 512 neighbours are 2 apart; 11 bits: above 2048 likewise.
    let x = array(&[1, 1, 1, 5], &[257., 259., -2049., 65519., 65520.]);
    is(&Op::Cast(CastAttrs { to: DType::Bf16 }), &[&x], &[1, 1, 1, 5], &[256., 260., -2048., 65536., 65536.]);
    is(&Op::Cast(CastAttrs { to: DType::F16 }), &[&x], &[1, 1, 1, 5], &[257., 259., -2048., 65504., f64::INFINITY]);
    is(&Op::Cast(CastAttrs { to: DType::F32 }), &[&x], &[1, 1, 1, 5], &x.data);
}

#[test]
fn pad_front_and_scatter() {
    let x = array(&[1, 1, 2, 2], &[1., 2., 3., 4.]);
    is(&Op::PadFront(NONE), &[&x], &[1, 1, 3, 3], &[0., 0., 0., 0., 1., 2., 0., 3., 4.]);
    is(&Op::Scatter(StrideAttrs { stride: 2 }), &[&x], &[1, 1, 3, 3], &[1., 0., 2., 0., 0., 0., 3., 0., 4.]);
    let cube = array(&[1, 1, 1, 1, 1], &[5.]);
    is(&Op::PadFront(NONE), &[&cube], &[1, 1, 2, 2, 2], &[0., 0., 0., 0., 0., 0., 0., 5.]);
}

#[test]
fn softmax_and_argmax() {
    let ln = f64::ln;
    let x = array(&[1, 3, 1, 2], &[0., 700., ln(2.), 710., ln(5.), 710.]);
    let small = (-10f64).exp();
    let want = [0.125, small / (2. + small), 0.25, 1. / (2. + small), 0.625, 1. / (2. + small)];
    is(&Op::Softmax(NONE), &[&x], &[1, 3, 1, 2], &want);
    // Of equals the first.
    is(&Op::Argmax(NONE), &[&x], &[1, 1, 2], &[2., 1.]);
    // A NaN shows: soft-max gives NaN at its voxel only, arg-max names its channel.
    let x = array(&[1, 3, 1, 2], &[9., 1., f64::NAN, 2., f64::NAN, 3.]);
    let y = apply(&Op::Softmax(NONE), &[&x]);
    assert!([0, 2, 4].iter().all(|i| y.data[*i].is_nan()) && [1, 3, 5].iter().all(|i| y.data[*i].is_finite()));
    is(&Op::Argmax(NONE), &[&x], &[1, 1, 2], &[1., 2.]);
    let x = array(&[1, 2, 1, 1], &[f64::NEG_INFINITY, f64::NEG_INFINITY]);
    is(&Op::Argmax(NONE), &[&x], &[1, 1, 1], &[0.]);
}

#[test]
fn derived_weights() {
    let w = array(&[2, 3, 1, 1], &[1., 2., 3., 4., 5., 6.]);
    let v = array(&[3], &[1., 10., 100.]);
    is(&Op::WeightScaleIn(NONE), &[&w, &v], &[2, 3, 1, 1], &[1., 20., 300., 4., 50., 600.]);
    is(&Op::WeightFoldBias(NONE), &[&w, &v, &array(&[2], &[0.5, 0.])], &[2], &[321.5, 654.]);
    is(&Op::WeightTransposeIo(NONE), &[&w], &[3, 2, 1, 1], &[1., 4., 2., 5., 3., 6.]);
    let w = array(&[2, 1, 1, 2], &[1., 2., 3., 4.]);
    is(&Op::WeightTransposeIo(NONE), &[&w], &[1, 2, 1, 2], &[1., 2., 3., 4.]);
}

#[test]
fn every_op_of_the_table_stands_above() {
    let text = include_str!("by_hand.rs");
    for row in OPS {
        let name = format!("{:?}", row.code);
        assert!(matches!(row.code, OpCode::Param | OpCode::State) || text.contains(&format!("Op::{name}(")), "{name} has no example");
    }
}

#[test]
fn a_nan_spreads_as_far_as_it_is_read() {
    let mut x = array(&[1, 2, 3, 3], &[1.0; 18]);
    x.data[0] = f64::NAN;
    let w = array(&[2, 1, 3, 3], &[0.0; 18]);
    let y = apply(&Op::ConvDepthwise(conv(1, 1)), &[&x, &w]);
    // The corner's neighbours read it, even with weight 0; the second channel does not.
    for (i, v) in y.data.iter().enumerate() {
        assert_eq!(v.is_nan(), [0, 1, 3, 4].contains(&i), "{i}");
    }
    let ones = array(&[2], &[1., 1.]);
    let y = apply(&Op::NormGroup(NormAttrs { groups: 2, eps: 1e-5 }), &[&x, &ones, &ones]);
    assert!(y.data[..9].iter().all(|v| v.is_nan()) && y.data[9..].iter().all(|v| v.is_finite()));
    assert!(apply(&Op::Gelu(NONE), &[&x]).data[0].is_nan());
}
