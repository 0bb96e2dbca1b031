//! Interpolation along one axis, in float64: taps, and the recursion that turns samples into cubic B-spline coefficients.
//!
//! Output sample `o` of an axis going from `n` to `m` samples lies at `t = (n / m) (o + 0.5) - 0.5`, computed in this order: nnU-Net,
//! scikit-image and SciPy do, and with order 0 the last bit decides ties. Order 3 takes four taps of a
//! cubic B-spline whose coefficients come from the recursive prefilter with pole sqrt(3) - 2; order 1 is linear between clamped
//! neighbours; order 0 takes the sample at `floor(t + 0.5)`. Beyond its ends a line keeps its edge value.

/// Interpolation order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nearest sample.
    Nearest,
    /// Linear.
    Linear,
    /// Cubic B-spline.
    Cubic,
}

impl Order {
    /// From nnU-Net's number: 0, 1 or 3.
    pub fn from_number(number: u8) -> Option<Order> {
        match number {
            0 => Some(Order::Nearest),
            1 => Some(Order::Linear),
            3 => Some(Order::Cubic),
            _ => None,
        }
    }
}

/// The pole of the cubic B-spline prefilter, sqrt(3) - 2.
const POLE: f64 = -0.267_949_192_431_122_7;

/// How far a sample's influence on the coefficients reaches: the pole to this power is 2e-14.
pub(crate) const REACH: usize = 24;

/// Edge samples added on each side. The recursions start and end in closed form for a signal that
/// stays at its edge value for ever, so the pad only has to reach the outermost taps; SciPy's pad of
/// 12 with reflected ends agrees with that to 1e-14.
const PAD: usize = 3;

/// The input sample that order 0 takes for output `o`.
pub(crate) fn nearest(o: usize, n: usize, m: usize) -> usize {
    let t = position(o, n, m);
    ((t + 0.5).floor().max(0.0) as usize).min(n - 1)
}

/// The two input samples between which output `o` lies, and the weight of the second.
pub(crate) fn neighbours(o: usize, n: usize, m: usize) -> (usize, usize, f64) {
    let t = position(o, n, m).clamp(0.0, (n - 1) as f64);
    let low = t.floor();
    let i = low as usize;
    (i, (i + 1).min(n - 1), t - low)
}

fn position(o: usize, n: usize, m: usize) -> f64 {
    (n as f64 / m as f64) * (o as f64 + 0.5) - 0.5
}

/// One axis: where each output's four taps begin, counted from `-PAD`, and their weights.
pub(crate) struct Axis {
    pub n: usize,
    pub m: usize,
    pub order: Order,
    taps: Vec<(usize, [f64; 4])>,
}

impl Axis {
    pub fn new(n: usize, m: usize, order: Order) -> Axis {
        // An axis that keeps its samples is copied: the spline goes through them.
        let order = if n == m { Order::Nearest } else { order };
        let tap = |o| match order {
            Order::Nearest => (nearest(o, n, m) + PAD, [1.0, 0.0, 0.0, 0.0]),
            Order::Linear => {
                let (i, _, w) = neighbours(o, n, m);
                (i + PAD, [1.0 - w, w, 0.0, 0.0])
            }
            Order::Cubic => {
                let t = position(o, n, m);
                let low = t.floor();
                let f = t - low;
                let g = 1.0 - f;
                let weights = [g * g * g / 6.0, 2.0 / 3.0 - f * f * (2.0 - f) / 2.0, 2.0 / 3.0 - g * g * (2.0 - g) / 2.0, f * f * f / 6.0];
                // `low` is at least -1, so the first of the four taps is at least PAD - 2.
                ((low + PAD as f64 - 1.0) as usize, weights)
            }
        };
        Axis { n, m, order, taps: (0..m).map(tap).collect() }
    }

    /// Whether outputs are the inputs, one by one.
    pub fn is_copy(&self) -> bool {
        self.n == self.m
    }

    /// The input samples that outputs `from..to` depend on (to 2e-14), as a range.
    pub fn needs(&self, from: usize, to: usize) -> std::ops::Range<usize> {
        let (reach, taps) = match self.order {
            Order::Nearest => (0, 1),
            Order::Linear => (0, 2),
            Order::Cubic => (REACH, 4),
        };
        let low = self.taps[from].0.saturating_sub(PAD + reach).min(self.n - 1);
        let high = (self.taps[to - 1].0 + taps + reach).saturating_sub(PAD).min(self.n);
        low..high.max(low + 1)
    }
}

/// A part of an axis: which outputs are made, and the samples at hand, which must hold what those need. Both are counted along the whole axis.
pub(crate) struct Part {
    pub inputs: std::ops::Range<usize>,
    pub outputs: std::ops::Range<usize>,
}

/// Scratch for `L` lines filtered side by side, so that the recursion along a line is vector code across lines.
pub(crate) struct Lines<const L: usize> {
    padded: Vec<[f64; L]>,
}

impl<const L: usize> Lines<L> {
    pub fn new() -> Self {
        Lines { padded: Vec::new() }
    }

    /// Interpolates the outputs of a part: `load` reads sample `i`, `store` gets output `o`. Where its inputs end before the axis does, what
    /// lies beyond is out of reach.
    pub fn run(
        &mut self,
        axis: &Axis,
        Part { inputs, outputs }: Part,
        load: impl Fn(usize) -> [f64; L],
        mut store: impl FnMut(usize, &[f64; L]),
    ) {
        let n = inputs.len();
        self.padded.resize(n + 2 * PAD, [0.0; L]);
        let padded = &mut self.padded[..n + 2 * PAD];
        for (slot, i) in padded[PAD..].iter_mut().zip(inputs.clone()) {
            *slot = load(i);
        }
        let (first, last) = (padded[PAD], padded[PAD + n - 1]);
        padded[..PAD].fill(first);
        padded[PAD + n..].fill(last);
        if axis.order == Order::Cubic {
            prefilter(padded);
        }
        let taps = match axis.order {
            Order::Nearest => 1,
            Order::Linear => 2,
            Order::Cubic => 4,
        };
        for o in outputs {
            let (start, weights) = axis.taps[o];
            let mut sum = [0.0; L];
            for (tap, weight) in padded[start - inputs.start..][..taps].iter().zip(&weights) {
                for (s, t) in sum.iter_mut().zip(tap) {
                    *s += t * weight;
                }
            }
            store(o, &sum);
        }
    }
}

/// Samples to B-spline coefficients in place, the signal taken as constant beyond both ends:
/// `p[i] = 6 s[i] + z p[i-1]` forwards, `c[i] = z (c[i+1] - p[i])` backwards.
fn prefilter<const L: usize>(line: &mut [[f64; L]]) {
    let Some(last_sample) = line.last().copied() else {
        return;
    };
    let mut previous = line[0].map(|s| 6.0 * s / (1.0 - POLE));
    for slot in line.iter_mut() {
        for (s, p) in slot.iter_mut().zip(&mut previous) {
            *p = 6.0 * *s + POLE * *p;
            *s = *p;
        }
    }
    // What the backward recursion would have gathered from the constant continuation.
    let mut next = [0.0; L];
    for l in 0..L {
        let settled = 6.0 * last_sample[l] / (1.0 - POLE);
        let rest = previous[l] - settled;
        // c[last + 1] = -z * sum over k of z^k p[last + 1 + k], p decaying towards `settled`.
        next[l] = -POLE * (settled / (1.0 - POLE) + POLE * rest / (1.0 - POLE * POLE));
    }
    for slot in line.iter_mut().rev() {
        for (s, c) in slot.iter_mut().zip(&mut next) {
            *c = POLE * (*c - *s);
            *s = *c;
        }
    }
}
