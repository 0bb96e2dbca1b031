//! What both header versions say of the grid, in one width.

/// The fields of either version in one width.
pub(crate) struct WideFields {
    pub dim: [i64; 8],
    pub pixdim: [f64; 8],
    /// Bits 0 to 2: the unit of length.
    pub xyzt_units: i32,
    pub sform_code: i32,
    pub qform_code: i32,
    pub quatern: [f64; 3],
    pub qoffset: [f64; 3],
    pub srow: [[f64; 4]; 3],
    pub vox_offset: f64,
    pub slope: f64,
    pub inter: f64,
    pub datatype: i16,
    /// Below this much, the square of a quaternion's real part is nothing but rounding of the stored numbers.
    pub quaternion_rounding: f64,
}

impl WideFields {
    /// Millimetres of the header's unit of length, and its name unless that is the millimetre or nothing known.
    pub fn unit(&self) -> (f64, Option<&'static str>) {
        match self.xyzt_units & 7 {
            1 => (1e3, Some("metres")),
            3 => (1e-3, Some("micrometres")),
            _ => (1.0, None),
        }
    }

    /// Sform rows and the last row.
    pub fn sform(&self) -> [[f64; 4]; 4] {
        [self.srow[0], self.srow[1], self.srow[2], [0.0, 0.0, 0.0, 1.0]]
    }

    /// The rotation that a quaternion's real part `a` and stored parts stand for, times the voxel sizes along the file's x, y and z,
    /// beside the offsets.
    pub fn qform(&self, [a, b, c, d]: [f64; 4], [sx, sy, sz]: [f64; 3]) -> [[f64; 4]; 4] {
        let [x, y, z] = self.qoffset;
        [
            [(a * a + b * b - c * c - d * d) * sx, 2.0 * (b * c - a * d) * sy, 2.0 * (b * d + a * c) * sz, x],
            [2.0 * (b * c + a * d) * sx, (a * a + c * c - b * b - d * d) * sy, 2.0 * (c * d - a * b) * sz, y],
            [2.0 * (b * d - a * c) * sx, 2.0 * (c * d + a * b) * sy, (a * a + d * d - b * b - c * c) * sz, z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    }

    /// The quaternion of unit length as the format's own library completes it: without room for the real part, a half turn.
    pub fn quaternion(&self) -> [f64; 4] {
        let [b, c, d] = self.quatern;
        let square = b * b + c * c + d * d;
        let rest = 1.0 - square;
        if rest < 1e-7 {
            let n = square.sqrt();
            [0.0, b / n, c / n, d / n]
        } else {
            [rest.sqrt(), b, c, d]
        }
    }
}

/// The length of an affine's column.
pub(crate) fn column(affine: &[[f64; 4]; 4], axis: usize) -> f64 {
    (0..3).map(|r| affine[r][axis] * affine[r][axis]).sum::<f64>().sqrt()
}
