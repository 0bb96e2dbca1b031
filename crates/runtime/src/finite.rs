//! Looking for the first dispatch whose results are not finite.

use std::fmt;

use mnx_artifact::{BufferRef, Command, Element, Program, Write};

/// NaN and infinities in one buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFinite {
    /// The input port or the dispatch that holds or wrote them.
    pub place: String,
    /// The kernel and its argument; none for a port.
    pub kernel: Option<(String, usize)>,
    /// Elements of the buffer.
    pub elements: usize,
    /// How many are NaN.
    pub nan: usize,
    /// How many are infinite.
    pub infinite: usize,
    /// The first of either.
    pub first: usize,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, kernel, elements, nan, infinite, first } = self;
        match kernel {
            Some((kernel, arg)) => {
                write!(f, "the first results that are not finite come from dispatch {place} (kernel {kernel}, argument {arg})")?
            }
            None => write!(f, "input \"{place}\" is not finite")?,
        }
        write!(f, ": {nan} NaN and {infinite} infinite of {elements} values, the first at {first}")
    }
}

/// What to look into after a command.
pub(crate) struct Watched<'a> {
    pub dispatch: &'a str,
    pub kernel: &'a str,
    pub arg: usize,
    pub buffer: BufferRef,
    pub element: Element,
}

/// The buffers of floating-point numbers that a command writes.
pub(crate) fn watched(command: &Command) -> impl Iterator<Item = Watched<'_>> {
    let launch = match command {
        Command::Launch { dispatch, kernel, args, writes, .. } => Some((dispatch, kernel, args, writes)),
        Command::Fill { .. } | Command::Copy { .. } => None,
    };
    launch.into_iter().flat_map(|(dispatch, kernel, args, writes)| {
        writes
            .iter()
            .filter(|w| w.element != Element::I32)
            .filter_map(move |&Write { arg, element }| Some(Watched { dispatch, kernel, arg, buffer: *args.get(arg)?, element }))
    })
}

/// Whether the program says of every launch what it writes.
pub(crate) fn says_what_it_writes(program: &Program) -> bool {
    program.commands.iter().all(|c| !matches!(c, Command::Launch { writes, .. } if writes.is_empty()))
}

/// NaN, infinities and the first of either among little-endian elements.
pub(crate) fn count(bytes: &[u8], element: Element) -> Option<(usize, usize, usize)> {
    let width = element.bytes();
    let (mut nan, mut infinite, mut first) = (0, 0, None);
    for (index, raw) in bytes.chunks_exact(width).enumerate() {
        let bits = raw.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
        // Exponent bits all ones: infinite, or NaN with any fraction.
        let (exponent, fraction) = match element {
            Element::F32 => (0x7f80_0000, 0x007f_ffff),
            Element::F64 => (0x7ff0_0000_0000_0000, 0x000f_ffff_ffff_ffff),
            Element::Bf16 => (0x7f80, 0x007f),
            Element::F16 => (0x7c00, 0x03ff),
            Element::I32 => return None,
        };
        if bits & exponent == exponent {
            if bits & fraction == 0 {
                infinite += 1;
            } else {
                nan += 1;
            }
            first.get_or_insert(index);
        }
    }
    first.map(|first| (nan, infinite, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_tells_nan_infinity_and_numbers_apart() {
        let f32s =
            [1.0, f32::MAX, -0.0, f32::MIN_POSITIVE / 2.0, f32::NEG_INFINITY, 3.0, f32::NAN, -f32::NAN].map(f32::to_le_bytes).concat();
        assert_eq!(count(&f32s, Element::F32), Some((2, 1, 4)));
        assert_eq!(count(&f32s[..16], Element::F32), None);
        let f64s = [0.0, f64::MAX, f64::INFINITY, f64::NAN].map(f64::to_le_bytes).concat();
        assert_eq!(count(&f64s, Element::F64), Some((1, 1, 2)));
        // 1.0, infinity, NaN, -infinity, the largest.
        let bf16s = [0x3f80u16, 0x7f80, 0x7fc0, 0xff80, 0x7f7f].map(u16::to_le_bytes).concat();
        assert_eq!(count(&bf16s, Element::Bf16), Some((1, 2, 1)));
        let f16s = [0x3c00u16, 0x7c01, 0xfc00, 0x7bff].map(u16::to_le_bytes).concat();
        assert_eq!(count(&f16s, Element::F16), Some((1, 1, 1)));
        assert_eq!(count(&[0xff; 8], Element::I32), None);
    }
}
