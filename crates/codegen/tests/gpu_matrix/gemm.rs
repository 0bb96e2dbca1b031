//! The GEMM kernel: strides, GELU, sums of squares, ends of a block, tiles at random.

use crate::bench::{self, Buffers, Random, close, run, target, tolerance};
use crate::reference::{self, Values};
use mnx_plan::Kernel;
use mnx_plan::gpu::gemm::Tile;
use mnx_plan::gpu::{Epilogue, Gemm};
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::{Gelu, Storage, voxels};
use mnx_plan::work::Residual;

fn plain(rng: &mut Random, storage: Storage) -> Gemm {
    let grid = [rng.between(1, 4), rng.between(1, 6), rng.between(1, 9)];
    let (channels, out_channels) = (rng.pick(&[16, 32, 48, 80, 96, 192]), rng.pick(&[16, 32, 48, 64, 96, 160]));
    let divisor = |of: usize, rng: &mut Random| {
        let fits: Vec<usize> = (16..=96).step_by(16).filter(|d| of.is_multiple_of(*d)).collect();
        rng.pick(&fits)
    };
    let (columns, depth) = (divisor(out_channels, rng), divisor(channels, rng));
    Gemm {
        batch: rng.between(1, 2),
        grid,
        from: grid,
        stride: [1; 3],
        channels,
        out_channels,
        folded: rng.flip(),
        gelu: rng.flip().then_some(Gelu::Accurate),
        squares: false,
        epilogue: Epilogue::STORE,
        storage,
        stream: bench::stream(rng, storage),
        tile: Tile { warps: rng.between(1, 4), m_tiles: rng.between(1, 2), columns, depth, stages: rng.between(1, 4) },
    }
}

fn rounds(storage: Storage, base: u64, change: &dyn Fn(usize, &mut Random, &mut Gemm)) {
    for round in 0..bench::rounds(storage) {
        let seed = base + 1000 * storage.bytes() as u64 + round as u64;
        let mut rng = Random::new(seed);
        let mut k = plain(&mut rng, storage);
        change(round, &mut rng, &mut k);
        if Kernel::from(k.clone()).legal(target(round + 1)).is_err() {
            k.tile = Tile { m_tiles: 1, columns: 16, stages: k.tile.stages.min(2), ..k.tile };
        }
        let kernel = Kernel::from(k.clone());
        let given = Buffers::random(&kernel, &mut rng);
        let left = run(&kernel, &given, target(round + 1));
        let values = reference::gemm(&k, &given);
        let what = format!("{k:?}");
        if k.squares {
            let (m, c, parts) = (voxels(k.grid), k.out_channels, kernel.parts().unwrap());
            let rows = k.rows();
            let mut want = vec![0.0; k.batch * parts * c];
            for (i, row) in values.chunks_exact(c).enumerate() {
                for (j, v) in row.iter().enumerate() {
                    want[(i / m * parts + i % m / rows) * c + j] += v * v;
                }
            }
            close(&what, left.get(Slot::Partials), &want, tolerance(k.storage));
        } else {
            let before = Values { batch: k.batch, grid: k.grid, channels: k.out_channels, values: &values };
            let (out, _) = reference::end(&k.epilogue, &before, &given);
            close(&what, left.get(Slot::Out), &out, tolerance(k.storage).max(tolerance(k.stream)));
        }
    }
}

fn on_every_storage(base: u64, change: &dyn Fn(usize, &mut Random, &mut Gemm)) {
    for (i, storage) in [Storage::F32, Storage::Bf16, Storage::F16].into_iter().enumerate() {
        rounds(storage, base + 100 * i as u64, change);
    }
}

#[test]
fn stored() {
    on_every_storage(1, &|round, rng, k| {
        k.epilogue.residual = if round % 2 == 0 { Residual::None } else { Residual::Identity };
        k.epilogue.skip = rng.flip();
        k.epilogue.in_place = round > 3 && (k.epilogue.skip || k.epilogue.residual == Residual::Identity);
    });
}

#[test]
fn strided_source() {
    on_every_storage(20, &|_, rng, k| {
        k.stride = rng.pick(&[[2, 2, 2], [1, 2, 2], [2, 1, 1]]);
        k.from = [0, 1, 2].map(|a| (k.grid[a] - 1) * k.stride[a] + rng.between(1, 2));
    });
}

#[test]
fn end_of_a_down_block() {
    on_every_storage(80, &|_, rng, k| {
        k.gelu = None;
        k.epilogue.residual = bench::strided(rng, k.grid);
    });
}

#[test]
fn sums_of_squares() {
    on_every_storage(40, &|_, _, k| {
        k.squares = true;
        k.gelu = Some(Gelu::Accurate);
    });
}

#[test]
fn ends_of_an_up_block() {
    on_every_storage(60, &|round, _, k| {
        k.gelu = None;
        k.epilogue.residual = Residual::Scattered { from: k.grid.map(|e| e.div_ceil(2)), stride: [2; 3] };
        k.epilogue.pad_front = [1; 3];
        k.epilogue.skip = round % 2 == 0;
        k.epilogue.in_place = round == 2;
    });
}
