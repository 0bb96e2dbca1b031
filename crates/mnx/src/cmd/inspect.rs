//! `mnx inspect`: what a bundle holds.

use std::fmt::Write;
use std::path::PathBuf;

use mnx_artifact::{Bundle, Command, Fold, Manifest, Normalization, Port, Sequence};
use mnx_words::{both, commas, count, many};

use crate::failure::Failure;
use crate::text;

/// Show what a bundle holds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mnx inspect m.mnxa
  mnx inspect m.mnxa --json | head -40")]
pub struct Args {
    /// The bundle.
    bundle: PathBuf,
    /// Print the manifest as JSON.
    #[arg(long)]
    json: bool,
}

/// Weights that are listed by name.
const LARGEST: usize = 8;

/// Prints the manifest, as a summary or as JSON.
pub fn run(args: &Args) -> Result<(), Failure> {
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
        "model       {} ({}), {}-D, {} in, {}, {} out",
        model.name,
        model.flavour,
        model.spatial_dims,
        many(model.in_channels, "channel"),
        many(model.n_classes, "class"),
        model.output
    )?;
    writeln!(out, "            {}, {} MAC a run", count(model.parameters, "parameter"), text::count(model.macs as f64))?;
    writeln!(out, "run         batch {}, patch {}, {}, gelu {}", m.batch, text::shape(&m.patch), m.precision, m.gelu)?;
    writeln!(out, "inputs      {}", ports(&m.inputs))?;
    writeln!(out, "outputs     {}", ports(&m.outputs))?;
    if !m.channels.is_empty() {
        writeln!(out, "channels    {}", text::channels(&m.channels))?;
    }
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
        Some(v) => writeln!(out, "vectors     {}, tolerance {}", many(v.outputs.iter().map(Vec::len).sum(), "value"), v.tolerance)?,
        None => writeln!(out, "vectors     none")?,
    }
    for note in &m.notes {
        writeln!(out, "note        {note}")?;
    }
    Ok(())
}

/// From a volume to the network and back.
fn write_way(out: &mut String, m: &Manifest) -> std::fmt::Result {
    let p = m.preprocess.clone().unwrap_or_default();
    let spacing = p.spacing.as_ref().map_or("the image's own spacing".to_owned(), |s| format!("spacing {} mm", commas(s)));
    let orientation = p.orientation.as_ref().map_or("the file's axes".to_owned(), |o| format!("orientation {o}"));
    write!(out, "preprocess  {spacing}, {orientation}")?;
    if let Some(reader) = p.reader {
        write!(out, ", files read as {} does", reader.as_str())?;
    }
    if p.transpose != [0, 1, 2] {
        write!(out, ", axes transposed {}", commas(&p.transpose))?;
    }
    if p.crop_to_nonzero {
        write!(out, ", cropped to what is not zero")?;
    }
    let order = match p.sequence {
        Sequence::NormalizeResample => "then resampled",
        Sequence::ResampleNormalize => "after resampling",
    };
    writeln!(out, "\n            intensities {}, {order}", intensities(&p.normalization, &m.channels))?;
    let i = m.inference.clone().unwrap_or_default();
    let mirrors = match i.mirror_axes.as_deref() {
        None => "along all axes".to_owned(),
        Some([]) => "along no axis".to_owned(),
        Some([axis]) => format!("along axis {axis}"),
        Some(axes) => format!("along axes {}", both(axes)),
    };
    writeln!(
        out,
        "inference   step {} of the patch, windows {}, gaussian {}, {} averaged, mirroring {mirrors}",
        i.step,
        i.windows.as_str(),
        i.gaussian.as_str(),
        i.average.as_str()
    )?;
    write!(out, "            {}", i.activation.as_str())?;
    if !i.class_order.is_empty() {
        write!(out, ", regions paint the labels {} in this order", commas(&i.class_order))?;
    }
    if let Some(label) = i.ignore {
        write!(out, ", label {label} was left out in training")?;
    }
    writeln!(out)?;
    for rule in &i.postprocess {
        let labels = if rule.labels.len() == 1 { "label" } else { "labels" };
        let what = rule.min_size.map_or("all but the largest component".to_owned(), |s| format!("components below {s} mm3"));
        let touch = rule.connectivity.as_str();
        writeln!(out, "            then {what} of {labels} {} removed (voxels touch by {touch})", commas(&rule.labels))?;
    }
    Ok(())
}

/// What becomes of the intensities: one scheme for all channels, or one for each under its name.
fn intensities(schemes: &[Normalization], channels: &[String]) -> String {
    match schemes {
        [] => Normalization::ZScore.to_string(),
        [one] => one.to_string(),
        several => {
            let named = |(i, scheme): (usize, &Normalization)| match channels.get(i) {
                Some(name) => format!("{name}: {scheme}"),
                None => format!("channel {i}: {scheme}"),
            };
            several.iter().enumerate().map(named).collect::<Vec<_>>().join("; ")
        }
    }
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
    writeln!(out, "\n{}, {}{each}; the largest:", many(m.weights.len(), "weight"), text::bytes(total))?;
    let rows: Vec<Vec<String>> = largest.iter().take(LARGEST).map(|w| vec![w.name.clone(), text::bytes(w.bytes)]).collect();
    write!(out, "{}", text::table(&["weight", "size"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intensities_go_by_the_names_of_channels() {
        let schemes = [
            Normalization::Ct { low: -57.0, high: 164.0, mean: 99.4, std: 39.4, masked: false },
            Normalization::ZScoreMasked,
            Normalization::Rescale01,
        ];
        assert_eq!(intensities(&[], &[]), "zscore");
        assert_eq!(intensities(&schemes[1..2], &["CT".to_owned(), "MR".to_owned()]), "zscore-masked");
        let named = intensities(&schemes, &["CT".to_owned(), "MR".to_owned()]);
        assert_eq!(named, "CT: ct (low = -57, high = 164, mean = 99.4, std = 39.4); MR: zscore-masked; channel 2: rescale-0-1");
    }
}
