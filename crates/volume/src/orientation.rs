//! Which way a volume's axes point, and exact re-arrangements of them.

use rayon::prelude::*;

use crate::error::VolumeError;
use crate::wide_fields::column;

/// A permutation of the z, y, x axes with flips: output axis `i` runs along input axis `perm[i]`,
/// backwards if `flip[i]`. No voxel is interpolated, so the inverse restores every one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisMap {
    /// Input axis (0 = z, 1 = y, 2 = x) that each output axis runs along.
    pub perm: [usize; 3],
    /// Whether the output axis runs backwards along it.
    pub flip: [bool; 3],
}

impl AxisMap {
    /// The map that changes nothing.
    pub const IDENTITY: AxisMap = AxisMap { perm: [0, 1, 2], flip: [false; 3] };

    /// The map that brings a volume with `affine` (x, y, z voxel index to millimetres, RAS) to an
    /// orientation code such as `RAS`: three letters for the file's x, y and z axis, each the side
    /// (right/left, anterior/posterior, superior/inferior) that the axis runs towards. Oblique
    /// volumes go to the nearest such arrangement.
    ///
    /// # Errors
    /// When the code is not such a triple, or the affine has no direction for an axis.
    pub fn to_orientation(affine: &[[f64; 4]; 4], code: &str) -> Result<AxisMap, VolumeError> {
        let target = parse_code(code)?;
        let direction = directions(affine)?;
        let mut map = AxisMap::IDENTITY;
        for (axis, &(world, positive)) in target.iter().enumerate() {
            for (source, &(source_world, source_positive)) in direction.iter().enumerate() {
                if source_world == world {
                    // File axes count x, y, z; array axes z, y, x.
                    map.perm[2 - axis] = 2 - source;
                    map.flip[2 - axis] = positive != source_positive;
                }
            }
        }
        Ok(map)
    }

    /// A pure transposition: output axis `i` is input axis `perm[i]`.
    ///
    /// # Errors
    /// When `perm` is not a permutation of 0, 1, 2.
    pub fn transpose(perm: [usize; 3]) -> Result<AxisMap, VolumeError> {
        let mut seen = perm;
        seen.sort_unstable();
        if seen != [0, 1, 2] {
            return Err(VolumeError::Setting(format!(
                "transpose is {}, {}, {}, expected 0, 1 and 2 in some order",
                perm[0], perm[1], perm[2]
            )));
        }
        Ok(AxisMap { perm, flip: [false; 3] })
    }

    /// First `self`, then `next`.
    pub fn then(&self, next: &AxisMap) -> AxisMap {
        AxisMap { perm: next.perm.map(|i| self.perm[i]), flip: std::array::from_fn(|i| next.flip[i] ^ self.flip[next.perm[i]]) }
    }

    /// The map that undoes this one.
    pub fn inverse(&self) -> AxisMap {
        let mut out = AxisMap::IDENTITY;
        for i in 0..3 {
            out.perm[self.perm[i]] = i;
            out.flip[self.perm[i]] = self.flip[i];
        }
        out
    }

    /// The affine (voxel index x, y, z to millimetres) of a re-arranged volume whose old `shape` was z, y, x.
    pub fn affine(&self, affine: &[[f64; 4]; 4], shape: [usize; 3]) -> [[f64; 4]; 4] {
        let mut out = *affine;
        for axis in 0..3 {
            // File axes count x, y, z; array axes z, y, x.
            let (new, source) = (2 - axis, 2 - self.perm[axis]);
            for r in 0..3 {
                out[r][new] = if self.flip[axis] { -affine[r][source] } else { affine[r][source] };
                if self.flip[axis] {
                    out[r][3] += (shape[self.perm[axis]] as f64 - 1.0) * affine[r][source];
                }
            }
        }
        out
    }

    /// Re-arranges three numbers that belong to the axes (a shape, a spacing).
    pub fn permute<T: Copy>(&self, values: [T; 3]) -> [T; 3] {
        self.perm.map(|i| values[i])
    }

    /// Re-arranges `channels` volumes of `shape` (z, y, x); the result has shape `permute(shape)`.
    ///
    /// # Errors
    /// When memory for the result cannot be had.
    ///
    /// # Panics
    /// When `data` is not `channels` times `shape` long.
    pub fn apply<T: Copy + Default + Send + Sync>(&self, data: &[T], channels: usize, shape: [usize; 3]) -> Result<Vec<T>, VolumeError> {
        let voxels: usize = shape.iter().product();
        assert_eq!(data.len(), channels * voxels, "voxels given and shape differ");
        let mut out = crate::error::try_filled(data.len(), T::default(), "re-oriented volume")?;
        if *self == AxisMap::IDENTITY {
            out.copy_from_slice(data);
            return Ok(out);
        }
        let stride = [shape[1] * shape[2], shape[2], 1];
        let [_, ny, nx] = self.permute(shape);
        let step = self.permute(stride);
        // Input offset of output index i along output axis a.
        let along = |a: usize, i: usize| {
            let n = shape[self.perm[a]];
            step[a] * if self.flip[a] { n - 1 - i } else { i }
        };
        out.par_chunks_mut((ny * nx).max(1)).enumerate().for_each(|(plane, chunk)| {
            let nz = shape[self.perm[0]];
            let base = plane / nz * voxels + along(0, plane % nz);
            for (y, row) in chunk.chunks_exact_mut(nx).enumerate() {
                let base = base + along(1, y);
                for (x, v) in row.iter_mut().enumerate() {
                    *v = data[base + along(2, x)];
                }
            }
        });
        Ok(out)
    }
}

impl AxisMap {
    /// [`AxisMap::apply`], without a copy where nothing moves.
    ///
    /// # Errors
    /// As [`AxisMap::apply`].
    pub fn apply_owned<T: Copy + Default + Send + Sync>(
        &self,
        data: Vec<T>,
        channels: usize,
        shape: [usize; 3],
    ) -> Result<Vec<T>, VolumeError> {
        if *self == AxisMap::IDENTITY { Ok(data) } else { self.apply(&data, channels, shape) }
    }
}

/// For each of the file's x, y, z axes: the world axis it mostly runs along and whether upwards, one-to-one, as nibabel's
/// `io_orientation` decides: of the rotation nearest to the affine's directions, the axis that is closest to a world axis chooses
/// first, and each later one among those left.
pub(crate) fn directions(affine: &[[f64; 4]; 4]) -> Result<[(usize, bool); 3], VolumeError> {
    let mut cosine = [[0.0; 3]; 3];
    for axis in 0..3 {
        let length = column(affine, axis);
        if !length.is_finite() || length <= 0.0 {
            return Err(untold(&format!("the {} column of the affine has length {length}", ["first", "second", "third"][axis])));
        }
        for r in 0..3 {
            cosine[r][axis] = affine[r][axis] / length;
        }
    }
    let mut rotation = nearest_rotation(cosine).ok_or_else(|| untold("the columns of the affine lie in one plane"))?;
    let strength = |axis: usize| (0..3).map(|r| rotation[r][axis] * rotation[r][axis]).fold(0.0, f64::max);
    let strengths = [strength(0), strength(1), strength(2)];
    let mut order = [0, 1, 2];
    order.sort_by(|a, b| strengths[*b].total_cmp(&strengths[*a]));
    let mut out = [(0, false); 3];
    for axis in order {
        let mut world = 0;
        for r in 1..3 {
            if rotation[r][axis].abs() > rotation[world][axis].abs() {
                world = r;
            }
        }
        out[axis] = (world, rotation[world][axis] > 0.0);
        rotation[world] = [0.0; 3];
    }
    let mut seen = out.map(|(world, _)| world);
    seen.sort_unstable();
    if seen == [0, 1, 2] { Ok(out) } else { Err(untold("two axes of the affine run alike")) }
}

fn untold(why: &str) -> VolumeError {
    VolumeError::Setting(format!("the orientation cannot be told: {why}"))
}

/// The rotation (or reflection) nearest to a matrix: its orthogonal polar factor, by Newton's iteration. None of a singular matrix.
fn nearest_rotation(mut m: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    for _ in 0..100 {
        let cofactor = |r: usize, c: usize| {
            let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
            m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
        };
        let determinant: f64 = (0..3).map(|c| m[0][c] * cofactor(0, c)).sum();
        if determinant.abs() < 1e-15 || !determinant.is_finite() {
            return None;
        }
        // The cofactors over the determinant are the transposed inverse.
        let next: [[f64; 3]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| f64::midpoint(m[r][c], cofactor(r, c) / determinant)));
        let change = m.iter().flatten().zip(next.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        m = next;
        if change < 1e-15 {
            break;
        }
    }
    Some(m)
}

fn parse_code(code: &str) -> Result<[(usize, bool); 3], VolumeError> {
    let wrong = || {
        VolumeError::Setting(format!("orientation is \"{code}\", expected three letters, one each of R/L, A/P and S/I, such as \"RAS\""))
    };
    let mut out = [(0, false); 3];
    let mut seen = [false; 3];
    if code.chars().count() != 3 {
        return Err(wrong());
    }
    for (slot, letter) in out.iter_mut().zip(code.chars()) {
        *slot = match letter {
            'R' => (0, true),
            'L' => (0, false),
            'A' => (1, true),
            'P' => (1, false),
            'S' => (2, true),
            'I' => (2, false),
            _ => return Err(wrong()),
        };
        seen[slot.0] = true;
    }
    if seen != [true; 3] {
        return Err(wrong());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The affine's 3 x 3 rows, and where nibabel says the axes run.
    const SLANTED: [([[f64; 3]; 3], &str); 6] = [
        ([[-0.955, -0.64, 1.754], [0.56, -1.848, -0.206], [1.012, 0.419, 1.77]], "LPS"),
        ([[-0.944, -0.976, -1.783], [0.83, -0.126, -1.474], [0.614, 1.66, -4.108]], "ASL"),
        ([[-0.978, -0.456, -1.808], [-0.717, -1.234, 1.563], [-0.883, 1.506, 0.734]], "PSL"),
        ([[-0.893, -3.02, 2.656], [-1.598, 2.39, -0.136], [-1.048, -1.28, 1.155]], "IAR"),
        ([[-1.062, 0.555, 1.624], [-0.961, -1.28, -1.061], [0.447, -1.433, 1.577]], "LIP"),
        ([[0.771, 2.136, 1.387], [2.225, -0.84, 1.775], [-0.927, 0.454, 0.411]], "IRA"),
    ];

    fn every_map() -> Vec<AxisMap> {
        let mut out = Vec::new();
        for perm in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for bits in 0..8 {
                let flip = std::array::from_fn(|i| bits >> i & 1 == 1);
                out.push(AxisMap { perm, flip });
            }
        }
        out
    }

    #[test]
    fn each_of_the_48_maps_is_undone_by_its_inverse() {
        let shape = [3, 5, 4];
        let data: Vec<u32> = (0..2 * 60).collect();
        for map in every_map() {
            let there = map.apply(&data, 2, shape).unwrap();
            let back = map.inverse().apply(&there, 2, map.permute(shape)).unwrap();
            assert_eq!(back, data, "{map:?}");
            assert_eq!(map.then(&map.inverse()), AxisMap::IDENTITY);
        }
    }

    #[test]
    fn composition_is_application_in_turn() {
        let shape = [2, 3, 4];
        let data: Vec<u32> = (0..24).collect();
        for a in every_map() {
            for b in every_map() {
                let step = a.apply(&data, 1, shape).unwrap();
                let twice = b.apply(&step, 1, a.permute(shape)).unwrap();
                assert_eq!(a.then(&b).apply(&data, 1, shape).unwrap(), twice, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn an_axis_reaches_the_side_its_letter_names() {
        // File axes: x runs to posterior, y to superior, z to left. A voxel far along file x must
        // end at the low end of the anterior axis.
        let affine = [[0., 0., -3., 0.], [-2., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 0., 1.]];
        let map = AxisMap::to_orientation(&affine, "RAS").unwrap();
        let shape = [2, 3, 4]; // z, y, x of the file
        assert_eq!(map.permute(shape), [3, 4, 2]); // S (file y), A (file x), R (file z)
        let mut data = vec![0u8; 24];
        data[3] = 1; // x = 3 (most posterior), y = 0 (most inferior), z = 0 (most right)
        let out = map.apply(&data, 1, shape).unwrap();
        let at = out.iter().position(|&v| v == 1).unwrap();
        assert_eq!([at / 8, at / 2 % 4, at % 2], [0, 0, 1]);
    }

    #[test]
    fn a_slanted_axis_goes_where_nibabel_puts_it() {
        // Found by search, checked with nibabel 5.4.2: the assignment with the largest sum of cosines would be another one.
        for (rows, code) in SLANTED {
            let mut affine = [[0.0; 4]; 4];
            for r in 0..3 {
                affine[r][..3].copy_from_slice(&rows[r]);
            }
            affine[3][3] = 1.0;
            assert_eq!(AxisMap::to_orientation(&affine, code).unwrap(), AxisMap::IDENTITY, "{rows:?}");
        }
    }

    #[test]
    fn codes_that_name_no_orientation_are_refused() {
        let eye = [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]];
        for code in ["", "RA", "RAR", "XYZ", "RASS", "ras"] {
            assert!(AxisMap::to_orientation(&eye, code).is_err(), "{code}");
        }
        let flat = [[1., 0., 0., 0.], [0., 0., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]];
        assert!(AxisMap::to_orientation(&flat, "RAS").is_err());
    }
}
