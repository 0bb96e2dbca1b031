//! Strided views of typed bytes as dense float32.

use half::{bf16, f16};

use crate::pickle::Element;

/// What to gather.
pub(super) struct Gather<'a> {
    pub raw: &'a [u8],
    pub element: Element,
    pub big_endian: bool,
    /// First element.
    pub from: u64,
    pub shape: &'a [usize],
    /// Steps in elements.
    pub strides: &'a [u64],
}

/// Row-major values. The caller made sure that the number of values is within the limits.
pub(super) fn gather(g: &Gather<'_>) -> Result<Vec<f32>, String> {
    match g.element {
        Element::F32 => each::<4>(g, f32::from_le_bytes),
        Element::F64 => each::<8>(g, |b| f64::from_le_bytes(b) as f32),
        Element::F16 => each::<2>(g, |b| f16::from_le_bytes(b).to_f32()),
        Element::Bf16 => each::<2>(g, |b| bf16::from_le_bytes(b).to_f32()),
        Element::I64 => each::<8>(g, |b| i64::from_le_bytes(b) as f32),
        Element::I32 => each::<4>(g, |b| i32::from_le_bytes(b) as f32),
        Element::I16 => each::<2>(g, |b| f32::from(i16::from_le_bytes(b))),
        Element::I8 => each::<1>(g, |b| f32::from(i8::from_le_bytes(b))),
        Element::U64 => each::<8>(g, |b| u64::from_le_bytes(b) as f32),
        Element::U32 => each::<4>(g, |b| u32::from_le_bytes(b) as f32),
        Element::U16 => each::<2>(g, |b| f32::from(u16::from_le_bytes(b))),
        Element::U8 => each::<1>(g, |b| f32::from(b[0])),
        Element::Bool => each::<1>(g, |b| f32::from(u8::from(b[0] != 0))),
        Element::C64 | Element::C128 => Err("holds complex numbers".to_owned()),
    }
}

fn each<const N: usize>(g: &Gather<'_>, read: impl Fn([u8; N]) -> f32) -> Result<Vec<f32>, String> {
    let elements = g.raw.as_chunks::<N>().0;
    let short = || "leaves its storage".to_owned();
    let value = |mut b: [u8; N]| {
        if g.big_endian {
            b.reverse();
        }
        read(b)
    };
    let count: usize = g.shape.iter().product();
    if count == 0 {
        return Ok(Vec::new());
    }
    let from = usize::try_from(g.from).map_err(|_| short())?;
    if dense(g) {
        let end = from.checked_add(count).ok_or_else(short)?;
        return Ok(elements.get(from..end).ok_or_else(short)?.iter().map(|&b| value(b)).collect());
    }
    let mut out = Vec::with_capacity(count);
    let mut index = vec![0usize; g.shape.len()];
    let mut at = g.from;
    loop {
        let element = usize::try_from(at).ok().and_then(|i| elements.get(i)).ok_or_else(short)?;
        out.push(value(*element));
        // Count up like an odometer, the last axis fastest.
        let mut axis = g.shape.len();
        loop {
            let Some(a) = axis.checked_sub(1) else { return Ok(out) };
            axis = a;
            index[a] += 1;
            if index[a] < g.shape[a] {
                at += g.strides[a];
                break;
            }
            at -= g.strides[a] * (g.shape[a] - 1) as u64;
            index[a] = 0;
        }
    }
}

/// Whether the view is row-major without gaps; axes of one element may have any stride.
fn dense(g: &Gather<'_>) -> bool {
    let mut step = 1u64;
    g.shape.iter().zip(g.strides).rev().all(|(&n, &s)| {
        let fits = n == 1 || s == step;
        step = step.saturating_mul(n as u64);
        fits
    })
}
