//! A montage of three orthogonal slices with the segmentation in colour and a legend.

mod canvas;
mod font;

use std::collections::BTreeMap;
use std::path::Path;

use mnx_files::WholeFile;

use crate::error::VolumeError;
use crate::read::Volume;
use canvas::{Canvas, Colour, label_colour, text_height, text_width};

/// Pixels of the longest side of a slice.
const LONGEST: f64 = 420.0;
const GAP: usize = 12;
const TEXT: usize = 2;
const BACKGROUND: Colour = [18, 18, 20];
const INK: Colour = [225, 225, 225];
const FAINT: Colour = [150, 150, 155];
/// Share of the label's colour inside a labelled area; its outline is opaque.
const COVER: f32 = 0.38;

/// One of the three views. Rows and columns are array axes (0 = z, 1 = y, 2 = x) of a volume whose
/// axes run to right, anterior and superior, both drawn backwards: superior or anterior at the top,
/// the patient's right on the viewer's left.
struct View {
    title: &'static str,
    across: usize,
    row: usize,
    column: usize,
    top: &'static str,
    left: &'static str,
}

const VIEWS: [View; 3] = [
    View { title: "axial", across: 0, row: 1, column: 2, top: "A", left: "R" },
    View { title: "coronal", across: 1, row: 0, column: 2, top: "S", left: "R" },
    View { title: "sagittal", across: 2, row: 0, column: 1, top: "S", left: "A" },
];

/// A volume turned for display.
struct Scene {
    image: Vec<f32>,
    labels: Vec<u16>,
    shape: [usize; 3],
    spacing: [f64; 3],
    /// Grey 0 and 255.
    window: (f32, f32),
}

/// Writes a PNG of an axial, a coronal and a sagittal slice of the volume's first channel with
/// `labels` `[z, y, x]` over it, and a legend of the labels present with their volumes in
/// millilitres. `names[i]` names label i.
///
/// Each slice is the one that shows most of the segmentation (the sum over labels of the square root
/// of their areas, so that a large organ does not hide the small ones). Slices are drawn to one
/// millimetre scale, right-anterior-superior whatever the file's orientation, the patient's right on
/// the left. Grey levels span the labelled tissue with a margin on both sides.
///
/// # Errors
/// When the labels do not lie on the volume's grid, the orientation cannot be told, or the disk refuses.
pub fn montage(volume: &Volume, labels: &[u16], names: &[String], path: &Path) -> Result<(), VolumeError> {
    let voxels = volume.voxels();
    if labels.len() != voxels || voxels == 0 {
        return Err(VolumeError::Setting(format!("{} labels for a picture of {voxels} voxels", labels.len())));
    }
    let map = volume.toward("RAS")?;
    let scene = Scene {
        image: map.apply(&volume.data[..voxels], 1, volume.shape)?,
        labels: map.apply(labels, 1, volume.shape)?,
        shape: map.permute(volume.shape),
        spacing: map.permute(volume.spacing),
        window: grey_window(&volume.data[..voxels], labels),
    };
    let canvas = compose(&scene, names);
    let io = |e| VolumeError::io(path, e);
    let file = WholeFile::create(path).map_err(io)?;
    canvas.encode(file.file()).map_err(io)?;
    file.commit().map_err(io)
}

fn compose(scene: &Scene, names: &[String]) -> Canvas {
    let size = |axis: usize| scene.shape[axis] as f64 * scene.spacing[axis];
    let millimetres = (0..3).map(size).fold(f64::MIN_POSITIVE, f64::max) / LONGEST;
    let pixels = |axis: usize| ((size(axis) / millimetres).round() as usize).max(1);
    // A flat volume has one view only.
    let views: Vec<&View> = VIEWS
        .iter()
        .filter(|v| scene.shape[v.across] > 1 || scene.shape[v.row].min(scene.shape[v.column]) > 1)
        .filter(|v| scene.shape[v.row] > 1 || scene.shape[v.column] > 1)
        .collect();
    let legend = legend(scene, names);
    let wide: usize = views.iter().map(|v| pixels(v.column) + GAP).sum::<usize>() + GAP;
    let longest = legend.iter().map(|l| l.1.chars().count()).max().unwrap_or(0);
    let cell = text_height(TEXT) + GAP + text_width(longest, TEXT) + 2 * GAP;
    let width = wide.max(cell + GAP);
    let columns = ((width - GAP) / cell).max(1);
    let line = text_height(TEXT) + GAP;
    let tall = views.iter().map(|v| pixels(v.row)).max().unwrap_or(0);
    let top = GAP + line;
    let rows = legend.len().div_ceil(columns).max(1);
    let mut canvas = Canvas::new(width, top + tall + GAP + rows * line + GAP, BACKGROUND);

    let mut x = GAP;
    for view in views {
        let (w, h) = (pixels(view.column), pixels(view.row));
        canvas.text([x, GAP], TEXT, view.title, INK);
        draw_slice(&mut canvas, scene, view, [x, top], [w, h]);
        if w > 60 && h > 60 {
            canvas.text([x + 4, top + h / 2], TEXT, view.left, INK);
            canvas.text([x + w / 2, top + 4], TEXT, view.top, INK);
        }
        x += w + GAP;
    }
    let foot = top + tall + GAP;
    if legend.is_empty() {
        canvas.text([GAP, foot], TEXT, "no label in this volume", FAINT);
    }
    for (i, (label, text)) in legend.iter().enumerate() {
        // Down the columns, so that neighbours in the list stay neighbours.
        let (column, row) = (i / rows, i % rows);
        let (x, y) = (GAP + column * cell, foot + row * line);
        let side = text_height(TEXT);
        canvas.fill([x, y], [side; 2], label_colour(*label));
        canvas.text([x + side + GAP, y], TEXT, text, INK);
    }
    canvas
}

/// The labels present, each with its name and volume.
fn legend(scene: &Scene, names: &[String]) -> Vec<(u16, String)> {
    let mut count: BTreeMap<u16, usize> = BTreeMap::new();
    for l in scene.labels.iter().filter(|l| **l != 0) {
        *count.entry(*l).or_default() += 1;
    }
    let millilitres = scene.spacing.iter().product::<f64>() / 1000.0;
    count
        .into_iter()
        .map(|(label, n)| {
            let name = names.get(usize::from(label)).filter(|n| !n.is_empty());
            let name = name.cloned().unwrap_or_else(|| format!("label {label}"));
            let volume = n as f64 * millilitres;
            let digits = if volume < 10.0 { 1 } else { 0 };
            (label, format!("{name} {volume:.digits$} ml"))
        })
        .collect()
}

/// The slice across `axis` that shows most.
fn best_slice(scene: &Scene, axis: usize) -> usize {
    let [_, ny, nx] = scene.shape;
    let mut area: Vec<BTreeMap<u16, usize>> = vec![BTreeMap::new(); scene.shape[axis]];
    for (i, l) in scene.labels.iter().enumerate().filter(|(_, l)| **l != 0) {
        let at = [i / (ny * nx), i / nx % ny, i % nx][axis];
        *area[at].entry(*l).or_default() += 1;
    }
    let score = |slice: &BTreeMap<u16, usize>| slice.values().map(|&n| (n as f64).sqrt()).sum::<f64>();
    let mut best = (scene.shape[axis] / 2, 0.0);
    for (i, slice) in area.iter().enumerate() {
        let s = score(slice);
        if s > best.1 {
            best = (i, s);
        }
    }
    best.0
}

fn draw_slice(canvas: &mut Canvas, scene: &Scene, view: &View, at: [usize; 2], size: [usize; 2]) {
    let [_, ny, nx] = scene.shape;
    let stride = [ny * nx, nx, 1];
    let base = best_slice(scene, view.across) * stride[view.across];
    let (rows, columns) = (scene.shape[view.row], scene.shape[view.column]);
    let offset = |r: usize, c: usize| base + r * stride[view.row] + c * stride[view.column];
    // Where a pixel's middle falls between voxel middles, drawn backwards.
    let place = |pixel: usize, pixels: usize, n: usize| {
        let t = (pixel as f64 + 0.5) * n as f64 / pixels as f64 - 0.5;
        (n - 1) as f64 - t.clamp(0.0, (n - 1) as f64)
    };
    let [w, h] = size;
    let label = |px: usize, py: usize| {
        let (r, c) = (place(py, h, rows).round() as usize, place(px, w, columns).round() as usize);
        scene.labels[offset(r, c)]
    };
    let grey = |px: usize, py: usize| {
        let (r, c) = (place(py, h, rows), place(px, w, columns));
        let (r0, c0) = (r.floor() as usize, c.floor() as usize);
        let (r1, c1) = ((r0 + 1).min(rows - 1), (c0 + 1).min(columns - 1));
        let (fr, fc) = (r as f32 - r0 as f32, c as f32 - c0 as f32);
        let mix = |r: usize| scene.image[offset(r, c0)] * (1.0 - fc) + scene.image[offset(r, c1)] * fc;
        let v = mix(r0) * (1.0 - fr) + mix(r1) * fr;
        let (low, high) = scene.window;
        255.0 * ((v - low) / (high - low)).clamp(0.0, 1.0)
    };
    for py in 0..h {
        for px in 0..w {
            let g = grey(px, py);
            let l = label(px, py);
            let mut colour = [g as u8; 3];
            if l != 0 {
                let edge = (px > 0 && label(px - 1, py) != l)
                    || (px + 1 < w && label(px + 1, py) != l)
                    || (py > 0 && label(px, py - 1) != l)
                    || (py + 1 < h && label(px, py + 1) != l);
                let cover = if edge { 1.0 } else { COVER };
                let over = label_colour(l);
                colour = over.map(|o| (g * (1.0 - cover) + f32::from(o) * cover) as u8);
            }
            canvas.set(at[0] + px, at[1] + py, colour);
        }
    }
}

/// Intensities drawn black and white: those of most labelled voxels and as much again beyond on both
/// sides (so that a little air among the labels does not flatten the tissue), within the range of the whole volume (without its outermost half per cent).
fn grey_window(image: &[f32], labels: &[u16]) -> (f32, f32) {
    let spread = |values: &mut Vec<f32>, low: f64, high: f64| {
        values.sort_unstable_by(f32::total_cmp);
        let at = |q: f64| values[((values.len() - 1) as f64 * q) as usize];
        (at(low), at(high))
    };
    // A sample is enough for percentiles.
    let step = (image.len() / 400_000).max(1);
    let mut all: Vec<f32> = image.iter().copied().step_by(step).collect();
    let (mut low, mut high) = spread(&mut all, 0.005, 0.995);
    let labelled = image.iter().zip(labels).filter(|(_, l)| **l != 0).map(|(v, _)| *v);
    let mut inside: Vec<f32> = labelled.step_by(step).collect();
    if !inside.is_empty() {
        let (a, b) = spread(&mut inside, 0.1, 0.9);
        let margin = b - a;
        if margin > 0.0 {
            (low, high) = (low.max(a - margin), high.min(b + margin));
        }
    }
    if high > low { (low, high) } else { (low - 0.5, low + 0.5) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::header::Header;

    /// 40x30x20 mm, spacing 1, 2, 4 mm along x, y, z; file axes LPS; one labelled block.
    fn scene() -> (Volume, Vec<u16>) {
        let affine = [[-1., 0., 0., 0.], [0., -2., 0., 0.], [0., 0., 4., 0.], [0., 0., 0., 1.]];
        let shape = [5, 15, 40];
        let header = Header::new(shape, affine).unwrap();
        let data: Vec<f32> = (0..3000).map(|i| (i % 40) as f32).collect();
        let mut labels = vec![0u16; 3000];
        for z in 1..3 {
            for y in 2..6 {
                for x in 3..10 {
                    labels[(z * 15 + y) * 40 + x] = 2;
                }
            }
        }
        let volume = Volume { data, channels: 1, shape, affine, spacing: header.spacing(), header };
        (volume, labels)
    }

    fn decode(path: &Path) -> (usize, usize, Vec<u8>) {
        let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width as usize, info.height as usize, pixels)
    }

    #[test]
    fn the_label_is_drawn_to_scale_where_the_patient_has_it() {
        let (volume, labels) = scene();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.png");
        montage(&volume, &labels, &["".into(), "a".into(), "block".into()], &path).unwrap();
        let (width, height, pixels) = decode(&path);
        // Three panels: 420 wide for 40 mm, then 420, then 315 (30 mm).
        assert_eq!(width, 420 + 420 + 315 + 4 * GAP);
        let colour = label_colour(2);
        let top = GAP + text_height(TEXT) + GAP;
        // Outline pixels of the axial panel: file x 3..10 runs to the left side, which is drawn on
        // the right; RAS x = 39 - x, drawn backwards: columns 3..10 of 40.
        let mut found = (usize::MAX, 0, usize::MAX, 0);
        for y in top..top + 315 {
            for x in GAP..GAP + 420 {
                if pixels[3 * (y * width + x)..][..3] == colour {
                    found = (found.0.min(x), found.1.max(x), found.2.min(y), found.3.max(y));
                }
            }
        }
        let scale = 10.5;
        let near = |a: usize, b: f64| (a as f64 - b).abs() <= 1.5;
        assert!(near(found.0, GAP as f64 + 3.0 * scale), "{found:?}");
        assert!(near(found.1, GAP as f64 + 10.0 * scale - 1.0), "{found:?}");
        // File y 2..6 runs to posterior: anterior is at the top, so rows 2..6 of 15 from the top.
        assert!(near(found.2, top as f64 + 2.0 * 2.0 * scale), "{found:?}");
        assert!(near(found.3, top as f64 + 6.0 * 2.0 * scale - 1.0), "{found:?}");
        // The legend's swatch.
        let swatch = pixels.chunks_exact(3 * width).skip(top + 315 + GAP).take(height);
        assert!(swatch.flat_map(|r| r.chunks_exact(3)).any(|p| p == colour));
    }

    #[test]
    fn volume_and_name_stand_in_the_legend() {
        let (volume, labels) = scene();
        let scene = Scene { image: volume.data.clone(), labels, shape: volume.shape, spacing: volume.spacing, window: (0.0, 1.0) };
        let names = vec![String::new(), "a".into(), "block".into()];
        // 2 * 4 * 7 voxels of 8 cubic millimetres.
        assert_eq!(legend(&scene, &names), [(2, "block 0.4 ml".to_string())]);
        assert_eq!(legend(&scene, &[]), [(2, "label 2 0.4 ml".to_string())]);
    }

    #[test]
    fn colours_differ_and_odd_volumes_can_be_drawn() {
        let mut seen: Vec<Colour> = (1..=60).map(label_colour).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 60);
        let folder = tempfile::tempdir().unwrap();
        for shape in [[1, 1, 1], [1, 9, 7], [3, 1, 1], [2, 2, 90]] {
            let eye = [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]];
            let header = Header::new(shape, eye).unwrap();
            let n: usize = shape.iter().product();
            let volume = Volume { data: vec![3.0; n], channels: 1, shape, affine: eye, spacing: header.spacing(), header };
            let path = folder.path().join("m.png");
            montage(&volume, &vec![0; n], &[], &path).unwrap();
            montage(&volume, &vec![300; n], &[], &path).unwrap();
            assert!(decode(&path).2.len() > 100);
            assert!(montage(&volume, &vec![1; n + 1], &[], &path).is_err());
        }
    }
}
