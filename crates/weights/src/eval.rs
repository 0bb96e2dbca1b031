//! Evaluating recipes: every node in float64, one rounding at the end.

use crate::checkpoint::Checkpoint;
use crate::recipe::Recipe;
use crate::tensor::{Tensor, WeightsError};

/// Elements that one tensor of a recipe may have at most, so that a wrong manifest is an error and not an allocation failure.
const MAX_ELEMENTS: usize = 1 << 31;

/// An intermediate in float64.
struct Wide {
    shape: Vec<usize>,
    data: Vec<f64>,
}

fn wrong(text: String) -> WeightsError {
    WeightsError::Recipe(text)
}

fn elements(shape: &[usize]) -> Result<usize, WeightsError> {
    shape
        .iter()
        .try_fold(1usize, |n, &extent| n.checked_mul(extent))
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| wrong(format!("shape {shape} has more than {MAX_ELEMENTS} elements", shape = mnx_words::list(shape))))
}

impl Recipe {
    /// The tensor that this recipe makes of a checkpoint. Sums run in float64 and are rounded once to float32.
    ///
    /// # Errors
    /// `Missing` or `Shape` for the checkpoint's tensors, `Recipe` if the nodes do not fit together.
    pub fn eval(&self, checkpoint: &Checkpoint) -> Result<Tensor, WeightsError> {
        self.shape()?;
        let wide = self.wide(checkpoint)?;
        Ok(Tensor::new(wide.shape, wide.data.into_iter().map(|v| v as f32).collect()))
    }

    /// The shape of the result, from the recipe alone.
    ///
    /// # Errors
    /// `Recipe` if the nodes do not fit together.
    pub fn shape(&self) -> Result<Vec<usize>, WeightsError> {
        let shape = match self {
            Self::Source { shape, .. } | Self::Zeros { shape } => shape.clone(),
            Self::ScaleIn { weight, scale } => {
                let (weight, scale) = (weight.shape()?, scale.shape()?);
                if weight.len() < 2 || scale != weight[1..2] {
                    return Err(wrong(format!(
                        "scale-in: weight {weight} with scale {scale}; [Co, Ci, ...] and [Ci] expected",
                        weight = mnx_words::list(&weight),
                        scale = mnx_words::list(&scale)
                    )));
                }
                weight
            }
            Self::FoldBias { weight, shift, bias } => {
                let (weight, shift, bias) = (weight.shape()?, shift.shape()?, bias.shape()?);
                if !pointwise(&weight) || shift != weight[1..2] || bias != weight[..1] {
                    return Err(wrong(format!(
                        "fold-bias: weight {weight}, shift {shift}, bias {bias}; [Co, Ci, 1, ...], [Ci], [Co] expected",
                        weight = mnx_words::list(&weight),
                        shift = mnx_words::list(&shift),
                        bias = mnx_words::list(&bias)
                    )));
                }
                bias
            }
            Self::Add { a, b } => {
                let (a, b) = (a.shape()?, b.shape()?);
                if a != b {
                    return Err(wrong(format!("add: shapes {a} and {b} differ", a = mnx_words::list(&a), b = mnx_words::list(&b))));
                }
                a
            }
            Self::TransposeIo { weight } => {
                let mut shape = weight.shape()?;
                if shape.len() < 2 {
                    return Err(wrong(format!("transpose-io: shape {shape} has no two axes to swap", shape = mnx_words::list(&shape))));
                }
                shape.swap(0, 1);
                shape
            }
            Self::TapMajor { weight } => {
                let shape = weight.shape()?;
                if shape.len() < 3 || shape[1] != 1 {
                    return Err(wrong(format!("tap-major: shape {shape}; [C, 1, taps...] expected", shape = mnx_words::list(&shape))));
                }
                vec![elements(&shape[2..])?, shape[0]]
            }
            Self::Panels { weight, width } => {
                let shape = weight.shape()?;
                if !pointwise(&shape) || *width == 0 {
                    return Err(wrong(format!(
                        "panels: shape {shape}, width {width}; [Co, Ci, 1, ...] and width > 0 expected",
                        shape = mnx_words::list(&shape)
                    )));
                }
                vec![elements(&shape)?]
            }
            Self::Rows { weight, rows, columns } => {
                let shape = weight.shape()?;
                if !pointwise(&shape) || *rows < shape[0] || *columns < shape[1] {
                    return Err(wrong(format!(
                        "rows: shape {shape} in [{rows}, {columns}]; [Co, Ci, 1, ...] no larger than that expected",
                        shape = mnx_words::list(&shape)
                    )));
                }
                vec![*rows, *columns]
            }
            Self::PadLast { weight, to } => {
                let mut shape = unit_tail_dropped(weight.shape()?);
                match shape.last_mut() {
                    Some(last) if *last <= *to => *last = *to,
                    _ => {
                        return Err(wrong(format!(
                            "pad-last: shape {shape} to {to}; a last axis no longer than that expected",
                            shape = mnx_words::list(&shape)
                        )));
                    }
                }
                shape
            }
            Self::Cast { weight, .. } => {
                if matches!(**weight, Self::Cast { .. }) {
                    return Err(wrong("cast: of a cast".to_owned()));
                }
                weight.shape()?
            }
        };
        elements(&shape)?;
        Ok(shape)
    }

    /// The checkpoint tensors that the recipe reads, with the shapes they must have; in reading order, repeats included.
    pub fn sources(&self) -> Vec<(&str, &[usize])> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect<'a>(&'a self, found: &mut Vec<(&'a str, &'a [usize])>) {
        match self {
            Self::Source { key, shape } => found.push((key, shape)),
            Self::Zeros { .. } => {}
            Self::ScaleIn { weight: a, scale: b } | Self::Add { a, b } => {
                a.collect(found);
                b.collect(found);
            }
            Self::FoldBias { weight, shift, bias } => {
                weight.collect(found);
                shift.collect(found);
                bias.collect(found);
            }
            Self::TransposeIo { weight }
            | Self::TapMajor { weight }
            | Self::Panels { weight, .. }
            | Self::Rows { weight, .. }
            | Self::PadLast { weight, .. }
            | Self::Cast { weight, .. } => {
                weight.collect(found);
            }
        }
    }

    /// Evaluates one node; `shape()` has accepted the whole tree before.
    fn wide(&self, checkpoint: &Checkpoint) -> Result<Wide, WeightsError> {
        let shape = self.shape()?;
        let data = match self {
            Self::Source { key, shape } => checkpoint.require(key, shape)?.data.iter().map(|&v| f64::from(v)).collect(),
            Self::Zeros { .. } => vec![0.0; elements(&shape)?],
            Self::ScaleIn { weight, scale } => {
                let (mut weight, scale) = (weight.wide(checkpoint)?, scale.wide(checkpoint)?);
                let taps: usize = weight.shape[2..].iter().product();
                if taps > 0 && !scale.data.is_empty() {
                    for (i, run) in weight.data.chunks_exact_mut(taps).enumerate() {
                        let s = scale.data[i % scale.data.len()];
                        run.iter_mut().for_each(|w| *w *= s);
                    }
                }
                weight.data
            }
            Self::FoldBias { weight, shift, bias } => {
                let (weight, shift) = (weight.wide(checkpoint)?, shift.wide(checkpoint)?);
                let mut bias = bias.wide(checkpoint)?.data;
                if !shift.data.is_empty() {
                    for (b, row) in bias.iter_mut().zip(weight.data.chunks_exact(shift.data.len())) {
                        *b += row.iter().zip(&shift.data).map(|(w, s)| w * s).sum::<f64>();
                    }
                }
                bias
            }
            Self::Add { a, b } => {
                let (mut a, b) = (a.wide(checkpoint)?, b.wide(checkpoint)?);
                a.data.iter_mut().zip(&b.data).for_each(|(a, b)| *a += b);
                a.data
            }
            Self::TransposeIo { weight } => {
                let weight = weight.wide(checkpoint)?;
                let (rows, columns) = (weight.shape[0], weight.shape[1]);
                let taps: usize = weight.shape[2..].iter().product();
                let mut out = Vec::with_capacity(weight.data.len());
                for column in 0..columns {
                    for row in 0..rows {
                        let at = (row * columns + column) * taps;
                        out.extend_from_slice(&weight.data[at..at + taps]);
                    }
                }
                out
            }
            Self::TapMajor { weight } => {
                let weight = weight.wide(checkpoint)?;
                let (taps, channels) = (shape[0], shape[1]);
                let mut out = Vec::with_capacity(weight.data.len());
                for tap in 0..taps {
                    out.extend((0..channels).map(|c| weight.data[c * taps + tap]));
                }
                out
            }
            Self::Panels { weight, width } => {
                let weight = weight.wide(checkpoint)?;
                let (co, ci) = (weight.shape[0], weight.shape[1]);
                let mut out = Vec::with_capacity(weight.data.len());
                for first in (0..co).step_by(*width) {
                    let last = (first + width).min(co);
                    for i in 0..ci {
                        out.extend((first..last).map(|o| weight.data[o * ci + i]));
                    }
                }
                out
            }
            Self::Rows { weight, columns, .. } => {
                let weight = weight.wide(checkpoint)?;
                let mut out = vec![0.0; elements(&shape)?];
                for (to, from) in out.chunks_exact_mut((*columns).max(1)).zip(weight.data.chunks_exact(weight.shape[1].max(1))) {
                    to[..from.len()].copy_from_slice(from);
                }
                out
            }
            Self::PadLast { weight, to } => {
                let weight = weight.wide(checkpoint)?;
                let run = unit_tail_dropped(weight.shape.clone()).last().copied().unwrap_or(1).max(1);
                let mut out = vec![0.0; elements(&shape)?];
                for (to, from) in out.chunks_exact_mut((*to).max(1)).zip(weight.data.chunks_exact(run)) {
                    to[..from.len()].copy_from_slice(from);
                }
                out
            }
            Self::Cast { weight, .. } => weight.wide(checkpoint)?.data,
        };
        Ok(Wide { shape, data })
    }
}

/// `[1, E, 1, 1, 1]` as `[1, E]`: axes of extent 1 behind the second say nothing.
fn unit_tail_dropped(mut shape: Vec<usize>) -> Vec<usize> {
    while shape.len() > 2 && shape.last() == Some(&1) {
        shape.pop();
    }
    shape
}

/// `[Co, Ci, 1, ...]`.
fn pointwise(shape: &[usize]) -> bool {
    shape.len() >= 2 && shape[2..].iter().all(|&extent| extent == 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::recipe::Half;

    fn source(key: &str, shape: &[usize]) -> Box<Recipe> {
        Box::new(Recipe::Source { key: key.into(), shape: shape.to_vec() })
    }

    #[test]
    fn padding_keeps_rows_and_fills_with_zeros() {
        let mut c = Checkpoint::new();
        c.insert("w", Tensor::new(vec![2, 3, 1, 1, 1], (1..=6).map(|v| v as f32).collect()));
        c.insert("g", Tensor::new(vec![1, 3, 1, 1, 1], vec![7.0, 8.0, 9.0]));
        let rows = Recipe::Rows { weight: source("w", &[2, 3, 1, 1, 1]), rows: 3, columns: 4 };
        assert_eq!(rows.eval(&c).unwrap().data, [1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let padded = Recipe::PadLast { weight: source("g", &[1, 3, 1, 1, 1]), to: 5 };
        assert_eq!(padded.shape().unwrap(), [1, 5]);
        assert_eq!(padded.eval(&c).unwrap().data, [7.0, 8.0, 9.0, 0.0, 0.0]);
        let half = Recipe::Cast { weight: Box::new(padded), to: Half::Bf16 };
        assert_eq!((half.element_bytes(), half.bytes_of(&half.eval(&c).unwrap())[..4].to_vec()), (2, vec![0xe0, 0x40, 0x00, 0x41]));
        assert!(Recipe::PadLast { weight: source("g", &[1, 3, 1, 1, 1]), to: 2 }.shape().is_err());
        assert!(Recipe::Rows { weight: source("w", &[2, 3, 1, 1, 1]), rows: 1, columns: 4 }.shape().is_err());
    }
}
