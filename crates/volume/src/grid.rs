//! Whether two volumes lie on one grid.

use std::path::Path;

use crate::error::VolumeError;
use crate::orientation::directions;
use crate::read::Volume;
use mnx_words::{extents, numbers};

/// Spacings and axes may differ by this fraction of a voxel.
const STEP: f64 = 1e-3;
/// Origins may differ by this fraction of a voxel.
const ORIGIN: f64 = 0.1;

/// Refuses a volume that does not lie voxel for voxel on the grid of `reference`: another shape, a spacing that differs by more than
/// a thousandth, another orientation, an axis step off by more than a thousandth of the smallest spacing or an origin off by more
/// than a tenth of it. Nothing is re-oriented or resampled.
///
/// # Errors
/// [`VolumeError::Grid`] with the first difference and both values.
pub fn same_grid(path: &Path, volume: &Volume, reference_path: &Path, reference: &Volume) -> Result<(), VolumeError> {
    let differs =
        |what: String| Err(VolumeError::Grid { path: path.to_path_buf(), what: format!("{what} as in {}", reference_path.display()) });
    if volume.shape != reference.shape {
        return differs(format!("its shape (z, y, x) is {}, expected {}", extents(&volume.shape), extents(&reference.shape)));
    }
    let close = |a: f64, b: f64, limit: f64| (a - b).abs() <= limit;
    if !(0..3).all(|a| close(volume.spacing[a], reference.spacing[a], STEP * reference.spacing[a])) {
        return differs(format!("its spacing (z, y, x) is {} mm, expected {} mm", numbers(&volume.spacing), numbers(&reference.spacing)));
    }
    let named = |path: &Path, e: VolumeError| VolumeError::Setting(format!("{}: {e}", path.display()));
    let has = orientation(&volume.affine).map_err(|e| named(path, e))?;
    let wants = orientation(&reference.affine).map_err(|e| named(reference_path, e))?;
    if has != wants {
        return differs(format!("its orientation is {has}, expected {wants}"));
    }
    let voxel = reference.spacing.iter().copied().fold(f64::INFINITY, f64::min);
    for r in 0..3 {
        for c in 0..4 {
            let limit = voxel * if c == 3 { ORIGIN } else { STEP };
            let (has, wants) = (volume.affine[r][c], reference.affine[r][c]);
            if !close(has, wants, limit) {
                return differs(format!("its affine entry ({r}, {c}) is {has}, expected {wants}"));
            }
        }
    }
    Ok(())
}

/// Where the file's x, y and z axes run to, such as `LPS`.
fn orientation(affine: &[[f64; 4]; 4]) -> Result<String, VolumeError> {
    let letters = [['L', 'R'], ['P', 'A'], ['I', 'S']];
    Ok(directions(affine)?.iter().map(|&(axis, up)| letters[axis][usize::from(up)]).collect())
}
