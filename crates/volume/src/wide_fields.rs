//! What both header versions say of the grid, in one width, and where that puts the voxels.

use std::path::Path;

use crate::error::VolumeError;

/// The fields of either version in one width.
pub(crate) struct WideFields {
    pub dim: [i64; 8],
    pub pixdim: [f64; 8],
    pub sform_code: i32,
    pub qform_code: i32,
    pub quatern: [f64; 3],
    pub qoffset: [f64; 3],
    pub srow: [[f64; 4]; 3],
    pub vox_offset: f64,
    pub slope: f64,
    pub inter: f64,
    pub datatype: i16,
}

/// Voxel index (x, y, z, 1) to millimetres: the sform if its code is set, else the qform, else the
/// voxel sizes alone.
pub(crate) fn affine(w: &WideFields) -> [[f64; 4]; 4] {
    let last = [0.0, 0.0, 0.0, 1.0];
    if w.sform_code > 0 {
        return [w.srow[0], w.srow[1], w.srow[2], last];
    }
    let size = [w.pixdim[1], w.pixdim[2], w.pixdim[3]];
    if w.qform_code > 0 {
        let [mut b, mut c, mut d] = w.quatern;
        let rest = 1.0 - (b * b + c * c + d * d);
        let a = if rest < 1e-7 {
            // Rounding left no room for the real part: a half turn, as the format's own library does.
            let n = (b * b + c * c + d * d).sqrt();
            (b, c, d) = (b / n, c / n, d / n);
            0.0
        } else {
            rest.sqrt()
        };
        let qfac = if w.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
        let [sx, sy, sz] = [size[0], size[1], size[2] * qfac];
        return [
            [(a * a + b * b - c * c - d * d) * sx, 2.0 * (b * c - a * d) * sy, 2.0 * (b * d + a * c) * sz, w.qoffset[0]],
            [2.0 * (b * c + a * d) * sx, (a * a + c * c - b * b - d * d) * sy, 2.0 * (c * d - a * b) * sz, w.qoffset[1]],
            [2.0 * (b * d - a * c) * sx, 2.0 * (c * d + a * b) * sy, (a * a + d * d - b * b - c * c) * sz, w.qoffset[2]],
            last,
        ];
    }
    [[size[0], 0.0, 0.0, 0.0], [0.0, size[1], 0.0, 0.0], [0.0, 0.0, size[2], 0.0], last]
}

/// Millimetres along z, y, x from `pixdim`, or from the affine's columns where that is empty.
pub(crate) fn spacing(path: &Path, w: &WideFields, dim: &[usize; 4], affine: &[[f64; 4]; 4]) -> Result<[f64; 3], VolumeError> {
    let good = |s: f64| s.is_finite() && s > 0.0;
    let mut out = [1.0; 3];
    for axis in 0..3 {
        let column = (0..3).map(|r| affine[r][axis] * affine[r][axis]).sum::<f64>().sqrt();
        let size = w.pixdim[axis + 1].abs();
        out[2 - axis] = if good(size) {
            size
        } else if good(column) {
            column
        } else if dim[axis] == 1 {
            // A flat axis has no distance between voxels; 2-D files leave it empty.
            1.0
        } else {
            return Err(VolumeError::damaged(
                path,
                format!("pixdim[{}] is {} and no sform gives the voxel size either", axis + 1, w.pixdim[axis + 1]),
            ));
        };
    }
    Ok(out)
}
