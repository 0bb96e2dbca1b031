//! Where a header puts the voxels: by the format itself, or as nibabel or SimpleITK read it.
//!
//! The two differ in units of length, in files without a form, in which form they believe and in headers that contradict themselves.
//! A model sees what its training's reader gave, so a model that names its reader gets that reader's grid; `tests/headers` holds both
//! readers' own answers to 169 headers.

use std::path::Path;

use mnx_artifact::Reader;

use crate::error::VolumeError;
use crate::orientation::AxisMap;
use crate::wide_fields::{WideFields, column};
use mnx_words::numbers;

/// A grid as one reader sees it.
pub(crate) struct Grid {
    /// Voxel index (x, y, z, 1) to millimetres, right-anterior-superior.
    pub affine: [[f64; 4]; 4],
    /// Millimetres along z, y, x.
    pub spacing: [f64; 3],
    /// Whether the affine says how the volume lies, be it by a form or by the reader's rule for files without one.
    pub oriented: bool,
    /// Slope and intercept of the stored values.
    pub scale: (f64, f64),
    /// What a careful user should hear.
    pub remarks: Vec<String>,
    /// What is to be said where the header has no form and it matters how the volume lies.
    pub formless: Option<String>,
}

/// The grid of a header; `dim` are voxels along the file's x, y, z and channels.
pub(crate) fn grid(path: &Path, w: &WideFields, dim: &[usize; 4], reader: Option<Reader>) -> Result<Grid, VolumeError> {
    let mut grid = match reader {
        None => by_the_format(path, w, dim)?,
        Some(Reader::Nibabel) => nibabel(path, w, dim)?,
        Some(Reader::NibabelReorient) => {
            let mut grid = nibabel(path, w, dim)?;
            // An image that is turned gets a new header, whose voxel sizes are the affine's; one that is RAS already keeps its own.
            if AxisMap::to_orientation(&grid.affine, "RAS").is_ok_and(|map| map != AxisMap::IDENTITY) {
                grid.spacing = [2, 1, 0].map(|axis| f64::from(column(&grid.affine, axis) as f32));
            }
            grid
        }
        Some(Reader::Simpleitk) => simpleitk(path, w)?,
    };
    if let Some(odd) = grid.affine[..3].iter().flat_map(|row| &row[..3]).find(|v| !v.is_finite()) {
        return Err(VolumeError::damaged(path, format!("the affine has an entry of {odd}, expected finite numbers")));
    }
    remark(w, reader, &mut grid);
    Ok(grid)
}

fn good(size: f64) -> bool {
    size.is_finite() && size > 0.0
}

/// The format's own rule: the sform if its code is set, else the qform, else voxel sizes alone, which say nothing of how the volume
/// lies; lengths in the header's unit.
fn by_the_format(path: &Path, w: &WideFields, dim: &[usize; 4]) -> Result<Grid, VolumeError> {
    let [x, y, z] = [w.pixdim[1], w.pixdim[2], w.pixdim[3]];
    let unit = w.unit().0;
    let mut affine = if w.sform_code > 0 {
        w.sform()
    } else if w.qform_code > 0 {
        w.qform(w.quaternion(), [x, y, if w.pixdim[0] < 0.0 { -z } else { z }])
    } else {
        [[x, 0.0, 0.0, 0.0], [0.0, y, 0.0, 0.0], [0.0, 0.0, z, 0.0], [0.0, 0.0, 0.0, 1.0]]
    };
    for v in affine[..3].iter_mut().flatten() {
        *v *= unit;
    }
    if let Some(odd) = (0..3).map(|r| affine[r][3]).find(|v| !v.is_finite()) {
        return Err(VolumeError::damaged(path, format!("the affine has an origin of {odd}, expected finite numbers")));
    }
    let mut spacing = [1.0; 3];
    for axis in 0..3 {
        let (size, column) = (w.pixdim[axis + 1].abs() * unit, column(&affine, axis));
        spacing[2 - axis] = if good(size) {
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
        if w.sform_code <= 0 && w.qform_code <= 0 {
            affine[axis][axis] = spacing[2 - axis];
        }
    }
    let scale = nibabel_scale(path, w)?;
    Ok(Grid { affine, spacing, oriented: w.sform_code > 0 || w.qform_code > 0, scale, remarks: Vec::new(), formless: None })
}

/// A slope of 0, NaN or infinity means unscaled, whatever the intercept.
fn nibabel_scale(path: &Path, w: &WideFields) -> Result<(f64, f64), VolumeError> {
    if !w.slope.is_finite() || w.slope == 0.0 {
        return Ok((1.0, 0.0));
    }
    if !w.inter.is_finite() {
        return Err(VolumeError::damaged(path, format!("scl_inter is {}, expected a finite number", w.inter)));
    }
    Ok((w.slope, w.inter))
}

/// nibabel's rule: the sform if its code is known and not 0, else the qform, else an affine of its own with x to the left and the middle of
/// the volume at the origin; numbers are millimetres whatever the unit; voxel sizes are `pixdim`'s, without sign, 1 where they are 0.
fn nibabel(path: &Path, w: &WideFields, dim: &[usize; 4]) -> Result<Grid, VolumeError> {
    let rank = w.dim[0].clamp(1, 3) as usize;
    let mut size = [1.0; 3];
    for (axis, size) in size.iter_mut().enumerate() {
        let stored = w.pixdim[axis + 1];
        if !stored.is_finite() && axis < rank {
            return Err(VolumeError::damaged(path, format!("pixdim[{}] is {stored}, expected a voxel size in mm", axis + 1)));
        }
        if good(stored.abs()) {
            *size = stored.abs();
        }
    }
    let known = |code: i32| (1..=5).contains(&code);
    let affine = if known(w.sform_code) {
        w.sform()
    } else if known(w.qform_code) {
        let [b, c, d] = w.quatern;
        let square = b * b + c * c + d * d;
        let rest = 1.0 - square;
        let real = if rest.abs() < w.quaternion_rounding.abs() { 0.0 } else { rest.sqrt() };
        if real.is_nan() {
            return Err(VolumeError::damaged(
                path,
                format!("the quaternion ({b}, {c}, {d}) is no rotation, expected a length of at most 1"),
            ));
        }
        let n = (real * real + square).sqrt();
        let qfac = if w.pixdim[0] == -1.0 { -1.0 } else { 1.0 };
        w.qform([real / n, b / n, c / n, d / n], [size[0], size[1], qfac * size[2]])
    } else {
        let extent = |axis: usize| if axis < rank { size[axis] } else { 1.0 };
        let middle = |axis: usize| (dim[axis] as f64 - 1.0) / 2.0 * extent(axis);
        [[-extent(0), 0.0, 0.0, middle(0)], [0.0, extent(1), 0.0, -middle(1)], [0.0, 0.0, extent(2), -middle(2)], [0.0, 0.0, 0.0, 1.0]]
    };
    let scale = nibabel_scale(path, w)?;
    Ok(Grid { affine, spacing: [size[2], size[1], size[0]], oriented: true, scale, remarks: Vec::new(), formless: None })
}

/// SimpleITK's rule (ITK 5.4): voxel sizes are `pixdim`'s in the header's unit, 1 where they are 0 or no number; directions and origin come
/// from the sform if it is a rotation with sizes and either the only form, the scanner's, or almost the qform; else from the qform.
/// A file without a form is left-posterior-superior. A negative size turns its axis round.
fn simpleitk(path: &Path, w: &WideFields) -> Result<Grid, VolumeError> {
    let unit = w.unit().0;
    let fixed = |v: f64| if v.is_finite() { v } else { 0.0 };
    let size = [1, 2, 3].map(|i| if fixed(w.pixdim[i]) == 0.0 { 1.0 } else { w.pixdim[i] });
    let (q, s) = (w.qform_code > 0, w.sform_code > 0);
    let mut affine = if !q && !s {
        [[-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    } else {
        let clean = WideFields { quatern: w.quatern.map(fixed), qoffset: w.qoffset.map(fixed), ..*w };
        let positive = size.map(|v| if v > 0.0 { v } else { 1.0 });
        let qfac = if w.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
        let (qform, sform) = (clean.qform(clean.quaternion(), [positive[0], positive[1], qfac * positive[2]]), w.sform());
        let apart = |limit: f64| (0..3).any(|r| (0..4).any(|c| (qform[r][c] - sform[r][c]).abs() > limit));
        if s && rotates(&sform) && (!q || w.sform_code == 1 || !apart(1e-4)) {
            sform
        } else if q {
            qform
        } else {
            return Err(VolumeError::unsupported(
                path,
                "the sform is not a rotation with voxel sizes (it shears, or an axis is empty) and there is no qform; \
                 SimpleITK, which the model was trained with, refuses such a file: resample it, or set a qform",
            ));
        }
    };
    for axis in 0..3 {
        let length = column(&affine, axis);
        for row in &mut affine[..3] {
            row[axis] *= size[axis] * unit / length;
        }
    }
    for row in &mut affine[..3] {
        row[3] *= unit;
    }
    let slope = fixed(w.slope);
    let scale = (if slope.abs() < f64::EPSILON { 1.0 } else { slope }, fixed(w.inter));
    Ok(Grid { affine, spacing: [2, 1, 0].map(|axis| size[axis].abs() * unit), oriented: true, scale, remarks: Vec::new(), formless: None })
}

/// Whether the columns of an affine are at right angles to one another, within ITK's tolerance.
fn rotates(affine: &[[f64; 4]; 4]) -> bool {
    let length = [0, 1, 2].map(|axis| column(affine, axis));
    let unit = |r: usize, c: usize| affine[r][c] / length[c];
    (0..3).all(|a| {
        (0..3).all(|b| {
            let product: f64 = (0..3).map(|c| unit(a, c) * unit(b, c)).sum();
            // A NaN is no rotation.
            (product - f64::from(u8::from(a == b))).abs() <= 1e-4
        })
    })
}

/// Says what the reader decided that the user may not have meant.
fn remark(w: &WideFields, reader: Option<Reader>, grid: &mut Grid) {
    let name = match reader {
        None => "the format",
        Some(Reader::Simpleitk) => "SimpleITK, the model's reader,",
        Some(Reader::Nibabel | Reader::NibabelReorient) => "nibabel, the model's reader,",
    };
    let shown = numbers(&grid.spacing);
    if let (_, Some(unit)) = w.unit() {
        grid.remarks.push(match reader {
            Some(Reader::Nibabel | Reader::NibabelReorient) => {
                format!("the header's lengths are in {unit}, but {name} takes its numbers for millimetres: voxels (z, y, x) of {shown} mm")
            }
            None | Some(Reader::Simpleitk) => format!("the header's lengths are in {unit}: voxels (z, y, x) of {shown} mm"),
        });
    }
    if w.sform_code <= 0 && w.qform_code <= 0 {
        let none = "neither sform nor qform says how the volume lies";
        grid.formless = Some(match reader {
            None => none.to_owned(),
            Some(Reader::Simpleitk) => format!("{none}; {name} takes it for LPS"),
            Some(Reader::Nibabel | Reader::NibabelReorient) => format!("{none}; {name} takes it for LAS"),
        });
    }
    // ITK's own tolerance is 1e-3 mm; a hundredth is what can matter.
    let unit = if matches!(reader, Some(Reader::Nibabel | Reader::NibabelReorient)) { 1.0 } else { w.unit().0 };
    let columns = [2, 1, 0].map(|axis| column(&w.sform(), axis) * unit);
    if w.sform_code > 0 && (0..3).any(|a| (columns[a] - grid.spacing[a]).abs() > 0.01 * grid.spacing[a]) {
        grid.remarks.push(format!(
            "pixdim and sform contradict each other: {name} takes voxels (z, y, x) of {shown} mm, the sform says {} mm",
            numbers(&columns)
        ));
    }
}
