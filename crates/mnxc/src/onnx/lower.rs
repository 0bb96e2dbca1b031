//! One op of ours as standard ONNX operators of opset 17: an exhaustive match over the op table.

use mnx_ir::{ApplyAttrs, ConvAttrs, GrnAttrs, GrnReduce, LayerAttrs, NormAttrs, Op, Shape, TensorType};

use super::proto::data_type;
use super::writer::{Name, Value, Writer, int, ints};

/// An operand: its name and type.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// Name in the ONNX graph.
    pub name: &'a str,
    /// Type of the operand.
    pub ty: &'a TensorType,
}

/// Writes the nodes of one op and answers the name of its result, a free name near `layer`; none for `param` and `state`, which are
/// no nodes.
pub fn lower(w: &mut Writer, op: &Op, layer: &str, x: &[Operand<'_>], result: &TensorType) -> Option<Name> {
    let names: Vec<&str> = x.iter().map(|o| o.name).collect();
    Some(match op {
        Op::Param(_) | Op::State(_) => return None,
        Op::ConvDepthwise(a) => {
            let space = result.space().len();
            w.node("Conv", layer, &names, &window(a, &x[1].ty.shape[2..], space, x[0].ty.shape[1]))
        }
        Op::ConvDepthwiseTransposed(a) => {
            let space = result.space().len();
            w.node("ConvTranspose", layer, &names, &window(a, &x[1].ty.shape[2..], space, x[0].ty.shape[1]))
        }
        Op::ConvPointwise(a) => w.node("Conv", layer, &names, &point(a.stride, result.space().len(), 1)),
        Op::ConvPointwiseTransposed(a) => w.node("ConvTranspose", layer, &names, &point(a.stride, result.space().len(), 1)),
        Op::NormGroup(a) => norm_group(w, a, layer, x),
        Op::NormLayer(a) => norm_layer(w, a, layer, x),
        Op::NormStats(a) => norm_stats(w, a, layer, &x[0]),
        Op::NormApply(a) => norm_apply(w, a, layer, x),
        Op::Grn(a) => {
            let ratio = grn_stats(w, a, layer, &x[0]);
            grn_apply(w, layer, &x[0], &ratio, [&x[1], &x[2]])
        }
        Op::GrnStats(a) => grn_stats(w, a, layer, &x[0]),
        Op::GrnApply(_) => grn_apply(w, layer, &x[0], names[1], [&x[2], &x[3]]),
        Op::Gelu(_) => gelu(w, layer, names[0]),
        Op::Add(_) | Op::WeightAdd(_) => w.node("Add", layer, &names, &[]),
        Op::SumValues(_) => w.node("Sum", layer, &names, &[]),
        // Values of other types than float32 are refused before they come here.
        Op::Cast(_) => w.node("Cast", layer, &names, &[("to", Value::Int(i64::from(data_type::FLOAT)))]),
        Op::AddBias(_) => {
            let bias = channels(w, layer, &x[1], result.shape.len());
            w.node("Add", layer, &[names[0], &bias], &[])
        }
        Op::PadFront(_) => {
            let rank = result.shape.len();
            let pads: Vec<i64> = (0..2 * rank).map(|i| i64::from((2..rank).contains(&i))).collect();
            let pads = w.list(&pads);
            w.node("Pad", layer, &[names[0], &pads], &[])
        }
        Op::Scatter(a) => {
            // Zero insertion is the transposed convolution with a one per channel.
            let c = x[0].ty.shape[1];
            let mut shape = vec![1; result.shape.len()];
            shape[0] = c;
            let one = w.filled(&shape, 1.0);
            w.node("ConvTranspose", layer, &[names[0], &one], &point(a.stride, result.space().len(), c))
        }
        Op::Softmax(_) => w.node("Softmax", layer, &names, &[("axis", Value::Int(1))]),
        Op::Argmax(_) => {
            let attributes = [("axis", Value::Int(1)), ("keepdims", Value::Int(0)), ("select_last_index", Value::Int(0))];
            let wide = w.node("ArgMax", &format!("{layer}.int64"), &names, &attributes);
            w.node("Cast", layer, &[&wide], &[("to", Value::Int(i64::from(data_type::INT32)))])
        }
        Op::WeightScaleIn(_) => {
            let scale = channels(w, layer, &x[1], x[0].ty.shape.len());
            w.node("Mul", layer, &[names[0], &scale], &[])
        }
        Op::WeightFoldBias(_) => {
            let rank = x[0].ty.shape.len();
            let shift = channels(w, layer, &x[1], rank);
            let shifted = w.node("Mul", &format!("{layer}.shifted"), &[names[0], &shift], &[]);
            let axes = w.list(&(1..int(rank)).collect::<Vec<_>>());
            let sum = w.node("ReduceSum", &format!("{layer}.sum"), &[&shifted, &axes], &[("keepdims", Value::Int(0))]);
            w.node("Add", layer, &[&sum, names[2]], &[])
        }
        Op::WeightTransposeIo(_) => {
            let mut perm: Vec<i64> = (0..int(result.shape.len())).collect();
            perm.swap(0, 1);
            w.node("Transpose", layer, &names, &[("perm", Value::Ints(perm))])
        }
    })
}

fn window(a: &ConvAttrs, kernel: &[usize], space: usize, groups: usize) -> Vec<(&'static str, Value)> {
    vec![
        ("group", Value::Int(int(groups))),
        ("kernel_shape", Value::Ints(ints(kernel))),
        ("pads", Value::Ints(vec![int(a.pad); 2 * space])),
        ("strides", Value::Ints(vec![int(a.stride); space])),
    ]
}

fn point(stride: usize, space: usize, groups: usize) -> Vec<(&'static str, Value)> {
    vec![
        ("group", Value::Int(int(groups))),
        ("kernel_shape", Value::Ints(vec![1; space])),
        ("strides", Value::Ints(vec![int(stride); space])),
    ]
}

/// A per-channel vector shaped to meet an activation of this rank; vectors that have that shape already are taken as they are.
fn channels(w: &mut Writer, layer: &str, v: &Operand<'_>, rank: usize) -> Name {
    if v.ty.shape.len() == rank {
        return v.name.to_string();
    }
    let mut shape = vec![1; rank];
    shape[1] = -1;
    let shape = w.list(&shape);
    w.node("Reshape", &format!("{layer}.per_channel"), &[v.name, &shape], &[])
}

/// `* gamma[c] + beta[c]`, if given.
fn affine(w: &mut Writer, layer: &str, y: Name, given: &[Operand<'_>], rank: usize) -> Name {
    let [gamma, beta] = given else { return y };
    let gamma = channels(w, layer, gamma, rank);
    let beta = channels(w, layer, beta, rank);
    let scaled = w.node("Mul", &format!("{layer}.scaled"), &[&y, &gamma], &[]);
    w.node("Add", layer, &[&scaled, &beta], &[])
}

fn reduce(axes: Vec<i64>, keep: bool) -> [(&'static str, Value); 2] {
    [("axes", Value::Ints(axes)), ("keepdims", Value::Int(i64::from(keep)))]
}

/// Instance normalisation is an operator; several channels per group are one long channel for it.
fn norm_group(w: &mut Writer, a: &NormAttrs, layer: &str, x: &[Operand<'_>]) -> Name {
    let epsilon = [("epsilon", Value::Float(a.eps as f32))];
    let shape = &x[0].ty.shape;
    if a.groups == shape[1] {
        return w.node("InstanceNormalization", layer, &[x[0].name, x[1].name, x[2].name], &epsilon);
    }
    let grouped = by_group(w, layer, &x[0], a.groups);
    let (one, zero) = (w.filled(&[a.groups], 1.0), w.filled(&[a.groups], 0.0));
    let normal = w.node("InstanceNormalization", &format!("{layer}.normal"), &[&grouped, &one, &zero], &epsilon);
    let back = reshape(w, &format!("{layer}.ungrouped"), &normal, shape);
    affine(w, layer, back, &x[1..], shape.len())
}

/// `[n, c, space] -> [n, groups, everything else]`.
fn by_group(w: &mut Writer, layer: &str, x: &Operand<'_>, groups: usize) -> Name {
    let shape = w.list(&[int(x.ty.shape[0]), int(groups), -1]);
    w.node("Reshape", &format!("{layer}.grouped"), &[x.name, &shape], &[])
}

fn reshape(w: &mut Writer, name: &str, x: &str, shape: &Shape) -> Name {
    let shape = w.list(&ints(shape));
    w.node("Reshape", name, &[x, &shape], &[])
}

/// `x - mean` and `sqrt(var + eps)` along axes that stay with extent 1.
fn centred(w: &mut Writer, layer: &str, x: &str, axes: &[i64], eps: f64) -> (Name, Name, Name) {
    let mean = w.node("ReduceMean", &format!("{layer}.mean"), &[x], &reduce(axes.to_vec(), true));
    let centred = w.node("Sub", &format!("{layer}.centred"), &[x, &mean], &[]);
    let two = w.scalar(2.0);
    let squares = w.node("Pow", &format!("{layer}.squares"), &[&centred, &two], &[]);
    let variance = w.node("ReduceMean", &format!("{layer}.variance"), &[&squares], &reduce(axes.to_vec(), true));
    let eps = w.scalar(eps as f32);
    let shifted = w.node("Add", &format!("{layer}.variance_eps"), &[&variance, &eps], &[]);
    let deviation = w.node("Sqrt", &format!("{layer}.deviation"), &[&shifted], &[]);
    (mean, centred, deviation)
}

fn norm_layer(w: &mut Writer, a: &LayerAttrs, layer: &str, x: &[Operand<'_>]) -> Name {
    let (_, centred, deviation) = centred(w, layer, x[0].name, &[1], a.eps);
    let wish = if x.len() > 1 { format!("{layer}.normal") } else { layer.to_string() };
    let normal = w.node("Div", &wish, &[&centred, &deviation], &[]);
    affine(w, layer, normal, &x[1..], x[0].ty.shape.len())
}

fn norm_stats(w: &mut Writer, a: &NormAttrs, layer: &str, x: &Operand<'_>) -> Name {
    let grouped = by_group(w, layer, x, a.groups);
    let (mean, _, deviation) = centred(w, layer, &grouped, &[2], a.eps);
    let rstd = w.node("Reciprocal", &format!("{layer}.rstd"), &[&deviation], &[]);
    let pair = w.node("Concat", &format!("{layer}.pair"), &[&mean, &rstd], &[("axis", Value::Int(2))]);
    w.node("Transpose", layer, &[&pair], &[("perm", Value::Ints(vec![0, 2, 1]))])
}

fn norm_apply(w: &mut Writer, a: &ApplyAttrs, layer: &str, x: &[Operand<'_>]) -> Name {
    let grouped = by_group(w, layer, &x[0], a.groups);
    let pair = w.node("Transpose", &format!("{layer}.pair"), &[x[1].name], &[("perm", Value::Ints(vec![0, 2, 1]))]);
    let (mean, rstd) = (w.name(&format!("{layer}.mean")), w.name(&format!("{layer}.rstd")));
    let halves = w.list(&[1, 1]);
    w.node_into("Split", &[&mean, &rstd], &[&pair, &halves], &[("axis", Value::Int(2))]);
    let centred = w.node("Sub", &format!("{layer}.centred"), &[&grouped, &mean], &[]);
    let normal = w.node("Mul", &format!("{layer}.normal"), &[&centred, &rstd], &[]);
    let wish = if x.len() > 2 { format!("{layer}.ungrouped") } else { layer.to_string() };
    let back = reshape(w, &wish, &normal, &x[0].ty.shape);
    affine(w, layer, back, &x[2..], x[0].ty.shape.len())
}

fn grn_stats(w: &mut Writer, a: &GrnAttrs, layer: &str, x: &Operand<'_>) -> Name {
    let space: Vec<i64> = (2..int(x.ty.shape.len())).collect();
    let norm = w.node("ReduceL2", &format!("{layer}.norm"), &[x.name], &reduce(space, false));
    let total = match a.reduce {
        GrnReduce::Mean => w.node("ReduceMean", &format!("{layer}.mean"), &[&norm], &reduce(vec![1], true)),
        GrnReduce::Sum => {
            let axes = w.list(&[1]);
            w.node("ReduceSum", &format!("{layer}.sum"), &[&norm, &axes], &[("keepdims", Value::Int(1))])
        }
    };
    let eps = w.scalar(a.eps as f32);
    let denominator = w.node("Add", &format!("{layer}.denominator"), &[&total, &eps], &[]);
    w.node("Div", &format!("{layer}.ratio"), &[&norm, &denominator], &[])
}

fn grn_apply(w: &mut Writer, layer: &str, x: &Operand<'_>, ratio: &str, [gamma, beta]: [&Operand<'_>; 2]) -> Name {
    let rank = x.ty.shape.len();
    let mut shape = Shape::from_slice(&x.ty.shape[..2]);
    shape.resize(rank, 1);
    let ratio = reshape(w, &format!("{layer}.ratio_per_channel"), ratio, &shape);
    let (gamma, beta) = (channels(w, layer, gamma, rank), channels(w, layer, beta, rank));
    let scaled = w.node("Mul", &format!("{layer}.response"), &[x.name, &ratio], &[]);
    let scaled = w.node("Mul", &format!("{layer}.scaled"), &[&gamma, &scaled], &[]);
    let shifted = w.node("Add", &format!("{layer}.shifted"), &[&scaled, &beta], &[]);
    w.node("Add", layer, &[&shifted, x.name], &[])
}

/// Exact GELU as PyTorch's exporter writes it, the pattern that runtimes recognise and fuse.
fn gelu(w: &mut Writer, layer: &str, x: &str) -> Name {
    let root = w.scalar(std::f32::consts::SQRT_2);
    let (one, half) = (w.scalar(1.0), w.scalar(0.5));
    let scaled = w.node("Div", &format!("{layer}.scaled"), &[x, &root], &[]);
    let erf = w.node("Erf", &format!("{layer}.erf"), &[&scaled], &[]);
    let one_more = w.node("Add", &format!("{layer}.erf_1"), &[&erf, &one], &[]);
    let product = w.node("Mul", &format!("{layer}.product"), &[x, &one_more], &[]);
    w.node("Mul", layer, &[&product, &half], &[])
}
