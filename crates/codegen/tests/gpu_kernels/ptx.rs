//! Kernels become PTX.

use mnx_plan::gpu::depthwise::Tile;
use mnx_plan::gpu::*;
use mnx_plan::kernel::{Depthwise as Conv, DepthwiseTile, Kernel};
use mnx_plan::target::GPU_TARGETS;

pub fn conv(batch: usize, channels: usize, input: [usize; 3], taps: usize, stride: usize, transposed: bool) -> Conv {
    let output = input.map(|n| if transposed { (n - 1) * stride + 1 } else { (n - 1) / stride + 1 });
    Conv {
        batch,
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
        tile: DepthwiseTile { channels: 0, depth: 0, height: 0, width: 0 },
    }
}

#[test]
fn shown() {
    let Some(dir) = std::env::var_os("MNX_SHOW_PTX") else { return };
    let storage = Storage::parse(&std::env::var("ST").unwrap_or("bf16".into())).unwrap();
    let mut named = Vec::new();
    for (name, taps, stride, transposed, tiles) in [
        ("k3", 3, 1, false, vec![[32, 32, 8, 16, 8, 3], [32, 32, 4, 16, 4, 3], [32, 32, 4, 16, 8, 3]]),
        ("k3stem", 3, 1, false, vec![[32, 32, 8, 16, 8, 2]]),
        ("k5", 5, 1, false, vec![[32, 32, 8, 16, 8, 2], [32, 32, 4, 16, 4, 2]]),
        ("k7", 7, 1, false, vec![[32, 32, 8, 16, 8, 2], [16, 32, 8, 16, 4, 2]]),
        ("k9", 9, 1, false, vec![[16, 32, 8, 16, 4, 2]]),
        ("k3s2", 3, 2, false, vec![[32, 32, 4, 16, 4, 2], [32, 32, 8, 16, 8, 2]]),
        ("k5s2", 5, 2, false, vec![[32, 32, 8, 8, 4, 2]]),
        ("k3t2", 3, 2, true, vec![[32, 32, 8, 16, 4, 2]]),
        ("k5t2", 5, 2, true, vec![[32, 32, 8, 16, 4, 2]]),
    ] {
        for (i, t) in tiles.into_iter().enumerate() {
            let [channels, depth, height, width, run, stages] = t;
            let tile = Tile { channels, depth, height, width, run, stages };
            let n = if transposed { 32 } else { 64 };
            let mut c = conv(1, 64, [n; 3], taps, stride, transposed);
            if name.contains("stem") {
                c.stem = Some(1);
            }
            let k = Depthwise { conv: c, storage, tile };
            let k = GpuKernel::Depthwise(k);
            named.push((format!("{name}_{i}"), Kernel::Gpu(k)));
        }
    }
    let only = std::env::var("ONLY").unwrap_or_default();
    named.retain(|(n, _)| n.starts_with(&only));
    for target in GPU_TARGETS.iter().filter(|t| std::env::var("TARGET").is_ok_and(|x| x.split(',').any(|x| x == t.name))) {
        for one in &named {
            match mnx_codegen::compile(std::slice::from_ref(one), target, &mut |_, _, _| {}) {
                Ok(ptx) => {
                    std::fs::write(std::path::Path::new(&dir).join(format!("{}_{}_{}.ptx", one.0, target.name, storage.as_str())), ptx)
                        .unwrap()
                }
                Err(e) => println!("{}: {e}", one.0),
            }
        }
    }
}
