//! Which inputs the walk along depth brings step by step, which rows and columns a thread reads of them, and what they are multiplied by.

use super::Depthwise;
use crate::axis::Axis;

/// One tap of one output that an input takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The output, counted from the first that is summed at the time.
    pub output: usize,
    /// The tap.
    pub tap: usize,
}

/// An input position of a window, and its uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Position: in the window of rows or columns from its first on; planes relative to the step times [`Axis::in_step`].
    pub at: i64,
    /// What it is multiplied into, outputs ascending.
    pub uses: Vec<Use>,
}

/// The walk along depth. Step `m` reads the planes that no earlier step had and finishes the outputs `m * out_step ..` of [`Axis::out_step`] planes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The planes that a step brings; outputs are counted from the first that the step finishes.
    pub planes: Vec<Read>,
    /// Groups of `out_step` output planes that are summed side by side.
    pub groups: usize,
}

fn tap(axis: &Axis, input: i64, output: usize) -> Option<usize> {
    let (s, o, pad) = (axis.stride as i64, output as i64, axis.pad as i64);
    let tap = if axis.transposed { o + pad - input * s } else { input + pad - o * s };
    (0..axis.taps as i64).contains(&tap).then_some(tap as usize)
}

fn uses(axis: &Axis, input: i64, outputs: usize) -> Vec<Use> {
    (0..outputs).filter_map(|output| tap(axis, input, output).map(|tap| Use { output, tap })).collect()
}

/// The window of `outputs` neighbouring outputs.
fn window(axis: &Axis, outputs: usize) -> Vec<Read> {
    let (low, high) = axis.reach(0, outputs);
    (low..high).map(|i| Read { at: i - low, uses: uses(axis, i, outputs) }).collect()
}

impl Depthwise {
    /// How planes come and go.
    pub fn walk(&self) -> Walk {
        let axis = self.conv.axis(0);
        let (_, high) = axis.reach(0, axis.out_step());
        let open = 2 * (axis.taps + axis.stride) + axis.stride * axis.stride;
        let planes: Vec<Read> = (high - axis.in_step() as i64..high)
            .map(|i| Read { at: i, uses: uses(&axis, i, open) })
            .filter(|plane| !plane.uses.is_empty())
            .collect();
        let last = planes.iter().flat_map(|p| &p.uses).map(|u| u.output).max().unwrap_or(0);
        Walk { planes, groups: last / axis.out_step() + 1 }
    }

    /// Rows of a plane that a thread reads.
    pub fn rows(&self) -> Vec<Read> {
        let axis = self.conv.axis(1);
        window(&axis, axis.out_step())
    }

    /// Columns of a row that a thread reads.
    pub fn columns(&self) -> Vec<Read> {
        window(&self.conv.axis(2), self.tile.run)
    }

    /// Input positions that `outputs` neighbouring outputs touch along an axis.
    pub fn touched(&self, axis: usize, outputs: usize) -> usize {
        let (low, high) = self.conv.axis(axis).reach(0, outputs.max(1));
        (high - low).max(0) as usize
    }

    /// Output planes, rows and columns that a thread sums at a time.
    pub fn sums(&self) -> [usize; 3] {
        let [d, h] = [0, 1].map(|a| self.conv.axis(a).out_step());
        [self.walk().groups * d, h, self.tile.run]
    }
}
