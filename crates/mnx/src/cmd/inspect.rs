//! `mnx inspect`: what a bundle holds.

use std::fmt::Write;

use mnx_artifact::{Average, Bundle, Command, Fold, Manifest, Port, Sequence};

use crate::cli::Inspect;
use crate::failure::Failure;
use crate::text;

/// Weights that are listed by name.
const LARGEST: usize = 8;

/// Prints the manifest, as a summary or as JSON.
pub fn run(args: &Inspect) -> Result<(), Failure> {
    let bundle = Bundle::open(&args.bundle)?;
    // The summary gives digests; they should be of what the file really holds.
    for fold in 0..bundle.folds() {
        drop(bundle.read_weights(fold)?);
    }
    if args.json {
        let json = serde_json::to_string_pretty(bundle.manifest()).map_err(|e| Failure::Bug(e.to_string()))?;
        return text::print(&format!("{json}\n"));
    }
    text::print(&summary(&bundle))
}

fn summary(bundle: &Bundle) -> String {
    let m = bundle.manifest();
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_model(&mut out, bundle, m);
    let _ = write_sections(&mut out, bundle);
    let _ = write_programs(&mut out, m);
    let _ = write_weights(&mut out, m);
    out
}

fn ports(ports: &[Port]) -> String {
    let each: Vec<String> = ports.iter().map(|p| format!("{} {} {}", p.name, p.dtype, text::shape(&p.shape))).collect();
    each.join(", ")
}

fn write_model(out: &mut String, bundle: &Bundle, m: &Manifest) -> std::fmt::Result {
    writeln!(out, "{}: {}, compiled by {}", bundle.path().display(), text::bytes(bundle.size()), m.compiler)?;
    let model = &m.model;
    writeln!(
        out,
        "model       {} ({}), {}-D, {} channels in, {} classes, {} out",
        model.name, model.flavour, model.spatial_dims, model.in_channels, model.n_classes, model.output
    )?;
    writeln!(out, "            {} parameters, {} MAC a run", model.parameters, text::count(model.macs as f64))?;
    writeln!(out, "run         batch {}, patch {}, {}, gelu {}", m.batch, text::shape(&m.patch), m.precision, m.gelu)?;
    writeln!(out, "inputs      {}", ports(&m.inputs))?;
    writeln!(out, "outputs     {}", ports(&m.outputs))?;
    write_way(out, m)?;
    if !m.labels.is_empty() {
        let labels: Vec<String> = m.labels.iter().map(|l| format!("{} {}", l.value, l.name)).collect();
        writeln!(out, "labels      {}", labels.join(", "))?;
    }
    if m.folds != Fold::only() {
        let names: Vec<&str> = m.folds.iter().map(|f| f.name.as_str()).collect();
        writeln!(out, "folds       {}: {}", names.len(), names.join(", "))?;
    }
    match &m.vectors {
        Some(v) => writeln!(out, "vectors     {} values, tolerance {}", v.outputs.iter().map(Vec::len).sum::<usize>(), v.tolerance)?,
        None => writeln!(out, "vectors     none")?,
    }
    for note in &m.notes {
        writeln!(out, "note        {note}")?;
    }
    Ok(())
}

/// From a volume to the network and back, where it is not what a plain config asks for.
fn write_way(out: &mut String, m: &Manifest) -> std::fmt::Result {
    let p = m.preprocess.clone().unwrap_or_default();
    let spacing = p.spacing.as_ref().map_or("the image's own spacing".to_owned(), |s| format!("spacing {s:?} mm"));
    let orientation = p.orientation.as_deref().unwrap_or("the file's axes");
    let scheme = if p.normalization.is_empty() { "z-score".to_owned() } else { format!("{:?}", p.normalization) };
    write!(out, "preprocess  {spacing}, {orientation}, {scheme}")?;
    if p.crop_to_nonzero {
        write!(out, ", cropped to non-zero")?;
    }
    if p.transpose != [0, 1, 2] {
        write!(out, ", transposed {:?}", p.transpose)?;
    }
    let order = match p.sequence {
        Sequence::NormalizeResample => "normalised first",
        Sequence::ResampleNormalize => "resampled first",
    };
    writeln!(out, ", {order}")?;
    let i = m.inference.clone().unwrap_or_default();
    let what = match i.average {
        Average::Logits => "logits",
        Average::Probabilities => "probabilities",
    };
    let mirrors =
        i.mirror_axes.as_ref().map_or("all axes".to_owned(), |a| if a.is_empty() { "no axis".to_owned() } else { format!("axes {a:?}") });
    write!(out, "inference   step {}, {:?} weights, {what} averaged, mirroring along {mirrors}, {:?}", i.step, i.gaussian, i.activation)?;
    if !i.class_order.is_empty() {
        write!(out, " painting {:?}", i.class_order)?;
    }
    writeln!(out)?;
    for rule in &i.postprocess {
        writeln!(out, "            then the largest component of {:?} ({:?})", rule.labels, rule.connectivity)?;
    }
    Ok(())
}

fn write_sections(out: &mut String, bundle: &Bundle) -> std::fmt::Result {
    let rows: Vec<Vec<String>> =
        bundle.sections().iter().map(|s| vec![s.name(), s.offset.to_string(), s.bytes.to_string(), s.digest_hex()]).collect();
    write!(out, "\n{}", text::table(&["section", "offset", "bytes", "blake3"], &rows))
}

fn write_programs(out: &mut String, m: &Manifest) -> std::fmt::Result {
    let rows: Vec<Vec<String>> = m
        .programs
        .iter()
        .map(|p| {
            let launches = p.commands.iter().filter(|c| matches!(c, Command::Launch { .. })).count();
            vec![
                p.target.clone(),
                launches.to_string(),
                (p.commands.len() - launches).to_string(),
                text::bytes(p.arena_bytes),
                text::bytes(p.scratch_bytes),
                p.requires.join(" "),
            ]
        })
        .collect();
    let header = ["program", "launches", "fills+copies", "arena", "scratch/thread", "requires"];
    write!(out, "\n{}", text::table(&header, &rows))
}

fn write_weights(out: &mut String, m: &Manifest) -> std::fmt::Result {
    let mut largest: Vec<_> = m.weights.iter().collect();
    largest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    let total: u64 = m.weights.iter().map(|w| w.bytes).sum();
    let each = if m.folds.len() > 1 { " in each fold" } else { "" };
    writeln!(out, "\n{} weights, {}{each}; the largest:", m.weights.len(), text::bytes(total))?;
    let rows: Vec<Vec<String>> = largest.iter().take(LARGEST).map(|w| vec![w.name.clone(), text::bytes(w.bytes)]).collect();
    write!(out, "{}", text::table(&["weight", "size"], &rows))
}
