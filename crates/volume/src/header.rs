//! The header of a file: what was claimed, where the voxels lie, and what goes back into an output.

use std::path::{Path, PathBuf};

use mnx_artifact::Reader;
use nifti::{Endianness, NiftiHeader};

use crate::error::VolumeError;
use crate::nifti2::{self, Nifti2Header, field};
use crate::reader::{Grid, grid};
use crate::wide_fields::{WideFields, column};
use mnx_words::numbers;

/// Which version of the format a header is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NiftiVersion {
    /// NIfTI-1: 348-byte header, 16-bit dimensions.
    One,
    /// NIfTI-2: 540-byte header, 64-bit dimensions.
    Two,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fields {
    One(Box<NiftiHeader>),
    Two(Nifti2Header),
}

/// Everything of an input file that an output on the same grid repeats: dimensions, sform and qform
/// with their codes, units, descriptions, header extensions and the format version.
///
/// Independent of the input's byte order: outputs are little-endian. What the fields mean, [`Header::affine`] and
/// [`Header::spacing`], depends on whose reading was asked for; what is written back does not.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub(crate) fields: Fields,
    /// Header extensions: code and content.
    pub(crate) extensions: Vec<(i32, Vec<u8>)>,
    dim: [usize; 4],
    affine: [[f64; 4]; 4],
    spacing: [f64; 3],
    oriented: bool,
    remarks: Vec<String>,
    formless: Option<String>,
    /// The file that was read; empty for a header made anew.
    path: PathBuf,
}

/// Where and how the voxels of a file are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub datatype: Datatype,
    pub big_endian: bool,
    pub vox_offset: u64,
    pub header_bytes: u64,
    pub slope: f64,
    pub inter: f64,
}

/// The voxel types that are read. All become float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datatype {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Datatype {
    fn from_code(path: &Path, code: i16) -> Result<Datatype, VolumeError> {
        let refused = |name: &str| {
            Err(VolumeError::unsupported(path, format!("{name} voxels (datatype {code}) are not supported, expected one number per voxel")))
        };
        Ok(match code {
            2 => Datatype::U8,
            256 => Datatype::I8,
            512 => Datatype::U16,
            4 => Datatype::I16,
            768 => Datatype::U32,
            8 => Datatype::I32,
            1280 => Datatype::U64,
            1024 => Datatype::I64,
            16 => Datatype::F32,
            64 => Datatype::F64,
            128 => return refused("RGB"),
            2304 => return refused("RGBA"),
            32 | 1792 | 2048 => return refused("complex"),
            1536 => return refused("128-bit float"),
            1 => return refused("single-bit"),
            other => {
                return Err(VolumeError::damaged(path, format!("datatype {other} is not one of NIfTI's voxel types")));
            }
        })
    }

    /// Bytes of one voxel.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Datatype::U8 | Datatype::I8 => 1,
            Datatype::U16 | Datatype::I16 => 2,
            Datatype::U32 | Datatype::I32 | Datatype::F32 => 4,
            Datatype::U64 | Datatype::I64 | Datatype::F64 => 8,
        }
    }
}

/// The size and byte order that the first four bytes of a file announce.
pub(crate) fn announced(path: &Path, first: [u8; 4]) -> Result<(NiftiVersion, bool), VolumeError> {
    for (big_endian, size) in [(false, i32::from_le_bytes(first)), (true, i32::from_be_bytes(first))] {
        match size {
            348 => return Ok((NiftiVersion::One, big_endian)),
            540 => return Ok((NiftiVersion::Two, big_endian)),
            _ => {}
        }
    }
    Err(crate::foreign::refusal(path).unwrap_or_else(|| VolumeError::NotNifti {
        path: path.to_path_buf(),
        what: format!("the header size field is {}, expected 348 (NIfTI-1) or 540 (NIfTI-2)", i32::from_le_bytes(first)),
    }))
}

impl Header {
    /// Reads a header from its bytes (348 or 540 of them, as announced) and checks every claim that
    /// can be checked without the voxels.
    pub(crate) fn parse(
        path: &Path,
        bytes: &[u8],
        version: NiftiVersion,
        big_endian: bool,
        reader: Option<Reader>,
    ) -> Result<(Header, Layout), VolumeError> {
        let (fields, wide) = match version {
            NiftiVersion::One => parse_one(path, bytes, big_endian)?,
            NiftiVersion::Two => parse_two(path, bytes, big_endian)?,
        };
        let dim = checked_dim(path, &wide.dim)?;
        let datatype = Datatype::from_code(path, wide.datatype)?;
        let header_bytes: u64 = match version {
            NiftiVersion::One => 352,
            NiftiVersion::Two => 544,
        };
        // Some writers leave 0 in a single file; the voxels then follow the header at once.
        let offset = if wide.vox_offset == 0.0 { header_bytes as f64 } else { wide.vox_offset };
        if !offset.is_finite() || offset < header_bytes as f64 || offset > 1e15 || offset.fract() != 0.0 {
            return Err(VolumeError::damaged(
                path,
                format!("vox_offset is {offset}, expected a whole number of bytes from {header_bytes} up"),
            ));
        }
        let Grid { affine, spacing, oriented, scale: (slope, inter), remarks, formless } = grid(path, &wide, &dim, reader)?;
        let layout = Layout { datatype, big_endian, vox_offset: offset as u64, header_bytes, slope, inter };
        let header = Header { fields, extensions: Vec::new(), dim, affine, spacing, oriented, remarks, formless, path: path.to_path_buf() };
        Ok((header, layout))
    }

    /// A NIfTI-1 header for a new volume of `shape` (z, y, x) whose voxels lie at `affine` (voxel
    /// index x, y, z to millimetres, right-anterior-superior).
    ///
    /// # Errors
    /// When an axis is empty or longer than NIfTI-1's 32767, or the affine has an empty column.
    pub fn new(shape: [usize; 3], affine: [[f64; 4]; 4]) -> Result<Header, VolumeError> {
        let [z, y, x] = shape;
        for (name, &n) in ["z", "y", "x"].iter().zip(&shape) {
            if n == 0 || n > 32767 {
                return Err(VolumeError::Setting(format!("axis {name} has {n} voxels, expected 1 to 32767")));
            }
        }
        let spacing = [2, 1, 0].map(|axis| column(&affine, axis));
        if spacing.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return Err(VolumeError::Setting(format!("voxel spacing (z, y, x) is {} mm, expected positive numbers", numbers(&spacing))));
        }
        let row = |r: usize| affine[r].map(|v| v as f32);
        let fields = NiftiHeader {
            dim: [3, x as u16, y as u16, z as u16, 1, 1, 1, 1],
            pixdim: [1.0, spacing[2] as f32, spacing[1] as f32, spacing[0] as f32, 1.0, 1.0, 1.0, 1.0],
            xyzt_units: 2,
            sform_code: 2,
            qform_code: 0,
            srow_x: row(0),
            srow_y: row(1),
            srow_z: row(2),
            endianness: Endianness::Little,
            ..NiftiHeader::default()
        };
        Ok(Header {
            fields: Fields::One(Box::new(fields)),
            extensions: Vec::new(),
            dim: [x, y, z, 1],
            affine,
            spacing,
            oriented: true,
            remarks: Vec::new(),
            formless: None,
            path: PathBuf::new(),
        })
    }

    /// Voxels along z, y, x.
    pub fn shape(&self) -> [usize; 3] {
        [self.dim[2], self.dim[1], self.dim[0]]
    }

    /// Values per voxel position: the product of all axes after the third.
    pub fn channels(&self) -> usize {
        self.dim[3]
    }

    /// Voxel index (x, y, z, 1) to millimetres, right-anterior-superior. By the format itself: the sform if its code is
    /// set, else the qform, else the voxel sizes alone; a [`Reader`] may see it otherwise.
    pub fn affine(&self) -> [[f64; 4]; 4] {
        self.affine
    }

    /// Millimetres between voxels along z, y, x. By the format itself: `pixdim` in the header's unit; where that is empty, the
    /// affine's columns. A [`Reader`] may see it otherwise.
    pub fn spacing(&self) -> [f64; 3] {
        self.spacing
    }

    /// Whether the affine says how the volume lies. A file without sform and qform does not, unless a [`Reader`] has a rule for it.
    pub fn oriented(&self) -> bool {
        self.oriented
    }

    /// How a header without sform and qform is taken, for models that want an orientation. Without the file's name.
    pub fn formless(&self) -> Option<&str> {
        self.formless.as_deref()
    }

    /// What a careful user should hear of the header before any work, one line each: another unit than the millimetre,
    /// contradicting voxel sizes. Without the file's name.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The file that was read; none for a header made anew.
    pub fn path(&self) -> Option<&Path> {
        (!self.path.as_os_str().is_empty()).then_some(&self.path)
    }

    /// The format version that the file had and outputs get.
    pub fn version(&self) -> NiftiVersion {
        match self.fields {
            Fields::One(_) => NiftiVersion::One,
            Fields::Two(_) => NiftiVersion::Two,
        }
    }

    /// `(qform_code, sform_code)`.
    pub fn form_codes(&self) -> (i32, i32) {
        match &self.fields {
            Fields::One(h) => (i32::from(h.qform_code), i32::from(h.sform_code)),
            Fields::Two(h) => (h.i32(field::QFORM_CODE), h.i32(field::SFORM_CODE)),
        }
    }

    /// Header extensions as (code, content).
    pub fn extensions(&self) -> &[(i32, Vec<u8>)] {
        &self.extensions
    }
}

fn parse_one(path: &Path, bytes: &[u8], big_endian: bool) -> Result<(Fields, WideFields), VolumeError> {
    let magic = &bytes[344..348];
    if magic == b"ni1\0" {
        let image = path.with_extension("img");
        let state = if image.exists() {
            "two-file pairs are not supported, convert it to a single .nii"
        } else {
            "and the image beside it is missing"
        };
        return Err(VolumeError::unsupported(path, format!("only the header half of a NIfTI pair (magic ni1): {state}")));
    }
    if magic != b"n+1\0" {
        return Err(VolumeError::NotNifti {
            path: path.to_path_buf(),
            what: "no NIfTI magic (an Analyze 7.5 header?), so its orientation is unknown".into(),
        });
    }
    // The crate finds the byte order from dim[0]; it must not be asked when dim[0] is nonsense.
    let pair = [bytes[40], bytes[41]];
    let rank = if big_endian { i16::from_be_bytes(pair) } else { i16::from_le_bytes(pair) };
    checked_rank(path, i64::from(rank))?;
    let mut h = NiftiHeader::from_reader(bytes).map_err(|e| VolumeError::damaged(path, format!("unreadable NIfTI-1 header: {e}")))?;
    h.endianness = Endianness::Little;
    let f = |v: f32| f64::from(v);
    let row = |r: &[f32; 4]| r.map(f64::from);
    let wide = WideFields {
        // The format's 16-bit dimensions are signed; the crate hands them over unsigned.
        dim: h.dim.map(|d| i64::from(d as i16)),
        xyzt_units: i32::from(h.xyzt_units),
        quaternion_rounding: 3.0 * f64::from(f32::EPSILON),
        pixdim: h.pixdim.map(f64::from),
        sform_code: i32::from(h.sform_code),
        qform_code: i32::from(h.qform_code),
        quatern: [f(h.quatern_b), f(h.quatern_c), f(h.quatern_d)],
        qoffset: [f(h.quatern_x), f(h.quatern_y), f(h.quatern_z)],
        srow: [row(&h.srow_x), row(&h.srow_y), row(&h.srow_z)],
        vox_offset: f(h.vox_offset),
        slope: f(h.scl_slope),
        inter: f(h.scl_inter),
        datatype: h.datatype,
    };
    Ok((Fields::One(Box::new(h)), wide))
}

fn parse_two(path: &Path, bytes: &[u8], big_endian: bool) -> Result<(Fields, WideFields), VolumeError> {
    let bytes: &[u8; nifti2::SIZE] = bytes.try_into().map_err(|_| VolumeError::damaged(path, "the NIfTI-2 header is not 540 bytes"))?;
    let h = Nifti2Header::from_bytes(bytes, big_endian);
    let magic = h.magic();
    if &magic[..4] == b"ni2\0" {
        return Err(VolumeError::unsupported(
            path,
            "only the header half of a NIfTI-2 pair (magic ni2): pairs are not supported, convert it to a single .nii",
        ));
    }
    if magic != nifti2::MAGIC {
        return Err(VolumeError::NotNifti {
            path: path.to_path_buf(),
            what: "a NIfTI-2 header without its magic n+2 (damaged in transfer?)".into(),
        });
    }
    let f64s = |at: usize, i: usize| h.f64(at + 8 * i);
    let wide = WideFields {
        dim: std::array::from_fn(|i| h.i64(field::DIM + 8 * i)),
        xyzt_units: h.i32(field::XYZT_UNITS),
        quaternion_rounding: 3.0 * f64::EPSILON,
        pixdim: std::array::from_fn(|i| f64s(field::PIXDIM, i)),
        sform_code: h.i32(field::SFORM_CODE),
        qform_code: h.i32(field::QFORM_CODE),
        quatern: std::array::from_fn(|i| f64s(field::QUATERN, i)),
        qoffset: std::array::from_fn(|i| f64s(field::QOFFSET, i)),
        srow: std::array::from_fn(|r| std::array::from_fn(|c| f64s(field::SROW, 4 * r + c))),
        vox_offset: h.i64(field::VOX_OFFSET) as f64,
        slope: h.f64(field::SCL_SLOPE),
        inter: h.f64(field::SCL_INTER),
        datatype: h.i16(field::DATATYPE),
    };
    Ok((Fields::Two(h), wide))
}

fn checked_rank(path: &Path, rank: i64) -> Result<usize, VolumeError> {
    if !(1..=7).contains(&rank) {
        return Err(VolumeError::damaged(path, format!("dim[0], the number of axes, is {rank}, expected 1 to 7")));
    }
    Ok(rank as usize)
}

/// x, y, z and the product of all further axes.
fn checked_dim(path: &Path, dim: &[i64; 8]) -> Result<[usize; 4], VolumeError> {
    let rank = checked_rank(path, dim[0])?;
    let mut out = [1usize; 4];
    for axis in 1..=rank {
        let n = usize::try_from(dim[axis])
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| VolumeError::damaged(path, format!("dim[{axis}] is {}, expected a positive number of voxels", dim[axis])))?;
        let slot = &mut out[axis.min(4) - 1];
        *slot = slot.checked_mul(n).ok_or_else(|| too_many(path, dim))?;
    }
    // 8 bytes for the widest voxel; every later product of these four then fits too.
    out.iter()
        .try_fold(8usize, |acc, &n| acc.checked_mul(n))
        .filter(|&bytes| bytes < isize::MAX as usize)
        .ok_or_else(|| too_many(path, dim))?;
    Ok(out)
}

fn too_many(path: &Path, dim: &[i64; 8]) -> VolumeError {
    let axes: Vec<String> = dim[1..].iter().take(dim[0].clamp(1, 7) as usize).map(ToString::to_string).collect();
    VolumeError::damaged(path, format!("the dimensions {} are beyond any memory", axes.join("x")))
}
