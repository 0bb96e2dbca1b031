//! The row engine gives, bit for bit, what the kernel on its own stores.
#![allow(clippy::unwrap_used)]

use super::{emit, emit_rows};
use crate::mlir::{Scalar, Session};
use crate::target::{host, link};
use mnx_plan::family::Family;
use mnx_plan::host::Depthwise;
use mnx_plan::host::depthwise::{DepthwiseScratch, Tile};
use mnx_plan::host::scratch::Carver;
use mnx_plan::slot::{Arg, Slot};
use mnx_plan::target::{TARGETS, Target};
use mnx_plan::vocabulary::voxels;
use mnx_plan::work::Conv;
use std::ffi::c_void;
use std::io::Write;

type Entry = unsafe extern "C" fn(*const *const c_void, u64, *mut c_void);

fn cases() -> Vec<(Depthwise, usize)> {
    let tile = Tile { channels: 20, depth: 3, height: 4, width: 8 };
    let conv = Conv {
        batch: 2,
        channels: 20,
        input: [5, 7, 13],
        output: [5, 7, 13],
        taps: [5; 3],
        stride: [1; 3],
        pad: [2; 3],
        transposed: false,
        bias: true,
        stem: None,
        stats: false,
    };
    let straight = Depthwise { conv: conv.clone(), tile };
    let wide = Conv { channels: 33, output: [9, 13, 25], stride: [2; 3], transposed: true, ..conv.clone() };
    let up = Depthwise { conv: wide, tile: Tile { channels: 33, ..tile } };
    let stem = Depthwise { conv: Conv { stem: Some(3), bias: false, ..conv }, tile };
    vec![(straight.clone(), 1), (straight, 3), (up, 2), (stem, 9)]
}

/// Compiles the kernel (`group` 0) or the row engine with a body that stores its rows, and runs it on a ramp of numbers.
fn run(k: &Depthwise, group: usize, target: &Target) -> Vec<f32> {
    let conv = &k.conv;
    let mut args = conv.inputs();
    args.push(Arg::write(Slot::Y, conv.batch * voxels(conv.output) * conv.channels));
    let mut carver = Carver::default();
    // The caller's own region stands first, so that the layout is not at 0.
    let line = conv.output[2] * conv.channels;
    let own = carver.region(line * group.max(1), 4);
    let layout = DepthwiseScratch::carve(k, &mut carver);
    let signature = host::Signature { symbol: "kernel", args: &args, scratch_bytes: carver.bytes() };
    let count = args.len() - 1;
    let product = host::compile_body(&Session::new(), &signature, target, &[], |site| {
        if group == 0 {
            emit(k, site);
            return;
        }
        let b = site.b;
        let rows = b.view(site.scratch, own.byte, Scalar::F32, own.len);
        emit_rows(k, site, layout, (group, rows), |at| {
            let row = b.at(at.z, at.sample, conv.output[0]);
            let row = b.at(at.y, row, conv.output[1]);
            let to = b.shifted(site.args.of(Slot::Y), b.mul(row, line));
            b.each(0, b.mul(at.count, line), 1, |i| {
                b.store(b.load(rows, i), to, i);
            });
        });
    })
    .unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&link::shared_object(&[product.object]).unwrap()).unwrap();
    let mut buffers: Vec<Vec<f32>> = args
        .iter()
        .enumerate()
        .map(|(a, arg)| {
            let value = |i: usize| ((i * 37 + a * 11) % 101) as f32 / 50.0 - 1.0;
            (0..arg.len).map(|i| if arg.access.writes() { f32::NAN } else { value(i) }).collect()
        })
        .collect();
    let pointers: Vec<*mut c_void> = buffers.iter_mut().map(|b| b.as_mut_ptr().cast()).collect();
    let mut scratch = vec![u64::MAX; signature.scratch_bytes / 8 + 1];
    // SAFETY: the object was made just now and has no initialisers; the entry has the kernel ABI.
    unsafe {
        let library = libloading::Library::new(file.path()).unwrap();
        let entry = library.get::<Entry>(b"kernel").unwrap();
        for group in 0..k.workgroups() {
            entry(pointers.as_ptr().cast(), group as u64, scratch.as_mut_ptr().cast());
        }
    }
    buffers.remove(count)
}

#[test]
fn rows_are_those_of_the_kernel() {
    let here = |t: &&Target| t.name == "x86-64-v3" || is_x86_feature_detected!("avx512dq");
    for target in TARGETS.iter().filter(here) {
        for (k, group) in cases() {
            k.legal(target.cpu().unwrap()).unwrap();
            let want = run(&k, 0, target);
            assert!(want.iter().all(|v| v.is_finite()));
            let got = run(&k, group, target);
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&got) == bits(&want), "{} {group} {k:?}", target.name);
        }
    }
}
