//! `mnx predict`: a segmentation of a NIfTI volume.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use mnx_artifact::{Bundle, Manifest, Normalization, Preprocess};
use mnx_runtime::{DeviceChoice, PortData, Session, session::default_threads};
use mnx_volume::{
    LabelRestorer, ReadOptions, SlidingWindow, Volume, VolumeError, picture, preprocess, read_channels, restore_labels,
    restore_probabilities, write_f32, write_labels,
};
use serde_json::json;

use crate::cli::Predict;
use crate::cmd::{check_output, open_session};
use crate::failure::Failure;
use crate::text;

/// How a bundle's classes become voxel values.
struct Classes {
    /// Voxel value of class `k`.
    values: Vec<u16>,
    /// Name of voxel value `v`; empty where it has none.
    names: Vec<String>,
}

/// Seconds per step, in order.
#[derive(Default)]
struct Times(Vec<(&'static str, f64)>);

impl Times {
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = work();
        self.0.push((name, start.elapsed().as_secs_f64()));
        value
    }
}

/// Reads, prepares, slides the network over the volume, goes back to the file's grid, writes.
pub fn run(args: &Predict, quiet: bool) -> Result<(), Failure> {
    check_names(args)?;
    let bundle = Bundle::open(&args.bundle)?;
    let manifest = bundle.manifest();
    check_network(&args.bundle, manifest)?;
    let classes = classes(manifest)?;
    if args.place.device == DeviceChoice::Null {
        return Err(Failure::user("the null device computes nothing, so it cannot segment; use --device host"));
    }
    // Resampling and accumulation keep to the same number of threads as the network. This fails only if the pool exists already.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(args.place.threads.unwrap_or_else(default_threads)).build_global();

    let mut times = Times::default();
    let options = ReadOptions { nan_to_num: args.nan_to_num, channels: Some(manifest.model.in_channels) };
    let mut volume = times.step("read", || read_channels(&args.input, &options))?;
    let settings = settings(manifest)?;
    let ready = times.step("prepare", || preprocess(&volume, &settings))?;
    if args.picture.is_none() {
        volume.data = Vec::new();
    }
    let mut session = times.step("load", || open_session(&bundle, &args.place))?;
    let mut window = SlidingWindow::new(&manifest.patch)?;
    window.overlap = args.overlap;
    let flat = manifest.model.spatial_dims == 2;
    let mirrors: &[usize] = match (args.tta, flat) {
        (false, _) => &[],
        (true, true) => &[1, 2],
        (true, false) => &[0, 1, 2],
    };
    let n_classes = classes.values.len();
    let tiles: usize = window.tiles(ready.shape).iter().map(Vec::len).product();
    if manifest.batch > 1 && !quiet {
        eprintln!(
            "note: the bundle computes {0} samples a run and patches come one by one; compiled with --batch 1 this takes a {0}th of the time",
            manifest.batch
        );
    }

    let progress = Progress::new(tiles, quiet);
    let mut report = |done: usize, _all: usize| progress.at(done);
    let mut network = network(&mut session, manifest.batch);
    let start = Instant::now();
    let (mut labels, probabilities) = if args.probabilities.is_some() {
        let logits = window.run::<Failure>(&ready.data, ready.shape, n_classes, mirrors, &mut network, &mut report)?;
        let labels = restore_labels(&logits, n_classes, &ready.geometry)?;
        (labels, Some(restore_probabilities(&logits, n_classes, &ready.geometry)?))
    } else {
        let mut restorer = LabelRestorer::new(&ready.geometry, n_classes)?;
        window.run_banded::<Failure>(&ready.data, ready.shape, n_classes, mirrors, &mut network, &mut report, &mut |band| {
            Ok(restorer.push(band.z, band.depth, band.logits)?)
        })?;
        (restorer.finish()?, None)
    };
    drop(network);
    times.0.push(("network", start.elapsed().as_secs_f64()));
    progress.finish();
    for label in &mut labels {
        *label = classes.values[usize::from(*label)];
    }

    times.step("write", || -> Result<(), VolumeError> {
        write_labels(&args.output, &labels, &volume.header)?;
        if let (Some(path), Some(values)) = (&args.probabilities, &probabilities) {
            write_f32(path, values, n_classes, &volume.header)?;
        }
        if let Some(path) = &args.picture {
            picture::montage(&volume, &labels, &classes.names, path)?;
        }
        Ok(())
    })?;
    report_result(args, quiet, &volume, &labels, &classes, &times, (tiles, mirrors.len(), &session))
}

/// Refuses names that the writers would, before hours of work.
fn check_names(args: &Predict) -> Result<(), Failure> {
    let mut inputs: Vec<&Path> = args.input.iter().map(AsRef::as_ref).collect();
    inputs.push(&args.bundle);
    let mut outputs: Vec<&Path> = Vec::new();
    let nifti = |path: &Path| {
        let name = path.to_string_lossy();
        name.ends_with(".nii") || name.ends_with(".nii.gz")
    };
    for path in [Some(&args.output), args.probabilities.as_ref()].into_iter().flatten() {
        if !nifti(path) {
            return Err(Failure::user(format!("{}: a name ending in .nii or .nii.gz expected", path.display())));
        }
        outputs.push(path);
    }
    if let Some(path) = &args.picture {
        if path.extension().is_none_or(|e| e != "png") {
            return Err(Failure::user(format!("{}: a name ending in .png expected", path.display())));
        }
        outputs.push(path);
    }
    for (i, path) in outputs.iter().enumerate() {
        check_output(path, &inputs)?;
        if outputs[..i].contains(path) {
            return Err(Failure::user(format!("{}: named for two outputs", path.display())));
        }
    }
    Ok(())
}

/// Refuses bundles whose first output is not logits over the patch.
fn check_network(path: &Path, manifest: &Manifest) -> Result<(), Failure> {
    let shown = path.display();
    let model = &manifest.model;
    if model.output != "logits" {
        return Err(Failure::user(format!(
            "{shown}: the bundle's output is {}, predict needs logits (patches overlap and their logits are averaged); \
             compile it without the soft-max or arg-max",
            model.output
        )));
    }
    let mut want = vec![manifest.batch, model.n_classes];
    want.extend(&manifest.patch);
    match manifest.outputs.first() {
        Some(port) if port.shape == want && port.dtype == "f32" && manifest.inputs.len() == 1 => Ok(()),
        Some(port) => Err(Failure::user(format!(
            "{shown}: output \"{}\" is {} {:?} of {} inputs, predict needs f32 {want:?} of one input",
            port.name,
            port.dtype,
            port.shape,
            manifest.inputs.len()
        ))),
        None => Err(Failure::user(format!("{shown}: the bundle has no output"))),
    }
}

/// Class `k` gets the value of the `k`-th label in order of value; classes without labels keep their number.
fn classes(manifest: &Manifest) -> Result<Classes, Failure> {
    let n = manifest.model.n_classes;
    let mut labels: Vec<(u32, &str)> = manifest.labels.iter().map(|l| (l.value, l.name.as_str())).collect();
    labels.sort_unstable();
    if labels.len() + 1 == n && labels.first().is_some_and(|l| l.0 != 0) {
        labels.insert(0, (0, "background"));
    }
    let numbers: Vec<u32> =
        if labels.len() == n { labels.iter().map(|l| l.0).collect() } else { (0..u32::try_from(n).unwrap_or(u32::MAX)).collect() };
    let values: Vec<u16> = numbers
        .iter()
        .map(|&v| u16::try_from(v).map_err(|_| Failure::user(format!("label value {v}, at most 65535 expected"))))
        .collect::<Result<_, _>>()?;
    let last = values.iter().copied().max().unwrap_or(0);
    let mut names = vec![String::new(); usize::from(last) + 1];
    for (value, name) in labels {
        if let Some(place) = names.get_mut(value as usize) {
            name.clone_into(place);
        }
    }
    for &value in &values {
        let name = &mut names[usize::from(value)];
        if name.is_empty() {
            *name = if value == 0 { "background".to_owned() } else { format!("class {value}") };
        }
    }
    Ok(Classes { values, names })
}

/// The bundle's preprocessing in the volume crate's terms.
fn settings(manifest: &Manifest) -> Result<mnx_volume::Preprocess, Failure> {
    let mut settings = mnx_volume::Preprocess::default();
    let Some(Preprocess { spacing, orientation, transpose, normalization, crop_to_nonzero, .. }) = &manifest.preprocess else {
        return Ok(settings);
    };
    settings.orientation.clone_from(orientation);
    settings.crop_to_nonzero = *crop_to_nonzero;
    settings.transpose = *transpose;
    settings.spacing = match spacing.as_deref() {
        None => None,
        Some(&[z, y, x]) => Some([z, y, x]),
        // A 2-D model's slices keep their distance.
        Some(&[y, x]) => Some([0.0, y, x]),
        Some(other) => {
            return Err(Failure::user(format!("spacing {other:?} in the bundle, two or three numbers expected")));
        }
    };
    if !normalization.is_empty() {
        settings.normalization = normalization
            .iter()
            .map(|scheme| match *scheme {
                Normalization::ZScore => Ok(mnx_volume::Normalization::ZScore),
                Normalization::ZScoreMasked => Ok(mnx_volume::Normalization::ZScoreMasked),
                Normalization::Ct { low, high, mean, std, masked: false } => Ok(mnx_volume::Normalization::Ct { low, high, mean, std }),
                Normalization::None => Ok(mnx_volume::Normalization::None),
                other => Err(Failure::user(format!("normalization {other:?} in the bundle is not known to this mnx"))),
            })
            .collect::<Result<_, _>>()?;
    }
    Ok(settings)
}

/// The session as a function of one patch. A batch is filled with copies of it: samples do not influence each other.
fn network(session: &mut Session, batch: usize) -> impl FnMut(&[f32], &mut [f32]) -> Result<(), Failure> {
    let mut outputs = session.new_outputs();
    let mut input = Vec::new();
    move |patch, logits| {
        if batch == 1 {
            session.run_into(&[patch], &mut outputs)?;
        } else {
            input.clear();
            (0..batch).for_each(|_| input.extend_from_slice(patch));
            session.run_into(&[&input], &mut outputs)?;
        }
        match outputs.first() {
            Some(PortData::F32(values)) if values.len() == batch * logits.len() => {
                logits.copy_from_slice(&values[..logits.len()]);
                Ok(())
            }
            _ => Err(Failure::Bug("the first output is not the logits that were checked for".to_owned())),
        }
    }
}

/// A bar on a terminal, a line every tenth otherwise, nothing if quiet.
enum Progress {
    Bar(ProgressBar),
    Lines(usize),
    Silent,
}

impl Progress {
    fn new(tiles: usize, quiet: bool) -> Self {
        if quiet {
            return Self::Silent;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines(tiles);
        }
        let bar = ProgressBar::new(tiles as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} patches, {elapsed} so far, {eta} to go") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    fn at(&self, done: usize) {
        match self {
            Self::Bar(bar) => bar.set_position(done as u64),
            Self::Lines(all) => {
                let tenth = |n: usize| n * 10 / all.max(&1);
                if done > 0 && tenth(done) > tenth(done - 1) {
                    eprintln!("{done} of {all} patches");
                }
            }
            Self::Silent => {}
        }
    }

    fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn report_result(
    args: &Predict,
    quiet: bool,
    volume: &Volume,
    labels: &[u16],
    classes: &Classes,
    times: &Times,
    (tiles, mirrored_axes, session): (usize, usize, &Session),
) -> Result<(), Failure> {
    let mut counts = vec![0u64; classes.names.len()];
    for &label in labels {
        counts[usize::from(label)] += 1;
    }
    let millilitres = volume.spacing.iter().product::<f64>() / 1000.0;
    let mut values = classes.values.clone();
    values.sort_unstable();
    if args.json {
        let each: Vec<_> = values
            .iter()
            .map(|&v| {
                let n = counts[usize::from(v)];
                json!({"value": v, "name": classes.names[usize::from(v)], "voxels": n, "ml": n as f64 * millilitres})
            })
            .collect();
        let seconds: serde_json::Map<_, _> = times.0.iter().map(|(name, s)| ((*name).to_owned(), json!(s))).collect();
        let shown = |p: &Path| p.display().to_string();
        let report = json!({
            "output": shown(&args.output),
            "probabilities": args.probabilities.as_deref().map(shown),
            "picture": args.picture.as_deref().map(shown),
            "labels": each,
            "patches": tiles, "mirrorings": 1usize << mirrored_axes,
            "seconds": seconds,
            "device": session.device_name(), "isa": session.program().target, "threads": session.threads(),
        });
        return text::print(&format!("{report:#}\n"));
    }
    if quiet {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = values
        .iter()
        .map(|&v| {
            let n = counts[usize::from(v)];
            vec![format!("{v} {}", classes.names[usize::from(v)]), n.to_string(), format!("{:.1}", n as f64 * millilitres)]
        })
        .collect();
    let steps: Vec<String> = times.0.iter().map(|(name, s)| format!("{name} {}", text::seconds(*s))).collect();
    let mut report = text::table(&["label", "voxels", "ml"], &rows);
    report.push_str(&format!(
        "{} patches x {} on {} ({}, {}): {}\n",
        tiles,
        1usize << mirrored_axes,
        session.device_name(),
        session.program().target,
        text::threads(session.threads()),
        steps.join(", ")
    ));
    report.push_str(&format!("segmentation   {}\n", args.output.display()));
    if let Some(path) = &args.probabilities {
        report.push_str(&format!("probabilities  {}\n", path.display()));
    }
    if let Some(path) = &args.picture {
        report.push_str(&format!("picture        {}\n", path.display()));
    }
    text::print(&report)
}
