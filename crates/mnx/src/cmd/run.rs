//! `mnx run`: one run of the network on a tensor.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use mnx_artifact::{Bundle, Manifest};
use mnx_runtime::PortData;
use mnx_weights::file::{Dtype, Entry, write_file};
use mnx_weights::{Checkpoint, Tensor};

use crate::cmd::place::Where;
use crate::cmd::{check_output, machine, open_session};
use crate::failure::Failure;
use crate::text;

/// Run the network once on a tensor.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mnx run m.mnxa --input x.safetensors --output y.safetensors --threads 2

The input file holds the tensor \"input\" in the bundle's input shape (see mnx inspect); F32, F64, F16 and BF16 are read.
The output file gets \"out_0\", and \"out_1\".. if the network has deep supervision.")]
pub struct Args {
    /// The bundle.
    bundle: PathBuf,
    /// safetensors file with the tensor "input".
    #[arg(long, short, value_name = "X.safetensors")]
    input: PathBuf,
    /// safetensors file to write.
    #[arg(long, short, value_name = "Y.safetensors")]
    output: PathBuf,
    /// Look for NaN and infinities after every dispatch and name the first that has any (slow).
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    place: Where,
}

/// Reads the input ports by name, runs, writes the output ports by name.
pub fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    check_output(&args.output, &[&args.bundle, &args.input])?;
    let bundle = Bundle::open(&args.bundle)?;
    let file = Checkpoint::load(&args.input)?;
    let shown = args.input.display();
    let mut inputs: Vec<&[f32]> = Vec::new();
    for port in &bundle.manifest().inputs {
        let Some(Tensor { shape, data }) = file.get(&port.name) else {
            let names: Vec<&str> = file.names().take(8).collect();
            return Err(Failure::user(
                "mnx-0103",
                format!(
                    "{shown}: no tensor \"{}\" ({}{}); the file has {}",
                    port.name,
                    mnx_words::list(&port.shape),
                    channels(bundle.manifest()),
                    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
                ),
            ));
        };
        if *shape != port.shape {
            return Err(Failure::user(
                "mnx-0103",
                format!(
                    "{shown}: tensor \"{}\" has shape {}, the bundle was compiled for {}{}",
                    port.name,
                    mnx_words::list(shape),
                    mnx_words::list(&port.shape),
                    channels(bundle.manifest())
                ),
            ));
        }
        inputs.push(data);
    }
    let mut session = open_session(&bundle, &args.place)?;
    let start = Instant::now();
    let outputs = if args.check {
        let mut outputs = session.new_outputs();
        if let Some(found) = session.run_checked(&inputs, &mut outputs)? {
            return Err(Failure::user("runtime-0104", format!("{}: {found}", args.bundle.display())));
        }
        outputs
    } else {
        session.run(&inputs)?
    };
    let elapsed = start.elapsed().as_secs_f64();

    let entries: Vec<Entry<'_>> = session
        .outputs()
        .iter()
        .zip(&outputs)
        .map(|(port, data)| Entry {
            name: &port.name,
            dtype: match data {
                PortData::F32(_) => Dtype::F32,
                PortData::I32(_) => Dtype::I32,
            },
            shape: &port.shape,
            bytes: data.bytes(),
        })
        .collect();
    write_file(&args.output, &entries, &BTreeMap::new())?;
    if quiet {
        return Ok(());
    }
    let shapes: Vec<String> = session.outputs().iter().map(|p| format!("{} {}", p.name, text::shape(&p.shape))).collect();
    text::print(&format!("{}: {} in {} ({})\n", args.output.display(), shapes.join(", "), text::seconds(elapsed), machine(&session)))
}

/// What the input's channels are, where somebody named them: `, channels 0 CT, 1 MR`.
fn channels(manifest: &Manifest) -> String {
    if manifest.channels.is_empty() { String::new() } else { format!(", channels {}", text::channels(&manifest.channels)) }
}
