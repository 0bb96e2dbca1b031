//! The box around everything that is not zero, as nnU-Net crops.

/// Which voxels are not background: any channel non-zero, holes filled.
///
/// A hole is background that no path of face-adjacent background voxels joins to the volume's border
/// (`binary_fill_holes` with its default structure).
pub(crate) fn nonzero_mask(data: &[f32], channels: usize, shape: [usize; 3]) -> Vec<bool> {
    let [nz, ny, nx] = shape;
    let voxels = nz * ny * nx;
    let mut inside = vec![false; voxels];
    for channel in data.chunks_exact(voxels.max(1)).take(channels) {
        for (m, v) in inside.iter_mut().zip(channel) {
            *m |= *v != 0.0;
        }
    }
    let mut outside = vec![false; voxels];
    let mut open: Vec<usize> = Vec::new();
    let visit = |i: usize, outside: &mut Vec<bool>, open: &mut Vec<usize>| {
        if !inside[i] && !outside[i] {
            outside[i] = true;
            open.push(i);
        }
    };
    for z in 0..nz {
        for y in 0..ny {
            let edge_row = z == 0 || z + 1 == nz || y == 0 || y + 1 == ny;
            let row = (z * ny + y) * nx;
            if edge_row {
                for x in 0..nx {
                    visit(row + x, &mut outside, &mut open);
                }
            } else {
                visit(row, &mut outside, &mut open);
                visit(row + nx - 1, &mut outside, &mut open);
            }
        }
    }
    while let Some(i) = open.pop() {
        let (x, y, z) = (i % nx, i / nx % ny, i / (nx * ny));
        for (at_low, at_high, step) in [(x == 0, x + 1 == nx, 1), (y == 0, y + 1 == ny, nx), (z == 0, z + 1 == nz, nx * ny)] {
            if !at_low {
                visit(i - step, &mut outside, &mut open);
            }
            if !at_high {
                visit(i + step, &mut outside, &mut open);
            }
        }
    }
    outside.into_iter().map(|o| !o).collect()
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
pub(crate) fn cut<T: Copy>(data: &[T], channels: usize, shape: [usize; 3], low: [usize; 3], size: [usize; 3]) -> Vec<T> {
    let mut out = Vec::with_capacity(channels * size.iter().product::<usize>());
    for c in 0..channels {
        for z in 0..size[0] {
            for y in 0..size[1] {
                let at = ((c * shape[0] + z + low[0]) * shape[1] + y + low[1]) * shape[2] + low[2];
                out.extend_from_slice(&data[at..at + size[2]]);
            }
        }
    }
    out
}

/// Copies a box back into a volume of `shape` (one channel).
pub(crate) fn paste<T: Copy>(part: &[T], size: [usize; 3], out: &mut [T], shape: [usize; 3], low: [usize; 3]) {
    for z in 0..size[0] {
        for y in 0..size[1] {
            let from = (z * size[1] + y) * size[2];
            let to = ((z + low[0]) * shape[1] + y + low[1]) * shape[2] + low[2];
            out[to..to + size[2]].copy_from_slice(&part[from..from + size[2]]);
        }
    }
}

#[cfg(test)]
mod tests {
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
        let mask = nonzero_mask(&data, 1, shape);
        assert!(mask[at(2, 2, 3)]);
        assert_eq!(mask.iter().filter(|&&m| m).count(), 27);
        assert_eq!(bounding_box(&mask, shape), ([1, 1, 2], [3, 3, 3]));
        data[at(2, 2, 2)] = 0.0; // opens the hole
        let mask = nonzero_mask(&data, 1, shape);
        assert!(!mask[at(2, 2, 3)]);
        assert_eq!(mask.iter().filter(|&&m| m).count(), 25);
    }

    #[test]
    fn an_empty_volume_is_kept_whole() {
        let mask = nonzero_mask(&[0.0; 24], 1, [2, 3, 4]);
        assert_eq!(bounding_box(&mask, [2, 3, 4]), ([0; 3], [2, 3, 4]));
    }

    #[test]
    fn cut_and_paste_are_inverse() {
        let data: Vec<u32> = (0..210).collect();
        let (low, size) = ([1, 2, 3], [2, 3, 4]);
        let part = cut(&data, 1, [5, 6, 7], low, size);
        assert_eq!(part[0], (6 + 2) * 7 + 3);
        let mut back = data.clone();
        for z in 1..3 {
            for y in 2..5 {
                for x in 3..7 {
                    back[(z * 6 + y) * 7 + x] = 0;
                }
            }
        }
        assert_ne!(back, data);
        paste(&part, size, &mut back, [5, 6, 7], low);
        assert_eq!(back, data);
    }
}
