//! The MLP kernel: every end of a block, odd grids, tiles at random.

use crate::bench::{self, Buffers, Random, close, run, target, tolerance};
use crate::reference::{self, Values};
use mnx_plan::Kernel;
use mnx_plan::gpu::mlp::Tile;
use mnx_plan::gpu::{Epilogue, Mlp};
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::{Gelu, Storage};
use mnx_plan::work::Residual;

const CHANNELS: [usize; 6] = [16, 32, 48, 64, 80, 96];

fn plain(rng: &mut Random, storage: Storage) -> Mlp {
    let grid = [rng.between(1, 4), rng.between(1, 6), rng.between(1, 9)];
    let hidden: usize = rng.pick(&[16, 32, 48, 64, 96, 160]);
    let chunk = rng.pick(&[16, 32, 48, 64, 80]);
    let chunk = if hidden.is_multiple_of(chunk) { chunk } else { 16 };
    let pieces = hidden / chunk;
    let stages = if rng.flip() { pieces } else { rng.between(2, 4).min(pieces) };
    let (channels, out_channels) = (rng.pick(&CHANNELS), rng.pick(&CHANNELS));
    let norm = stages == pieces && Mlp::may_norm(channels, hidden, out_channels, storage) && rng.flip();
    Mlp {
        batch: rng.between(1, 2),
        grid,
        channels,
        hidden,
        out_channels,
        norm,
        folded: !norm && rng.flip(),
        grn_folded: rng.flip(),
        gelu: Gelu::Accurate,
        epilogue: Epilogue::STORE,
        storage,
        stream: bench::stream(rng, storage),
        tile: Tile { warps: rng.between(1, 3), m_tiles: rng.between(1, 2), chunk, stages, tiles: rng.between(1, 4) },
    }
}

fn verify(k: &Mlp, seed: u64, round: usize) {
    let mut rng = Random::new(seed);
    let kernel = Kernel::from(k.clone());
    if kernel.legal(target(round)).is_err() {
        let tile = Tile { warps: 1, m_tiles: 1, chunk: 16, stages: if k.norm { k.hidden / 16 } else { 2.min(k.hidden / 16) }, ..k.tile };
        assert_ne!(tile, k.tile);
        return verify(&Mlp { tile, ..k.clone() }, seed, round);
    }
    let given = Buffers::random(&kernel, &mut rng);
    let left = run(&kernel, &given, target(round));
    let before = Values { batch: k.batch, grid: k.grid, channels: k.out_channels, values: &reference::mlp(k, &given) };
    let (out, logits) = reference::end(&k.epilogue, &before, &given);
    let what = format!("{k:?}");
    // 2e-4 for every hidden value, times weights that are 0.3 at most.
    let part = tolerance(k.storage).max(tolerance(k.stream)) + if k.gelu == Gelu::Fast { 2e-4 * 0.3 * k.hidden as f64 } else { 0.0 };
    if k.epilogue.store {
        close(&what, left.get(Slot::Out), &out, part);
    }
    if k.epilogue.head.is_some() {
        close(&what, left.get(Slot::Logits), &logits, part);
    }
}

fn rounds(storage: Storage, base: u64, ends: &dyn Fn(usize, &mut Random, &mut Mlp)) {
    for round in 0..bench::rounds(storage) {
        let seed = base + 100 * storage.bytes() as u64 + round as u64;
        let mut rng = Random::new(seed);
        let mut k = plain(&mut rng, storage);
        ends(round, &mut rng, &mut k);
        verify(&k, seed, round);
    }
}

fn on_every_storage(base: u64, ends: &dyn Fn(usize, &mut Random, &mut Mlp)) {
    for (i, storage) in [Storage::F32, Storage::Bf16, Storage::F16].into_iter().enumerate() {
        rounds(storage, base + 1000 * i as u64, ends);
    }
}

#[test]
fn stored_residual_and_skip() {
    on_every_storage(1, &|round, rng, k| {
        k.epilogue.residual = if round % 3 == 0 { Residual::None } else { Residual::Identity };
        k.epilogue.skip = rng.flip();
    });
}

#[test]
fn in_place() {
    on_every_storage(20, &|round, rng, k| {
        k.epilogue.skip = round % 2 == 0;
        k.epilogue.in_place = true;
        k.epilogue.residual = if !k.epilogue.skip || rng.flip() { Residual::Identity } else { Residual::None };
    });
}

#[test]
fn recomputed_stem() {
    on_every_storage(40, &|round, rng, k| {
        k.epilogue.residual = Residual::Stem { channels: rng.pick(&[1, 2, 4]) };
        k.epilogue.skip = round % 3 == 0;
    });
}

#[test]
fn front_pad_and_scattered_residual() {
    on_every_storage(60, &|round, rng, k| {
        let stride = rng.pick(&[[2, 2, 2], [1, 2, 2], [2, 1, 2]]);
        if round % 3 != 2 {
            let from = [0, 1, 2].map(|a| k.grid[a].div_ceil(stride[a]));
            k.epilogue.residual = Residual::Scattered { from, stride };
        }
        k.epilogue.pad_front = if round == 5 { [1, 0, 0] } else { stride.map(|s| s - 1) };
        k.epilogue.skip = round % 2 == 0;
        k.epilogue.in_place = round == 4;
    });
}

#[test]
fn normalisation_folded_in_by_the_workgroup() {
    on_every_storage(65, &|round, rng, k| {
        k.channels = [16, 48, 80, 144, 160, 256][round];
        (k.hidden, k.out_channels) = (rng.pick(&[16, 32]), 16);
        let chunk = if rng.flip() { 16 } else { k.hidden };
        k.tile = Tile { m_tiles: 1, chunk, stages: k.hidden / chunk, ..k.tile };
        (k.norm, k.folded) = (true, false);
        k.epilogue.residual = Residual::Identity;
    });
}

#[test]
fn strided_residual() {
    on_every_storage(70, &|_, rng, k| k.epilogue.residual = bench::strided(rng, k.grid));
}

#[test]
fn heads() {
    on_every_storage(80, &|round, rng, k| {
        k.epilogue.residual = rng.pick(&[Residual::None, Residual::Identity, Residual::Stem { channels: 1 }]);
        k.epilogue.head = Some(rng.between(1, 5));
        k.epilogue.skip = rng.flip();
        k.epilogue.store = round % 2 == 0;
    });
}

/// Several row tiles per workgroup while the weights go by, x in registers or read again.
#[test]
fn streamed_weights() {
    on_every_storage(120, &|round, rng, k| {
        k.hidden = 16 * rng.between(5, 9);
        k.grid = [3, rng.between(4, 6), 7];
        k.channels = if round % 2 == 0 { 32 } else { 144 };
        k.out_channels = 32;
        let (m_tiles, stages) = (if k.channels == 32 { 2 } else { 1 }, rng.between(2, 4));
        k.tile = Tile { warps: rng.between(1, 2), m_tiles, chunk: 16, stages, tiles: rng.between(2, 3) };
        k.norm = false;
        assert!(!k.resident());
    });
}

/// The short GELU is within its own bound.
#[test]
fn fast_gelu() {
    on_every_storage(140, &|_, _, k| {
        k.gelu = Gelu::Fast;
        k.tile.tiles = 1;
    });
}
