//! Values as GPU kernels store them: order, padded channels, element types, and the distance beyond a rounding.

use half::{bf16, f16};
use mnx_interp::Array;
use mnx_ir::{DType, Graph, Layout, Op, ValueId};
use mnx_plan::gpu::padded;

/// What an element of a stored tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A value.
    Value,
    /// A reciprocal standard deviation, which has a maximum of its own.
    Rstd,
    /// A channel that the network does not have.
    Padding,
}

/// A tensor of the graph in the order in which kernels store it, in float64.
#[derive(Debug)]
pub struct Laid {
    /// The values; behind the network's own channels what padding must hold.
    pub values: Vec<f64>,
    kinds: Vec<Kind>,
}

impl Laid {
    /// A value of a graph: channels-last with padded channels, statistics and ratios with padded channels, ports as they are.
    pub fn out(g: &Graph, v: ValueId, array: &Array<f64>) -> Self {
        let shape = &array.shape;
        let (samples, channels) = (shape[0], shape.get(1).copied().unwrap_or(1));
        match g.def(v).map(|id| g.op(id)) {
            // Mean zero and variance zero are what is measured of a tensor of zeros.
            Some(Op::NormStats(a)) => {
                let row = |r: usize| if r.is_multiple_of(2) { (Kind::Value, 0.0) } else { (Kind::Rstd, 1.0 / a.eps.sqrt()) };
                Self::rows(array, 2 * samples, shape[2], row)
            }
            Some(Op::GrnStats(_)) => Self::rows(array, samples, channels, |_| (Kind::Value, 0.0)),
            _ if g.ty(v).layout == Layout::ChannelsLast => {
                let voxels = array.data.len() / (samples * channels);
                let last: Vec<f64> = (0..samples * voxels * channels)
                    .map(|i| {
                        let (n, at, c) = (i / (voxels * channels), i / channels % voxels, i % channels);
                        array.data[(n * channels + c) * voxels + at]
                    })
                    .collect();
                Self::rows(&Array::new(&[last.len()], last), samples * voxels, channels, |_| (Kind::Value, 0.0))
            }
            _ => Self { values: array.data.clone(), kinds: vec![Kind::Value; array.data.len()] },
        }
    }

    /// Rows of channels, padded; `row` says what the values of a row are and what its padding holds.
    fn rows(array: &Array<f64>, rows: usize, channels: usize, row: impl Fn(usize) -> (Kind, f64)) -> Self {
        let mut laid = Self { values: Vec::new(), kinds: Vec::new() };
        for (r, values) in array.data.chunks_exact(channels).enumerate() {
            let (kind, padding) = row(r);
            laid.values.extend(values);
            laid.kinds.resize(laid.values.len(), kind);
            laid.values.resize((r + 1) * padded(channels), padding);
            laid.kinds.resize(laid.values.len(), Kind::Padding);
        }
        assert_eq!(laid.values.len(), rows * padded(channels), "rows of {channels} channels");
        laid
    }

    /// Whether padded channels hold what they must: zero exactly, or a constant to seven digits.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check_padding(&self, got: &[f64]) -> Result<(), String> {
        let padding = self.kinds.iter().zip(&self.values).zip(got).enumerate().filter(|(_, ((kind, _), _))| **kind == Kind::Padding);
        for (i, ((_, want), got)) in padding {
            // Written so that NaN fails.
            let holds = (got - want).abs() <= 1e-6 * want.abs();
            if !holds {
                return Err(format!("element {i} is padding, expected {want}, got {got}"));
            }
        }
        Ok(())
    }

    /// The largest distance of a value from the numbers that round to what a kernel stored, relative to the largest value; infinite if anything
    /// is not finite.
    ///
    /// # Panics
    /// If there are not as many of both.
    pub fn error(&self, got: &[f64], dtype: DType) -> f64 {
        assert_eq!(self.values.len(), got.len());
        let worst = |kind: Kind| {
            let of = || self.kinds.iter().zip(&self.values).zip(got).filter(move |((k, _), _)| **k == kind).map(|((_, w), g)| (*w, *g));
            let largest = of().fold(0f64, |m, (want, _)| m.max(want.abs()));
            let worst = of().fold(0f64, |m, (want, got)| m.max(beyond(want, got, dtype)));
            if worst == 0.0 { 0.0 } else { worst / largest }
        };
        worst(Kind::Value).max(worst(Kind::Rstd))
    }
}

/// How far a number is from those that round to `stored`; infinite if either is not finite.
fn beyond(exact: f64, stored: f64, dtype: DType) -> f64 {
    let distance = (exact - stored).abs();
    if !distance.is_finite() {
        return f64::INFINITY;
    }
    // Of the two half steps beside a power of two the one on the side of `exact` counts.
    let outwards = exact.abs() > stored.abs() || stored == 0.0;
    let half = match dtype {
        DType::Bf16 => {
            let bits = bf16::from_f64(stored.abs()).to_bits();
            let next = if outwards { bits + 1 } else { bits - 1 };
            (bf16::from_bits(next).to_f64() - stored.abs()).abs() / 2.0
        }
        DType::F16 => {
            let bits = f16::from_f64(stored.abs()).to_bits();
            let next = if outwards { bits + 1 } else { bits - 1 };
            (f16::from_bits(next).to_f64() - stored.abs()).abs() / 2.0
        }
        DType::F32 | DType::F64 | DType::I32 => 0.0,
    };
    // The largest value's outer neighbour is infinite; nothing beyond it rounds to it.
    (distance - if half.is_finite() { half } else { 0.0 }).max(0.0)
}

/// The bytes of values in an element type.
pub fn encode(values: &[f64], dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
        DType::F64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I32 => values.iter().flat_map(|&v| (v as i32).to_le_bytes()).collect(),
        DType::Bf16 => values.iter().flat_map(|&v| bf16::from_f64(v).to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes()).collect(),
    }
}

/// Values from their bytes in an element type.
///
/// # Panics
/// Never: chunks have the element's size.
pub fn decode(bytes: &[u8], dtype: DType) -> Vec<f64> {
    const WHOLE: &str = "a chunk of the element's size";
    match dtype {
        DType::F32 => bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().expect(WHOLE)))).collect(),
        DType::F64 => bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect(WHOLE))).collect(),
        DType::I32 => bytes.chunks_exact(4).map(|b| f64::from(i32::from_le_bytes(b.try_into().expect(WHOLE)))).collect(),
        DType::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(b.try_into().expect(WHOLE)).to_f64()).collect(),
        DType::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes(b.try_into().expect(WHOLE)).to_f64()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounds_to_a_stored_number_is_no_distance_from_it() {
        // bf16 has neighbours of 1 at 1 - 2^-8 and 1 + 2^-7.
        for exact in [1.0, 1.0 - 2f64.powi(-9), 1.0 + 2f64.powi(-8)] {
            assert_eq!(beyond(exact, 1.0, DType::Bf16), 0.0);
        }
        assert_eq!(beyond(1.0 + 2f64.powi(-7), 1.0, DType::Bf16), 2f64.powi(-8));
        assert_eq!(beyond(-1.0 + 2f64.powi(-8), -1.0, DType::Bf16), 2f64.powi(-9));
        assert_eq!(beyond(1.0 + 2f64.powi(-10), 1.0, DType::F16), 2f64.powi(-11));
        assert_eq!(beyond(2f64.powi(-25), 0.0, DType::F16), 0.0);
        assert_eq!(beyond(1.5, 1.0, DType::F32), 0.5);
        assert_eq!(beyond(-1.0, 1.0, DType::F16), 2.0 - 2f64.powi(-12));
        for wrong in [f64::NAN, f64::INFINITY] {
            assert_eq!(beyond(1.0, wrong, DType::F16), f64::INFINITY);
            assert_eq!(beyond(wrong, 1.0, DType::F32), f64::INFINITY);
        }
    }

    #[test]
    fn values_come_back_from_their_bytes() {
        for dtype in [DType::F32, DType::F64, DType::I32, DType::Bf16, DType::F16] {
            let values = [0.0, 1.0, -3.0, 96.0];
            assert_eq!(decode(&encode(&values, dtype), dtype), values);
        }
    }
}
