//! Shapes as loops see them: 2-D activations are 3-D ones of depth 1.

/// Extents of an activation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub n: usize,
    pub c: usize,
    /// Depth, height, width.
    pub space: [usize; 3],
}

impl Grid {
    /// Extents of a shape `[n, c, (d,) h, w]`.
    pub fn of(shape: &[usize]) -> Self {
        Self { n: shape[0], c: shape[1], space: three(&shape[2..], 1) }
    }

    /// Voxels of one channel.
    pub fn voxels(&self) -> usize {
        self.space.iter().product()
    }

    /// Where row `[n, c, d, h, ..]` begins.
    pub fn row(&self, n: usize, c: usize, d: usize, h: usize) -> usize {
        let [depth, height, width] = self.space;
        (((n * self.c + c) * depth + d) * height + h) * width
    }
}

/// Spatial extents with a leading `fill` for a 2-D network.
pub(crate) fn three(extents: &[usize], fill: usize) -> [usize; 3] {
    match *extents {
        [h, w] => [fill, h, w],
        [d, h, w] => [d, h, w],
        _ => unreachable!("inference admits two or three spatial axes"),
    }
}

/// `y[i * sy] += w * x[i * sx]` for as long as both last; contiguous when both strides are 1.
pub(crate) fn axpy<T: crate::Real>(y: &mut [T], sy: usize, w: T, x: &[T], sx: usize) {
    if sy == 1 && sx == 1 {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += w * x;
        }
    } else {
        for (y, &x) in y.iter_mut().step_by(sy).zip(x.iter().step_by(sx)) {
            *y += w * x;
        }
    }
}
