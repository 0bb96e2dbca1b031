//! `mnx record`: what kernels computed on this device, for tests that have no such device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use mnx_artifact::{Bundle, Command};
use mnx_runtime::LaunchRecord;
use mnx_weights::det_input;
use mnx_weights::file::{Dtype, Entry, write_file};

use crate::cmd::place::Where;
use crate::cmd::{check_output, machine, open_session};
use crate::failure::Failure;
use crate::text;

/// Store the inputs and outputs of kernels, as this device computes them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mnx record tiny.mnxa --device cuda -o kernels.safetensors

The first launch of every kernel is stored, smallest first, while the file stays under --limit: tensors N.KERNEL.before.ARG for every
argument before the launch and N.KERNEL.after.ARG for those it writes (bytes, as they lie in memory), N being the command's number.
The metadata names device, driver and target, and launch N holds the command as JSON. The input is that of mnx bench.")]
pub struct Args {
    /// The bundle.
    bundle: PathBuf,
    /// safetensors file to write.
    #[arg(long, short, value_name = "K.safetensors")]
    output: PathBuf,
    /// Most bytes of the file.
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000)]
    limit: u64,
    #[command(flatten)]
    place: Where,
}

/// Room for the header: names, places and commands of one launch.
const HEADER: u64 = 4096;

/// Records the first launch of every kernel that fits.
pub fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    check_output(&args.output, &[&args.bundle])?;
    let bundle = Bundle::open(&args.bundle)?;
    let mut session = open_session(&bundle, &args.place)?;
    let target = session.program().target.clone();
    let program = bundle.manifest().programs.iter().position(|p| p.target == target);
    let code = program.map(|i| bundle.code(i)).unwrap_or_default();
    let entries = Entries::of(code);
    let (chosen, left_out) = choose(&session.program().commands, &entries, args.limit);
    if chosen.is_empty() {
        let shown = args.bundle.display();
        return Err(Failure::user(
            "mnx-0108",
            format!("{shown}: no kernel's buffers fit into {} bytes; raise --limit or take a smaller patch", args.limit),
        ));
    }
    let inputs: Vec<_> = session.inputs().iter().map(|p| det_input("bench/input", &p.shape)).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(|t| t.data.as_slice()).collect();

    let mut tensors: Vec<(String, Vec<u8>)> = Vec::new();
    let mut metadata = BTreeMap::from([
        ("device".to_owned(), session.device()),
        ("target".to_owned(), target),
        ("precision".to_owned(), session.program().precision.clone()),
        ("model".to_owned(), bundle.manifest().model.name.clone()),
        ("source_digest".to_owned(), bundle.manifest().source_digest.clone()),
    ]);
    session.run_recorded::<Failure>(&slices, &|index| chosen.contains(&index), &mut |LaunchRecord { index, command, before, after }| {
        let Command::Launch { kernel, .. } = command else { return Ok(()) };
        metadata.insert(format!("launch {index}"), serde_json::to_string(command).map_err(|e| Failure::Bug(e.to_string()))?);
        for (arg, bytes) in before.into_iter().enumerate() {
            tensors.push((format!("{index}.{kernel}.before.{arg}"), bytes));
        }
        for (arg, bytes) in after {
            tensors.push((format!("{index}.{kernel}.after.{arg}"), bytes));
        }
        Ok(())
    })?;
    // The very code that ran, so that the recording outlives changes of the compiler.
    let kernels: BTreeSet<&str> = chosen.iter().filter_map(|&i| kernel_of(&session.program().commands[i])).collect();
    tensors.push(("code".to_owned(), entries.only(&kernels).unwrap_or_else(|| code.to_vec())));
    let shapes: Vec<[usize; 1]> = tensors.iter().map(|(_, bytes)| [bytes.len()]).collect();
    let entries: Vec<Entry<'_>> =
        tensors.iter().zip(&shapes).map(|((name, bytes), shape)| Entry { name, dtype: Dtype::U8, shape, bytes }).collect();
    write_file(&args.output, &entries, &metadata)?;
    if quiet {
        return Ok(());
    }
    let note =
        if left_out > 0 { format!("; {} too large for --limit left out", mnx_words::many(left_out, "kernel")) } else { String::new() };
    text::print(&format!("{}: {} on {}{note}\n", args.output.display(), mnx_words::many(chosen.len(), "launch"), machine(&session)))
}

/// The entries of a PTX text, as LLVM writes them, and what declarations stand around them.
struct Entries<'a> {
    around: Vec<&'a str>,
    each: Vec<(&'a str, &'a str)>,
}

impl<'a> Entries<'a> {
    const START: &'static str = ".visible .entry ";
    const END: &'static str = "\n}\n";

    /// Entries of PTX; code that is no PTX has none.
    fn of(code: &'a [u8]) -> Self {
        let mut rest = std::str::from_utf8(code).unwrap_or_default();
        let (mut around, mut each) = (Vec::new(), Vec::new());
        while let Some((start, length)) = rest.find(Self::START).and_then(|at| Some((at, rest[at..].find(Self::END)? + Self::END.len()))) {
            around.push(&rest[..start]);
            let own = &rest[start..start + length];
            each.push((own[Self::START.len()..].split('(').next().unwrap_or_default().trim(), own));
            rest = &rest[start + length..];
        }
        around.push(rest);
        Self { around, each }
    }

    fn bytes(&self, kernel: &str) -> u64 {
        self.each.iter().find(|(name, _)| *name == kernel).map_or(0, |(_, own)| own.len() as u64)
    }

    /// A text with these kernels alone; none if one of them is not there.
    fn only(&self, kernels: &BTreeSet<&str>) -> Option<Vec<u8>> {
        let kept: Vec<&str> = self.each.iter().filter(|(name, _)| kernels.contains(name)).map(|(_, own)| *own).collect();
        (kept.len() == kernels.len()).then(|| [self.around.as_slice(), kept.as_slice()].concat().concat().into_bytes())
    }
}

fn kernel_of(command: &Command) -> Option<&str> {
    match command {
        Command::Launch { kernel, .. } => Some(kernel),
        _ => None,
    }
}

/// The commands to record: of each kernel its first launch, smallest first while they fit; and how many kernels do not.
fn choose(commands: &[Command], entries: &Entries<'_>, limit: u64) -> (BTreeSet<usize>, usize) {
    let mut seen = BTreeSet::new();
    let mut sizes: Vec<(u64, usize)> = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        if let Command::Launch { kernel, args, writes, .. } = command
            && seen.insert(kernel)
        {
            let written = writes.iter().filter_map(|w| args.get(w.arg));
            sizes.push((HEADER + entries.bytes(kernel) + args.iter().chain(written).map(|b| b.bytes).sum::<u64>(), index));
        }
    }
    sizes.sort_unstable();
    let mut room = limit;
    let mut chosen = BTreeSet::new();
    for &(bytes, index) in &sizes {
        if bytes <= room {
            room -= bytes;
            chosen.insert(index);
        }
    }
    let left_out = sizes.len() - chosen.len();
    (chosen, left_out)
}
