//! Default tiles over the shapes of the MedNeXt family.

use super::{Depthwise, Tile};
use crate::family::Family;
use crate::gpu::Storage;
use crate::target::gpus;
use crate::work::Conv;

fn conv(channels: usize, extent: usize, taps: usize, stride: usize, transposed: bool) -> Conv {
    let output = if transposed { (extent - 1) * stride + 1 } else { (extent - 1) / stride + 1 };
    Conv {
        batch: 1,
        channels,
        input: [extent; 3],
        output: [output; 3],
        taps: [taps; 3],
        stride: [stride; 3],
        pad: [taps / 2; 3],
        transposed,
        bias: false,
        stem: None,
        stats: true,
    }
}

/// Every depthwise convolution of a network of `levels` levels on patches of `patch`, from `channels` on.
fn network(patch: usize, channels: usize, levels: usize, taps: usize) -> Vec<Conv> {
    let mut all = Vec::new();
    for level in 0..levels {
        let (extent, channels) = (patch >> level, channels << level);
        all.push(conv(channels, extent, taps, 1, false));
        if level == 0 {
            all.push(Conv { stem: Some(1), ..conv(channels, extent, taps, 1, false) });
        }
        if level + 1 < levels {
            all.push(conv(channels, extent, taps, 2, false));
            all.push(conv(2 * channels, extent / 2, taps, 2, true));
        }
    }
    all
}

#[test]
fn default_tiles_are_legal_everywhere() {
    for (target, gpu) in gpus() {
        for taps in [3, 5, 7] {
            for (patch, channels, levels) in [(128, 32, 5), (128, 16, 8)] {
                for conv in network(patch, channels, levels, taps) {
                    for storage in [Storage::F32, Storage::Bf16] {
                        let mut k = Depthwise { conv: conv.clone(), storage, result: storage, tile: Tile::default() };
                        k.choose(gpu);
                        if let Err(e) = k.legal(gpu) {
                            panic!("{} {conv:?} {storage:?}: {e}", target.name);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_walk_uses_every_tap_once_per_output() {
    for (transposed, stride) in [(false, 1), (false, 2), (true, 2)] {
        for taps in [1, 3, 5, 7, 9] {
            let tile = Tile { channels: 16, depth: 2, height: 4, width: 8, run: 4, stages: 2 };
            let k = Depthwise { conv: conv(16, 16, taps, stride, transposed), storage: Storage::Bf16, result: Storage::F16, tile };
            let walk = k.walk();
            // Over all steps, an output plane of each phase meets all of its taps.
            let phases = k.conv.axis(0).out_step();
            for phase in 0..phases {
                let of = |uses: &[super::Use]| uses.iter().filter(|u| u.output % phases == phase).map(|u| u.tap).collect::<Vec<_>>();
                let mut met: Vec<usize> = walk.planes.iter().flat_map(|p| of(&p.uses)).collect();
                met.sort_unstable();
                let mut want: Vec<usize> = k.conv.axis(0).pattern(phase).into_iter().map(|(_, tap)| tap).collect();
                want.sort_unstable();
                assert_eq!(met, want, "taps {taps} stride {stride} transposed {transposed} phase {phase}");
            }
            assert!(walk.planes.iter().flat_map(|p| &p.uses).all(|u| u.output < walk.groups * phases));
        }
    }
}

#[test]
fn impossible_tiles_are_refused() {
    let (_, gpu) = gpus().next().unwrap();
    let good = Tile { channels: 32, depth: 8, height: 4, width: 8, run: 4, stages: 2 };
    let k = |tile| Depthwise { conv: conv(64, 16, 3, 1, false), storage: Storage::F16, result: Storage::F16, tile };
    assert_eq!(k(good).legal(gpu), Ok(()));
    for tile in [
        Tile { channels: 24, ..good },
        Tile { channels: 48, ..good },
        Tile { run: 3, ..good },
        Tile { run: 0, ..good },
        Tile { depth: 0, ..good },
        Tile { stages: 1, ..good },
        Tile { height: 1 << 40, ..good },
        Tile { height: 64, ..good },
    ] {
        assert!(k(tile).legal(gpu).is_err(), "{tile:?}");
    }
    let up = Depthwise { conv: conv(64, 16, 3, 2, true), storage: Storage::F16, result: Storage::F16, tile: Tile { height: 3, ..good } };
    assert!(up.legal(gpu).is_err());
}
