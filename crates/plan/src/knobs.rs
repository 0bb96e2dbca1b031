//! Knobs: the tile of each kernel, by name, with defaults and legality.

use crate::kernel::{Kernel, Mlp, MlpSource};
use crate::target::Target;

/// Knobs and values of a kernel, as plans print them.
pub fn knobs(k: &Kernel) -> Vec<(&'static str, usize)> {
    match k {
        Kernel::Depthwise(k) => {
            vec![("channels", k.tile.channels), ("depth", k.tile.depth), ("height", k.tile.height), ("width", k.tile.width)]
        }
        Kernel::Mlp(k) => match &k.source {
            MlpSource::Tensor { .. } => vec![("voxels", k.tile.voxels), ("rows", k.tile.rows), ("hidden", k.tile.hidden)],
            MlpSource::ConvLayerNorm { conv, .. } => vec![
                ("depth", conv.tile.depth),
                ("height", conv.tile.height),
                ("width", conv.tile.width),
                ("rows", k.tile.rows),
                ("hidden", k.tile.hidden),
            ],
        },
        Kernel::Pointwise(k) => vec![("voxels", k.voxels), ("rows", k.rows)],
        Kernel::Classify(k) => vec![("voxels", k.voxels)],
        Kernel::Gpu(k) => k.knobs(),
        Kernel::MergeStats(_) | Kernel::MergeGrn(_) => Vec::new(),
    }
}

/// Sets a knob.
///
/// # Errors
/// If the kernel has no such knob, or the value is 0.
pub fn set_knob(k: &mut Kernel, name: &str, value: usize) -> Result<(), String> {
    let known = knobs(k).iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
    let strategy = k.strategy();
    let unknown = || {
        let known = if known.is_empty() { "none".to_string() } else { known };
        Err(format!("{strategy} has no knob `{name}`; its knobs: {known}"))
    };
    if value == 0 {
        return Err(format!("knob {name} of {strategy} must be at least 1"));
    }
    let slot = match k {
        Kernel::Depthwise(k) => match name {
            "channels" => &mut k.tile.channels,
            "depth" => &mut k.tile.depth,
            "height" => &mut k.tile.height,
            "width" => &mut k.tile.width,
            _ => return unknown(),
        },
        Kernel::Mlp(Mlp { source, tile, .. }) => match (name, source) {
            ("voxels", MlpSource::Tensor { .. }) => &mut tile.voxels,
            ("rows", _) => &mut tile.rows,
            ("hidden", _) => &mut tile.hidden,
            ("depth", MlpSource::ConvLayerNorm { conv, .. }) => &mut conv.tile.depth,
            ("height", MlpSource::ConvLayerNorm { conv, .. }) => &mut conv.tile.height,
            ("width", MlpSource::ConvLayerNorm { conv, .. }) => &mut conv.tile.width,
            _ => return unknown(),
        },
        Kernel::Pointwise(k) => match name {
            "voxels" => &mut k.voxels,
            "rows" => &mut k.rows,
            _ => return unknown(),
        },
        Kernel::Classify(k) if name == "voxels" => &mut k.voxels,
        Kernel::Gpu(k) => match k.knob(name) {
            Some(slot) => slot,
            None => return unknown(),
        },
        Kernel::Classify(_) | Kernel::MergeStats(_) | Kernel::MergeGrn(_) => return unknown(),
    };
    *slot = value;
    Ok(())
}

/// Gives a kernel the default tile for a target.
pub fn choose(k: &mut Kernel, target: &Target) {
    match k {
        Kernel::Depthwise(k) => k.tile = k.choose_tile(target),
        Kernel::Mlp(k) => {
            if let MlpSource::ConvLayerNorm { conv, .. } = &mut k.source {
                conv.tile = conv.choose_row_tile(target);
            }
            k.tile = k.choose_tile(target);
        }
        Kernel::Pointwise(k) => (k.voxels, k.rows) = k.choose_tile(target),
        Kernel::Classify(k) => k.voxels = k.choose_voxels(),
        Kernel::Gpu(k) => k.choose(target),
        Kernel::MergeStats(_) | Kernel::MergeGrn(_) => {}
    }
}

/// Whether code can be made for a kernel with its tile.
///
/// # Errors
/// What is wrong.
pub fn check(k: &Kernel, target: &Target) -> Result<(), String> {
    match k {
        Kernel::Depthwise(k) => k.legal(target),
        Kernel::Mlp(k) => k.legal(target),
        Kernel::Pointwise(k) => k.legal(),
        Kernel::Classify(k) => k.legal(),
        Kernel::Gpu(k) => k.legal(target),
        Kernel::MergeStats(_) | Kernel::MergeGrn(_) => Ok(()),
    }
}
