//! The box around everything that is not zero, as nnU-Net crops.

use mnx_artifact::Connectivity;

use crate::components::Components;
use crate::error::{VolumeError, try_filled, try_reserve};

/// Which voxels are not background: any channel non-zero, holes filled (nnU-Net v1 and v2 alike).
///
/// A hole is background that no path of face-adjacent background voxels joins to the volume's border
/// (`binary_fill_holes` with its default structure).
pub(crate) fn nonzero_mask(data: &[f32], channels: usize, shape: [usize; 3]) -> Result<Vec<bool>, VolumeError> {
    let [nz, ny, nx] = shape;
    let voxels = nz * ny * nx;
    let mut inside = try_filled(voxels, false, "mask of non-zero voxels")?;
    for channel in data.chunks_exact(voxels.max(1)).take(channels) {
        for (m, v) in inside.iter_mut().zip(channel) {
            *m |= *v != 0.0;
        }
    }
    let background = Components::new(shape, Connectivity::Faces, |i| !inside[i]);
    let mut open = vec![false; background.count];
    for (run, &c) in background.runs.iter().zip(&background.component) {
        let (z, y) = (run.row / ny, run.row % ny);
        open[c as usize] |= z == 0 || z + 1 == nz || y == 0 || y + 1 == ny || run.start == 0 || run.end as usize == nx;
    }
    for (run, &c) in background.runs.iter().zip(&background.component) {
        if !open[c as usize] {
            inside[run.row * nx..][run.start as usize..run.end as usize].fill(true);
        }
    }
    Ok(inside)
}

/// The smallest box (low, size per axis z, y, x) that holds the mask; the whole volume if it is empty.
pub(crate) fn bounding_box(mask: &[bool], shape: [usize; 3]) -> ([usize; 3], [usize; 3]) {
    let [nz, ny, nx] = shape;
    let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
    for z in 0..nz {
        for y in 0..ny {
            let row = &mask[(z * ny + y) * nx..][..nx];
            let Some(first) = row.iter().position(|&m| m) else {
                continue;
            };
            let last = row.iter().rposition(|&m| m).unwrap_or(first);
            for (a, (from, to)) in [(z, z), (y, y), (first, last)].into_iter().enumerate() {
                low[a] = low[a].min(from);
                high[a] = high[a].max(to + 1);
            }
        }
    }
    if low[0] == usize::MAX {
        return ([0; 3], shape);
    }
    (low, std::array::from_fn(|a| high[a] - low[a]))
}

/// Copies a box out of `channels` volumes.
pub(crate) fn cut<T: Copy>(
    data: &[T],
    channels: usize,
    shape: [usize; 3],
    low: [usize; 3],
    size: [usize; 3],
) -> Result<Vec<T>, VolumeError> {
    let mut out = try_reserve(channels * size.iter().product::<usize>(), "cropped volume")?;
    for at in rows(channels, shape, low, size) {
        out.extend_from_slice(&data[at..at + size[2]]);
    }
    Ok(out)
}

/// A cut without a second copy of the volume: rows only ever move towards the front.
pub(crate) fn cut_in_place<T: Copy>(data: &mut Vec<T>, channels: usize, shape: [usize; 3], low: [usize; 3], size: [usize; 3]) {
    let mut to = 0;
    for at in rows(channels, shape, low, size) {
        data.copy_within(at..at + size[2], to);
        to += size[2];
    }
    data.truncate(to);
    data.shrink_to_fit();
}

/// Where the rows of a box begin in `channels` volumes of `shape`.
fn rows(channels: usize, shape: [usize; 3], low: [usize; 3], size: [usize; 3]) -> impl Iterator<Item = usize> {
    (0..channels).flat_map(move |c| {
        (0..size[0]).flat_map(move |z| (0..size[1]).map(move |y| ((c * shape[0] + z + low[0]) * shape[1] + y + low[1]) * shape[2] + low[2]))
    })
}

/// Copies a box back into a volume of `shape` (one channel).
pub(crate) fn paste<T: Copy>(part: &[T], size: [usize; 3], out: &mut [T], shape: [usize; 3], low: [usize; 3]) {
    for (row, to) in part.chunks_exact(size[2].max(1)).zip(rows(1, shape, low, size)) {
        out[to..to + size[2]].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hole_is_filled_and_an_open_hollow_is_not() {
        let shape = [5, 6, 7];
        let at = |z: usize, y: usize, x: usize| (z * 6 + y) * 7 + x;
        let mut data = vec![0f32; 210];
        for z in 1..4 {
            for y in 1..4 {
                for x in 2..5 {
                    data[at(z, y, x)] = 1.0;
                }
            }
        }
        data[at(2, 2, 3)] = 0.0;
        let mask = nonzero_mask(&data, 1, shape).unwrap();
        assert!(mask[at(2, 2, 3)]);
        assert_eq!(mask.iter().filter(|&&m| m).count(), 27);
        assert_eq!(bounding_box(&mask, shape), ([1, 1, 2], [3, 3, 3]));
        data[at(2, 2, 2)] = 0.0; // opens the hole
        let mask = nonzero_mask(&data, 1, shape).unwrap();
        assert!(!mask[at(2, 2, 3)]);
        assert_eq!(mask.iter().filter(|&&m| m).count(), 25);
    }

    #[test]
    fn an_empty_volume_is_kept_whole() {
        let mask = nonzero_mask(&[0.0; 24], 1, [2, 3, 4]).unwrap();
        assert_eq!(bounding_box(&mask, [2, 3, 4]), ([0; 3], [2, 3, 4]));
        let one = nonzero_mask(&[0.0], 1, [1, 1, 1]).unwrap();
        assert_eq!(bounding_box(&one, [1, 1, 1]), ([0; 3], [1; 3]));
    }

    #[test]
    fn cut_and_paste_are_inverse() {
        let data: Vec<u32> = (0..420).collect();
        let (low, size) = ([1, 2, 3], [2, 3, 4]);
        let part = cut(&data, 2, [5, 6, 7], low, size).unwrap();
        assert_eq!((part[0], part[24]), ((6 + 2) * 7 + 3, 210 + (6 + 2) * 7 + 3));
        let mut moved = data.clone();
        cut_in_place(&mut moved, 2, [5, 6, 7], low, size);
        assert_eq!(moved, part);
        let mut back = data[..210].to_vec();
        for z in 1..3 {
            for y in 2..5 {
                for x in 3..7 {
                    back[(z * 6 + y) * 7 + x] = 0;
                }
            }
        }
        assert_ne!(back, data[..210]);
        paste(&part[..24], size, &mut back, [5, 6, 7], low);
        assert_eq!(back, data[..210]);
    }
}
