//! Result types: shape, element type and layout of what an op computes, or why it cannot.

use crate::ops::Op;
use crate::types::{DType, Shape, TensorType};

/// Type of the result of `op` on operands of these types. `param` and `state` have none: their types are declared.
///
/// # Errors
/// What does not fit, with both shapes; lower case, no final dot.
pub fn infer(op: &Op, x: &[&TensorType]) -> Result<TensorType, String> {
    let o = op.info().operands;
    if !o.admits(x.len()) {
        return Err(format!("takes {} ({}), got {}", o.arity(), o.names(), x.len()));
    }
    if let Some(labels) = x.iter().find(|t| !t.dtype.is_float()) {
        return Err(format!("reads {labels}, which holds labels, expected a float type"));
    }
    if x.iter().all(|t| t.dtype == t.dtype.computed()) {
        return computed(op, x);
    }
    let wide: Vec<TensorType> = x.iter().map(|t| TensorType { dtype: t.dtype.computed(), ..(*t).clone() }).collect();
    computed(op, &wide.iter().collect::<Vec<_>>())
}

/// The result on operands of as many as admitted, whose element types are those that ops compute in.
#[expect(clippy::too_many_lines, reason = "a table: one arm per op")]
fn computed(op: &Op, x: &[&TensorType]) -> Result<TensorType, String> {
    match op {
        Op::Param(_) | Op::State(_) => Err("the type of a param or state is declared, not inferred".into()),
        Op::ConvDepthwise(a) => {
            let c = depthwise_weight(x[0], x[1], x.get(2).copied())?;
            let space = x[0].space().iter().zip(&x[1].shape[2..]).map(|(&n, &k)| {
                positive(a.stride, "stride")?;
                let padded = n + 2 * a.pad;
                if padded < k {
                    return Err(format!("kernel {k} is larger than the padded input {padded}"));
                }
                Ok((padded - k) / a.stride + 1)
            });
            activation(x[0], c, space.collect::<Result<_, _>>()?)
        }
        Op::ConvDepthwiseTransposed(a) => {
            let c = depthwise_weight(x[0], x[1], x.get(2).copied())?;
            let space = x[0].space().iter().zip(&x[1].shape[2..]).map(|(&n, &k)| {
                positive(a.stride, "stride")?;
                ((n - 1) * a.stride + k)
                    .checked_sub(2 * a.pad)
                    .filter(|&n| n > 0)
                    .ok_or_else(|| format!("padding {} leaves no output of input {n} and kernel {k}", a.pad))
            });
            activation(x[0], c, space.collect::<Result<_, _>>()?)
        }
        Op::ConvPointwise(a) => {
            positive(a.stride, "stride")?;
            let c = pointwise_weight(x[0], x[1], x.get(2).copied(), false)?;
            activation(x[0], c, x[0].space().iter().map(|n| n.div_ceil(a.stride)).collect())
        }
        Op::ConvPointwiseTransposed(a) => {
            positive(a.stride, "stride")?;
            let c = pointwise_weight(x[0], x[1], x.get(2).copied(), true)?;
            activation(x[0], c, x[0].space().iter().map(|n| (n - 1) * a.stride + 1).collect())
        }
        Op::NormGroup(a) => {
            groups(x[0], a.groups)?;
            per_channel(x[0], x[1], "gamma")?;
            per_channel(x[0], x[2], "beta")?;
            Ok(x[0].clone())
        }
        Op::NormLayer(_) => {
            activation_rank(x[0])?;
            affine(x[0], &x[1..])?;
            Ok(x[0].clone())
        }
        Op::NormStats(a) => {
            groups(x[0], a.groups)?;
            Ok(TensorType::new(x[0].dtype, &[x[0].shape[0], 2, a.groups]))
        }
        Op::NormApply(a) => {
            groups(x[0], a.groups)?;
            let want = [x[0].shape[0], 2, a.groups];
            if x[1].shape.as_slice() != want {
                return Err(format!(
                    "stats have shape {}, expected {want}",
                    mnx_words::list(&x[1].shape[..]),
                    want = mnx_words::list(&want)
                ));
            }
            affine(x[0], &x[2..])?;
            Ok(x[0].clone())
        }
        Op::Grn(_) => {
            grn_vector(x[0], x[1], "gamma")?;
            grn_vector(x[0], x[2], "beta")?;
            Ok(x[0].clone())
        }
        Op::GrnStats(_) => {
            activation_rank(x[0])?;
            Ok(TensorType::new(x[0].dtype, &x[0].shape[..2]))
        }
        Op::GrnApply(_) => {
            activation_rank(x[0])?;
            if x[1].shape[..] != x[0].shape[..2] {
                return Err(format!(
                    "ratio has shape {}, expected {}",
                    mnx_words::list(&x[1].shape[..]),
                    mnx_words::list(&x[0].shape[..2])
                ));
            }
            grn_vector(x[0], x[2], "gamma")?;
            grn_vector(x[0], x[3], "beta")?;
            Ok(x[0].clone())
        }
        Op::Gelu(_) => Ok(x[0].clone()),
        Op::Add(_) | Op::WeightAdd(_) => {
            if x[0].shape != x[1].shape || x[0].dtype != x[1].dtype {
                return Err(format!("cannot add {} and {}", x[0], x[1]));
            }
            Ok(x[0].clone())
        }
        Op::SumValues(_) => {
            if let Some(other) = x.iter().find(|t| t.shape != x[0].shape || t.dtype != x[0].dtype) {
                return Err(format!("cannot add {} and {other}", x[0]));
            }
            Ok(x[0].clone())
        }
        Op::Cast(a) if a.to.is_float() => Ok(TensorType { dtype: a.to, ..x[0].clone() }),
        Op::Cast(a) => Err(format!("cannot round to {}, expected a float type", a.to)),
        Op::AddBias(_) => {
            per_channel(x[0], x[1], "bias")?;
            Ok(x[0].clone())
        }
        Op::PadFront(_) => {
            activation_rank(x[0])?;
            activation(x[0], x[0].shape[1], x[0].space().iter().map(|n| n + 1).collect())
        }
        Op::Scatter(a) => {
            positive(a.stride, "stride")?;
            activation_rank(x[0])?;
            activation(x[0], x[0].shape[1], x[0].space().iter().map(|n| (n - 1) * a.stride + 1).collect())
        }
        Op::Softmax(_) => {
            activation_rank(x[0])?;
            Ok(x[0].clone())
        }
        Op::Argmax(_) => {
            activation_rank(x[0])?;
            let mut shape = x[0].shape.clone();
            shape.remove(1);
            Ok(TensorType::new(DType::I32, &shape))
        }
        Op::WeightScaleIn(_) => {
            weight_input_channels(x[0], x[1], "scale")?;
            Ok(x[0].clone())
        }
        Op::WeightFoldBias(_) => {
            weight_input_channels(x[0], x[1], "shift")?;
            if x[0].shape[2..].iter().any(|&k| k != 1) {
                return Err(format!("weight {} is not pointwise", x[0]));
            }
            if x[2].shape[..] != x[0].shape[..1] {
                return Err(format!("bias has shape {}, weight has {} filters", mnx_words::list(&x[2].shape[..]), x[0].shape[0]));
            }
            Ok(x[2].clone())
        }
        Op::WeightTransposeIo(_) => {
            if x[0].shape.len() < 2 {
                return Err(format!("weight {} has fewer than two axes", x[0]));
            }
            let mut shape = x[0].shape.clone();
            shape.swap(0, 1);
            Ok(x[0].with_shape(&shape))
        }
    }
}

fn positive(stride: usize, what: &str) -> Result<(), String> {
    if stride == 0 { Err(format!("{what} must be at least 1")) } else { Ok(()) }
}

fn activation_rank(x: &TensorType) -> Result<(), String> {
    match x.shape.len() {
        4 | 5 if x.shape.iter().all(|&n| n > 0) => Ok(()),
        _ => Err(format!("input {x} is not an activation [n, c, (d,) h, w] of positive extents")),
    }
}

fn activation(like: &TensorType, channels: usize, space: Shape) -> Result<TensorType, String> {
    let mut shape = Shape::from_slice(&[like.shape[0], channels]);
    shape.extend(space);
    Ok(TensorType { dtype: like.dtype, shape, layout: like.layout })
}

fn depthwise_weight(x: &TensorType, w: &TensorType, bias: Option<&TensorType>) -> Result<usize, String> {
    activation_rank(x)?;
    let c = x.shape[1];
    if w.shape.len() != x.shape.len() {
        return Err(format!("weight {w} and input {x} differ in rank"));
    }
    if w.shape[0] != c {
        return Err(format!("weight has {} filters, input has {c} channels", w.shape[0]));
    }
    if w.shape[1] != 1 {
        return Err(format!("weight {w} is not depthwise: its second extent must be 1"));
    }
    if w.shape[2..].contains(&0) {
        return Err(format!("weight {w} has an empty kernel"));
    }
    if let Some(b) = bias {
        per_channel(x, b, "bias")?;
    }
    Ok(c)
}

fn pointwise_weight(x: &TensorType, w: &TensorType, bias: Option<&TensorType>, transposed: bool) -> Result<usize, String> {
    activation_rank(x)?;
    if w.shape.len() != x.shape.len() || w.shape[2..].iter().any(|&k| k != 1) {
        return Err(format!("weight {w} is not pointwise for input {x}"));
    }
    let (co, ci) = if transposed { (w.shape[1], w.shape[0]) } else { (w.shape[0], w.shape[1]) };
    if ci != x.shape[1] {
        return Err(format!("weight takes {ci} channels, input has {}", x.shape[1]));
    }
    if let Some(b) = bias
        && b.shape[..] != [co]
    {
        return Err(format!("bias has shape {}, weight has {co} filters", mnx_words::list(&b.shape[..])));
    }
    Ok(co)
}

fn groups(x: &TensorType, groups: usize) -> Result<(), String> {
    activation_rank(x)?;
    if groups == 0 || !x.shape[1].is_multiple_of(groups) {
        return Err(format!("{} cannot be divided into {}", mnx_words::many(x.shape[1], "channel"), mnx_words::many(groups, "group")));
    }
    if x.shape[0] * x.space().iter().product::<usize>() * (x.shape[1] / groups) == 1 {
        return Err(format!("input {x} has one value per channel: there is no variance to normalise by; take a larger patch"));
    }
    Ok(())
}

fn per_channel(x: &TensorType, v: &TensorType, what: &str) -> Result<(), String> {
    activation_rank(x)?;
    if v.shape[..] == [x.shape[1]] {
        Ok(())
    } else {
        Err(format!("{what} has shape {}, input has {} channels", mnx_words::list(&v.shape[..]), x.shape[1]))
    }
}

/// GRN's parameters keep their checkpoint shape `[1, C, 1, ..]`; `[C]` will do as well.
fn grn_vector(x: &TensorType, v: &TensorType, what: &str) -> Result<(), String> {
    activation_rank(x)?;
    let checkpoint =
        v.shape.len() == x.shape.len() && v.shape.iter().enumerate().all(|(axis, &n)| n == if axis == 1 { x.shape[1] } else { 1 });
    if checkpoint { Ok(()) } else { per_channel(x, v, what) }
}

fn affine(x: &TensorType, given: &[&TensorType]) -> Result<(), String> {
    match given {
        [] => Ok(()),
        [gamma, beta] => {
            per_channel(x, gamma, "gamma")?;
            per_channel(x, beta, "beta")
        }
        _ => Err("takes both gamma and beta, or neither".into()),
    }
}

fn weight_input_channels(w: &TensorType, v: &TensorType, what: &str) -> Result<(), String> {
    if w.shape.len() < 2 || v.shape[..] != w.shape[1..2] {
        return Err(format!("{what} has shape {}, weight is {w}", mnx_words::list(&v.shape[..])));
    }
    Ok(())
}
