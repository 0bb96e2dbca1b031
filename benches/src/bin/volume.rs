//! The volume side by itself: how fast grids are resampled, and what a large CT costs in memory from file to file.
//!
//! `volume resample`: 160^3 voxels to several grids. `volume memory`: a synthetic 512x512x600 CT at 0.8x0.8x1 mm, four classes, through
//! reading, preparing (1 mm), a sliding window with a stand-in for the network, and back; the peak of the process's resident memory is
//! compared with the volume's float32 size.
// A tool for people who work on mnx; a closed stream may end it.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

use std::time::Instant;

use clap::{Parser, Subcommand};
use mnx_artifact::{Normalization, Preprocess, Resampling};
use mnx_volume::resample::resample;
use mnx_volume::{Header, ReadOptions, Restorer, Rules, Scan, SlidingWindow, VolumeError, preprocess_taking, read, write_labels};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Times of resampling.
    Resample,
    /// Peak memory of a case.
    Memory {
        /// Voxels along z, y, x.
        #[arg(long, num_args = 3, default_values_t = [600, 512, 512])]
        shape: Vec<usize>,
        /// Patch along z, y, x.
        #[arg(long, num_args = 3, default_values_t = [128, 128, 128])]
        patch: Vec<usize>,
        /// Model spacing in mm; 0 keeps the file's.
        #[arg(long, default_value_t = 1.0)]
        spacing: f64,
    },
}

fn main() -> Result<(), VolumeError> {
    match Cli::parse().what {
        What::Resample => times(),
        What::Memory { shape, patch, spacing } => memory([shape[0], shape[1], shape[2]], &patch, spacing),
    }
}

fn times() -> Result<(), VolumeError> {
    let n = 160;
    let data: Vec<f32> = (0..n * n * n).map(|i| (i * 2_654_435_761 % 2000) as f32).collect();
    println!("{n}^3 voxels, {} threads, best of 5", rayon::current_num_threads());
    for to in [[128; 3], [160, 213, 213], [213; 3], [320; 3]] {
        for (order, separate) in [(3, None), (3, Some(0)), (1, None), (0, None)] {
            let rule = Resampling { order, ..Resampling::DATA };
            let mut best = f64::INFINITY;
            for _ in 0..5 {
                let start = Instant::now();
                resample(&data, [n; 3], to, &rule, separate)?;
                best = best.min(start.elapsed().as_secs_f64());
            }
            let how = if separate.is_some() { ", separate z" } else { "" };
            println!("to {to:?}, order {order}{how}: {best:.3} s");
        }
    }
    Ok(())
}

/// Peak resident memory so far, in bytes (Linux).
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0
}

fn memory(shape: [usize; 3], patch: &[usize], spacing: f64) -> Result<(), VolumeError> {
    let io = |source| VolumeError::Io { path: "scratch".into(), source };
    let dir = tempfile::tempdir().map_err(io)?;
    let file = dir.path().join("ct.nii");
    let affine = [[0.8, 0.0, 0.0, 0.0], [0.0, 0.8, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    write_ct(&file, shape, affine)?;
    let size = 4.0 * shape.iter().product::<usize>() as f64;
    let start = Instant::now();
    let tell = |step: &str| println!("{step:10} {:6.1} s, peak {:.2} of the volume", start.elapsed().as_secs_f64(), peak() / size);
    println!("{shape:?} voxels are {:.0} MB of float32; patch {patch:?}, 4 classes, {spacing} mm", size / 1e6);
    tell("start");

    let mut volume = read(&file, &ReadOptions::default())?;
    tell("read");
    let settings = Preprocess {
        spacing: Some(vec![spacing; 3]),
        normalization: vec![Normalization::Ct { low: -160.0, high: 420.0, mean: 55.0, std: 110.0, masked: false }],
        crop_to_nonzero: true,
        ..Preprocess::default()
    };
    let ready = preprocess_taking(&mut volume, &settings)?;
    tell("prepare");
    let rules = Rules::logits(4);
    let mut restorer = Restorer::new(&ready.geometry, &rules, false)?;
    let window = SlidingWindow::new(patch)?;
    // Cheap, but with scores that differ from voxel to voxel and class to class.
    let mut network = |input: &[f32], scores: &mut [f32]| -> Result<(), VolumeError> {
        for (k, out) in scores.chunks_exact_mut(input.len()).enumerate() {
            out.iter_mut().zip(input).for_each(|(o, v)| *o = (v - k as f32).abs());
        }
        Ok(())
    };
    let scan = Scan { image: &ready.data, shape: ready.shape, classes: 4, mirror_axes: &[] };
    window.run_banded::<VolumeError>(scan, &mut network, &mut |_, _| {}, &mut |band| restorer.push(band.z, band.depth, band.logits))?;
    tell("window");
    drop(ready);
    let restored = restorer.finish()?;
    tell("restore");
    write_labels(&dir.path().join("seg.nii.gz"), &restored.labels, &volume.header)?;
    tell("write");
    Ok(())
}

/// A body in air as int16, written plane by plane so that writing costs no memory.
fn write_ct(path: &std::path::Path, shape: [usize; 3], affine: [[f64; 4]; 4]) -> Result<(), VolumeError> {
    use std::io::Write;
    let failed = |source| VolumeError::Io { path: path.to_path_buf(), source };
    // The header that a small label volume gets, with the large one's extents: a label map is 8 bits wide, the CT 16.
    let tiny = path.with_extension("tiny.nii");
    write_labels(&tiny, &[0], &Header::new([1, 1, 1], affine)?)?;
    let mut header = std::fs::read(&tiny).map_err(failed)?;
    header.truncate(352);
    for (axis, n) in shape.iter().rev().enumerate() {
        header[42 + 2 * axis..44 + 2 * axis].copy_from_slice(&(*n as u16).to_le_bytes());
    }
    header[70..74].copy_from_slice(&[4, 0, 16, 0]);
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    out.write_all(&header).map_err(failed)?;
    let [nz, ny, nx] = shape;
    for z in 0..nz {
        for y in 0..ny {
            for x in 0..nx {
                let inside = (2 * x).abs_diff(nx).pow(2) * 2 + (2 * y).abs_diff(ny).pow(2) * 3 < nx * nx;
                let value: i16 = if inside { ((x * 7 + y * 13 + z * 5) % 400) as i16 - 100 } else { -1000 };
                out.write_all(&value.to_le_bytes()).map_err(failed)?;
            }
        }
    }
    out.flush().map_err(failed)
}
