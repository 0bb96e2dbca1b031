//! Vector instructions in the loops of the two hot kernels, from the assembly: no clock, so a regression shows on a busy machine too.
//!
//! `cargo run --release -p mnx-benches --bin instructions` writes `benches/results/instructions.json` and `instructions.md`.
// A tool for people who work on mnx; a closed stream may end it.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;
use mnx_benches::assembly::{Loop, loops, section};
use mnx_benches::{Failure, Folders, exit, write_atomic};
use serde_json::{Value, json};

/// Count the vector instructions of the hot kernels.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    folders: Folders,
}

/// A kernel to look at, as a dispatch of a published network.
struct Hot {
    name: &'static str,
    variant: &'static str,
    kernel: usize,
    dispatch: &'static str,
    /// Multiply-adds that one output vector takes, of each loop that does them, in the order of the code.
    work: &'static [(&'static str, usize)],
}

const HOT: &[Hot] = &[
    Hot { name: "depthwise k3, 32 channels", variant: "S", kernel: 3, dispatch: "enc_block_0.1.dwconv_stats", work: &[("taps", 27)] },
    Hot { name: "depthwise k5, 32 channels", variant: "S", kernel: 5, dispatch: "enc_block_0.1.dwconv_stats", work: &[("taps", 125)] },
    Hot {
        name: "mlp 32 -> 64 -> 32",
        variant: "S",
        kernel: 3,
        dispatch: "enc_block_0.1.norm_mlp",
        work: &[("expand", 32), ("compress", 64)],
    },
    Hot {
        name: "mlp 128 -> 512 -> 128",
        variant: "M",
        kernel: 3,
        dispatch: "enc_block_2.1.norm_mlp",
        work: &[("expand", 128), ("compress", 512)],
    },
];

const TARGETS: [&str; 2] = ["x86-64-v4", "x86-64-v3"];

fn main() -> ExitCode {
    exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Failure> {
    let dir = tempfile::tempdir().map_err(|e| format!("a scratch folder: {e}"))?;
    let mut text = String::from(
        "# Vector instructions of the hot kernels\n\nFrom the assembly that `mnxc` writes for 64^3 networks, default tiles; no clock was read. \
         Made by `make bench-instructions`.\n\nEach line is a loop without the loops in it. *Inner* loops do the multiply-adds, *around* is what the \
         loop around one adds (bias, GELU, results), *other* serves statistics and remainders. *Loads* are reads from memory, *folded* those that are an operand of arithmetic and so no \
         instruction; *spills* are reads and writes of the stack. *Per output vector* is the vector instructions that one register of results \
         takes in an inner loop: its multiply-adds, times vector instructions per multiply-add.\n",
    );
    let mut all: Vec<Value> = Vec::new();
    // By variant and kernel size: the assembly and the manifest.
    let mut made: HashMap<(&str, usize), (String, Value)> = HashMap::new();
    for target in TARGETS {
        let _ = write!(
            text,
            "\n## {target}\n\n| kernel | loop | multiply-adds | loads | folded | stores | other arithmetic | moves | spills | scalar | vector per multiply-add | per output vector |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        );
        made.clear();
        for hot in HOT {
            let key = (hot.variant, hot.kernel);
            let (assembly, manifest) = match made.entry(key) {
                Entry::Occupied(e) => e.into_mut(),
                Entry::Vacant(e) => e.insert(compile(&args.folders.bin, dir.path(), hot, target)?),
            };
            let symbol = symbol(manifest, hot.dispatch)?;
            let body = section(assembly, symbol).ok_or_else(|| format!("no assembly of {symbol} ({})", hot.name))?;
            all.push(kernel(hot, target, &loops(body), &mut text)?);
        }
    }
    print!("{text}");
    write_atomic(&args.folders.out.join("instructions.md"), &text)?;
    let json = serde_json::to_string_pretty(&json!({ "kernels": all })).map_err(|e| e.to_string())?;
    write_atomic(&args.folders.out.join("instructions.json"), &(json + "\n"))
}

/// Writes a kernel's lines and gives its JSON. Loops with less than a tenth of the multiply-adds of the widest serve remainders.
fn kernel(hot: &Hot, target: &str, all: &[Loop], text: &mut String) -> Result<Value, Failure> {
    // The loops that all the work is in: at least every third vector instruction multiplies and adds.
    let works = |l: &Loop| l.innermost && l.counts.fma * 3 >= l.counts.vector() && l.counts.fma > 0;
    let widest = all.iter().filter(|l| works(l)).map(|l| l.counts.fma).max().unwrap_or(0);
    if widest == 0 {
        return Err(format!("{} for {target}: no loop of multiply-adds", hot.name));
    }
    let shown: Vec<&Loop> = all.iter().filter(|l| l.counts.fma * 10 >= widest).collect();
    let count = shown.iter().filter(|l| works(l)).count();
    // Each step has as many loops as any other, one per width of register block; other numbers mean an emitter that this does not know.
    let named = count.is_multiple_of(hot.work.len());
    let (mut at, mut rows) = (0, Vec::new());
    for l in shown {
        let c = &l.counts;
        let (name, needed) = match (works(l), l.innermost) {
            (true, _) => {
                let (step, needed) = hot.work[at * hot.work.len() / count];
                at += 1;
                if named { (format!("inner: {step}"), Some(needed)) } else { (format!("inner {at}"), None) }
            }
            (false, true) => ("other".to_string(), None),
            (false, false) => (format!("around, depth {}", l.depth), None),
        };
        let ratio = c.vector() as f64 / c.fma as f64;
        let per_output = needed.map(|n| ratio * n as f64);
        let or_dash = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{v:.1}"));
        let _ = writeln!(
            text,
            "| {} | {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            hot.name,
            c.fma,
            c.loads,
            c.folded,
            c.stores,
            c.arithmetic,
            c.moves,
            c.spills,
            c.scalar,
            if works(l) { format!("{ratio:.2}") } else { "-".to_string() },
            or_dash(per_output),
        );
        rows.push(json!({
            "loop": name, "works": works(l), "depth": l.depth, "fma": c.fma, "loads": c.loads, "folded_loads": c.folded,
            "stores": c.stores, "other_arithmetic": c.arithmetic, "moves": c.moves, "spills": c.spills, "scalar": c.scalar,
            "vector": c.vector(), "vector_per_output": per_output,
        }));
    }
    Ok(json!({ "kernel": hot.name, "target": target, "loops": rows }))
}

/// Compiles a network; its assembly and its manifest.
fn compile(bin: &Path, dir: &Path, hot: &Hot, target: &str) -> Result<(String, Value), Failure> {
    let config = dir.join("case.toml");
    let text = format!("variant = \"{}\"\nin_channels = 1\nn_classes = 4\nkernel_size = {}\n", hot.variant, hot.kernel);
    std::fs::write(&config, text).map_err(|e| format!("{}: {e}", config.display()))?;
    let (bundle, dump) = (dir.join("case.mnxa"), dir.join("dump"));
    output(Command::new(bin.join("mnxc")).arg("compile").arg(&config).arg("-o").arg(&bundle).arg("--dump-dir").arg(&dump).args([
        "--seed",
        "1",
        "--target",
        target,
        "--patch",
        "64,64,64",
        "--vectors",
        "none",
        "--quiet",
    ]))?;
    let mut files = std::fs::read_dir(&dump).map_err(|e| format!("{}: {e}", dump.display()))?.flatten();
    let file = files.find(|f| f.file_name().to_string_lossy().ends_with(&format!("{target}.s")));
    let file = file.ok_or_else(|| format!("{}: no assembly for {target}", dump.display()))?.path();
    let assembly = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let manifest = output(Command::new(bin.join("mnx")).arg("inspect").arg(&bundle).arg("--json"))?;
    Ok((assembly, serde_json::from_str(&manifest).map_err(|e| format!("mnx inspect printed no JSON: {e}"))?))
}

/// The first kernel of a dispatch.
fn symbol<'a>(manifest: &'a Value, dispatch: &str) -> Result<&'a str, Failure> {
    let commands = manifest["programs"][0]["commands"].as_array();
    let found = commands.into_iter().flatten().find(|c| c["dispatch"] == dispatch);
    found.and_then(|c| c["kernel"].as_str()).ok_or_else(|| format!("the bundle has no dispatch {dispatch}"))
}

fn output(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| format!("{program}: {e}; run `make release` first"))?;
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    } else {
        Err(format!("{program} failed: {}", String::from_utf8_lossy(&out.stderr)))
    }
}
