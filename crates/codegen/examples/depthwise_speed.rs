//! Times one depthwise convolution on one thread and prints GFLOP/s.
//!
//! `cargo run --release -p mnx-codegen --example depthwise_speed -- TARGET TAPS CHANNELS D,H,W [stride1|stride2|transposed] [C,D,H,W of the tile] [dump folder]`
// A tool for people who work on mnx; a closed stream may end it.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(unsafe_code)]

use mnx_codegen::{Options, Stage, compile_with};
use mnx_plan::Kernel;
use mnx_plan::host::Depthwise;
use mnx_plan::host::depthwise::Tile;
use mnx_plan::target::TARGETS;
use mnx_plan::vocabulary::voxels;
use mnx_plan::work::Conv;
use std::error::Error;
use std::ffi::c_void;
use std::time::Instant;

type Entry = unsafe extern "C" fn(*const *const c_void, u64, *mut c_void);

fn numbers(text: &str) -> Result<Vec<usize>, std::num::ParseIntError> {
    text.split(',').map(str::parse).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, default: &str| args.get(i).map_or(default.to_owned(), String::clone);
    let name = arg(0, "x86-64-v4");
    let target = TARGETS.iter().find(|t| t.name == name).ok_or_else(|| format!("no target {name}"))?;
    let taps: usize = arg(1, "3").parse()?;
    let channels: usize = arg(2, "32").parse()?;
    let extent = numbers(&arg(3, "64,64,64"))?;
    let input = [extent[0], extent[1], extent[2]];
    let mode = arg(4, "stride1");
    let transposed = mode == "transposed";
    let stride = if mode == "stride1" { 1 } else { 2 };
    let output = if transposed { input.map(|e| 2 * e - 1) } else { input.map(|e| (e - 1) / stride + 1) };
    let conv = Conv {
        batch: 1,
        channels,
        input,
        output,
        taps: [taps; 3],
        stride: [stride; 3],
        pad: [taps / 2; 3],
        transposed,
        bias: false,
        stem: None,
        stats: true,
    };
    let tile = numbers(&arg(5, "0"))?;
    let mut kernel = Kernel::from(Depthwise { conv, tile: Tile::default() });
    kernel.choose(target)?;
    if let [channels, depth, height, width] = tile[..] {
        for (knob, value) in [("channels", channels), ("depth", depth), ("height", height), ("width", width)] {
            kernel.set_knob(knob, value)?;
        }
    }
    let dump = args.get(6);
    let options =
        Options { stages: if dump.is_some() { vec![Stage::Mlir, Stage::Llvm, Stage::Asm, Stage::Object] } else { vec![] }, threads: 1 };
    let start = Instant::now();
    let compiled = compile_with(&[("kernel".into(), kernel.clone())], target, &options, &mut |stage, name, bytes| {
        if let Some(folder) = dump {
            let path = format!("{folder}/{name}.{}", stage.extension());
            if let Err(e) = std::fs::write(&path, bytes) {
                eprintln!("{path}: {e}");
            }
        }
    })?;
    let compiling = start.elapsed();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &compiled.library)?;
    // SAFETY: the object was made just now and has no initialisers.
    let library = unsafe { libloading::Library::new(file.path())? };
    // SAFETY: the signature is the kernel ABI's.
    let entry = unsafe { library.get::<Entry>(b"kernel")? };
    let buffers: Vec<Vec<f64>> = kernel.args().iter().map(|a| vec![0.0; a.bytes() / 8 + 16]).collect();
    let align = |v: &Vec<f64>| {
        let at = v.as_ptr().cast::<u8>();
        // SAFETY: 16 spare elements were allocated.
        unsafe { at.add(at.align_offset(64)) }.cast::<c_void>()
    };
    let pointers: Vec<*const c_void> = buffers.iter().map(align).collect();
    let scratch = vec![0f64; kernel.scratch_bytes() / 8 + 16];
    // The best of every workgroup, summed: other work on the machine then matters little.
    let mut least = vec![f64::INFINITY; kernel.workgroups()];
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < 1.5 {
        for (group, least) in least.iter_mut().enumerate() {
            let start = Instant::now();
            // SAFETY: buffers and scratch have the sizes that the kernel states.
            unsafe { entry(pointers.as_ptr(), group as u64, align(&scratch).cast_mut()) };
            *least = least.min(start.elapsed().as_secs_f64());
        }
    }
    let best: f64 = least.iter().sum();
    // Multiply-adds with the zeros outside counted, as is usual.
    let work = voxels(if transposed { input } else { output }) * taps.pow(3) * channels;
    println!(
        "{} {mode} k{taps} C{channels} {input:?} tile {:?} workgroups {} scratch {} KiB: {:.3} ms, {:.1} GFLOP/s; code {} KiB, compiled in {:.0} ms {:?}",
        target.name,
        kernel.knobs(),
        kernel.workgroups(),
        kernel.scratch_bytes() / 1024,
        best * 1e3,
        2.0 * work as f64 / best / 1e9,
        compiled.library.len() / 1024,
        compiling.as_secs_f64() * 1e3,
        compiled.times,
    );
    Ok(())
}
