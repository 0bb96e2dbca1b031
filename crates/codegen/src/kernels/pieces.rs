//! Covering a number of channels by vectors of powers of two.

use crate::mlir::{Builder, Val};

/// A run of channels that one vector covers, repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// First channel.
    pub first: usize,
    /// Lanes of each vector, a power of two.
    pub lanes: usize,
    /// Vectors, one after another.
    pub count: usize,
}

/// Covers `count` channels greedily: full vectors first, then one of each smaller power of two that is needed.
/// `20` with 16 lanes is `16 + 4`, with 8 lanes `8 + 8 + 4`.
pub fn pieces(count: usize, lanes: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut first, mut lanes) = (0, lanes);
    while first < count {
        let n = (count - first) / lanes;
        if n > 0 {
            pieces.push(Piece { first, lanes, count: n });
            first += n * lanes;
        }
        lanes /= 2;
    }
    pieces
}

/// Runs `body(first channel, lanes)` over vectors that cover `channels`.
pub(crate) fn over_channels<'c>(b: &Builder<'c>, channels: usize, lanes: usize, mut body: impl FnMut(Val<'c>, usize)) {
    for piece in pieces(channels, lanes) {
        let end = piece.first + piece.count * piece.lanes;
        b.each(piece.first, end, piece.lanes, |c| body(c, piece.lanes));
    }
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn every_channel_is_covered_once() {
        for lanes in [4, 8, 16] {
            for count in 1..200 {
                let mut next = 0;
                for p in pieces(count, lanes) {
                    assert_eq!(p.first, next);
                    assert!(p.lanes.is_power_of_two() && p.lanes <= lanes && p.count > 0);
                    next += p.lanes * p.count;
                }
                assert_eq!(next, count);
            }
        }
    }
}
