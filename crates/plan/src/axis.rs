//! One spatial axis of a convolution: which inputs an output reads, through which taps.

/// Extents and taps of a convolution along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Input extent.
    pub input: usize,
    /// Output extent.
    pub output: usize,
    /// Taps.
    pub taps: usize,
    /// Stride (upsampling factor of a transposed convolution).
    pub stride: usize,
    /// Padding.
    pub pad: usize,
    /// Transposed convolution.
    pub transposed: bool,
}

impl Axis {
    /// Inputs `low..high` that outputs `first..end` read, not clipped to the extent; empty if `low >= high`.
    pub fn reach(&self, first: usize, end: usize) -> (i64, i64) {
        let [first, last] = [first as i64, end as i64 - 1];
        let [taps, stride, pad] = [self.taps as i64, self.stride as i64, self.pad as i64];
        if self.transposed {
            let low = (first + pad - taps + stride).div_euclid(stride);
            (low, (last + pad).div_euclid(stride) + 1)
        } else {
            (first * stride - pad, last * stride - pad + taps)
        }
    }

    /// As [`Axis::reach`], clipped to the input.
    pub fn window(&self, first: usize, end: usize) -> (usize, usize) {
        let (low, high) = self.reach(first, end);
        let low = low.clamp(0, self.input as i64) as usize;
        (low, high.clamp(low as i64, self.input as i64) as usize)
    }

    /// Most inputs that a slab of `step` outputs reads.
    pub fn span(&self, step: usize) -> usize {
        (0..self.output)
            .step_by(step)
            .map(|first| {
                let (low, high) = self.window(first, (first + step).min(self.output));
                high - low
            })
            .max()
            .unwrap_or(0)
    }

    /// Zeros that a row needs before and behind it, so that every tap of every output finds a value.
    pub fn margins(&self) -> (usize, usize) {
        let (mut before, mut behind) = (0, 0);
        for o in 0..self.output {
            let (low, high) = self.reach(o, o + 1);
            if low < high {
                before = before.max(-low);
                behind = behind.max(high - self.input as i64);
            }
        }
        (before as usize, behind as usize)
    }

    /// Outputs that share the pattern of one step: 1, or the upsampling factor of a transposed convolution.
    pub fn out_step(&self) -> usize {
        if self.transposed { self.stride } else { 1 }
    }

    /// Inputs that a step of `out_step` outputs moves on.
    pub fn in_step(&self) -> usize {
        if self.transposed { 1 } else { self.stride }
    }

    /// The taps of output `r < out_step`: (input, tap), inputs ascending; the input may lie outside.
    pub fn pattern(&self, r: usize) -> Vec<(i64, usize)> {
        let (low, high) = self.reach(r, r + 1);
        (low..high)
            .map(|i| {
                let tap = if self.transposed {
                    (r + self.pad) as i64 - i * self.stride as i64
                } else {
                    i + self.pad as i64 - (r * self.stride) as i64
                };
                (i, tap as usize)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn patterns_and_windows_are_those_of_the_definition() {
        for transposed in [false, true] {
            for stride in 1..=2 {
                for taps in [1, 3, 5, 7] {
                    for input in 1..9usize {
                        let output = if transposed { (input - 1) * stride + 1 } else { (input - 1) / stride + 1 };
                        let axis = Axis { input, output, taps, stride, pad: taps / 2, transposed };
                        check(&axis);
                    }
                }
            }
        }
    }

    fn check(axis: &Axis) {
        let (before, behind) = axis.margins();
        for o in 0..axis.output {
            let mut want = Vec::new();
            for i in -20i64..40 {
                for q in 0..axis.taps {
                    let (s, p) = (axis.stride as i64, axis.pad as i64);
                    let hit = if axis.transposed { o as i64 == i * s - p + q as i64 } else { i == o as i64 * s - p + q as i64 };
                    if hit {
                        want.push((i, q));
                    }
                }
            }
            let (m, r) = (o / axis.out_step(), o % axis.out_step());
            let got: Vec<_> = axis.pattern(r).into_iter().map(|(i, q)| (i + (m * axis.in_step()) as i64, q)).collect();
            assert_eq!(got, want, "{axis:?} output {o}");
            let inside: Vec<_> = want.iter().map(|w| w.0).filter(|&i| i >= 0 && i < axis.input as i64).collect();
            let (low, high) = axis.window(o, o + 1);
            assert_eq!(inside, (low as i64..high as i64).collect::<Vec<_>>());
            for (i, _) in want {
                assert!(i + before as i64 >= 0 && i < (axis.input + behind) as i64);
            }
        }
    }
}
