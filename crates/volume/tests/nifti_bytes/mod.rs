//! NIfTI files made byte by byte, independently of the crate's own writer, and a seeded generator.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write;

/// splitmix64: the same draws on every machine.
pub struct Draws(pub u64);

impl Draws {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` up to and including `high`.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }

    /// From -1 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// One voxel type: NIfTI code, bytes, smallest and largest whole number drawn for it.
pub const TYPES: [(i16, usize, f64, f64); 10] = [
    (2, 1, 0.0, 255.0),
    (256, 1, -128.0, 127.0),
    (4, 2, -32768.0, 32767.0),
    (512, 2, 0.0, 65535.0),
    (8, 4, -16_000_000.0, 16_000_000.0),
    (768, 4, 0.0, 16_000_000.0),
    (1024, 8, -16_000_000.0, 16_000_000.0),
    (1280, 8, 0.0, 16_000_000.0),
    (16, 4, -1000.0, 1000.0),
    (64, 8, -1000.0, 1000.0),
];

/// A file to be made.
#[derive(Clone)]
pub struct Recipe {
    pub two: bool,
    pub big: bool,
    pub datatype: i16,
    pub dim: Vec<i64>, // x, y, z, ...
    pub pixdim: [f64; 8],
    pub slope: f64,
    pub inter: f64,
    pub sform_code: i32,
    pub qform_code: i32,
    pub quatern: [f64; 6],
    pub srow: [[f64; 4]; 3],
    pub extensions: Vec<(i32, Vec<u8>)>,
    pub vox_offset: Option<f64>,
}

impl Recipe {
    pub fn new(dim: &[i64], datatype: i16) -> Recipe {
        Recipe {
            two: false,
            big: false,
            datatype,
            dim: dim.to_vec(),
            pixdim: [1.0, 1.5, 2.0, 2.5, 1.0, 1.0, 1.0, 1.0],
            slope: 0.0,
            inter: 0.0,
            sform_code: 1,
            qform_code: 0,
            quatern: [0.0; 6],
            srow: [[1.5, 0.0, 0.0, -3.0], [0.0, 2.0, 0.0, 4.0], [0.0, 0.0, 2.5, 5.0]],
            extensions: Vec::new(),
            vox_offset: None,
        }
    }

    fn width(&self) -> usize {
        TYPES.iter().find(|t| t.0 == self.datatype).map_or(1, |t| t.1)
    }

    /// The whole file, with these voxel values in file order.
    pub fn file(&self, values: &[f64]) -> Vec<u8> {
        let mut out = self.header();
        for v in values {
            let v = *v;
            match self.datatype {
                2 => self.put(&mut out, &(v as u8).to_le_bytes()),
                256 => self.put(&mut out, &(v as i8).to_le_bytes()),
                4 => self.put(&mut out, &(v as i16).to_le_bytes()),
                512 => self.put(&mut out, &(v as u16).to_le_bytes()),
                8 => self.put(&mut out, &(v as i32).to_le_bytes()),
                768 => self.put(&mut out, &(v as u32).to_le_bytes()),
                1024 => self.put(&mut out, &(v as i64).to_le_bytes()),
                1280 => self.put(&mut out, &(v as u64).to_le_bytes()),
                16 => self.put(&mut out, &(v as f32).to_le_bytes()),
                64 => self.put(&mut out, &v.to_le_bytes()),
                _ => out.push(v as u8),
            }
        }
        out
    }

    fn put(&self, out: &mut Vec<u8>, little: &[u8]) {
        if self.big {
            out.extend(little.iter().rev());
        } else {
            out.extend(little);
        }
    }

    fn header(&self) -> Vec<u8> {
        let extension_bytes: usize = self.extensions.iter().map(|e| 8 + e.1.len()).sum();
        let size = if self.two { 544 } else { 352 };
        let offset = self.vox_offset.unwrap_or((size + extension_bytes) as f64);
        let mut o = Vec::new();
        let mut dim = [1i64; 8];
        dim[0] = self.dim.len() as i64;
        dim[1..=self.dim.len()].copy_from_slice(&self.dim);
        let bits = 8 * self.width() as i16;
        if self.two {
            self.put(&mut o, &540i32.to_le_bytes());
            o.extend(b"n+2\0\r\n\x1a\n");
            self.put(&mut o, &self.datatype.to_le_bytes());
            self.put(&mut o, &bits.to_le_bytes());
            dim.iter().for_each(|d| self.put(&mut o, &d.to_le_bytes()));
            [0f64; 3].iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            self.pixdim.iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            self.put(&mut o, &(offset as i64).to_le_bytes());
            let rest = [self.slope, self.inter, 7.0, 3.0, 0.0, 0.25];
            rest.iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            [0i64; 2].iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            o.extend([b'd'; 80]);
            o.extend([b'a'; 24]);
            self.put(&mut o, &self.qform_code.to_le_bytes());
            self.put(&mut o, &self.sform_code.to_le_bytes());
            self.quatern.iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            self.srow.iter().flatten().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            [0i32, 10, 0].iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            o.extend([0; 16]);
            o.extend([0; 16]);
            assert_eq!(o.len(), 540);
        } else {
            self.put(&mut o, &348i32.to_le_bytes());
            o.extend([0; 35]);
            o.push(0);
            dim.iter().for_each(|d| self.put(&mut o, &(*d as i16).to_le_bytes()));
            [0f32; 3].iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            [0, self.datatype, bits, 0].iter().for_each(|v: &i16| self.put(&mut o, &v.to_le_bytes()));
            self.pixdim.iter().for_each(|v| self.put(&mut o, &(*v as f32).to_le_bytes()));
            let scale = [offset as f32, self.slope as f32, self.inter as f32];
            scale.iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            self.put(&mut o, &0i16.to_le_bytes());
            o.extend([0, 10]); // slice_code, xyzt_units: millimetres, seconds
            [7f32, 3.0, 0.0, 0.25].iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            [0i32; 2].iter().for_each(|v| self.put(&mut o, &v.to_le_bytes()));
            o.extend([b'd'; 80]);
            o.extend([b'a'; 24]);
            self.put(&mut o, &(self.qform_code as i16).to_le_bytes());
            self.put(&mut o, &(self.sform_code as i16).to_le_bytes());
            self.quatern.iter().for_each(|v| self.put(&mut o, &(*v as f32).to_le_bytes()));
            self.srow.iter().flatten().for_each(|v| self.put(&mut o, &(*v as f32).to_le_bytes()));
            o.extend([0; 16]);
            o.extend(b"n+1\0");
            assert_eq!(o.len(), 348);
        }
        o.extend([u8::from(!self.extensions.is_empty()), 0, 0, 0]);
        for (code, content) in &self.extensions {
            self.put(&mut o, &(8 + content.len() as i32).to_le_bytes());
            self.put(&mut o, &code.to_le_bytes());
            o.extend(content);
        }
        o
    }
}

/// Compresses bytes into one gzip member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A folder of this test's own.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Writes bytes to a file in the folder.
pub fn put(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
