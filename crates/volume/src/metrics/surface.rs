//! The surface voxels of a mask that is given by labels.

use rayon::prelude::*;

use super::overlap::Extent;
use crate::error::{VolumeError, try_filled};

/// A mask: voxels of a label volume whose label is in a set, less those that another volume rules out.
pub(super) struct Selection<'a> {
    volume: &'a [u16],
    shape: [usize; 3],
    /// By label.
    member: Vec<bool>,
    left_out: Option<(&'a [u16], u16)>,
}

impl<'a> Selection<'a> {
    /// Voxels of `volume` with one of `labels`, but not where `left_out`'s volume has its label.
    pub fn new(volume: &'a [u16], shape: [usize; 3], labels: &[u16], left_out: Option<(&'a [u16], u16)>) -> Self {
        let mut member = vec![false; 1 << 16];
        for label in labels {
            member[usize::from(*label)] = true;
        }
        Self { volume, shape, member, left_out }
    }

    fn holds(&self, voxel: usize) -> bool {
        self.member[usize::from(self.volume[voxel])] && self.left_out.is_none_or(|(other, label)| other[voxel] != label)
    }

    /// Whether the voxel is in the mask and a face neighbour is not.
    fn is_surface(&self, at: [usize; 3]) -> bool {
        let [_, ny, nx] = self.shape;
        let stride = [ny * nx, nx, 1];
        let voxel = at[0] * stride[0] + at[1] * stride[1] + at[2];
        self.holds(voxel)
            && (0..3).any(|a| {
                let n = self.shape[a];
                n > 1 && (at[a] == 0 || at[a] + 1 == n || !self.holds(voxel - stride[a]) || !self.holds(voxel + stride[a]))
            })
    }
}

/// The surface of a mask within the box around the mask.
pub(super) struct Surface {
    /// First voxel of the box, z, y, x.
    pub origin: [usize; 3],
    /// Voxels of the box, z, y, x.
    pub shape: [usize; 3],
    /// Whether a voxel of the box is on the surface.
    pub mask: Vec<bool>,
}

impl Surface {
    /// The surface of a mask whose voxels all lie in `extent`.
    ///
    /// # Errors
    /// When memory for the box cannot be had.
    pub fn of(selection: &Selection<'_>, extent: Extent) -> Result<Self, VolumeError> {
        let origin = extent.low;
        let shape: [usize; 3] = std::array::from_fn(|a| extent.high[a] - extent.low[a]);
        let mut mask = try_filled(shape.iter().product(), false, "surface of a class")?;
        mask.par_chunks_mut(shape[1] * shape[2]).enumerate().for_each(|(z, plane)| {
            for (y, row) in plane.chunks_exact_mut(shape[2]).enumerate() {
                for (x, voxel) in row.iter_mut().enumerate() {
                    *voxel = selection.is_surface([origin[0] + z, origin[1] + y, origin[2] + x]);
                }
            }
        });
        Ok(Self { origin, shape, mask })
    }

    /// One plane of the box.
    pub fn plane(&self, z: usize) -> &[bool] {
        let area = self.shape[1] * self.shape[2];
        &self.mask[z * area..(z + 1) * area]
    }
}
