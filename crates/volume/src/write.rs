//! Writing volumes on an input's grid.

use std::io::{BufWriter, Write};
use std::path::Path;

use bytemuck::Pod;
use flate2::{Compression, write::GzEncoder};
use ndarray::{ArrayView, Dimension, RemoveAxis};
use nifti::writer::WriterOptions;
use nifti::{DataElement, Extender, Extension, ExtensionSequence, NiftiHeader};
use tempfile::NamedTempFile;

use crate::error::VolumeError;
use crate::header::{Fields, Header};
use crate::nifti2::{Nifti2Header, field};

/// Fast levels lose little on label maps and keep float volumes from taking tens of seconds.
const LEVEL: Compression = Compression::new(3);

/// Writes a label map `[z, y, x]` on the grid of `reference`: unsigned 8-bit voxels, 16-bit if a
/// label needs it, slope 1, intercept 0, the reference's affine, codes, units and extensions.
/// `.nii.gz` is compressed, `.nii` is not.
///
/// # Errors
/// When the number of labels is not the grid's, the name ends in neither suffix, or the disk refuses.
/// Nothing is left behind then: the file appears complete or not at all.
pub fn write_labels(path: &Path, labels: &[u16], reference: &Header) -> Result<(), VolumeError> {
    let [z, y, x] = reference.shape();
    if labels.len() != z * y * x {
        return Err(wrong_length(path, labels.len(), &[z, y, x]));
    }
    if labels.iter().all(|&l| l <= 255) {
        let narrow: Vec<u8> = labels.iter().map(|&l| l as u8).collect();
        write(path, &narrow, &[z, y, x], reference, 2, true)
    } else {
        write(path, labels, &[z, y, x], reference, 512, true)
    }
}

/// Writes float32 voxels `[c, z, y, x]` on the grid of `reference`; `channels` above 1 become the
/// fourth axis. Header, name and failure as in [`write_labels`].
///
/// # Errors
/// As [`write_labels`].
pub fn write_f32(path: &Path, data: &[f32], channels: usize, reference: &Header) -> Result<(), VolumeError> {
    let [z, y, x] = reference.shape();
    if channels == 0 || data.len() != channels * z * y * x {
        return Err(wrong_length(path, data.len(), &[channels, z, y, x]));
    }
    if channels == 1 {
        write(path, data, &[z, y, x], reference, 16, false)
    } else {
        write(path, data, &[channels, z, y, x], reference, 16, false)
    }
}

fn wrong_length(path: &Path, found: usize, shape: &[usize]) -> VolumeError {
    VolumeError::Setting(format!("{}: {found} voxels to write, expected {shape:?} = {}", path.display(), shape.iter().product::<usize>()))
}

/// What an output stores: its axes (slowest first), NIfTI datatype code and whether it holds labels.
struct Content<'a> {
    shape: &'a [usize],
    datatype: i16,
    labels: bool,
}

fn write<T: DataElement + Pod>(
    path: &Path,
    data: &[T],
    shape: &[usize],
    reference: &Header,
    datatype: i16,
    labels: bool,
) -> Result<(), VolumeError> {
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let suffix = if name.ends_with(".nii.gz") {
        ".nii.gz"
    } else if name.ends_with(".nii") {
        ".nii"
    } else {
        return Err(VolumeError::Setting(format!("{}: the name of a volume ends in .nii or .nii.gz", path.display())));
    };
    let temporary = temporary_beside(path, suffix)?;
    let content = Content { shape, datatype, labels };
    match &reference.fields {
        Fields::One(fields) => {
            let header = patched_one(fields, &content);
            write_one(path, temporary.path(), &header, &reference.extensions, data, shape)?;
        }
        Fields::Two(fields) => {
            let header = patched_two(fields, &content, size_of::<T>(), &reference.extensions);
            let result = write_two(&temporary, suffix, &header, &reference.extensions, data);
            result.map_err(|e| VolumeError::io(path, e))?;
        }
    }
    temporary.persist(path).map_err(|e| VolumeError::io(path, e.error))?;
    Ok(())
}

/// A new file in the same directory. Its stem has no dot: the `nifti` writer rebuilds names from it.
pub(crate) fn temporary_beside(path: &Path, suffix: &str) -> Result<NamedTempFile, VolumeError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix("mnx-").suffix(suffix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any program that creates a file: the process's umask narrows this.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory).map_err(|e| VolumeError::io(path, e))
}

/// Units, codes and transforms stay; display range, intent and what describes the old values go.
fn patched_one(fields: &NiftiHeader, content: &Content) -> NiftiHeader {
    let mut h = fields.clone();
    (h.cal_min, h.cal_max) = (0.0, 0.0);
    (h.glmin, h.glmax) = (0, 0);
    if content.labels {
        h.intent_code = 0;
        h.intent_name = [0; 16];
        (h.intent_p1, h.intent_p2, h.intent_p3) = (0.0, 0.0, 0.0);
    }
    // Axes after the third are ours alone: classes have no length in millimetres or seconds.
    for size in &mut h.pixdim[4..] {
        *size = 1.0;
    }
    h
}

fn write_one<T: DataElement + Pod>(
    path: &Path,
    temporary: &Path,
    header: &NiftiHeader,
    extensions: &[(i32, Vec<u8>)],
    data: &[T],
    shape: &[usize],
) -> Result<(), VolumeError> {
    let mut options = WriterOptions::new(temporary).reference_header(header);
    if temporary.extension().is_some_and(|e| e == "gz") {
        options = options.compression_level(LEVEL);
    }
    if !extensions.is_empty() {
        let list = extensions.iter().map(|(code, d)| Extension::new(*code, d.clone())).collect();
        let present = Extender::from([1, 0, 0, 0]);
        options = options.with_extensions(ExtensionSequence::new(present, list));
    }
    let wrong = |_| wrong_length(path, data.len(), shape);
    let written = match *shape {
        [z, y, x] => transposed(ArrayView::from_shape((z, y, x), data).map_err(wrong)?, &options),
        [c, z, y, x] => transposed(ArrayView::from_shape((c, z, y, x), data).map_err(wrong)?, &options),
        _ => return Err(wrong_length(path, data.len(), shape)),
    };
    written.map_err(|e| match e {
        nifti::NiftiError::Io(io) => VolumeError::io(path, io),
        other => VolumeError::Setting(format!("{}: {other}", path.display())),
    })
}

/// The `nifti` crate wants x first; reversing the axes of our view moves no data.
fn transposed<T: DataElement + Pod, D: Dimension + RemoveAxis>(
    view: ArrayView<'_, T, D>,
    options: &WriterOptions<'_>,
) -> nifti::Result<()> {
    options.write_nifti(&view.reversed_axes())
}

fn patched_two(fields: &Nifti2Header, content: &Content, width: usize, extensions: &[(i32, Vec<u8>)]) -> Nifti2Header {
    let mut h = fields.clone();
    let extension_bytes: usize = extensions.iter().map(|(_, d)| 8 + d.len()).sum();
    h.set(field::DATATYPE, &content.datatype.to_le_bytes());
    h.set(field::BITPIX, &(8 * width as i16).to_le_bytes());
    let mut dim = [1i64; 8];
    dim[0] = content.shape.len() as i64;
    for (slot, &n) in dim[1..].iter_mut().zip(content.shape.iter().rev()) {
        *slot = n as i64;
    }
    for (i, n) in dim.iter().enumerate() {
        h.set(field::DIM + 8 * i, &n.to_le_bytes());
    }
    for i in 4..8 {
        h.set(field::PIXDIM + 8 * i, &1f64.to_le_bytes());
    }
    h.set(field::VOX_OFFSET, &(544 + extension_bytes as i64).to_le_bytes());
    h.set(field::SCL_SLOPE, &1f64.to_le_bytes());
    h.set(field::SCL_INTER, &0f64.to_le_bytes());
    h.set(field::CAL, &[0; 16]);
    if content.labels {
        h.set(field::INTENT_CODE, &[0; 4]);
        h.set(field::INTENT_NAME, &[0; 16]);
        h.set(field::INTENT_P, &[0; 24]);
    }
    h
}

fn write_two<T: Pod>(
    file: &NamedTempFile,
    suffix: &str,
    header: &Nifti2Header,
    extensions: &[(i32, Vec<u8>)],
    data: &[T],
) -> std::io::Result<()> {
    let out = BufWriter::with_capacity(1 << 16, file.as_file());
    if suffix == ".nii.gz" {
        let mut gz = GzEncoder::new(out, LEVEL);
        stream_two(&mut gz, header, extensions, data)?;
        gz.finish()?.flush()
    } else {
        let mut out = out;
        stream_two(&mut out, header, extensions, data)?;
        out.flush()
    }
}

fn stream_two<T: Pod>(out: &mut impl Write, header: &Nifti2Header, extensions: &[(i32, Vec<u8>)], data: &[T]) -> std::io::Result<()> {
    out.write_all(header.bytes())?;
    out.write_all(&[u8::from(!extensions.is_empty()), 0, 0, 0])?;
    for (code, content) in extensions {
        out.write_all(&(8 + content.len() as i32).to_le_bytes())?;
        out.write_all(&code.to_le_bytes())?;
        out.write_all(content)?;
    }
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(data));
    }
    for value in data {
        let mut bytes = bytemuck::bytes_of(value).to_vec();
        bytes.reverse();
        out.write_all(&bytes)?;
    }
    Ok(())
}
