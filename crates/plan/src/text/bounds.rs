//! Bounds on what a plan text may say of sizes, so that whatever is reckoned from a description fits 64 bits and ends soon.

use serde_json::Value;

/// Most of any one size: channels, samples, the voxels of an axis.
const MOST: u64 = 1 << 16;

/// Most voxels of a tensor, and most of what is counted by the voxel.
const MOST_VOXELS: u64 = 1 << 32;

/// Most of samples times voxels times channels times whatever each of these values is multiplied by.
const MOST_WORK: f64 = (1u64 << 56) as f64;

/// The largest sizes of a description.
#[derive(Debug)]
struct Sizes {
    batch: u64,
    voxels: u64,
    taps: u64,
    channels: u64,
}

/// Whether the sizes in a kernel's description, as a plan text has it, are such that its costs and buffers can be reckoned.
pub(super) fn check(description: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(description).map_err(|e| format!("what the launch computes: {e}"))?;
    let mut sizes = Sizes { batch: 1, voxels: 1, taps: 1, channels: 1 };
    gather("", &value, &mut sizes)?;
    let Sizes { batch, voxels, taps, channels } = sizes;
    let work = [batch, voxels, channels, taps.max(channels)].iter().map(|n| *n as f64).product::<f64>();
    if work > MOST_WORK {
        return Err(format!("{batch} samples of {voxels} voxels and {channels} channels are more than a launch can have"));
    }
    Ok(())
}

/// Goes through a description, whose parts are named by `key`.
fn gather(key: &str, value: &Value, sizes: &mut Sizes) -> Result<(), String> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| gather(key, value, sizes)),
        Value::Array(axes) => {
            axes.iter().try_for_each(|axis| bounded(key, axis, MOST).map(drop))?;
            // No more than three factors below 2^16.
            let all = axes.iter().take(3).filter_map(Value::as_u64).product::<u64>();
            if all > MOST_VOXELS {
                return Err(format!("{key}: {all} voxels; at most {MOST_VOXELS} expected"));
            }
            let most = if key == "taps" { &mut sizes.taps } else { &mut sizes.voxels };
            *most = all.max(*most);
            Ok(())
        }
        Value::Number(_) => {
            let by_voxel = ["voxels", "space", "count", "parts", "group"].contains(&key);
            // An epsilon is no size, nor is a number that the description will refuse.
            let Some(n) = bounded(key, value, if by_voxel { MOST_VOXELS } else { MOST })? else { return Ok(()) };
            let most = match key {
                "batch" => &mut sizes.batch,
                _ if by_voxel => &mut sizes.voxels,
                _ => &mut sizes.channels,
            };
            *most = n.max(*most);
            Ok(())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

/// A size, if the value is one; only paddings may be 0.
fn bounded(key: &str, value: &Value, most: u64) -> Result<Option<u64>, String> {
    let least = u64::from(!key.starts_with("pad"));
    match value.as_u64() {
        Some(n) if n < least || n > most => Err(format!("{key} = {n}; {least} to {most} expected")),
        size => Ok(size),
    }
}
