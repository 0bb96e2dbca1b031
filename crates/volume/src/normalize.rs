//! Intensity normalisation, as nnU-Net v1 and v2 and MONAI's transforms do it.

use mnx_artifact::{Deviation, Normalization};
use rayon::prelude::*;

use crate::error::{VolumeError, try_reserve};

/// nnU-Net's guard against flat volumes.
const SMALLEST: f64 = 1e-8;

/// Sums are taken per piece of this many voxels and added in order, so that they do not depend on the number of threads.
const PIECE: usize = 1 << 16;

/// Refuses statistics that are not numbers or bounds the wrong way round.
pub(crate) fn verify(scheme: &Normalization) -> Result<(), VolumeError> {
    if let Normalization::Ct { low, high, mean, std, .. } = *scheme
        && (![low, high, mean, std].iter().all(|v| v.is_finite()) || low > high || std < 0.0)
    {
        return Err(VolumeError::Setting(format!(
            "CT normalisation has low {low}, high {high}, mean {mean}, std {std}; expected finite numbers, low <= high, std >= 0"
        )));
    }
    Ok(())
}

/// Whether the scheme asks for the mask of non-zero voxels.
pub(crate) fn needs_mask(scheme: &Normalization) -> bool {
    matches!(scheme, Normalization::ZScoreMasked | Normalization::Ct { masked: true, .. })
}

/// Normalises one channel in place; `mask` (same length) is what masked schemes look at.
///
/// # Errors
/// When RGB intensities lie outside 0..255.
pub(crate) fn normalize(scheme: &Normalization, guard: Deviation, data: &mut [f32], mask: Option<&[bool]>) -> Result<(), VolumeError> {
    match *scheme {
        Normalization::None => {}
        Normalization::Ct { low, high, mean, std, masked } => {
            let sd = match guard {
                Deviation::AtLeast => std.max(SMALLEST),
                Deviation::Plus => std,
            };
            if sd <= 0.0 {
                return Err(VolumeError::Setting("CT normalisation has a standard deviation of 0".into()));
            }
            each(data, |v| (v.clamp(low, high) - mean) / sd);
            if masked {
                clear_outside(data, mask);
            }
        }
        Normalization::ZScore => z_score(data, None, guard),
        Normalization::ZScoreMasked => {
            z_score(data, mask, guard);
            clear_outside(data, mask);
        }
        Normalization::ZScoreNonzero => {
            let (mean, sd) = statistics(data, &|_, v| v != 0.0);
            let sd = if sd == 0.0 { 1.0 } else { sd };
            each(data, |v| if v == 0.0 { v } else { (v - mean) / sd });
        }
        Normalization::Range { low, high, to_low, to_high, clip } => rescale(data, (low, high), (to_low, to_high), clip),
        Normalization::Percentiles { lower, upper, to_low, to_high, clip } => {
            let ends = percentiles(data, lower, upper)?;
            rescale(data, ends, (to_low, to_high), clip);
        }
        Normalization::Rescale01 => {
            let (low, high) = range(data);
            // The span is that of float32 differences, as NumPy takes it.
            let span = f64::from(high - low).max(SMALLEST);
            each(data, |v| (v - f64::from(low)) / span);
        }
        Normalization::Rgb01 => {
            let (low, high) = range(data);
            if low < 0.0 || high > 255.0 {
                return Err(VolumeError::Setting(format!("RGB intensities from 0 to 255 expected, the volume has {low} to {high}")));
            }
            each(data, |v| v / 255.0);
        }
    }
    Ok(())
}

fn each(data: &mut [f32], f: impl Fn(f64) -> f64 + Sync) {
    data.par_chunks_mut(PIECE).for_each(|piece| {
        for v in piece {
            *v = f(f64::from(*v)) as f32;
        }
    });
}

/// From one range to another, as MONAI's `ScaleIntensityRange`: a range of no width only shifts, and clips nothing.
fn rescale(data: &mut [f32], (low, high): (f64, f64), (to_low, to_high): (f64, f64), clip: bool) {
    if high <= low {
        each(data, |v| v - low + to_low);
        return;
    }
    each(data, |v| {
        let v = (v - low) / (high - low) * (to_high - to_low) + to_low;
        if clip { v.clamp(to_low, to_high) } else { v }
    });
}

/// Voxels up to which MONAI takes PyTorch's quantiles, whose ranks are float32, and beyond which NumPy's.
const TORCH_QUANTILES: usize = 1_000_000;

/// Two percentiles, interpolated linearly between order statistics, as MONAI takes them; of nothing 0. Holds one copy of the channel.
fn percentiles(data: &[f32], lower: f64, upper: f64) -> Result<(f64, f64), VolumeError> {
    if data.is_empty() {
        return Ok((0.0, 0.0));
    }
    let mut copy = try_reserve(data.len(), "a channel's percentiles")?;
    copy.extend_from_slice(data);
    let last = copy.len() - 1;
    let mut at = |percent: f64| {
        let (below, part) = if copy.len() <= TORCH_QUANTILES {
            let rank = (percent / 100.0) as f32 * last as f32;
            (rank as usize, f64::from(rank.fract()))
        } else {
            let rank = percent / 100.0 * last as f64;
            (rank as usize, rank.fract())
        };
        let (_, low, above) = copy.select_nth_unstable_by(below.min(last), f32::total_cmp);
        let low = *low;
        let high = above.iter().copied().min_by(f32::total_cmp).unwrap_or(low);
        // Both libraries end with float32.
        f64::from((f64::from(low) + f64::from(high - low) * part) as f32)
    };
    Ok((at(lower), at(upper)))
}

fn clear_outside(data: &mut [f32], mask: Option<&[bool]>) {
    if let Some(mask) = mask {
        for (v, inside) in data.iter_mut().zip(mask) {
            if !inside {
                *v = 0.0;
            }
        }
    }
}

fn range(data: &[f32]) -> (f32, f32) {
    data.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)))
}

fn z_score(data: &mut [f32], mask: Option<&[bool]>, guard: Deviation) {
    let (mean, sd) = match mask {
        None => statistics(data, &|_, _| true),
        Some(mask) => statistics(data, &|i, _| mask[i]),
    };
    let sd = match guard {
        Deviation::AtLeast => sd.max(SMALLEST),
        Deviation::Plus => sd + SMALLEST,
    };
    each(data, |v| (v - mean) / sd);
}

/// Mean and standard deviation (biased: divided by the count) of the voxels that count by their index and value, in two passes; 0 and
/// 1 of nothing.
fn statistics(data: &[f32], counts: &(dyn Fn(usize, f32) -> bool + Sync)) -> (f64, f64) {
    let total = |f: &(dyn Fn(f64) -> f64 + Sync)| -> (f64, usize) {
        let piece = |(i, values): (usize, &[f32])| {
            let inside = |(j, v): &(usize, &f32)| counts(i * PIECE + j, **v);
            values.iter().enumerate().filter(inside).fold((0.0, 0), |(s, n), (_, v)| (s + f(f64::from(*v)), n + 1))
        };
        let parts: Vec<(f64, usize)> = data.par_chunks(PIECE).enumerate().map(piece).collect();
        parts.iter().fold((0.0, 0), |(s, n), p| (s + p.0, n + p.1))
    };
    let (sum, count) = total(&|v| v);
    if count == 0 {
        return (0.0, 1.0);
    }
    let mean = sum / count as f64;
    let (square, _) = total(&|v| (v - mean) * (v - mean));
    (mean, (square / count as f64).sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn done(scheme: Normalization, guard: Deviation, data: &[f32], mask: Option<&[bool]>) -> Vec<f32> {
        let mut out = data.to_vec();
        normalize(&scheme, guard, &mut out, mask).unwrap();
        out
    }

    #[test]
    fn z_score_divides_by_the_biased_deviation() {
        for guard in [Deviation::AtLeast, Deviation::Plus] {
            let got = done(Normalization::ZScore, guard, &[1.0, 2.0, 3.0, 6.0], None);
            let sd = 3.5f64.sqrt(); // mean 3; squares 4 + 1 + 0 + 9 over 4
            for (v, e) in got.iter().zip([-2.0, -1.0, 0.0, 3.0]) {
                assert!((f64::from(*v) - e / sd).abs() < 1e-6, "{v}");
            }
            assert_eq!(done(Normalization::ZScore, guard, &[5.0; 7], None), [0.0; 7]);
            assert_eq!(done(Normalization::ZScore, guard, &[5.0], None), [0.0]);
        }
        // The two guards differ where the deviation is about as small as they are: here it is 1e-8.
        let tiny = [-1e-8, 1e-8];
        assert!((done(Normalization::ZScore, Deviation::AtLeast, &tiny, None)[1] - 1.0).abs() < 1e-5);
        assert!((done(Normalization::ZScore, Deviation::Plus, &tiny, None)[1] - 0.5).abs() < 1e-5);
    }

    #[test]
    fn pieces_add_up() {
        let data: Vec<f32> = (0..PIECE + 77).map(|i| ((i * 2654435761) % 1000) as f32).collect();
        let (mean, sd) = statistics(&data, &|_, _| true);
        let want = data.iter().map(|v| f64::from(*v)).sum::<f64>() / data.len() as f64;
        let square = data.iter().map(|v| (f64::from(*v) - want).powi(2)).sum::<f64>() / data.len() as f64;
        assert!((mean - want).abs() < 1e-9 && (sd - square.sqrt()).abs() < 1e-9);
        let mask: Vec<bool> = (0..data.len()).map(|i| i >= PIECE).collect();
        let tail = statistics(&data[PIECE..], &|_, _| true);
        let masked = statistics(&data, &|i, _| mask[i]);
        assert!((masked.0 - tail.0).abs() < 1e-9 && (masked.1 - tail.1).abs() < 1e-9);
    }

    #[test]
    fn masked_z_score_clears_the_outside() {
        let mask = [false, true, true, false];
        for guard in [Deviation::AtLeast, Deviation::Plus] {
            assert_eq!(done(Normalization::ZScoreMasked, guard, &[0.0, 1.0, 3.0, 7.0], Some(&mask)), [0.0, -1.0, 1.0, 0.0]);
            assert_eq!(done(Normalization::ZScoreMasked, guard, &[1.0, 2.0], Some(&[false, false])), [0.0, 0.0]);
        }
    }

    #[test]
    fn ct_clips_before_it_scales() {
        let ct = Normalization::Ct { low: -100.0, high: 300.0, mean: 50.0, std: 50.0, masked: false };
        let data = [-2000.0, 0.0, 100.0, 5000.0];
        assert_eq!(done(ct, Deviation::AtLeast, &data, None), [-3.0, -1.0, 1.0, 5.0]);
        let ct = Normalization::Ct { low: -100.0, high: 300.0, mean: 50.0, std: 50.0, masked: true };
        assert_eq!(done(ct, Deviation::Plus, &data, Some(&[true, false, true, true])), [-3.0, 0.0, 1.0, 5.0]);
        for (low, high, std) in [(1.0, 0.0, 1.0), (0.0, f64::NAN, 1.0), (0.0, 1.0, -1.0)] {
            assert!(verify(&Normalization::Ct { low, high, mean: 0.0, std, masked: false }).is_err());
        }
        let flat = Normalization::Ct { low: 0.0, high: 1.0, mean: 0.0, std: 0.0, masked: false };
        assert!(normalize(&flat, Deviation::Plus, &mut [1.0], None).is_err());
        assert_eq!(done(flat, Deviation::AtLeast, &[1.0], None), [1e8]);
    }

    #[test]
    fn rescaled_intensities_lie_in_the_unit_range() {
        assert_eq!(done(Normalization::Rescale01, Deviation::AtLeast, &[-3.0, 1.0, 5.0], None), [0.0, 0.5, 1.0]);
        assert_eq!(done(Normalization::Rescale01, Deviation::AtLeast, &[4.0; 3], None), [0.0; 3]);
        assert_eq!(done(Normalization::Rgb01, Deviation::AtLeast, &[0.0, 51.0, 255.0], None), [0.0, 0.2, 1.0]);
        let message = normalize(&Normalization::Rgb01, Deviation::AtLeast, &mut [1.0, 256.0], None).unwrap_err().to_string();
        assert!(message.contains("256"), "{message}");
        assert!(normalize(&Normalization::Rgb01, Deviation::AtLeast, &mut [-1.0], None).is_err());
    }
}
