//! Inputs that can be segmented and should make a person wonder, told before the work; and those that no memory holds, refused.

use std::path::Path;

use mnx_runtime::memory::Limit;
use mnx_volume::{Forecast, Volume};

use crate::cmd::predict::job::{Job, of_channel};
use crate::cmd::predict::model::Model;
use crate::failure::Failure;
use crate::text;

/// Resampling that makes so many times as many voxels is announced.
const TENFOLD: f64 = 10.0;

/// Tells what is doubtful about a volume, and refuses one that would be beyond `limit` on the model's grid.
pub fn check(model: &Model, job: &Job, volume: &Volume, limit: Option<Limit>, tell: &dyn Fn(&str)) -> Result<(), Failure> {
    let file = job.inputs.first().map_or(Path::new(""), |path| path).display();
    for (c, channel) in volume.data.chunks_exact(volume.voxels().max(1)).enumerate() {
        if let Some(value) = constant(channel) {
            // One file per channel, or one file with all of them.
            let place = match job.inputs.get(c).filter(|_| job.inputs.len() > 1) {
                Some(path) => path.display().to_string(),
                None if model.channels > 1 => format!("{file}: {}", model.channel(c)),
                None => file.to_string(),
            };
            tell(&format!("{place}: the image is constant, every voxel is {value}"));
        }
    }
    for remark in volume.header.remarks() {
        tell(&format!("{file}: {remark}"));
    }
    // Where nobody has a rule for such files, preparing the volume refuses it.
    if let (Some(wanted), Some(how), true) = (&model.preprocess.orientation, volume.header.formless(), volume.header.oriented()) {
        tell(&format!("{file}: {how}, and the model brings volumes to {wanted}: left and right may be exchanged"));
    }
    let whole = Forecast::of_whole(volume, &model.preprocess).map_err(|e| of_channel(model, job, e))?;
    let axes = if model.preprocess.transpose == [0, 1, 2] { "z, y, x" } else { "the model's axes" };
    if whole.growth() >= TENFOLD {
        tell(&format!(
            "{file}: resampling from {} to {} ({axes}) makes {} of {} voxels, {:.0} times as many; is its spacing right?",
            text::millimetres(whole.from_spacing),
            text::millimetres(whole.spacing),
            text::shape(&whole.shape),
            text::shape(&whole.from_shape),
            whole.growth(),
        ));
    }
    let Some(limit) = limit else { return Ok(()) };
    let keep = job.saved.is_some() || job.probabilities.is_some();
    let bytes = |f: &Forecast| needed(model, f, keep);
    let mut forecast = whole;
    if model.preprocess.crop_to_nonzero && bytes(&whole) > limit.bytes {
        // Only the part around the object will be resampled.
        forecast = Forecast::of_crop(volume, &model.preprocess)?;
    }
    let Some(why) = limit.refusal(bytes(&forecast)) else { return Ok(()) };
    let what = if forecast.shape == forecast.from_shape {
        format!("{} voxels are too many", text::shape(&forecast.shape))
    } else {
        format!(
            "resampled from {} to {} ({axes}) it would have {} voxels",
            text::millimetres(forecast.from_spacing),
            text::millimetres(forecast.spacing),
            text::shape(&forecast.shape)
        )
    };
    Err(Failure::user("mnx-0217", format!("{file}: {what}: {why}")))
}

/// Bytes that a case needs at least: the resampled channels, and the probabilities if they are kept.
fn needed(model: &Model, forecast: &Forecast, keep: bool) -> u64 {
    let from = forecast.from_shape.iter().fold(1u128, |acc, &n| acc.saturating_mul(n as u128));
    let channels = forecast.voxels().saturating_mul(4 * model.channels as u128);
    let kept = if keep { from.saturating_mul(4 * model.classes() as u128) } else { 0 };
    u64::try_from(channels.saturating_add(kept)).unwrap_or(u64::MAX)
}

/// The value that every voxel has.
fn constant(channel: &[f32]) -> Option<f32> {
    let (first, rest) = channel.split_first()?;
    rest.iter().all(|v| v == first).then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_is_every_voxel() {
        assert_eq!(constant(&[3.5; 7]), Some(3.5));
        assert_eq!(constant(&[3.5, 3.5, 3.6]), None);
        assert_eq!((constant(&[]), constant(&[f32::NAN; 2])), (None, None));
    }
}
