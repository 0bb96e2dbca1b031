//! The 540-byte NIfTI-2 header, kept as little-endian bytes with named fields.
//!
//! The `nifti` crate reads version 1 only. Keeping the bytes (instead of a struct of forty fields)
//! means that what we do not interpret is written back exactly as it came.

/// Bytes of a NIfTI-2 header.
pub(crate) const SIZE: usize = 540;

/// Magic of a single-file NIfTI-2, with the bytes that reveal newline damage.
pub(crate) const MAGIC: [u8; 8] = *b"n+2\0\r\n\x1a\n";

/// Byte offsets of the fields that are read or changed.
pub(crate) mod field {
    pub const DATATYPE: usize = 12;
    pub const BITPIX: usize = 14;
    pub const DIM: usize = 16;
    pub const INTENT_P: usize = 80;
    pub const PIXDIM: usize = 104;
    pub const VOX_OFFSET: usize = 168;
    pub const SCL_SLOPE: usize = 176;
    pub const SCL_INTER: usize = 184;
    pub const CAL: usize = 192;
    pub const QFORM_CODE: usize = 344;
    pub const SFORM_CODE: usize = 348;
    pub const QUATERN: usize = 352;
    pub const QOFFSET: usize = 376;
    pub const SROW: usize = 400;
    pub const XYZT_UNITS: usize = 500;
    pub const INTENT_CODE: usize = 504;
    pub const INTENT_NAME: usize = 508;
}

/// Runs of equal-width numbers: (offset, width, count). Everything else is text or single bytes.
const NUMBERS: &[(usize, usize, usize)] = &[
    (0, 4, 1),    // sizeof_hdr
    (12, 2, 2),   // datatype, bitpix
    (16, 8, 8),   // dim
    (80, 8, 11),  // intent_p1..3, pixdim
    (168, 8, 9),  // vox_offset, scl, cal, slice_duration, toffset, slice_start, slice_end
    (344, 4, 2),  // qform_code, sform_code
    (352, 8, 18), // quaternion, offsets, srow
    (496, 4, 3),  // slice_code, xyzt_units, intent_code
];

/// A NIfTI-2 header in little-endian byte order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Nifti2Header(Box<[u8; SIZE]>);

impl Nifti2Header {
    /// Takes the bytes of a file, swapping every number if the file is big-endian.
    pub(crate) fn from_bytes(bytes: &[u8; SIZE], big_endian: bool) -> Nifti2Header {
        let mut own = Box::new(*bytes);
        if big_endian {
            for &(offset, width, count) in NUMBERS {
                for number in own[offset..offset + width * count].chunks_exact_mut(width) {
                    number.reverse();
                }
            }
        }
        Nifti2Header(own)
    }

    /// The bytes, little-endian.
    pub(crate) fn bytes(&self) -> &[u8; SIZE] {
        &self.0
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }

    pub(crate) fn magic(&self) -> [u8; 8] {
        self.array(4)
    }

    pub(crate) fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes(self.array(at))
    }

    pub(crate) fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    pub(crate) fn i64(&self, at: usize) -> i64 {
        i64::from_le_bytes(self.array(at))
    }

    pub(crate) fn f64(&self, at: usize) -> f64 {
        f64::from_le_bytes(self.array(at))
    }

    pub(crate) fn set(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
