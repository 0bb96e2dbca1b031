//! Reading volumes: one file, or one file per channel.

use std::path::{Path, PathBuf};

use mnx_artifact::Reader;

use crate::error::{VolumeError, try_reserve};
use crate::grid::same_grid;
use crate::header::{Datatype, Header, Layout, NiftiVersion, announced};
use crate::orientation::AxisMap;
use crate::source::Source;
use crate::told::letters;

/// Bytes decoded at a time.
const CHUNK: usize = 1 << 20;

/// Extensions beyond this are not carried into memory but refused.
const EXTENSION_LIMIT: u64 = 64 << 20;

/// How to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions {
    /// Replace NaN by 0 and infinities by the volume's largest and smallest finite value, instead of
    /// refusing the file.
    pub nan_to_num: bool,
    /// Refuse anything but this many channels.
    pub channels: Option<usize>,
    /// Whose reading of the header is followed; none follows the format itself.
    pub reader: Option<Reader>,
}

/// A volume in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Voxels `[c, z, y, x]`, x fastest, scaled by the file's slope and intercept.
    pub data: Vec<f32>,
    /// Channels.
    pub channels: usize,
    /// Voxels along z, y, x.
    pub shape: [usize; 3],
    /// Voxel index (x, y, z, 1) to millimetres, right-anterior-superior, as the reader that was asked for sees it.
    pub affine: [[f64; 4]; 4],
    /// Millimetres along z, y, x, as the reader sees them.
    pub spacing: [f64; 3],
    /// What an output on the same grid repeats.
    pub header: Header,
}

impl Volume {
    /// Voxels of one channel.
    pub fn voxels(&self) -> usize {
        self.shape.iter().product()
    }

    /// The map to an orientation code such as `RAS`, by the affine as it is.
    ///
    /// # Errors
    /// When the affine has no direction for an axis; the message names the file.
    pub(crate) fn toward(&self, code: &str) -> Result<AxisMap, VolumeError> {
        AxisMap::to_orientation(&self.affine, code).map_err(|e| VolumeError::Setting(format!("{}: {e}", self.shown())))
    }

    /// The file's name, for messages.
    pub(crate) fn shown(&self) -> String {
        self.header.path().map_or_else(|| "the volume".to_owned(), |p| p.display().to_string())
    }

    /// The voxels of a single-channel label volume as integers.
    ///
    /// # Errors
    /// When there is more than one channel, or a value is not a whole number from 0 to 65535.
    pub fn to_labels(&self) -> Result<Vec<u16>, VolumeError> {
        if self.channels != 1 {
            return Err(VolumeError::Setting(format!("a label volume has 1 channel, this one has {}", self.channels)));
        }
        self.data
            .iter()
            .map(|&v| {
                let whole = v.fract() == 0.0 && (0.0..=65535.0).contains(&v);
                whole.then_some(v as u16).ok_or_else(|| VolumeError::Setting(format!("label {v} is not a whole number from 0 to 65535")))
            })
            .collect()
    }
}

/// Reads a `.nii` or `.nii.gz` file: NIfTI-1 or NIfTI-2, either byte order, any integer or float
/// voxels, three or more axes (those after the third are channels).
///
/// # Errors
/// One line for everything that is not such a file; see [`VolumeError`]. Nothing is allocated for
/// voxels before the file's size has been compared with the header's claim.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Volume, VolumeError> {
    let mut source = Source::open(path)?;
    let (header, layout) = read_header(path, &mut source, options.reader)?;
    if let Some(expected) = options.channels
        && expected != header.channels()
    {
        return Err(VolumeError::Channels { path: path.to_path_buf(), expected, found: header.channels() });
    }
    let mut data = read_voxels(path, &mut source, &header, &layout)?;
    source.finish(path)?;
    clean(path, &mut data, options.nan_to_num)?;
    let ((qform, sform), orientation) = (header.form_codes(), letters(&header.affine()));
    let (shape, mm) = (mnx_words::extents(&header.shape()), mnx_words::commas(&header.spacing()));
    tracing::info!(path = %path.display(), channels = header.channels(), %shape, %mm, %orientation, qform, sform, "volume read");
    Ok(Volume { data, channels: header.channels(), shape: header.shape(), affine: header.affine(), spacing: header.spacing(), header })
}

/// Reads a multi-channel volume: one file holding all channels, or one three-dimensional file per
/// channel in the given order. The header of the result is the first file's.
///
/// # Errors
/// As [`read`]; also when the files' grids (shape, spacing, affine) differ or one of several files
/// has more than one channel.
pub fn read_channels(paths: &[PathBuf], options: &ReadOptions) -> Result<Volume, VolumeError> {
    let Some((first_path, rest)) = paths.split_first() else {
        return Err(VolumeError::Setting("no input volume was named".into()));
    };
    if rest.is_empty() {
        return read(first_path, options);
    }
    if let Some(expected) = options.channels
        && expected != paths.len()
    {
        let s = if expected == 1 { "" } else { "s" };
        return Err(VolumeError::Setting(format!(
            "{}: the first of {} files given, one per channel, and the model takes {expected} channel{s}",
            first_path.display(),
            paths.len()
        )));
    }
    let each = ReadOptions { channels: Some(1), ..*options };
    let mut volume = read(first_path, &each)?;
    for path in rest {
        let next = read(path, &each)?;
        same_grid(path, &next, first_path, &volume)?;
        volume
            .data
            .try_reserve_exact(next.data.len())
            .map_err(|_| VolumeError::Memory { what: format!("{}", path.display()), bytes: next.data.len() * 4 })?;
        volume.data.extend_from_slice(&next.data);
        volume.channels += 1;
    }
    Ok(volume)
}

/// Reads and checks the header alone, as a reader sees it, with the claim that it makes on the file's size.
///
/// # Errors
/// As [`read`], but for what is wrong with the voxels.
pub fn peek(path: &Path, reader: Option<Reader>) -> Result<Header, VolumeError> {
    read_header(path, &mut Source::open(path)?, reader).map(|(header, _)| header)
}

/// Reads and checks the header and its extensions; the source then stands at the first voxel.
pub(crate) fn read_header(path: &Path, source: &mut Source, reader: Option<Reader>) -> Result<(Header, Layout), VolumeError> {
    let mut bytes = [0u8; crate::nifti2::SIZE];
    let (first, rest) = bytes.split_at_mut(4);
    if source.fill(path, first)? < 4 {
        let short = || VolumeError::NotNifti { path: path.to_path_buf(), what: "shorter than four bytes".into() };
        return Err(crate::foreign::refusal(path).unwrap_or_else(short));
    }
    let (version, big_endian) = announced(path, [first[0], first[1], first[2], first[3]])?;
    let size = match version {
        NiftiVersion::One => 348,
        NiftiVersion::Two => crate::nifti2::SIZE,
    };
    source.fill_exact(path, &mut rest[..size - 4], "the header")?;
    let (mut header, layout) = Header::parse(path, &bytes[..size], version, big_endian, reader)?;

    let voxels = header.shape().iter().product::<usize>() * header.channels();
    let claim = (voxels * layout.datatype.bytes()) as u64;
    source.check_claim(path, claim.saturating_add(layout.vox_offset))?;

    let mut extender = [0u8; 4];
    source.fill_exact(path, &mut extender, "the header")?;
    let between = layout.vox_offset - layout.header_bytes;
    if between > EXTENSION_LIMIT {
        return Err(VolumeError::damaged(
            path,
            format!("vox_offset claims {between} bytes of header extensions, at most {EXTENSION_LIMIT} are read"),
        ));
    }
    let mut block = Vec::new();
    let mut left = between as usize;
    while left > 0 {
        let have = block.len();
        let step = left.min(CHUNK);
        block.resize(have + step, 0);
        source.fill_exact(path, &mut block[have..], "the header extension")?;
        left -= step;
    }
    if extender[0] != 0 {
        header.extensions = extensions(&block, big_endian);
    }
    Ok((header, layout))
}

/// The well-formed extensions of a block; what follows a malformed one is padding to us.
fn extensions(mut block: &[u8], big_endian: bool) -> Vec<(i32, Vec<u8>)> {
    let number = |b: &[u8]| {
        let four = [b[0], b[1], b[2], b[3]];
        if big_endian { i32::from_be_bytes(four) } else { i32::from_le_bytes(four) }
    };
    let mut out = Vec::new();
    while block.len() >= 8 {
        let (size, code) = (number(block), number(&block[4..]));
        let Some(size) = usize::try_from(size).ok().filter(|s| (8..=block.len()).contains(s)) else {
            break;
        };
        out.push((code, block[8..size].to_vec()));
        block = &block[size..];
    }
    out
}

fn read_voxels(path: &Path, source: &mut Source, header: &Header, layout: &Layout) -> Result<Vec<f32>, VolumeError> {
    let voxels = header.shape().iter().product::<usize>() * header.channels();
    let width = layout.datatype.bytes();
    // A plain file's size has been checked, so all of it will arrive. A gzip stream may promise far
    // more than it holds: there memory grows only with what has come out of it.
    let mut data: Vec<f32> = if source.is_gzip() { Vec::new() } else { try_reserve(voxels, &path.display().to_string())? };
    let mut chunk = vec![0u8; CHUNK.min(voxels * width)];
    while data.len() < voxels {
        let count = (voxels - data.len()).min(CHUNK / width);
        let bytes = &mut chunk[..count * width];
        let have = source.fill(path, bytes)?;
        if have < bytes.len() {
            return Err(VolumeError::damaged(
                path,
                format!("truncated: {} of {} bytes of voxels", data.len() * width + have, voxels * width),
            ));
        }
        data.try_reserve(count).map_err(|_| VolumeError::Memory { what: path.display().to_string(), bytes: voxels * 4 })?;
        decode(bytes, layout, &mut data);
    }
    Ok(data)
}

/// Appends the voxels in `bytes`, in the file's type and byte order, as float32.
fn decode(bytes: &[u8], layout: &Layout, out: &mut Vec<f32>) {
    macro_rules! numbers {
        ($t:ty) => {{
            const N: usize = size_of::<$t>();
            let value = |b: &[u8]| {
                let mut raw = [0u8; N];
                raw.copy_from_slice(b);
                if layout.big_endian { <$t>::from_be_bytes(raw) } else { <$t>::from_le_bytes(raw) }
            };
            let (slope, inter) = (layout.slope, layout.inter);
            if slope == 1.0 && inter == 0.0 {
                out.extend(bytes.chunks_exact(N).map(|b| value(b) as f32));
            } else {
                out.extend(bytes.chunks_exact(N).map(|b| (value(b) as f64 * slope + inter) as f32));
            }
        }};
    }
    match layout.datatype {
        Datatype::U8 => numbers!(u8),
        Datatype::I8 => numbers!(i8),
        Datatype::U16 => numbers!(u16),
        Datatype::I16 => numbers!(i16),
        Datatype::U32 => numbers!(u32),
        Datatype::I32 => numbers!(i32),
        Datatype::U64 => numbers!(u64),
        Datatype::I64 => numbers!(i64),
        Datatype::F32 => numbers!(f32),
        Datatype::F64 => numbers!(f64),
    }
}

/// Refuses voxels that are not numbers, or replaces them.
fn clean(path: &Path, data: &mut [f32], nan_to_num: bool) -> Result<(), VolumeError> {
    let odd = data.iter().filter(|v| !v.is_finite()).count();
    if odd == 0 {
        return Ok(());
    }
    let nan = data.iter().filter(|v| v.is_nan()).count();
    if !nan_to_num {
        return Err(VolumeError::NonFinite { path: path.to_path_buf(), nan, infinite: odd - nan, total: data.len() });
    }
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for v in data.iter().filter(|v| v.is_finite()) {
        (low, high) = (low.min(*v), high.max(*v));
    }
    if low > high {
        (low, high) = (0.0, 0.0);
    }
    for v in data.iter_mut() {
        if v.is_nan() {
            *v = 0.0;
        } else if v.is_infinite() {
            *v = if *v > 0.0 { high } else { low };
        }
    }
    Ok(())
}
