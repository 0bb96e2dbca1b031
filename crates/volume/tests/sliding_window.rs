//! Tiles, weights, padding, mirroring and bands against slow direct definitions.
#![allow(clippy::unwrap_used)]

mod nifti_bytes;

use mnx_artifact::Gaussian;
use mnx_volume::{Band, Scan, SlidingWindow, VolumeError, gaussian_weights, tile_starts};
use nifti_bytes::Draws;

#[test]
fn tiles_are_where_nnunet_puts_them() {
    // Recorded by the reference run on a volume of 189x233x197 voxels, patch 64, step 0.5.
    let window = SlidingWindow::new(&[64, 64, 64]).unwrap();
    let tiles = window.tiles([189, 233, 197]);
    assert_eq!(tiles[0], [0, 31, 62, 94, 125]);
    assert_eq!(tiles[1], [0, 28, 56, 84, 113, 141, 169]);
    assert_eq!(tiles[2], [0, 27, 53, 80, 106, 133]);
    assert_eq!(tile_starts(110, 64, 0.5), [0, 23, 46]);
    assert_eq!(tile_starts(200, 128, 0.5), [0, 36, 72]);
    assert_eq!(tile_starts(320, 128, 0.5), [0, 64, 128, 192]);
    assert_eq!(tile_starts(333, 128, 0.5), [0, 51, 102, 154, 205]);
    assert_eq!(tile_starts(64, 64, 0.5), [0]);
    assert_eq!(tile_starts(9, 64, 0.5), [0]);
    assert_eq!(tile_starts(3, 1, 0.5), [0, 1, 2]);
}

#[test]
fn weights_are_a_gaussian_of_peak_ten() {
    let w = gaussian_weights([8, 16, 5], Gaussian::Peak10);
    let at = |z: usize, y: usize, x: usize| f64::from(w[(z * 16 + y) * 5 + x]);
    assert_eq!(at(4, 8, 2), 10.0);
    let sigma = [1.0, 2.0, 0.625];
    let want = 10.0 * (-(9.0 / sigma[0] + 25.0 / 4.0 + 1.0 / (sigma[2] * sigma[2])) / 2.0f64).exp();
    assert!((at(1, 3, 1) / want - 1.0).abs() < 1e-6);
    assert!(w.iter().all(|v| *v > 0.0));
    // Corner of a usual patch: four sigma on each axis.
    let corner = f64::from(gaussian_weights([128; 3], Gaussian::Peak10)[0]);
    assert!((corner / (10.0 * (-24.0f64).exp()) - 1.0).abs() < 1e-6);

    // The kinds: peak 1; peak 10 in half precision, whose smallest number 2^-24 stands where it would be 0; none.
    let one = gaussian_weights([8, 16, 5], Gaussian::NnunetV1);
    assert!(w.iter().zip(&one).all(|(ten, one)| (ten / one - 10.0).abs() < 1e-5));
    let half = gaussian_weights([128; 3], Gaussian::NnunetV2);
    assert_eq!((half[0], half[(64 * 128 + 64) * 128 + 64]), (2f32.powi(-24), 10.0));
    let full = gaussian_weights([128; 3], Gaussian::Peak10);
    assert!(half.iter().zip(&full).all(|(h, f)| *h == 2f32.powi(-24) || (h - f).abs() <= f / 2048.0 + 2f32.powi(-25)));
    assert_eq!(gaussian_weights([2, 1, 2], Gaussian::None), [1.0; 4]);
}

/// A network that is neither shift- nor mirror-invariant: each class mixes the channels with the
/// voxel's place in the patch and with its x neighbour.
fn network(patch: [usize; 3], channels: usize, classes: usize, input: &[f32], logits: &mut [f32]) {
    let n: usize = patch.iter().product();
    for k in 0..classes {
        for i in 0..n {
            let (z, y, x) = (i / (patch[1] * patch[2]), i / patch[2] % patch[1], i % patch[2]);
            let place = (z * 3 + y * 5 + x * 7) as f32 * 0.01 * (k + 1) as f32;
            let beside = if x > 0 { input[i - 1] } else { -1.0 };
            let sum: f32 = (0..channels).map(|c| input[c * n + i] * (c + k + 1) as f32).sum();
            logits[k * n + i] = sum + place + 0.5 * beside;
        }
    }
}

fn scan<'a>(image: &'a [f32], shape: [usize; 3], classes: usize, mirror_axes: &'a [usize]) -> Scan<'a> {
    Scan { image, shape, classes, mirror_axes }
}

/// The definition: pad, visit every tile, weigh, divide, cut the padding off; all in float64.
fn slow(window: &SlidingWindow, Scan { image, shape, classes, mirror_axes: axes }: Scan<'_>) -> Vec<f64> {
    let channels = image.len() / shape.iter().product::<usize>();
    let p = window.patch;
    let whole: [usize; 3] = std::array::from_fn(|a| shape[a].max(p[a]));
    let low: [usize; 3] = std::array::from_fn(|a| (whole[a] - shape[a]) / 2);
    let voxels: usize = whole.iter().product();
    let n: usize = p.iter().product();
    let get = |c: usize, at: [usize; 3]| -> f32 {
        let inside = (0..3).all(|a| at[a] >= low[a] && at[a] - low[a] < shape[a]);
        if !inside {
            return 0.0;
        }
        let [z, y, x] = std::array::from_fn(|a| at[a] - low[a]);
        image[((c * shape[0] + z) * shape[1] + y) * shape[2] + x]
    };
    let weights = gaussian_weights(p, window.gaussian);
    let (mut sums, mut total) = (vec![0f64; classes * voxels], vec![0f64; voxels]);
    let [sz, sy, sx] = window.tiles(shape);
    for (&z0, &y0, &x0) in sz.iter().flat_map(|z| sy.iter().map(move |y| (z, y))).flat_map(|(z, y)| sx.iter().map(move |x| (z, y, x))) {
        let mut mean = vec![0f64; classes * n];
        for bits in 0..1 << axes.len() {
            let flipped = |a: usize| axes.iter().position(|&x| x == a).is_some_and(|i| bits >> i & 1 == 1);
            let turn = |i: usize| -> [usize; 3] {
                let at = [i / (p[1] * p[2]), i / p[2] % p[1], i % p[2]];
                std::array::from_fn(|a| if flipped(a) { p[a] - 1 - at[a] } else { at[a] })
            };
            let mut input = vec![0f32; channels * n];
            for c in 0..channels {
                for i in 0..n {
                    let t = turn(i);
                    input[c * n + i] = get(c, [z0 + t[0], y0 + t[1], x0 + t[2]]);
                }
            }
            let mut logits = vec![0f32; classes * n];
            network(p, channels, classes, &input, &mut logits);
            for k in 0..classes {
                for i in 0..n {
                    let t = turn(i);
                    mean[k * n + (t[0] * p[1] + t[1]) * p[2] + t[2]] += f64::from(logits[k * n + i]);
                }
            }
        }
        for i in 0..n {
            let at = [i / (p[1] * p[2]) + z0, i / p[2] % p[1] + y0, i % p[2] + x0];
            let to = (at[0] * whole[1] + at[1]) * whole[2] + at[2];
            let w = f64::from(weights[i]);
            total[to] += w;
            for k in 0..classes {
                sums[k * voxels + to] += w * mean[k * n + i] / (1 << axes.len()) as f64;
            }
        }
    }
    let mut out = Vec::new();
    for k in 0..classes {
        for z in 0..shape[0] {
            for y in 0..shape[1] {
                for x in 0..shape[2] {
                    let at = ((z + low[0]) * whole[1] + y + low[1]) * whole[2] + x + low[2];
                    out.push(sums[k * voxels + at] / total[at]);
                }
            }
        }
    }
    out
}

#[test]
fn equals_the_definition_over_shapes_windows_and_mirrors() {
    let mut draws = Draws(3);
    for case in 0..40 {
        let flat = case % 5 == 0;
        let sizes: Vec<usize> = (0..3).map(|_| draws.within(2, 9)).collect();
        let mut window = SlidingWindow::new(if flat { &sizes[1..] } else { &sizes }).unwrap();
        window.step = [0.5, 1.0, 0.75, 0.25][case % 4];
        window.gaussian = [Gaussian::None, Gaussian::Peak10, Gaussian::NnunetV1][case % 3];
        let shape: [usize; 3] = std::array::from_fn(|_| draws.within(1, 19));
        let (channels, classes) = (draws.within(1, 3), draws.within(1, 4));
        let axes: Vec<usize> = (0..3).filter(|_| draws.next() & 1 == 0).collect();
        let voxels: usize = shape.iter().product();
        let image: Vec<f32> = (0..channels * voxels).map(|_| draws.unit() as f32).collect();
        let expected = slow(&window, scan(&image, shape, classes, &axes));

        let patch = window.patch;
        let mut calls = 0;
        let mut net = |input: &[f32], logits: &mut [f32]| -> Result<(), VolumeError> {
            calls += 1;
            network(patch, channels, classes, input, logits);
            Ok(())
        };
        let mut told = Vec::new();
        let got = window.run(scan(&image, shape, classes, &axes), &mut net, &mut |done, all| told.push((done, all))).unwrap();
        assert_eq!(got.len(), expected.len());
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            let close = (f64::from(*g) - e).abs() <= 1e-5 * (1.0 + e.abs());
            assert!(close, "case {case} {window:?} {shape:?} at {i}: {g} {e}");
        }
        let tiles: usize = window.tiles(shape).iter().map(Vec::len).product();
        assert_eq!(calls, tiles << axes.len());
        assert_eq!(told, (0..=tiles).map(|i| (i, tiles)).collect::<Vec<_>>());

        // In bands: the same numbers, each plane once, never more than a patch deep.
        let mut next = 0;
        let mut banded = vec![f32::NAN; got.len()];
        let mut net = |input: &[f32], logits: &mut [f32]| -> Result<(), VolumeError> {
            network(patch, channels, classes, input, logits);
            Ok(())
        };
        let plane = shape[1] * shape[2];
        let mut sink = |band: Band<'_>| {
            assert_eq!(band.z, next);
            assert!(band.depth <= patch[0] && band.depth > 0);
            next += band.depth;
            for (k, part) in band.logits.chunks_exact(band.depth * plane).enumerate() {
                banded[k * voxels + band.z * plane..][..part.len()].copy_from_slice(part);
            }
            Ok(())
        };
        window.run_banded(scan(&image, shape, classes, &axes), &mut net, &mut |_, _| {}, &mut sink).unwrap();
        assert_eq!(next, shape[0]);
        assert_eq!(banded, got);
    }
}

#[test]
fn a_network_s_error_and_wrong_settings_come_through() {
    let window = SlidingWindow::new(&[4, 4, 4]).unwrap();
    let image = vec![0.0; 216];
    let mut calls = 0;
    let mut failing = |_: &[f32], _: &mut [f32]| -> Result<(), VolumeError> {
        calls += 1;
        if calls == 3 { Err(VolumeError::Setting("third tile".into())) } else { Ok(()) }
    };
    let e = window.run(scan(&image, [6; 3], 2, &[]), &mut failing, &mut |_, _| {}).unwrap_err();
    assert_eq!(e.to_string(), "third tile");
    assert_eq!(calls, 3);

    let mut net = |_: &[f32], _: &mut [f32]| -> Result<(), VolumeError> { Ok(()) };
    let mut quiet = |_: usize, _: usize| {};
    assert!(window.run(scan(&image, [6; 3], 0, &[]), &mut net, &mut quiet).is_err());
    assert!(window.run(scan(&image, [6, 6, 5], 1, &[]), &mut net, &mut quiet).is_err());
    assert!(window.run(scan(&image, [6; 3], 1, &[3]), &mut net, &mut quiet).is_err());
    assert!(window.run(scan(&image, [6; 3], 1, &[1, 1]), &mut net, &mut quiet).is_err());
    for step in [0.0, 1.1, -0.1, f64::NAN] {
        let window = SlidingWindow { step, ..window.clone() };
        assert!(window.run(scan(&image, [6; 3], 1, &[]), &mut net, &mut quiet).is_err(), "{step}");
    }
    assert!(SlidingWindow::new(&[4, 0, 4]).is_err());
    assert!(SlidingWindow::new(&[4]).is_err());
}

#[test]
fn members_are_averaged_and_version_two_adds_in_half_precision() {
    let mut draws = Draws(44);
    for case in 0..20 {
        let sizes: Vec<usize> = (0..3).map(|_| draws.within(3, 8)).collect();
        let shape: [usize; 3] = std::array::from_fn(|_| draws.within(2, 15));
        let n: usize = sizes.iter().product();
        let voxels: usize = shape.iter().product();
        let image: Vec<f32> = (0..voxels).map(|_| draws.unit() as f32).collect();
        let mut window = SlidingWindow { members: 3, gaussian: Gaussian::NnunetV2, ..SlidingWindow::new(&sizes).unwrap() };
        let patch = window.patch;
        // Member m scales the scores by m + 1.
        let mut net = |input: &[f32], scores: &mut [f32]| -> Result<(), VolumeError> {
            for (m, scores) in scores.chunks_exact_mut(2 * n).enumerate() {
                network(patch, 1, 2, input, scores);
                scores.iter_mut().for_each(|v| *v *= (m + 1) as f32);
            }
            Ok(())
        };
        let halves = window.run(scan(&image, shape, 2, &[]), &mut net, &mut |_, _| {}).unwrap();

        // The definition, number by number.
        let h = |v: f32| half::f16::from_f32(v).to_f32();
        let weights = gaussian_weights(patch, Gaussian::NnunetV2);
        let whole: [usize; 3] = std::array::from_fn(|a| shape[a].max(patch[a]));
        let low: [usize; 3] = std::array::from_fn(|a| (whole[a] - shape[a]) / 2);
        let mut want = vec![0f32; 2 * voxels];
        let [sz, sy, sx] = window.tiles(shape);
        let mut total = vec![0f32; voxels];
        let mut sums = vec![0f32; 6 * voxels];
        for (&z0, &y0, &x0) in sz.iter().flat_map(|z| sy.iter().map(move |y| (z, y))).flat_map(|(z, y)| sx.iter().map(move |x| (z, y, x))) {
            let at = |i: usize| -> Option<usize> {
                let p = [i / (patch[1] * patch[2]) + z0, i / patch[2] % patch[1] + y0, i % patch[2] + x0];
                let inside = (0..3).all(|a| p[a] >= low[a] && p[a] - low[a] < shape[a]);
                inside.then(|| ((p[0] - low[0]) * shape[1] + p[1] - low[1]) * shape[2] + p[2] - low[2])
            };
            let input: Vec<f32> = (0..n).map(|i| at(i).map_or(0.0, |j| image[j])).collect();
            let mut scores = vec![0f32; 2 * n];
            network(patch, 1, 2, &input, &mut scores);
            for i in 0..n {
                let Some(j) = at(i) else { continue };
                total[j] = h(total[j] + weights[i]);
                for m in 0..3 {
                    for k in 0..2 {
                        let sum = &mut sums[(m * 2 + k) * voxels + j];
                        *sum = h(*sum + scores[k * n + i] * (m + 1) as f32 * weights[i]);
                    }
                }
            }
        }
        for k in 0..2 {
            for j in 0..voxels {
                let mean = |m: usize| h(sums[(m * 2 + k) * voxels + j] / total[j]);
                want[k * voxels + j] = h(h(h(mean(0) + mean(1)) + mean(2)) / 3.0);
            }
        }
        assert_eq!(halves, want, "case {case} {window:?} {shape:?}");

        // In float32 members only scale.
        window.gaussian = Gaussian::Peak10;
        let single = SlidingWindow { members: 1, ..window.clone() };
        let mut one = |input: &[f32], scores: &mut [f32]| -> Result<(), VolumeError> {
            network(patch, 1, 2, input, scores);
            Ok(())
        };
        let all = window.run(scan(&image, shape, 2, &[]), &mut net, &mut |_, _| {}).unwrap();
        let first = single.run(scan(&image, shape, 2, &[]), &mut one, &mut |_, _| {}).unwrap();
        assert!(all.iter().zip(&first).all(|(a, f)| (a - 2.0 * f).abs() <= 1e-5 * (1.0 + f.abs())));
    }
}

/// A network that takes patches in ahead and computes them when it likes, oldest first.
struct Ahead {
    patch: [usize; 3],
    depth: usize,
    waiting: std::collections::VecDeque<Vec<f32>>,
    most: usize,
}

impl mnx_volume::Queue<VolumeError> for Ahead {
    fn depth(&self) -> usize {
        self.depth
    }

    fn push(&mut self, patch: &[f32]) -> Result<(), VolumeError> {
        self.waiting.push_back(patch.to_vec());
        self.most = self.most.max(self.waiting.len());
        Ok(())
    }

    fn pop(&mut self, logits: &mut [f32]) -> Result<(), VolumeError> {
        let input = self.waiting.pop_front().unwrap();
        network(self.patch, 2, 3, &input, logits);
        Ok(())
    }
}

#[test]
fn patches_put_in_ahead_change_no_bit() {
    let mut draws = Draws(77);
    for (shape, patch, axes) in [([9, 11, 13], [4, 5, 6], &[][..]), ([7, 3, 10], [4, 4, 4], &[0, 2]), ([5, 9, 8], [1, 4, 4], &[1, 2])] {
        let image: Vec<f32> = (0..2 * shape.iter().product::<usize>()).map(|_| draws.unit() as f32).collect();
        let window = SlidingWindow::new(&patch).unwrap();
        let mut one = |input: &[f32], logits: &mut [f32]| -> Result<(), VolumeError> {
            network(window.patch, 2, 3, input, logits);
            Ok(())
        };
        let want = window.run::<VolumeError>(scan(&image, shape, 3, axes), &mut one, &mut |_, _| {}).unwrap();
        for depth in [0, 1, 2, 5, 1000] {
            let mut queue = Ahead { patch: window.patch, depth, waiting: Default::default(), most: 0 };
            let (mut got, mut seen) = (vec![f32::NAN; want.len()], Vec::new());
            let plane = shape[1] * shape[2];
            let mut sink = |band: Band<'_>| -> Result<(), VolumeError> {
                for (k, part) in band.logits.chunks_exact(band.depth * plane).enumerate() {
                    got[k * shape[0] * plane + band.z * plane..][..part.len()].copy_from_slice(part);
                }
                Ok(())
            };
            window.run_queued(scan(&image, shape, 3, axes), &mut queue, &mut |done, all| seen.push((done, all)), &mut sink).unwrap();
            assert_eq!(got, want, "depth {depth}");
            assert!(queue.waiting.is_empty());
            let jobs = (seen.len() - 1) << axes.len();
            assert_eq!(queue.most, depth.clamp(1, jobs));
        }
    }
}
