//! A lane's consecutive values in memory: pieces of up to 16 bytes, float32 in registers.

use crate::mlir::{Buffer, Builder, Scalar, Ty, Val};

fn lanes(scalar: Scalar, count: usize) -> usize {
    count.min(16 / scalar.bytes())
}

/// `count` (4 or 8) values from `at` on, aligned to their size, as they are stored.
pub(super) fn pieces<'c>(b: &Builder<'c>, from: Buffer<'c>, at: Val<'c>, count: usize) -> Vec<Val<'c>> {
    let lanes = lanes(from.scalar(), count);
    (0..count).step_by(lanes).map(|i| b.load_whole(from, b.add(at, i), lanes)).collect()
}

/// A vector of zeros.
pub(super) fn zero<'c>(b: &Builder<'c>, scalar: Scalar, lanes: usize) -> Val<'c> {
    b.narrow(b.zero(Ty::vec(Scalar::F32, lanes)), scalar)
}

/// `count` values from `at` on as float32.
pub(super) fn load<'c>(b: &Builder<'c>, from: Buffer<'c>, at: Val<'c>, count: usize) -> Vec<Val<'c>> {
    pieces(b, from, at, count).into_iter().flat_map(|p| b.unpack(b.widen(p))).collect()
}

/// Writes float32 values to consecutive elements from `at` on, rounded to the storage type.
pub(super) fn store<'c>(b: &Builder<'c>, values: &[Val<'c>], to: Buffer<'c>, at: Val<'c>) {
    let lanes = lanes(to.scalar(), values.len());
    for (i, piece) in values.chunks_exact(lanes).enumerate() {
        b.store_whole(b.narrow(b.pack(piece), to.scalar()), to, b.add(at, i * lanes));
    }
}
