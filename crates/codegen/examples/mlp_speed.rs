//! Prints the speed of the MLP kernel on one thread, per shape, with its tile: `mlp_speed [target] [assembly directory] [sweep] [channels=C] [shape=SIDE,C,HIDDEN] [head=CLASSES] [in_place] [up] [fast]`.
// A tool for people who work on mnx; a closed stream may end it.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(unsafe_code, clippy::unwrap_used)]

use mnx_codegen::{Options, Stage, compile_with};
use mnx_plan::Kernel;
use mnx_plan::family::Family;
use mnx_plan::host::Mlp;
use mnx_plan::host::mlp::Tile;
use mnx_plan::target::{TARGETS, Target};
use mnx_plan::vocabulary::{Gelu, voxels};
use mnx_plan::work::{self, Grn, Residual};
use std::ffi::c_void;
use std::io::Write;
use std::time::Instant;

type Entry = unsafe extern "C" fn(*const *const c_void, u64, *mut c_void);

fn kernel(side: usize, channels: usize, hidden: usize) -> Mlp {
    let mlp = work::Mlp {
        batch: 1,
        grid: [side; 3],
        channels,
        hidden,
        out_channels: channels,
        norm: true,
        grn: Grn::None,
        residual: Residual::Identity,
        pad_front: [0; 3],
        skip: false,
        head: None,
        store: true,
    };
    Mlp { mlp, gelu: Gelu::Accurate, in_place: false, tile: Tile::default() }
}

/// 64-byte aligned, page-touched memory.
fn memory(bytes: usize) -> (Vec<f32>, *mut c_void) {
    let mut v: Vec<f32> = (0..bytes / 4 + 32).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect();
    let p = v.as_mut_ptr().cast::<u8>();
    // SAFETY: 128 bytes more than needed were allocated.
    let p = unsafe { p.add(p.align_offset(64)) };
    (v, p.cast())
}

/// Seconds of a launch on this thread: the best time of every workgroup, summed, so that other work on the machine disturbs little.
fn time(k: &Mlp, target: &Target, assembly: Option<&str>) -> f64 {
    let kernel = Kernel::from(k.clone());
    let list = [("kernel".to_owned(), kernel.clone())];
    let options = Options { stages: vec![Stage::Asm, Stage::Mlir], threads: 1 };
    let compiled = compile_with(&list, target, &options, &mut |stage, _, text| {
        if let Some(folder) = assembly {
            let name = format!("{folder}/{}_{}_{}.{}", k.mlp.channels, k.mlp.hidden, k.mlp.grid[0], stage.extension());
            std::fs::write(name, text).unwrap();
        }
    })
    .unwrap();
    let t = compiled.times;
    print!("compiled in {:.0} ms; ", (t.emit + t.lower + t.optimise + t.object + t.link).as_secs_f64() * 1e3);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&compiled.library).unwrap();
    // SAFETY: the object has no initialisers.
    let library = unsafe { libloading::Library::new(file.path()) }.unwrap();
    // SAFETY: the signature is the kernel ABI's.
    let entry = unsafe { library.get::<Entry>(b"kernel") }.unwrap();
    let args: Vec<_> = kernel.args().iter().map(|a| memory(a.bytes())).collect();
    let (_owner, scratch) = memory(kernel.scratch_bytes());
    let pointers: Vec<*const c_void> = args.iter().map(|a| a.1.cast_const()).collect();
    let mut best = vec![f64::MAX; kernel.workgroups()];
    let begin = Instant::now();
    let mut runs = 0;
    while runs < 12 || begin.elapsed().as_secs_f64() < 2.0 {
        for (group, best) in best.iter_mut().enumerate() {
            let start = Instant::now();
            // SAFETY: the buffers have the sizes of `Kernel::args`, the scratch that of `scratch_bytes`.
            unsafe { entry(pointers.as_ptr(), group as u64, scratch) };
            *best = best.min(start.elapsed().as_secs_f64());
        }
        runs += 1;
    }
    best.iter().sum()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let name = words.first().map_or("x86-64-v4", String::as_str);
    let target = TARGETS.iter().find(|t| t.name == name).unwrap();
    let shapes = [(64, 32, 64), (64, 32, 96), (32, 64, 192), (16, 128, 512), (8, 256, 1024), (4, 512, 1024), (4, 512, 2048)];
    let shape: Option<Vec<usize>> = words.iter().find_map(|w| w.strip_prefix("shape=")?.split(',').map(|n| n.parse().ok()).collect());
    let shapes = match shape.as_deref() {
        Some(&[side, c, e]) => vec![(side, c, e)],
        _ => shapes.to_vec(),
    };
    let only = words.iter().find_map(|w| w.strip_prefix("channels=")?.parse().ok());
    for (side, c, e) in shapes {
        if only.is_some_and(|only: usize| only != c) {
            continue;
        }
        let mut k = kernel(side, c, e);
        k.mlp.head = words.iter().find_map(|w| w.strip_prefix("head=")?.parse().ok());
        k.mlp.store = k.mlp.head.is_none();
        if words.iter().any(|w| w == "fast") {
            k.gelu = Gelu::Fast;
        }
        k.in_place = words.iter().any(|w| w == "in_place");
        if words.iter().any(|w| w == "up") {
            // the MLP of the up block that ends on `side`: half the channels come out, on a padded grid, over the skip
            (k.mlp.grid, k.mlp.out_channels) = ([side - 1; 3], c / 2);
            (k.mlp.pad_front, k.mlp.skip, k.in_place) = ([1; 3], true, true);
            k.mlp.residual = Residual::Scattered { from: [side / 2; 3], stride: [2; 3] };
        }
        k.choose(target.cpu().unwrap());
        let mut tiles = vec![k.tile];
        if words.iter().any(|w| w == "sweep") {
            for rows in [12, 24, 32, 48, 64, 96, 144, 192] {
                for hidden in [64, 128, 256, 512, e] {
                    if hidden <= e && rows <= voxels(k.mlp.grid).max(12) {
                        let per = voxels(k.mlp.grid).div_ceil(rows).div_ceil(64) * rows;
                        tiles.push(Tile { rows, hidden, voxels: per });
                    }
                }
            }
        }
        for tile in tiles {
            k.tile = tile;
            k.tile.voxels = k.tile.voxels.min(voxels(k.mlp.grid));
            let seconds = time(&k, target, words.get(1).map(String::as_str).filter(|w| std::path::Path::new(w).is_dir()));
            let flops = 2.0 * (voxels(k.mlp.grid) * (c + k.mlp.out_channels) * e) as f64;
            println!(
                "{side}^3 {c} -> {e}: rows {} hidden {} voxels {}: {:.3} ms, {:.1} GFLOP/s",
                tile.rows,
                tile.hidden,
                k.tile.voxels,
                seconds * 1e3,
                flops / seconds * 1e-9
            );
        }
    }
}
