//! Relations between ops on random inputs of several shapes, odd sizes and 2-D included.
#![allow(clippy::unwrap_used)]

use mnx_interp::{Array, Real, eval};
use mnx_ir::infer::infer;
use mnx_ir::{ApplyAttrs, ConvAttrs, DType, GrnAttrs, GrnReduce, LayerAttrs, NoAttrs, NormAttrs, Op, StrideAttrs, TensorType};
use mnx_weights::det;

const SHAPES: &[&[usize]] = &[&[1, 3, 4, 6, 5], &[2, 4, 1, 7, 3], &[1, 6, 5, 1, 9], &[2, 3, 5, 8], &[1, 8, 1, 1, 2], &[3, 2, 7, 1]];

fn random<T: Real>(name: &str, shape: &[usize]) -> Array<T> {
    let n = shape.iter().product();
    Array::new(shape, det(name, n).map(T::from_f64).collect())
}

fn apply<T: Real>(op: &Op, x: &[&Array<T>]) -> Array<T> {
    let types: Vec<TensorType> = x.iter().map(|a| TensorType::new(DType::F64, &a.shape)).collect();
    let ty = infer(op, &types.iter().collect::<Vec<_>>()).unwrap();
    eval(op, x, &ty).unwrap()
}

/// Relative to the largest value; false for NaN.
fn close<T: Real>(a: &Array<T>, b: &Array<T>, tolerance: f64) {
    assert_eq!(a.shape, b.shape);
    let largest = b.data.iter().fold(0f64, |m, v| m.max(v.to_f64().abs()));
    assert!(largest > 0.0, "nothing to compare");
    for (x, y) in a.data.iter().zip(&b.data) {
        let error = (x.to_f64() - y.to_f64()).abs();
        assert!(error <= tolerance * largest, "{x:?} is not {y:?}, shape {:?}", a.shape);
    }
}

fn dot(a: &Array<f64>, b: &Array<f64>) -> f64 {
    assert_eq!(a.shape, b.shape);
    a.data.iter().zip(&b.data).map(|(x, y)| x * y).sum()
}

/// `[c0, c1, k, ..]` for an activation's rank.
fn weight_shape(like: &[usize], c0: usize, c1: usize, k: usize) -> Vec<usize> {
    let mut shape = vec![c0, c1];
    shape.extend(std::iter::repeat_n(k, like.len() - 2));
    shape
}

/// `x[..., ::stride, ::stride]`, by flat indices.
fn subsample(x: &Array<f64>, stride: usize) -> Array<f64> {
    let extents: Vec<usize> = x.shape.iter().enumerate().map(|(i, n)| if i < 2 { *n } else { n.div_ceil(stride) }).collect();
    let data = (0..extents.iter().product()).map(|flat: usize| {
        let (mut rest, mut at, mut pitch) = (flat, 0, 1);
        for axis in (0..extents.len()).rev() {
            at += rest % extents[axis] * if axis < 2 { 1 } else { stride } * pitch;
            rest /= extents[axis];
            pitch *= x.shape[axis];
        }
        x.data[at]
    });
    Array::new(&extents, data.collect())
}

const NONE: NoAttrs = NoAttrs {};

#[test]
fn strided_convolutions_are_subsampled_plain_ones() {
    for shape in SHAPES {
        let c = shape[1];
        let x: Array<f64> = random("x", shape);
        let b = random("b", &[c]);
        for stride in [2, 3] {
            let w = random("w", &weight_shape(shape, c, c, 1));
            let op = |stride| Op::ConvPointwise(StrideAttrs { stride });
            let plain = apply(&op(1), &[&x, &w, &b]);
            close(&apply(&op(stride), &[&x, &w, &b]), &subsample(&plain, stride), 1e-15);
            close(&apply(&op(stride), &[&x, &w, &b]), &apply(&op(1), &[&subsample(&x, stride), &w, &b]), 1e-15);
            for k in [3, 5, 7] {
                let w = random("dw", &weight_shape(shape, c, 1, k));
                let op = |stride| Op::ConvDepthwise(ConvAttrs { stride, pad: k / 2 });
                let plain = apply(&op(1), &[&x, &w, &b]);
                close(&apply(&op(stride), &[&x, &w, &b]), &subsample(&plain, stride), 1e-15);
            }
        }
    }
}

#[test]
fn transposed_depthwise_is_the_adjoint_of_the_strided_one() {
    // <conv x, y> = <x, conv^T y> wherever the transposed extent is the original one: odd extents at stride 2.
    for shape in [&[1, 2, 5, 7, 3][..], &[2, 3, 1, 9, 5], &[1, 2, 7, 11]] {
        for k in [1, 3, 5, 7] {
            let attrs = ConvAttrs { stride: 2, pad: k / 2 };
            let x: Array<f64> = random("x", shape);
            let w = random("w", &weight_shape(shape, shape[1], 1, k));
            let forward = apply(&Op::ConvDepthwise(attrs.clone()), &[&x, &w]);
            let y = random("y", &forward.shape);
            let back = apply(&Op::ConvDepthwiseTransposed(attrs), &[&y, &w]);
            let (a, b) = (dot(&forward, &y), dot(&x, &back));
            assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} {b}");
        }
    }
}

#[test]
fn transposed_pointwise_is_the_adjoint_of_the_strided_one() {
    for shape in [&[1, 2, 5, 7, 3][..], &[2, 4, 7, 11]] {
        let x: Array<f64> = random("x", shape);
        let w = random("w", &weight_shape(shape, 3, shape[1], 1));
        let forward = apply(&Op::ConvPointwise(StrideAttrs { stride: 2 }), &[&x, &w]);
        let y = random("y", &forward.shape);
        let back = apply(&Op::ConvPointwiseTransposed(StrideAttrs { stride: 2 }), &[&y, &w]);
        let (a, b) = (dot(&forward, &y), dot(&x, &back));
        assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} {b}");
    }
}

#[test]
fn transposed_pointwise_is_transposed_weight_scatter_and_bias() {
    for shape in SHAPES {
        let x: Array<f64> = random("x", shape);
        let w = random("w", &weight_shape(shape, shape[1], 5, 1));
        let b = random("b", &[5]);
        for stride in [1, 2, 3] {
            let whole = apply(&Op::ConvPointwiseTransposed(StrideAttrs { stride }), &[&x, &w, &b]);
            let turned = apply(&Op::WeightTransposeIo(NONE), &[&w]);
            let low = apply(&Op::ConvPointwise(StrideAttrs { stride: 1 }), &[&x, &turned]);
            let spread = apply(&Op::Scatter(StrideAttrs { stride }), &[&low]);
            close(&whole, &apply(&Op::AddBias(NONE), &[&spread, &b]), 1e-14);
        }
    }
}

#[test]
fn depthwise_kernel_1_is_a_diagonal_pointwise() {
    for shape in SHAPES {
        let c = shape[1];
        let x: Array<f64> = random("x", shape);
        let w = random("w", &weight_shape(shape, c, 1, 1));
        let mut diagonal = Array::zeros(&weight_shape(shape, c, c, 1));
        for i in 0..c {
            diagonal.data[i * c + i] = w.data[i];
        }
        let narrow = apply(&Op::ConvDepthwise(ConvAttrs { stride: 1, pad: 0 }), &[&x, &w]);
        close(&narrow, &apply(&Op::ConvPointwise(StrideAttrs { stride: 1 }), &[&x, &diagonal]), 1e-15);
    }
}

fn norms_and_their_parts<T: Real>(tolerance: f64) {
    for shape in SHAPES {
        let c = shape[1];
        let x = random::<T>("x", shape);
        let (gamma, beta) = (random("gamma", &[c]), random("beta", &[c]));
        for groups in (1..=c).filter(|g| c.is_multiple_of(*g)) {
            let attrs = NormAttrs { groups, eps: 1e-5 };
            let whole = apply(&Op::NormGroup(attrs.clone()), &[&x, &gamma, &beta]);
            let stats = apply(&Op::NormStats(attrs), &[&x]);
            let parts = apply(&Op::NormApply(ApplyAttrs { groups }), &[&x, &stats, &gamma, &beta]);
            close(&whole, &parts, tolerance);
            // A constant added to a group goes unseen: the bias before a norm is dead.
            if groups == c {
                let moved = apply(&Op::AddBias(NONE), &[&x, &random("bias", &[c])]);
                close(&apply(&Op::NormGroup(NormAttrs { groups, eps: 1e-5 }), &[&moved, &gamma, &beta]), &whole, tolerance * 1e3);
            }
        }
        for reduce in [GrnReduce::Mean, GrnReduce::Sum] {
            let attrs = GrnAttrs { eps: 1e-6, reduce };
            let whole = apply(&Op::Grn(attrs.clone()), &[&x, &gamma, &beta]);
            let ratio = apply(&Op::GrnStats(attrs), &[&x]);
            close(&apply(&Op::GrnApply(NONE), &[&x, &ratio, &gamma, &beta]), &whole, tolerance);
        }
    }
}

#[test]
fn norms_equal_their_parts() {
    norms_and_their_parts::<f64>(1e-14);
    norms_and_their_parts::<f32>(1e-6);
}

#[test]
fn grn_sum_and_mean_differ_by_the_channel_count() {
    for shape in SHAPES {
        let c = shape[1] as f64;
        let x: Array<f64> = random("x", shape);
        let mean = apply(&Op::GrnStats(GrnAttrs { eps: 1e-3, reduce: GrnReduce::Mean }), &[&x]);
        let mut sum = apply(&Op::GrnStats(GrnAttrs { eps: 1e-3 * c, reduce: GrnReduce::Sum }), &[&x]);
        sum.data.iter_mut().for_each(|r| *r *= c);
        close(&sum, &mean, 1e-14);
    }
}

#[test]
fn layer_norm_is_a_group_norm_of_each_voxel() {
    for shape in SHAPES {
        let (c, voxels) = (shape[1], shape[2..].iter().product::<usize>());
        let x: Array<f64> = random("x", shape);
        let (gamma, beta) = (random("gamma", &[c]), random("beta", &[c]));
        let whole = apply(&Op::NormLayer(LayerAttrs { eps: 1e-5 }), &[&x, &gamma, &beta]);
        let mut ones = vec![1; shape.len()];
        ones[1] = c;
        for n in 0..shape[0] {
            for v in 0..voxels {
                let pick = |a: &Array<f64>| Array::new(&ones, (0..c).map(|i| a.data[(n * c + i) * voxels + v]).collect());
                let attrs = NormAttrs { groups: 1, eps: 1e-5 };
                close(&pick(&whole), &apply(&Op::NormGroup(attrs), &[&pick(&x), &gamma, &beta]), 1e-13);
            }
        }
    }
}

#[test]
fn affine_folds_into_the_next_weights() {
    for shape in SHAPES {
        let c = shape[1];
        let x: Array<f64> = random("x", shape);
        let (gamma, beta) = (random("gamma", &[c]), random("beta", &[c]));
        let (w, b) = (random("w", &weight_shape(shape, 7, c, 1)), random("b", &[7]));
        let stats = apply(&Op::NormStats(NormAttrs { groups: c, eps: 1e-5 }), &[&x]);
        let affine = apply(&Op::NormApply(ApplyAttrs { groups: c }), &[&x, &stats, &gamma, &beta]);
        let bare = apply(&Op::NormApply(ApplyAttrs { groups: c }), &[&x, &stats]);
        let w2 = apply(&Op::WeightScaleIn(NONE), &[&w, &gamma]);
        let b2 = apply(&Op::WeightFoldBias(NONE), &[&w, &beta, &b]);
        let op = Op::ConvPointwise(StrideAttrs { stride: 1 });
        close(&apply(&op, &[&bare, &w2, &b2]), &apply(&op, &[&affine, &w, &b]), 1e-13);
    }
}

#[test]
fn softmax_sums_to_one_and_keeps_the_largest() {
    for shape in SHAPES {
        let mut x: Array<f64> = random("x", shape);
        x.data.iter_mut().for_each(|v| *v *= 30.0);
        let p = apply(&Op::Softmax(NONE), &[&x]);
        let (c, voxels) = (shape[1], shape[2..].iter().product::<usize>());
        for n in 0..shape[0] {
            for v in 0..voxels {
                let sum: f64 = (0..c).map(|i| p.data[(n * c + i) * voxels + v]).sum();
                assert!((sum - 1.0).abs() < 1e-14, "{sum}");
            }
        }
        assert_eq!(apply(&Op::Argmax(NONE), &[&p]), apply(&Op::Argmax(NONE), &[&x]));
    }
}

#[test]
fn float32_follows_float64() {
    for shape in SHAPES {
        let c = shape[1];
        let (x, w) = (random::<f64>("x", shape), random::<f64>("w", &weight_shape(shape, c, 1, 3)));
        let narrow = |a: &Array<f64>| Array::<f32>::from_tensor(&a.to_tensor());
        let op = Op::ConvDepthwise(ConvAttrs { stride: 1, pad: 1 });
        let wide = apply(&op, &[&x, &w]);
        close(&apply(&op, &[&narrow(&x), &narrow(&w)]), &narrow(&wide), 1e-6);
        close(&apply(&Op::Gelu(NONE), &[&narrow(&x)]), &narrow(&apply(&Op::Gelu(NONE), &[&x])), 1e-6);
    }
}
