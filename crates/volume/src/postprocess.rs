//! After the segmentation: the largest component of a set of labels stays, smaller ones become background.

use mnx_artifact::Postprocess;

use crate::components::Components;

/// Applies one rule to labels `[z, y, x]` with voxels of `voxel_mm3` cubic millimetres. Components as large as the largest stay, as in
/// nnU-Net; with `min_size` so do all that are not smaller than it.
pub fn keep_largest(labels: &mut [u16], shape: [usize; 3], rule: &Postprocess, voxel_mm3: f64) {
    let wanted = |v: u16| rule.labels.contains(&u32::from(v));
    let found = Components::new(shape, rule.connectivity, |i| wanted(labels[i]));
    let sizes = found.sizes();
    let Some(&largest) = sizes.iter().max() else {
        return;
    };
    let goes: Vec<bool> = sizes.iter().map(|&n| n != largest && rule.min_size.is_none_or(|least| n as f64 * voxel_mm3 < least)).collect();
    for (run, &c) in found.runs.iter().zip(&found.component) {
        if goes[c as usize] {
            labels[run.row * shape[2]..][run.start as usize..run.end as usize].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use mnx_artifact::Connectivity;

    use super::*;

    fn rule(labels: &[u32], connectivity: Connectivity, min_size: Option<f64>) -> Postprocess {
        Postprocess { labels: labels.to_vec(), connectivity, min_size }
    }

    #[test]
    fn the_largest_component_stays() {
        let shape = [1, 3, 7];
        #[rustfmt::skip]
        let labels = [
            1, 1, 0, 2, 0, 1, 0,
            1, 0, 0, 2, 0, 0, 1,
            0, 3, 0, 0, 0, 1, 1,
        ];
        let kept = |rule: Postprocess, mm3: f64| {
            let mut out = labels;
            keep_largest(&mut out, shape, &rule, mm3);
            out
        };
        // By faces: {3 voxels at the left}, {1}, {3 at the right}: the two largest are equal and stay.
        let faces = kept(rule(&[1], Connectivity::Faces, None), 1.0);
        assert_eq!((faces[0], faces[5], faces[13]), (1, 0, 1));
        // By corners the right one has four voxels.
        let corners = kept(rule(&[1], Connectivity::Corners, None), 1.0);
        assert_eq!((corners[0], corners[5], corners[13]), (0, 1, 1));
        assert_eq!((corners[3], corners[15]), (2, 3), "other labels are left alone");
        // Not below the size: 3 voxels of 2 mm3 are 6 mm3.
        assert_eq!(kept(rule(&[1], Connectivity::Corners, Some(6.0)), 2.0)[0], 1);
        assert_eq!(kept(rule(&[1], Connectivity::Corners, Some(6.5)), 2.0)[0], 0);
        // Several labels count as one object: 1 and 3 touch at a corner.
        let joint = kept(rule(&[1, 3], Connectivity::Corners, None), 1.0);
        assert_eq!((joint[0], joint[15], joint[20]), (1, 3, 1));
        // A label that is not there, and a single voxel.
        assert_eq!(kept(rule(&[9], Connectivity::Faces, None), 1.0), labels);
        let mut one = [1u16];
        keep_largest(&mut one, [1, 1, 1], &rule(&[1], Connectivity::Corners, None), 1.0);
        assert_eq!(one, [1]);
    }
}
