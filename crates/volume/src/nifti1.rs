//! The 348-byte NIfTI-1 header as bytes.
//!
//! The `nifti` crate reads it. It writes only to a path that ends in `.nii` or `.nii.gz`, which a temporary name must not, and does not say
//! when the last bytes did not reach the disk.

use nifti::NiftiHeader;

/// Bytes of a NIfTI-1 header.
pub(crate) const SIZE: usize = 348;

/// The header, little-endian.
pub(crate) fn bytes(h: &NiftiHeader) -> [u8; SIZE] {
    let mut out = Fields { bytes: [0; SIZE], at: 0 };
    out.put(&h.sizeof_hdr.to_le_bytes());
    out.put(&h.data_type);
    out.put(&h.db_name);
    out.put(&h.extents.to_le_bytes());
    out.put(&h.session_error.to_le_bytes());
    out.put(&[h.regular, h.dim_info]);
    h.dim.iter().for_each(|n| out.put(&n.to_le_bytes()));
    out.floats(&[h.intent_p1, h.intent_p2, h.intent_p3]);
    out.shorts(&[h.intent_code, h.datatype, h.bitpix, h.slice_start]);
    out.floats(&h.pixdim);
    out.floats(&[h.vox_offset, h.scl_slope, h.scl_inter]);
    out.put(&h.slice_end.to_le_bytes());
    out.put(&[h.slice_code, h.xyzt_units]);
    out.floats(&[h.cal_max, h.cal_min, h.slice_duration, h.toffset]);
    out.put(&h.glmax.to_le_bytes());
    out.put(&h.glmin.to_le_bytes());
    // A vector in the crate, 80 characters in the format.
    let mut description = [0; 80];
    description.iter_mut().zip(&h.descrip).for_each(|(slot, c)| *slot = *c);
    out.put(&description);
    out.put(&h.aux_file);
    out.shorts(&[h.qform_code, h.sform_code]);
    out.floats(&[h.quatern_b, h.quatern_c, h.quatern_d, h.quatern_x, h.quatern_y, h.quatern_z]);
    [h.srow_x, h.srow_y, h.srow_z].iter().for_each(|row| out.floats(row));
    out.put(&h.intent_name);
    out.put(&h.magic);
    out.bytes
}

/// Fields one after another.
struct Fields {
    bytes: [u8; SIZE],
    at: usize,
}

impl Fields {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }

    fn floats(&mut self, values: &[f32]) {
        values.iter().for_each(|v| self.put(&v.to_le_bytes()));
    }

    fn shorts(&mut self, values: &[i16]) {
        values.iter().for_each(|v| self.put(&v.to_le_bytes()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_header_of_any_bytes_comes_back() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..50 {
            let mut raw: [u8; SIZE] = std::array::from_fn(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Exponents stay small, so that no float is a NaN, which would not equal itself.
                (state >> 32) as u8 & 0x3f
            });
            // By these the crate tells byte order and magic.
            raw[..4].copy_from_slice(&348i32.to_le_bytes());
            raw[40..42].copy_from_slice(&3i16.to_le_bytes());
            raw[344..].copy_from_slice(b"n+1\0");
            let header = NiftiHeader::from_reader(&raw[..]).unwrap();
            assert!(bytes(&header) == raw);
        }
    }
}
