//! Cutting a row into register tiles, whose taps along w are known while building.

use mnx_plan::axis::Axis;

/// A tile of output voxels: which inputs of the staged row go where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WidthTile {
    /// Steps of the row it covers (a step is one output, or two of a transposed convolution).
    pub(super) steps: usize,
    /// Output voxels, as offsets from the tile's first.
    pub(super) voxels: Vec<usize>,
    /// For each input voxel, from the tile's first position in the staged row on: the `(output number, tap)` it goes to.
    pub(super) inputs: Vec<Vec<(usize, usize)>>,
}

/// Equal tiles one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// First step.
    pub(super) first: usize,
    /// Tiles.
    pub(super) count: usize,
    /// The tile.
    pub(super) tile: WidthTile,
}

/// Covers a row: full tiles of `width` voxels, then narrower ones by powers of two, then an odd last output of a transposed convolution.
/// `before` is the number of zeros in front of a staged row.
pub(super) fn cover(axis: &Axis, width: usize, before: usize) -> Vec<Part> {
    let step = axis.out_step();
    let whole = axis.output / step;
    let mut parts = Vec::new();
    let mut first = 0;
    let mut push = |steps: usize, count: usize, classes: usize| {
        if count > 0 {
            parts.push(Part { first, count, tile: tile(axis, steps, classes, before) });
            first += steps * count;
        }
    };
    let full = (width / step).max(1);
    push(full, whole / full, step);
    let mut rest = whole % full;
    while rest > 0 {
        let steps = 1 << rest.ilog2();
        push(steps, 1, step);
        rest -= steps;
    }
    push(1, axis.output - whole * step, axis.output - whole * step);
    parts
}

fn tile(axis: &Axis, steps: usize, classes: usize, before: usize) -> WidthTile {
    let mut voxels = Vec::new();
    let mut inputs: Vec<Vec<(usize, usize)>> = Vec::new();
    for step in 0..steps {
        for class in 0..classes {
            for (input, tap) in axis.pattern(class) {
                let position = input + (step * axis.in_step() + before) as i64;
                let position = position as usize;
                if inputs.len() <= position {
                    inputs.resize(position + 1, Vec::new());
                }
                inputs[position].push((voxels.len(), tap));
            }
            voxels.push(step * axis.out_step() + class);
        }
    }
    WidthTile { steps, voxels, inputs }
}

#[cfg(test)]
mod tests {
    use super::cover;
    use mnx_plan::axis::Axis;

    #[test]
    fn every_output_once_with_every_tap() {
        for (transposed, stride) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
            for output in 1..40usize {
                for width in [2, 8, 14, 16] {
                    let axis = Axis {
                        input: if transposed { output.div_ceil(stride) } else { output * stride },
                        output,
                        taps: 5,
                        stride,
                        pad: 2,
                        transposed,
                    };
                    let before = axis.margins().0;
                    let mut next = 0;
                    for part in cover(&axis, width, before) {
                        for t in 0..part.count {
                            let step = part.first + t * part.tile.steps;
                            for (number, voxel) in part.tile.voxels.iter().enumerate() {
                                let o = step * axis.out_step() + voxel;
                                assert_eq!(o, next);
                                next += 1;
                                let (low, high) = axis.reach(o, o + 1);
                                let got: Vec<i64> = part
                                    .tile
                                    .inputs
                                    .iter()
                                    .enumerate()
                                    .filter(|(_, to)| to.iter().any(|t| t.0 == number))
                                    .map(|(p, _)| (p + step * axis.in_step()) as i64 - before as i64)
                                    .collect();
                                assert_eq!(got, (low..high).collect::<Vec<_>>());
                            }
                        }
                    }
                    assert_eq!(next, output);
                }
            }
        }
    }
}
