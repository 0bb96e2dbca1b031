//! Files of other formats, told by their first bytes and their names, with the command that makes them NIfTI.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::error::VolumeError;

/// Bytes that tell every format: GIPL's number stands last, at 252.
const FIRST: usize = 256;

/// A format of images or arrays that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foreign {
    /// `.mha`, or the header `.mhd` of a pair.
    MetaImage,
    /// `.nrrd`, or the header `.nhdr` of a pair.
    Nrrd,
    /// FreeSurfer's `.mgh` and `.mgz`.
    Mgh,
    /// Guy's Image Processing Lab.
    Gipl,
    /// `.tif` and `.tiff`, BigTIFF included.
    Tiff,
    /// Portable Network Graphics.
    Png,
    /// `.jpg` and `.jpeg`.
    Jpeg,
    /// NumPy's array.
    Npy,
    /// NumPy's archive of arrays.
    Npz,
    /// One slice, or one multi-frame object, of a DICOM series.
    Dicom,
}

/// How a person turns a file into NIfTI.
enum Way {
    Sitk,
    MriConvert,
    Dcm2niix,
    Numpy,
}

impl Foreign {
    /// What the ending of a file's name promises, upper and lower case alike.
    pub fn by_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let name = if name.ends_with(".nii.gz") { return None } else { name.strip_suffix(".gz").unwrap_or(&name) };
        Some(match name.rsplit_once('.')?.1 {
            "mha" | "mhd" => Self::MetaImage,
            "nrrd" | "nhdr" => Self::Nrrd,
            "mgh" | "mgz" => Self::Mgh,
            "gipl" => Self::Gipl,
            "tif" | "tiff" => Self::Tiff,
            "png" => Self::Png,
            "jpg" | "jpeg" => Self::Jpeg,
            "npy" => Self::Npy,
            "npz" => Self::Npz,
            "dcm" | "dicom" | "ima" => Self::Dicom,
            _ => return None,
        })
    }

    /// What the first bytes of a file say, once a gzip wrapping is off.
    pub fn by_content(first: &[u8]) -> Option<Self> {
        let at = |offset: usize, magic: &[u8]| first.get(offset..).is_some_and(|rest| rest.starts_with(magic));
        let text = first.iter().take_while(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()).count() == first.len();
        let metaimage = || {
            let head = String::from_utf8_lossy(first);
            let keys = ["ObjectType", "NDims", "Comment", "BinaryData", "DimSize"];
            head.split_once('=').is_some_and(|(key, _)| keys.contains(&key.trim()))
        };
        // A DICOM file may begin as any other: its first 128 bytes are free.
        if at(128, b"DICM") {
            Some(Self::Dicom)
        } else if at(0, b"NRRD") {
            Some(Self::Nrrd)
        } else if at(0, b"\x89PNG") {
            Some(Self::Png)
        } else if at(0, b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if [&b"II*\0"[..], b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| at(0, magic)) {
            Some(Self::Tiff)
        } else if at(0, b"\x93NUMPY") {
            Some(Self::Npy)
        } else if at(0, b"PK\x03\x04") {
            Some(Self::Npz)
        } else if at(252, &[0xef, 0xff, 0xe9, 0xb0]) || at(252, &[0x2a, 0xe3, 0x89, 0xb8]) {
            Some(Self::Gipl)
        } else if metaimage() && (text || at(0, b"ObjectType")) {
            Some(Self::MetaImage)
        } else if at(0, &[0, 0, 0, 1]) && first.len() > 24 && (0..=4).contains(&first[23]) && first[20..23] == [0; 3] {
            // Version 1; the voxel type (0, 1, 3, 4) stands at 20, big-endian as all of it.
            Some(Self::Mgh)
        } else {
            None
        }
    }

    /// What a regular file is: its first bytes decide, then its name. A file that cannot be read is told by its name.
    pub fn of_file(path: &Path) -> Option<Self> {
        let first = first_bytes(path).unwrap_or_default();
        if matches!(first.get(..4), Some([0x5c | 0x1c, 1 | 2, 0, 0] | [0, 0, 1 | 2, 0x5c | 0x1c])) {
            return None;
        }
        Self::by_content(&first).or_else(|| Self::by_name(path)).or_else(|| old_dicom(path, &first).then_some(Self::Dicom))
    }

    /// The format with its article: `an NRRD file`.
    pub fn called(self) -> &'static str {
        match self {
            Self::MetaImage => "a MetaImage file",
            Self::Nrrd => "an NRRD file",
            Self::Mgh => "a FreeSurfer MGH file",
            Self::Gipl => "a GIPL file",
            Self::Tiff => "a TIFF file",
            Self::Png => "a PNG picture",
            Self::Jpeg => "a JPEG picture",
            Self::Npy => "a NumPy array",
            Self::Npz => "a NumPy archive",
            Self::Dicom => "a DICOM file",
        }
    }

    /// Whether it holds a scan with its grid, so that a person who puts it among the cases means a case. Pictures and arrays lie
    /// beside scans for other reasons.
    pub fn is_scan(self) -> bool {
        matches!(self, Self::MetaImage | Self::Nrrd | Self::Mgh | Self::Gipl)
    }

    /// The command that makes the file at `path` a NIfTI file beside it.
    pub fn conversion(self, path: &Path) -> String {
        let target = path.with_file_name(format!("{}.nii.gz", stem(path)));
        let way = match self {
            Self::MetaImage | Self::Nrrd | Self::Gipl | Self::Tiff | Self::Png | Self::Jpeg => Way::Sitk,
            Self::Mgh => Way::MriConvert,
            Self::Npy | Self::Npz => Way::Numpy,
            Self::Dicom => Way::Dcm2niix,
        };
        let (from, to) = (path.display().to_string(), target.display().to_string());
        match way {
            Way::Sitk if plain(&from) => {
                format!("convert it: python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('{from}'), '{to}')\"")
            }
            Way::Sitk => format!(
                "convert it: python -c \"import sys, SimpleITK as s; s.WriteImage(s.ReadImage(sys.argv[1]), sys.argv[2])\" {} {}",
                word(&from),
                word(&to)
            ),
            Way::MriConvert => format!("convert it: mri_convert {} {}", word(&from), word(&to)),
            Way::Numpy => "an array has no spacing and no orientation; save it with the affine of its image: \
                 nibabel.save(nibabel.Nifti1Image(array, affine), 'scan.nii.gz')"
                .to_owned(),
            Way::Dcm2niix => series(path.parent().unwrap_or(Path::new(""))),
        }
    }

    /// What is wrong with the file and what helps, without its name before it.
    pub fn why(self, path: &Path) -> String {
        format!("{}, NIfTI expected; {}", self.called(), self.conversion(path))
    }
}

/// The command for a folder of DICOM files.
pub fn series(folder: &Path) -> String {
    let shown = if folder.as_os_str().is_empty() { ".".to_owned() } else { folder.display().to_string() };
    format!("convert the series: dcm2niix -z y -o OUTPUT_FOLDER {}", word(&shown))
}

/// Names a file that does not begin as NIfTI, if its format is known.
pub(crate) fn refusal(path: &Path) -> Option<VolumeError> {
    Foreign::of_file(path).map(|format| VolumeError::unsupported(path, format.why(path)))
}

/// A DICOM file without preamble: no ending, and it begins with an element of group 2 or 8.
fn old_dicom(path: &Path, first: &[u8]) -> bool {
    let bare = path.extension().is_none_or(|e| e.to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
    bare && matches!(first, [2 | 8, 0, element, 0, ..] if *element <= 0x18)
}

/// The first bytes of a regular file, unpacked where it is gzip.
fn first_bytes(path: &Path) -> Option<Vec<u8>> {
    // A pipe would be waited for.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut first = Vec::new();
    File::open(path).ok()?.take(FIRST as u64).read_to_end(&mut first).ok()?;
    if !first.starts_with(&[0x1f, 0x8b]) {
        return Some(first);
    }
    let mut unpacked = [0u8; FIRST];
    let mut decoder = GzDecoder::new(File::open(path).ok()?);
    let mut have = 0;
    // A stream that ends or breaks early still has a beginning.
    while have < FIRST {
        match decoder.read(&mut unpacked[have..]) {
            Ok(0) | Err(_) => break,
            Ok(n) => have += n,
        }
    }
    Some(unpacked[..have].to_vec())
}

/// A file's name without the format's ending, `.gz` included.
pub fn stem(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let short = name.strip_suffix(".gz").unwrap_or(&name);
    let short = short.strip_suffix(".nii").unwrap_or(short);
    let known = Foreign::by_name(Path::new(short)).is_some();
    if known { short.rsplit_once('.').map_or(short, |(stem, _)| stem).to_owned() } else { short.to_owned() }
}

/// Whether a path reads the same in a shell's and Python's quotes.
fn plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./=,:+@% ".contains(c))
}

/// A path as one word of a POSIX shell.
fn word(text: &str) -> String {
    if plain(text) && !text.contains(' ') { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// A beginning of each format as its own writer makes it.
    fn samples() -> Vec<(Foreign, Vec<u8>)> {
        let mut dicom = vec![0u8; 128];
        dicom.extend_from_slice(b"DICM\x02\0\0\0UL\x04\0");
        let mut gipl = vec![0u8; 252];
        gipl.extend_from_slice(&[0xef, 0xff, 0xe9, 0xb0]);
        let mut mgh = [1i32, 4, 5, 6, 1, 3, 0].iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>();
        mgh.resize(284, 0);
        let mut big_tiff = b"II+\0\x08\0\0\0".to_vec();
        big_tiff.resize(64, 7);
        vec![
            (Foreign::MetaImage, b"ObjectType = Image\nNDims = 3\nBinaryData = True\nElementDataFile = LOCAL\n\x01\xff\x80".to_vec()),
            (Foreign::MetaImage, b"NDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\nElementDataFile = a.raw\n".to_vec()),
            (Foreign::Nrrd, b"NRRD0004\n# Complete NRRD file format specification\n".to_vec()),
            (Foreign::Mgh, mgh),
            (Foreign::Gipl, gipl),
            (Foreign::Tiff, b"MM\0*\0\0\0\x08".to_vec()),
            (Foreign::Tiff, big_tiff),
            (Foreign::Png, b"\x89PNG\r\n\x1a\n".to_vec()),
            (Foreign::Jpeg, b"\xff\xd8\xff\xe0\0\x10JFIF".to_vec()),
            (Foreign::Npy, b"\x93NUMPY\x01\0v\0{'descr': '<f4'".to_vec()),
            (Foreign::Npz, b"PK\x03\x04\x14\0".to_vec()),
            (Foreign::Dicom, dicom),
        ]
    }

    #[test]
    fn first_bytes_win_over_names() {
        let dir = tempfile::tempdir().unwrap();
        for (i, (format, bytes)) in samples().into_iter().enumerate() {
            let path = dir.path().join(format!("scan{i}.nii"));
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Foreign::of_file(&path), Some(format), "{i}");
            let error = crate::read(&path, &crate::ReadOptions::default()).unwrap_err().to_string();
            assert!(error.contains(&format!("scan{i}.nii: {}, NIfTI expected", format.called())), "{error}");
            // Packed, they are the same: .mgz is a packed .mgh.
            let path = dir.path().join(format!("scan{i}.nii.gz"));
            let mut packed = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
            packed.write_all(&bytes).unwrap();
            packed.finish().unwrap();
            assert_eq!(Foreign::of_file(&path), Some(format), "{i}, packed");
            let error = crate::read(&path, &crate::ReadOptions::default()).unwrap_err().to_string();
            assert!(error.contains(format.called()), "{error}");
        }
    }

    #[test]
    fn volumes_and_noise_are_of_no_other_format() {
        let dir = tempfile::tempdir().unwrap();
        let header = crate::Header::new([2, 3, 4], std::array::from_fn(|r| std::array::from_fn(|c| f64::from(u8::from(r == c))))).unwrap();
        for name in ["a.nii", "a.nii.gz"] {
            crate::write_f32(&dir.path().join(name), &[1.5; 24], 1, &header).unwrap();
            assert_eq!(Foreign::of_file(&dir.path().join(name)), None, "{name}");
        }
        // A volume under another format's name is a volume.
        std::fs::copy(dir.path().join("a.nii"), dir.path().join("b.nrrd")).unwrap();
        assert_eq!(Foreign::of_file(&dir.path().join("b.nrrd")), None);
        assert_eq!(crate::read(&dir.path().join("b.nrrd"), &crate::ReadOptions::default()).unwrap().shape, [2, 3, 4]);
        let mut state = 7u64;
        for _ in 0..10_000 {
            let noise: Vec<u8> = (0..256)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            assert_eq!(Foreign::by_content(&noise), None);
        }
        // A DICOM file that TIFF viewers open, too.
        let mut both = b"II*\0".to_vec();
        both.resize(128, 0);
        both.extend_from_slice(b"DICM");
        assert_eq!(Foreign::by_content(&both), Some(Foreign::Dicom));
        let empty = dir.path().join("empty.nrrd");
        std::fs::write(&empty, "").unwrap();
        assert!(crate::peek(&empty, None).unwrap_err().to_string().contains("empty.nrrd: an NRRD file"));
        for short in [&b""[..], b"N", b"ObjectType", b"\x1f\x8b"] {
            assert_eq!(Foreign::by_content(short), None);
        }
    }

    #[test]
    fn names_and_commands() {
        let by = |name: &str| Foreign::by_name(Path::new(name));
        for (name, format) in [
            ("a/b.MHA", Foreign::MetaImage),
            ("b.nhdr", Foreign::Nrrd),
            ("b.mgz", Foreign::Mgh),
            ("b.gipl.gz", Foreign::Gipl),
            ("b.tiff", Foreign::Tiff),
            ("IM1.dcm", Foreign::Dicom),
            ("b.npz", Foreign::Npz),
        ] {
            assert_eq!(by(name), Some(format), "{name}");
        }
        assert!(["a.nii", "a.nii.gz", "png", "a.txt", "a.gz", ""].iter().all(|n| by(n).is_none()));
        assert_eq!(
            Foreign::Nrrd.why(Path::new("d/scan.nrrd")),
            "an NRRD file, NIfTI expected; convert it: python -c \"import SimpleITK as s; \
             s.WriteImage(s.ReadImage('d/scan.nrrd'), 'd/scan.nii.gz')\""
        );
        assert!(Foreign::MetaImage.conversion(Path::new("it's.mha")).ends_with(" sys.argv[2])\" 'it'\\''s.mha' 'it'\\''s.nii.gz'"));
        assert!(Foreign::Mgh.conversion(Path::new("T1.mgz")).ends_with("mri_convert T1.mgz T1.nii.gz"));
        assert!(Foreign::Dicom.conversion(Path::new("s 1/IM1")).ends_with("dcm2niix -z y -o OUTPUT_FOLDER 's 1'"));
        assert!(Foreign::Npy.why(Path::new("a.npy")).contains("no spacing and no orientation"));
    }

    #[test]
    fn bare_dicom_is_told_by_its_first_element() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.2.840.3");
        std::fs::write(&path, b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100").unwrap();
        assert_eq!(Foreign::of_file(&path), Some(Foreign::Dicom));
        std::fs::write(&path, b"plain words").unwrap();
        assert_eq!(Foreign::of_file(&path), None);
        assert_eq!(Foreign::of_file(dir.path()), None);
    }
}
