//! Writing volumes on an input's grid.

use std::io::{BufWriter, Write};
use std::path::Path;

use bytemuck::Pod;
use flate2::{Compression, write::GzEncoder};
use mnx_files::WholeFile;
use nifti::NiftiHeader;

use crate::error::VolumeError;
use crate::header::{Fields, Header};
use crate::nifti1;
use crate::nifti2::{Nifti2Header, field};
use mnx_words::extents;

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
        write(path, &narrow, &Content { shape: &[z, y, x], datatype: 2, width: 1, labels: true }, reference)
    } else {
        write(path, labels, &Content { shape: &[z, y, x], datatype: 512, width: 2, labels: true }, reference)
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
    let all = [channels, z, y, x];
    let shape = if channels == 1 { &all[1..] } else { &all };
    write(path, data, &Content { shape, datatype: 16, width: 4, labels: false }, reference)
}

fn wrong_length(path: &Path, found: usize, shape: &[usize]) -> VolumeError {
    VolumeError::Setting(format!(
        "{}: {found} voxels to write, expected {} = {}",
        path.display(),
        extents(shape),
        shape.iter().product::<usize>()
    ))
}

/// What an output stores: its axes (slowest first), NIfTI datatype code, bytes of a voxel and whether it holds labels.
struct Content<'a> {
    shape: &'a [usize],
    datatype: i16,
    width: usize,
    labels: bool,
}

fn write<T: Pod>(path: &Path, data: &[T], content: &Content<'_>, reference: &Header) -> Result<(), VolumeError> {
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let compressed = name.ends_with(".nii.gz");
    if !compressed && !name.ends_with(".nii") {
        return Err(VolumeError::Setting(format!("{}: the name of a volume ends in .nii or .nii.gz", path.display())));
    }
    let header = match &reference.fields {
        Fields::One(fields) => nifti1::bytes(&patched_one(fields, content, &reference.extensions, path)?).to_vec(),
        Fields::Two(fields) => patched_two(fields, content, &reference.extensions).bytes().to_vec(),
    };
    let io = |e| VolumeError::io(path, e);
    let file = WholeFile::create(path).map_err(io)?;
    stream(&file, compressed, &header, &reference.extensions, data).map_err(io)?;
    file.commit().map_err(io)
}

/// Bytes of header extensions: length, code and content each.
fn extension_bytes(extensions: &[(i32, Vec<u8>)]) -> usize {
    extensions.iter().map(|(_, d)| 8 + d.len()).sum()
}

/// Units, codes and transforms stay; display range, intent and what describes the old values go.
fn patched_one(
    fields: &NiftiHeader,
    content: &Content<'_>,
    extensions: &[(i32, Vec<u8>)],
    path: &Path,
) -> Result<NiftiHeader, VolumeError> {
    let mut h = fields.clone();
    (h.cal_min, h.cal_max) = (0.0, 0.0);
    (h.glmin, h.glmax) = (0, 0);
    if content.labels {
        h.intent_code = 0;
        h.intent_name = [0; 16];
        (h.intent_p1, h.intent_p2, h.intent_p3) = (0.0, 0.0, 0.0);
    }
    h.dim = [1; 8];
    h.dim[0] = content.shape.len() as u16;
    for (slot, &n) in h.dim[1..].iter_mut().zip(content.shape.iter().rev()) {
        // The format's 16 bits are signed.
        let fits = i16::try_from(n).map(i16::unsigned_abs);
        *slot = fits.map_err(|_| VolumeError::Setting(format!("{}: an axis of {n}, NIfTI-1 has at most 32767", path.display())))?;
    }
    (h.sizeof_hdr, h.magic) = (nifti1::SIZE as i32, *b"n+1\0");
    (h.datatype, h.bitpix) = (content.datatype, 8 * content.width as i16);
    h.vox_offset = (nifti1::SIZE + 4 + extension_bytes(extensions)) as f32;
    (h.scl_slope, h.scl_inter) = (1.0, 0.0);
    // Axes after the third are ours alone: classes have no length in millimetres or seconds.
    for size in &mut h.pixdim[4..] {
        *size = 1.0;
    }
    Ok(h)
}

fn patched_two(fields: &Nifti2Header, content: &Content<'_>, extensions: &[(i32, Vec<u8>)]) -> Nifti2Header {
    let mut h = fields.clone();
    h.set(field::DATATYPE, &content.datatype.to_le_bytes());
    h.set(field::BITPIX, &(8 * content.width as i16).to_le_bytes());
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
    h.set(field::VOX_OFFSET, &(544 + extension_bytes(extensions) as i64).to_le_bytes());
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

fn stream<T: Pod>(file: &WholeFile, compressed: bool, header: &[u8], extensions: &[(i32, Vec<u8>)], data: &[T]) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, file.file());
    if compressed {
        let mut gz = GzEncoder::new(out, LEVEL);
        fill(&mut gz, header, extensions, data)?;
        return gz.finish()?.flush();
    }
    fill(&mut out, header, extensions, data)?;
    out.flush()
}

fn fill<T: Pod>(out: &mut impl Write, header: &[u8], extensions: &[(i32, Vec<u8>)], data: &[T]) -> std::io::Result<()> {
    out.write_all(header)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_axis_beyond_the_format_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let header = Header::new([1, 1, 1], [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]);
        let e = write_f32(&dir.path().join("a.nii"), &vec![0.0; 40_000], 40_000, &header.unwrap()).unwrap_err().to_string();
        assert!(e.contains("a.nii: an axis of 40000, NIfTI-1 has at most 32767"), "{e}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
