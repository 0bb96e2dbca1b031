//! Which way a volume's axes point, and exact re-arrangements of them.

use rayon::prelude::*;

use crate::error::VolumeError;

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
            return Err(VolumeError::Setting(format!("transpose is {perm:?}, expected a permutation of [0, 1, 2]")));
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

/// For each of the file's x, y, z axes: the world axis it mostly runs along and whether upwards.
/// The assignment is one-to-one and maximises the sum of squared direction cosines.
pub(crate) fn directions(affine: &[[f64; 4]; 4]) -> Result<[(usize, bool); 3], VolumeError> {
    let mut cosine = [[0.0; 3]; 3];
    for axis in 0..3 {
        let norm = (0..3).map(|r| affine[r][axis] * affine[r][axis]).sum::<f64>().sqrt();
        if !norm.is_finite() || norm <= 0.0 {
            return Err(VolumeError::Setting(format!("the orientation cannot be told: column {axis} of the affine has length {norm}")));
        }
        for r in 0..3 {
            cosine[r][axis] = affine[r][axis] / norm;
        }
    }
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let score = |o: &[usize; 3]| (0..3).map(|a| cosine[o[a]][a] * cosine[o[a]][a]).sum::<f64>();
    let mut best = orders[0];
    for order in &orders[1..] {
        if score(order) > score(&best) + 1e-9 {
            best = *order;
        }
    }
    Ok(std::array::from_fn(|a| (best[a], cosine[best[a]][a] > 0.0)))
}

fn parse_code(code: &str) -> Result<[(usize, bool); 3], VolumeError> {
    let wrong =
        || VolumeError::Setting(format!("orientation is {code:?}, expected three letters, one each of R/L, A/P and S/I, such as \"RAS\""));
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
    fn codes_that_name_no_orientation_are_refused() {
        let eye = [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]];
        for code in ["", "RA", "RAR", "XYZ", "RASS", "ras"] {
            assert!(AxisMap::to_orientation(&eye, code).is_err(), "{code}");
        }
        let flat = [[1., 0., 0., 0.], [0., 0., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]];
        assert!(AxisMap::to_orientation(&flat, "RAS").is_err());
    }
}
