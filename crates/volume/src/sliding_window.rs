//! Patch by patch over a volume: nnU-Net's tiles, Gaussian weights and mirroring.

use half::f16;
use mnx_artifact::{Gaussian, Windows};

use crate::accumulate::Accumulator;
use crate::error::{VolumeError, try_filled};
use mnx_words::extents;

/// Peak of nnU-Net v2's weights, which keeps half precision away from zero.
const PEAK: f64 = 10.0;

/// Where tiles of length `patch` begin on an axis of `n` voxels: `ceil((n - patch) / (patch step)) + 1`
/// of them, spread evenly, rounded half to even. An axis no longer than the patch has one tile; a
/// patch of one voxel (the slice axis of a 2-D network) visits every voxel once.
pub fn tile_starts(n: usize, patch: usize, step: f64) -> Vec<usize> {
    if patch == 1 {
        return (0..n).collect();
    }
    let Some(room) = n.checked_sub(patch).filter(|&r| r > 0) else {
        return vec![0];
    };
    let count = (room as f64 / (patch as f64 * step)).ceil() as usize + 1;
    let stride = room as f64 / (count - 1) as f64;
    (0..count).map(|i| (stride * i as f64).round_ties_even() as usize).collect()
}

/// MONAI's tile starts on an axis of `n` voxels, at least the patch's: every `int(patch step)` voxels (at least 1; the whole patch where
/// the axis is as long), up to the first tile that reaches the end, which is moved back to lie on the axis. MONAI's overlap is
/// `1 - step`, computed so: an overlap of 0.9 steps 1 of 20 voxels, a step of 0.1 steps 2.
pub fn monai_tile_starts(n: usize, patch: usize, step: f64) -> Vec<usize> {
    let interval = if n == patch { patch } else { ((patch as f64 * step) as usize).max(1) };
    let room = n.saturating_sub(patch);
    (0..=room.div_ceil(interval)).map(|i| (i * interval).min(room)).collect()
}

/// Weights of a patch `[z, y, x]`: a Gaussian around voxel `p / 2` with sigma `p / 8` per axis, of the kind's peak and number format,
/// zeros replaced by the smallest positive weight.
pub fn gaussian_weights(patch: [usize; 3], kind: Gaussian) -> Vec<f32> {
    let peak = match kind {
        Gaussian::None => return vec![1.0; patch.iter().product()],
        Gaussian::Monai => return monai_weights(patch),
        Gaussian::NnunetV1 => 1.0,
        Gaussian::Peak10 | Gaussian::NnunetV2 => PEAK,
    };
    let axis = |p: usize| -> Vec<f64> {
        let (centre, sigma) = ((p / 2) as f64, p as f64 / 8.0);
        (0..p).map(|i| (-((i as f64 - centre) / sigma).powi(2) / 2.0).exp()).collect()
    };
    let [gz, gy, gx] = patch.map(axis);
    let mut out = Vec::with_capacity(gz.len() * gy.len() * gx.len());
    for z in &gz {
        for y in &gy {
            let zy = peak * z * y;
            out.extend(gx.iter().map(|x| match kind {
                // By way of float32, as PyTorch rounds.
                Gaussian::NnunetV2 => f16::from_f32((zy * x) as f32).to_f32(),
                Gaussian::Peak10 | Gaussian::NnunetV1 | Gaussian::Monai | Gaussian::None => (zy * x) as f32,
            }));
        }
    }
    let smallest = out.iter().copied().filter(|w| *w > 0.0).fold(f32::INFINITY, f32::min);
    for w in &mut out {
        if *w <= 0.0 {
            *w = smallest;
        }
    }
    out
}

/// MONAI's `compute_importance_map`: a Gaussian around `(p - 1) / 2` with sigma `p / 8` per axis, in float32, raised to the smallest of
/// its values or 1e-3, whichever is larger.
fn monai_weights(patch: [usize; 3]) -> Vec<f32> {
    let axis = |p: usize| -> Vec<f32> {
        let (centre, sigma) = ((p as f32 - 1.0) / 2.0, 0.125 * p as f64);
        let scale = (-2.0 * sigma * sigma) as f32;
        (0..p).map(|i| ((i as f32 - centre).powi(2) / scale).exp()).collect()
    };
    let [gz, gy, gx] = patch.map(axis);
    let mut out = Vec::with_capacity(gz.len() * gy.len() * gx.len());
    for z in &gz {
        for y in &gy {
            out.extend(gx.iter().map(|x| z * y * x));
        }
    }
    let floor = out.iter().copied().fold(f32::INFINITY, f32::min).max(1e-3);
    out.iter_mut().for_each(|w| *w = w.max(floor));
    out
}

/// Finished planes of the averaged logits.
#[derive(Debug, Clone, Copy)]
pub struct Band<'a> {
    /// First plane.
    pub z: usize,
    /// Planes.
    pub depth: usize,
    /// Logits `[k, depth, y, x]`.
    pub logits: &'a [f32],
}

/// The window that a network is slid over a volume with.
#[derive(Debug, Clone, PartialEq)]
pub struct SlidingWindow {
    /// Patch size z, y, x.
    pub patch: [usize; 3],
    /// Distance of neighbouring tiles as a fraction of the patch, above 0 and at most 1.
    pub step: f64,
    /// Where tiles begin.
    pub windows: Windows,
    /// Weights of a tile's voxels, and the number format that tiles are added in.
    pub gaussian: Gaussian,
    /// Predictions that the network gives of one patch, one after the other (folds); they are averaged after the tiles.
    pub members: usize,
}

/// A network: one patch `[c, pz, py, px]` in, its logits `[member, k, pz, py, px]` out.
pub type Network<'a, E> = dyn FnMut(&[f32], &mut [f32]) -> Result<(), E> + 'a;

/// A network that may have several patches in hand, or computes several at once: patches go in ahead of the results that come out, in the
/// same order.
pub trait Queue<E> {
    /// Patches to put in before the first result is taken.
    fn depth(&self) -> usize;

    /// Puts in the next patch `[c, pz, py, px]`.
    ///
    /// # Errors
    /// The network's.
    fn push(&mut self, patch: &[f32]) -> Result<(), E>;

    /// Takes out the logits `[member, k, pz, py, px]` of the oldest patch.
    ///
    /// # Errors
    /// The network's.
    fn pop(&mut self, logits: &mut [f32]) -> Result<(), E>;
}

/// A network that is asked for one patch at a time.
struct OneByOne<'n, 'a, E> {
    network: &'n mut Network<'a, E>,
    patch: Vec<f32>,
}

impl<E> Queue<E> for OneByOne<'_, '_, E> {
    fn depth(&self) -> usize {
        1
    }

    fn push(&mut self, patch: &[f32]) -> Result<(), E> {
        self.patch.clear();
        self.patch.extend_from_slice(patch);
        Ok(())
    }

    fn pop(&mut self, logits: &mut [f32]) -> Result<(), E> {
        (self.network)(&self.patch, logits)
    }
}

/// Where finished bands go.
pub type Sink<'a, E> = dyn FnMut(Band<'_>) -> Result<(), E> + 'a;

/// An image, and what the network is asked there.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    /// Channels one after the other, `[c, z, y, x]`.
    pub image: &'a [f32],
    /// Voxels along z, y, x.
    pub shape: [usize; 3],
    /// Scores that each member gives of a voxel.
    pub classes: usize,
    /// Axes to mirror patches along (0 = z, 1 = y, 2 = x): the network is asked once per subset of them, and the un-mirrored logits are averaged.
    pub mirror_axes: &'a [usize],
}

/// What a run needs to know of the volume.
pub(crate) struct Grid {
    pub channels: usize,
    pub shape: [usize; 3],
    /// Padding before the volume where it is smaller than the patch.
    pub low: [usize; 3],
}

impl SlidingWindow {
    /// Half-overlapping tiles with Gaussian weights. Two patch sizes (y, x) make a 2-D network's
    /// window, applied slice by slice.
    ///
    /// # Errors
    /// When there are not two or three sizes, or one is 0.
    pub fn new(patch: &[usize]) -> Result<SlidingWindow, VolumeError> {
        let patch = match *patch {
            [y, x] => [1, y, x],
            [z, y, x] => [z, y, x],
            _ => {
                return Err(VolumeError::Setting(format!("patch is {}, expected two or three sizes", extents(patch))));
            }
        };
        let window = SlidingWindow { patch, step: 0.5, windows: Windows::default(), gaussian: Gaussian::default(), members: 1 };
        window.verify()?;
        Ok(window)
    }

    fn verify(&self) -> Result<(), VolumeError> {
        if self.patch.contains(&0) {
            return Err(VolumeError::Setting(format!("patch is {}, expected positive sizes", extents(&self.patch))));
        }
        if self.members == 0 {
            return Err(VolumeError::Setting("a network without members".into()));
        }
        if !(self.step > 0.0 && self.step <= 1.0) {
            return Err(VolumeError::Setting(format!("step is {} of the patch, expected above 0 and at most 1", self.step)));
        }
        Ok(())
    }

    /// Tile starts along z, y, x of a volume, in voxels of the volume padded to at least the patch.
    pub fn tiles(&self, shape: [usize; 3]) -> [Vec<usize>; 3] {
        let starts = match self.windows {
            Windows::Nnunet => tile_starts,
            Windows::Monai => monai_tile_starts,
        };
        std::array::from_fn(|a| starts(shape[a].max(self.patch[a]), self.patch[a], self.step))
    }

    /// Runs the network over an image and returns the averaged logits `[k, z, y, x]`. `network` gets one patch `[c, pz, py, px]` and fills
    /// logits `[k, pz, py, px]`. `progress` is told (tiles done, tiles in all).
    ///
    /// # Errors
    /// Whatever the network returns; a setting that cannot be met; memory.
    pub fn run<E: From<VolumeError>>(
        &self,
        scan: Scan<'_>,
        network: &mut Network<'_, E>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>, E> {
        let plane = scan.shape[1] * scan.shape[2];
        let voxels = plane * scan.shape[0];
        let mut out = try_filled(scan.classes * voxels, 0f32, "logits of the whole volume")?;
        let mut sink = |band: Band<'_>| {
            let n = band.depth * plane;
            for (k, part) in band.logits.chunks_exact(n).enumerate() {
                out[k * voxels + band.z * plane..][..n].copy_from_slice(part);
            }
            Ok(())
        };
        self.run_banded(scan, network, progress, &mut sink)?;
        Ok(out)
    }

    /// As [`SlidingWindow::run`], but hands every band of planes to `sink` as soon as no later tile
    /// can touch it, in ascending z. At most one patch depth of logits is held.
    ///
    /// # Errors
    /// Whatever network or sink return; a setting that cannot be met; memory.
    pub fn run_banded<E: From<VolumeError>>(
        &self,
        scan: Scan<'_>,
        network: &mut Network<'_, E>,
        progress: &mut dyn FnMut(usize, usize),
        sink: &mut Sink<'_, E>,
    ) -> Result<(), E> {
        self.run_queued(scan, &mut OneByOne { network, patch: Vec::new() }, progress, sink)
    }

    /// As [`SlidingWindow::run_banded`], with patches put into the network ahead of the results taken out. Results are added up in the
    /// same order, so that the logits are the same to the last bit.
    ///
    /// # Errors
    /// As [`SlidingWindow::run_banded`]; patches may be left in the queue then.
    pub fn run_queued<E: From<VolumeError>>(
        &self,
        scan: Scan<'_>,
        network: &mut dyn Queue<E>,
        progress: &mut dyn FnMut(usize, usize),
        sink: &mut Sink<'_, E>,
    ) -> Result<(), E> {
        self.verify()?;
        let Scan { image, shape, classes, mirror_axes } = scan;
        let voxels: usize = shape.iter().product();
        if voxels == 0 || image.is_empty() || !image.len().is_multiple_of(voxels) || classes == 0 {
            return Err(VolumeError::Setting(format!(
                "{} voxels for shape {} and {classes} classes, expected whole non-empty channels and at least one class",
                image.len(),
                extents(&shape)
            ))
            .into());
        }
        let grid = Grid { channels: image.len() / voxels, shape, low: std::array::from_fn(|a| self.patch[a].saturating_sub(shape[a]) / 2) };
        let mirrors = subsets(mirror_axes)?;
        let [starts_z, starts_y, starts_x] = self.tiles(shape);
        let total = starts_z.len() * starts_y.len() * starts_x.len();
        // nnU-Net v1 weighs tiles only where there are several.
        let kind = if self.gaussian == Gaussian::NnunetV1 && total == 1 { Gaussian::None } else { self.gaussian };
        let weights = gaussian_weights(self.patch, kind);
        let mut starts = Vec::with_capacity(total);
        for &z in &starts_z {
            for &y in &starts_y {
                starts.extend(starts_x.iter().map(|&x| [z, y, x]));
            }
        }
        let tiles = extents(&[starts_z.len(), starts_y.len(), starts_x.len()]);
        tracing::info!(shape = %extents(&shape), patch = %extents(&self.patch), %tiles, mirrorings = mirrors.len(), "sliding window");
        let mut tile = Tile::new(self, classes * self.members)?;
        let mut feed = Feed::new(self, image, &grid, &starts, &mirrors)?;
        let mut bands = Accumulator::new(self, &grid, classes)?;
        let mut done = 0;
        progress(0, total);
        for (i, &z) in starts_z.iter().enumerate() {
            for &y in &starts_y {
                for &x in &starts_x {
                    tile.predict(&mirrors, &mut feed, network)?;
                    bands.add(&tile.logits, &weights, &grid, [z, y, x]);
                    done += 1;
                    progress(done, total);
                }
            }
            let next = starts_z.get(i + 1).map_or(shape[0], |z| z.saturating_sub(grid.low[0]));
            bands.emit(next.min(shape[0]), sink)?;
        }
        Ok(())
    }

    fn patch_voxels(&self) -> usize {
        self.patch.iter().product()
    }
}

/// Every subset of the axes, the empty one first.
fn subsets(axes: &[usize]) -> Result<Vec<[bool; 3]>, VolumeError> {
    let mut out = vec![[false; 3]];
    for (i, &axis) in axes.iter().enumerate() {
        if axis > 2 || axes[..i].contains(&axis) {
            let shown: Vec<String> = axes.iter().map(ToString::to_string).collect();
            let shown = shown.join(", ");
            return Err(VolumeError::Setting(format!("mirroring axes are {shown}, expected distinct axes from 0 (z) to 2 (x)")));
        }
        for j in 0..out.len() {
            let mut with = out[j];
            with[axis] = true;
            out.push(with);
        }
    }
    Ok(out)
}

/// Copies rows of `[n, z, y, x]`, mirrored along the marked axes, handing each pair to `row`.
fn mirrored(from: &[f32], to: &mut [f32], [nz, ny, nx]: [usize; 3], flip: [bool; 3], row: impl Fn(&mut f32, f32)) {
    let at = |i: usize, n: usize, flip: bool| if flip { n - 1 - i } else { i };
    for (r, out) in to.chunks_exact_mut(nx).enumerate() {
        let (n, z, y) = (r / (nz * ny), r / ny % nz, r % ny);
        let source = (n * nz + at(z, nz, flip[0])) * ny + at(y, ny, flip[1]);
        let source = &from[source * nx..][..nx];
        if flip[2] {
            out.iter_mut().zip(source.iter().rev()).for_each(|(o, v)| row(o, *v));
        } else {
            out.iter_mut().zip(source).for_each(|(o, v)| row(o, *v));
        }
    }
}

/// Cuts patches and puts them into the network, ahead of their results.
struct Feed<'a> {
    patch: [usize; 3],
    image: &'a [f32],
    grid: &'a Grid,
    starts: &'a [[usize; 3]],
    mirrors: &'a [[bool; 3]],
    /// Patches put in and taken out so far; every tile gives one per mirroring.
    pushed: usize,
    popped: usize,
    input: Vec<f32>,
    turned: Vec<f32>,
}

impl<'a> Feed<'a> {
    fn new(
        window: &SlidingWindow,
        image: &'a [f32],
        grid: &'a Grid,
        starts: &'a [[usize; 3]],
        mirrors: &'a [[bool; 3]],
    ) -> Result<Self, VolumeError> {
        let n = grid.channels * window.patch_voxels();
        let input = try_filled(n, 0.0, "patch")?;
        let turned = if mirrors.len() > 1 { try_filled(n, 0.0, "patch")? } else { Vec::new() };
        Ok(Self { patch: window.patch, image, grid, starts, mirrors, pushed: 0, popped: 0, input, turned })
    }

    /// Fills the network's queue, then takes out the oldest result.
    fn next<E>(&mut self, network: &mut dyn Queue<E>, logits: &mut [f32]) -> Result<(), E> {
        while self.pushed - self.popped < network.depth().max(1)
            && let Some(&start) = self.starts.get(self.pushed / self.mirrors.len())
        {
            let mirror = self.pushed % self.mirrors.len();
            if mirror == 0 {
                self.gather(start);
            }
            if self.mirrors.len() == 1 {
                network.push(&self.input)?;
            } else {
                mirrored(&self.input, &mut self.turned, self.patch, self.mirrors[mirror], |o, v| *o = v);
                network.push(&self.turned)?;
            }
            self.pushed += 1;
        }
        self.popped += 1;
        network.pop(logits)
    }

    /// Cuts the patch out of the image; beyond the image it is zero.
    fn gather(&mut self, start: [usize; 3]) {
        let (grid, image) = (self.grid, self.image);
        let padded = (0..3).any(|a| grid.shape[a] < self.patch[a]);
        if padded {
            self.input.fill(0.0);
        }
        let cover = covered(self.patch, grid, start);
        let [pz, py, px] = self.patch;
        let [nz, ny, nx] = grid.shape;
        for c in 0..grid.channels {
            for z in 0..cover.size[0] {
                for y in 0..cover.size[1] {
                    let from = ((c * nz + cover.image[0] + z) * ny + cover.image[1] + y) * nx;
                    let to = ((c * pz + cover.patch[0] + z) * py + cover.patch[1] + y) * px;
                    self.input[to + cover.patch[2]..][..cover.size[2]].copy_from_slice(&image[from + cover.image[2]..][..cover.size[2]]);
                }
            }
        }
    }
}

/// The logits of one tile.
struct Tile {
    patch: [usize; 3],
    raw: Vec<f32>,
    logits: Vec<f32>,
}

impl Tile {
    fn new(window: &SlidingWindow, scores: usize) -> Result<Tile, VolumeError> {
        let n = window.patch_voxels();
        Ok(Tile {
            patch: window.patch,
            raw: try_filled(scores * n, 0.0, "patch logits")?,
            logits: try_filled(scores * n, 0.0, "patch logits")?,
        })
    }

    /// Averaged logits of the feed's next tile, left in `self.logits`.
    fn predict<E>(&mut self, mirrors: &[[bool; 3]], feed: &mut Feed<'_>, network: &mut dyn Queue<E>) -> Result<(), E> {
        if let [_] = mirrors {
            return feed.next(network, &mut self.logits);
        }
        self.logits.fill(0.0);
        for &flip in mirrors {
            feed.next(network, &mut self.raw)?;
            mirrored(&self.raw, &mut self.logits, self.patch, flip, |o, v| *o += v);
        }
        let share = 1.0 / mirrors.len() as f32;
        self.logits.iter_mut().for_each(|v| *v *= share);
        Ok(())
    }
}

/// The part of a tile that lies on the image: where it begins in both, and its size.
pub(crate) struct Cover {
    pub image: [usize; 3],
    pub patch: [usize; 3],
    pub size: [usize; 3],
}

pub(crate) fn covered(patch: [usize; 3], grid: &Grid, start: [usize; 3]) -> Cover {
    // Only an axis with a single tile is padded, so a padded tile starts at 0.
    Cover { image: start, patch: grid.low, size: std::array::from_fn(|a| patch[a].min(grid.shape[a])) }
}
