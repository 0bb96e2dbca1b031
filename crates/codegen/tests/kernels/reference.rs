//! Plain float64 definitions that kernels are held against.

use crate::harness::Data;
use mnx_plan::host::PANEL;
use mnx_plan::slot::{Arg, Slot};
use mnx_plan::vocabulary::{Bits, Extent, voxels};
use mnx_plan::work::{Conv, Grn, Mlp, Residual};

/// erf by its Taylor series, erfc by its continued fraction: unlike what the kernels do.
pub fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let scale = 2.0 / std::f64::consts::PI.sqrt();
    if x < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 1.0 - scale * sum;
    }
    if x > 27.0 {
        return 0.0;
    }
    let tail = (1..200).rev().fold(0.0, |f, n| f64::from(n) / 2.0 / (x + f));
    scale / 2.0 * (-x * x).exp() / (x + tail)
}

/// GELU in its erf form.
pub fn gelu(x: f64) -> f64 {
    x * 0.5 * erfc(-x / std::f64::consts::SQRT_2)
}

/// Element `[column, k]` of a weight in panels.
pub fn weight(panels: &[f32], columns: usize, depth: usize, column: usize, k: usize) -> f64 {
    let first = column / PANEL * PANEL;
    let width = (columns - first).min(PANEL);
    f64::from(panels[first * depth + k * width + column - first])
}

/// Inputs by slot, in the order of the args.
pub struct Inputs<'a>(Vec<(Slot, &'a [f32])>);

impl<'a> Inputs<'a> {
    pub fn new(args: &[Arg], inputs: &'a [Data]) -> Self {
        let read = args.iter().filter(|a| a.access.reads());
        Self(read.zip(inputs).map(|(a, d)| (a.slot, d.f32())).collect())
    }

    pub fn get(&self, slot: Slot) -> &'a [f32] {
        self.0.iter().find(|(s, _)| *s == slot).unwrap_or_else(|| panic!("no {slot}")).1
    }
}

fn at(e: Extent, n: usize, p: Extent) -> usize {
    ((n * e[0] + p[0]) * e[1] + p[1]) * e[2] + p[2]
}

pub fn points(e: Extent) -> impl Iterator<Item = Extent> {
    (0..voxels(e)).map(move |m| [m / e[2] / e[1], m / e[2] % e[1], m % e[2]])
}

/// The depthwise convolution, `[n, output, c]`.
pub fn convolve(k: &Conv, given: &Inputs) -> Vec<f64> {
    let c = k.channels;
    let image = |n: usize, p: Extent, ch: usize| -> f64 {
        let Some(ci) = k.stem else {
            return f64::from(given.get(Slot::X)[at(k.input, n, p) * c + ch]);
        };
        let x = given.get(Slot::X);
        let terms = (0..ci).map(|i| {
            let voxel = at(k.input, 0, p);
            f64::from(x[(n * ci + i) * voxels(k.input) + voxel]) * weight(given.get(Slot::StemW), c, ci, ch, i)
        });
        f64::from(given.get(Slot::StemB)[ch]) + terms.sum::<f64>()
    };
    let mut y = Vec::new();
    for n in 0..k.batch {
        for o in points(k.output) {
            for ch in 0..c {
                let mut sum = if k.bias { f64::from(given.get(Slot::B)[ch]) } else { 0.0 };
                for (t, q) in points(k.taps).enumerate() {
                    // input coordinate times the stride, where transposed
                    let p = [0, 1, 2].map(|a| {
                        if k.transposed { (o[a] + k.pad[a]).wrapping_sub(q[a]) } else { (o[a] * k.stride[a] + q[a]).wrapping_sub(k.pad[a]) }
                    });
                    let step = if k.transposed { k.stride } else { [1; 3] };
                    let inside = |a: usize| p[a].is_multiple_of(step[a]) && p[a] / step[a] < k.input[a];
                    if (0..3).all(inside) {
                        let p = [0, 1, 2].map(|a| p[a] / step[a]);
                        sum += image(n, p, ch) * f64::from(given.get(Slot::W)[t * c + ch]);
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

/// The normalised input of an MLP, `[n, grid, c]`: a tensor, or the layer norm of a convolution.
fn source(k: &Mlp, conv: Option<(&Conv, Bits)>, given: &Inputs) -> Vec<f64> {
    let c = k.channels;
    let Some((conv, eps)) = conv else {
        let per_sample = voxels(k.grid) * c;
        let value = |(i, &v): (usize, &f32)| {
            let (n, ch) = (i / per_sample, i % c);
            if !k.norm {
                return f64::from(v);
            }
            let stats = given.get(Slot::Stats);
            (f64::from(v) - f64::from(stats[2 * n * c + ch])) * f64::from(stats[(2 * n + 1) * c + ch])
        };
        return given.get(Slot::X).iter().enumerate().map(value).collect();
    };
    let mut y = convolve(conv, given);
    for line in y.chunks_mut(c) {
        let mean = line.iter().sum::<f64>() / c as f64;
        let variance = line.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / c as f64;
        line.iter_mut().for_each(|v| *v = (*v - mean) / (variance + eps.get()).sqrt());
    }
    y
}

/// What an MLP kernel computes, behind a convolution and layer norm if there are any: hidden values `[n, grid, hidden]`, and the whole result `[n, output, out]`.
pub fn mlp(k: &Mlp, conv: Option<(&Conv, Bits)>, given: &Inputs) -> (Vec<f64>, Vec<f64>) {
    let (c, e, o, m) = (k.channels, k.hidden, k.out_channels, voxels(k.grid));
    let a = source(k, conv, given);
    let mut hidden = Vec::with_capacity(k.batch * m * e);
    for row in a.chunks(c) {
        for j in 0..e {
            let terms = (0..c).map(|i| row[i] * weight(given.get(Slot::W2), e, c, j, i));
            hidden.push(gelu(f64::from(given.get(Slot::B2)[j]) + terms.sum::<f64>()));
        }
    }
    if k.grn == Grn::Partials {
        return (hidden, vec![]);
    }
    if k.grn == Grn::Apply {
        let [ratio, gamma, beta] = [Slot::Ratio, Slot::Gamma, Slot::Beta].map(|s| given.get(s));
        for (i, h) in hidden.iter_mut().enumerate() {
            let (n, j) = (i / (m * e), i % e);
            let scale = f64::from(gamma[j]) * f64::from(ratio[n * e + j]) + 1.0;
            *h = *h * scale + f64::from(beta[j]);
        }
    }
    let output = k.output();
    let mut y = vec![0.0; k.batch * voxels(output) * o];
    if k.skip {
        y = given.get(Slot::Skip).iter().map(|&v| f64::from(v)).collect();
    }
    for n in 0..k.batch {
        for p in points(k.grid) {
            let row = &hidden[at(k.grid, n, p) * e..][..e];
            let to = at(output, n, [0, 1, 2].map(|a| p[a] + k.pad_front[a])) * o;
            for j in 0..o {
                let terms = (0..e).map(|i| row[i] * weight(given.get(Slot::W3), o, e, j, i));
                y[to + j] += f64::from(given.get(Slot::B3)[j]) + terms.sum::<f64>() + residual(k, given, n, p, j);
            }
        }
    }
    (hidden, y)
}

fn residual(k: &Mlp, given: &Inputs, n: usize, p: Extent, j: usize) -> f64 {
    let o = k.out_channels;
    match k.residual {
        Residual::None => 0.0,
        Residual::Identity => f64::from(given.get(Slot::Res)[at(k.grid, n, p) * o + j]),
        Residual::Stem { channels } => {
            let m = voxels(k.grid);
            let value = |i: usize| f64::from(given.get(Slot::Res)[(n * channels + i) * m + at(k.grid, 0, p)]);
            (0..channels).map(|i| value(i) * weight(given.get(Slot::ResW), o, channels, j, i)).sum()
        }
        Residual::Strided { from, channels, stride } => {
            let voxel = at(from, n, [0, 1, 2].map(|a| p[a] * stride[a]));
            let value = |i: usize| f64::from(given.get(Slot::Res)[voxel * channels + i]);
            (0..channels).map(|i| value(i) * weight(given.get(Slot::ResW), o, channels, j, i)).sum()
        }
        Residual::Scattered { from, stride } => {
            if !(0..3).all(|a| p[a].is_multiple_of(stride[a])) {
                return 0.0;
            }
            let voxel = at(from, n, [0, 1, 2].map(|a| p[a] / stride[a]));
            f64::from(given.get(Slot::Res)[voxel * o + j])
        }
    }
}

/// The head's logits `[n, classes, output]` of a result `[n, output, out]`.
pub fn head(k: &Mlp, given: &Inputs, y: &[f64]) -> Vec<f64> {
    let (w, b, depth, space) = (given.get(Slot::HeadW), given.get(Slot::HeadB), k.out_channels, voxels(k.output()));
    let mut out = Vec::new();
    for n in 0..k.batch {
        for (c, &bias) in b.iter().enumerate() {
            for m in 0..space {
                let row = &y[(n * space + m) * depth..][..depth];
                let terms = (0..depth).map(|i| row[i] * weight(w, b.len(), depth, c, i));
                out.push(f64::from(bias) + terms.sum::<f64>());
            }
        }
    }
    out
}
