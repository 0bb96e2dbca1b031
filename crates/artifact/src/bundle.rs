//! The bundle file: writing one, opening one.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::check;
use crate::container::{self, PREFIX, Section, SectionKind};
use crate::error::BundleError;
use crate::manifest::Manifest;

/// Collects what a bundle holds and writes it.
#[derive(Debug)]
pub struct BundleWriter<'a> {
    manifest: &'a Manifest,
    code: Vec<(&'a [u8], Option<&'a [u8]>)>,
    weights: &'a [u8],
}

impl<'a> BundleWriter<'a> {
    /// A writer of a manifest; code and weights follow.
    pub fn new(manifest: &'a Manifest) -> Self {
        Self { manifest, code: Vec::new(), weights: &[] }
    }

    /// Adds the code (a shared object, or PTX text) of the next program, in the order of `Manifest::programs`.
    #[must_use]
    pub fn code(mut self, bytes: &'a [u8]) -> Self {
        self.code.push((bytes, None));
        self
    }

    /// The cubin of the program whose code came last; without one nothing changes.
    #[must_use]
    pub fn cubin(mut self, bytes: Option<&'a [u8]>) -> Self {
        if let Some((_, cubin)) = self.code.last_mut() {
            *cubin = bytes;
        }
        self
    }

    /// The weights section: every `WeightEntry` at its offset, little-endian f32, zero gaps.
    #[must_use]
    pub fn weights(mut self, bytes: &'a [u8]) -> Self {
        self.weights = bytes;
        self
    }

    /// Writes the bundle under a temporary name in the same directory, then renames. The same input gives the same bytes.
    ///
    /// # Errors
    /// `Inconsistent` if the manifest does not hold together with code and weights (nothing is written), `Io`.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), BundleError> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let io = |source| BundleError::Io { path: shown.clone(), source };
        let mut problems = check::problems(self.manifest, self.weights.len() as u64);
        if self.code.len() != self.manifest.programs.len() {
            problems.push(format!("{} code blobs for {} programs", self.code.len(), self.manifest.programs.len()));
        }
        problems.extend(check::cubins(self.manifest, self.code.iter().map(|(_, cubin)| *cubin)));
        if !problems.is_empty() {
            return Err(BundleError::Inconsistent { path: shown, problems });
        }
        let json = serde_json::to_vec_pretty(self.manifest).map_err(|e| io(e.into()))?;
        let mut contents: Vec<(SectionKind, u32, &[u8])> = vec![(SectionKind::Manifest, 0, &json)];
        for (&(code, cubin), i) in self.code.iter().zip(0..) {
            contents.push((SectionKind::Code, i, code));
            contents.extend(cubin.map(|bytes| (SectionKind::Cubin, i, bytes)));
        }
        contents.push((SectionKind::Weights, 0, self.weights));
        let (sections, size) = container::lay_out(&contents);

        let directory = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        builder.prefix(".mnx-");
        #[cfg(unix)]
        builder.permissions(<std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
        let temporary = builder.tempfile_in(directory).map_err(io)?;
        {
            let mut out = BufWriter::new(temporary.as_file());
            let header = container::encode(&sections, size);
            out.write_all(&header).map_err(io)?;
            let mut at = header.len() as u64;
            for (section, (_, _, bytes)) in sections.iter().zip(&contents) {
                out.write_all(&vec![0; (section.offset - at) as usize]).map_err(io)?;
                out.write_all(bytes).map_err(io)?;
                at = section.offset + section.bytes;
            }
            out.flush().map_err(io)?;
        }
        temporary.persist(path).map_err(|e| io(e.error))?;
        Ok(())
    }
}

/// An open bundle: header, manifest and code are read and checked; the weights are left in the file.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    size: u64,
    sections: Vec<Section>,
    manifest: Manifest,
    code: Vec<Vec<u8>>,
    cubins: Vec<Option<Vec<u8>>>,
}

impl Bundle {
    /// Opens a bundle and checks its header, its manifest and its code. Nothing larger than the file is allocated.
    ///
    /// # Errors
    /// `Io`; `Damaged` for a foreign, truncated or changed file; `Inconsistent` for a manifest that does not hold together.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BundleError> {
        let path = path.as_ref().to_owned();
        let shown = path.display().to_string();
        let io = |source| BundleError::Io { path: shown.clone(), source };
        let damaged = |reason: String| BundleError::Damaged { path: shown.clone(), reason };

        let mut file = File::open(&path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if meta.is_dir() {
            return Err(damaged("is a directory, a .mnxa bundle expected".to_owned()));
        }
        let size = meta.len();
        let mut header = vec![0; size.min(PREFIX as u64) as usize];
        file.read_exact(&mut header).map_err(io)?;
        let count = container::check_prefix(&header, size).map_err(damaged)?;
        header.resize(container::header_bytes(count), 0);
        file.read_exact(&mut header[PREFIX..]).map_err(io)?;
        let sections = container::decode(&header, count, size).map_err(damaged)?;

        let mut at = header.len() as u64;
        let mut json = Vec::new();
        let (mut code, mut cubins) = (Vec::new(), Vec::new());
        for section in &sections {
            let mut gap = vec![0; (section.offset - at) as usize];
            file.read_exact(&mut gap).map_err(io)?;
            if gap.iter().any(|&b| b != 0) {
                return Err(damaged(format!("bytes before section \"{}\" are not zero", section.name())));
            }
            at = section.offset + section.bytes;
            if section.kind != SectionKind::Weights {
                let mut bytes = vec![0; section.bytes as usize];
                file.read_exact(&mut bytes).map_err(io)?;
                section.check(&bytes).map_err(damaged)?;
                match section.kind {
                    SectionKind::Manifest => json = bytes,
                    SectionKind::Code => {
                        code.push(bytes);
                        cubins.push(None);
                    }
                    // `decode` accepted the table only with a cubin behind its program's code.
                    SectionKind::Cubin => *cubins.last_mut().unwrap_or(&mut None) = Some(bytes),
                    SectionKind::Weights => {}
                }
            }
        }
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|e| damaged(format!("the manifest cannot be read: {e}")))?;

        let bundle = Self { path, size, sections, manifest, code, cubins };
        let mut problems = check::problems(&bundle.manifest, bundle.weights_section().bytes);
        if bundle.code.len() != bundle.manifest.programs.len() {
            problems.push(format!("{} code sections for {} programs", bundle.code.len(), bundle.manifest.programs.len()));
        }
        problems.extend(check::cubins(&bundle.manifest, bundle.cubins.iter().map(Option::as_deref)));
        if !problems.is_empty() {
            return Err(BundleError::Inconsistent { path: shown, problems });
        }
        Ok(bundle)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The section table, in file order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// What the bundle says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The code of program `index` (a shared object, or PTX text); empty if there is no such program.
    pub fn code(&self, index: usize) -> &[u8] {
        self.code.get(index).map_or(&[], Vec::as_slice)
    }

    /// The cubin of program `index`, if the bundle has one.
    pub fn cubin(&self, index: usize) -> Option<&[u8]> {
        self.cubins.get(index)?.as_deref()
    }

    /// Where the weights lie in the file, for mapping them. Check what was mapped with [`Self::check_weights`].
    pub fn weights_section(&self) -> &Section {
        // `decode` accepted the table only with the weights last.
        &self.sections[self.sections.len() - 1]
    }

    /// Reads the weights section and checks its digest.
    ///
    /// # Errors
    /// `Io`, or `Damaged` if the digest differs.
    pub fn read_weights(&self) -> Result<Vec<u8>, BundleError> {
        let io = |source| BundleError::Io { path: self.path.display().to_string(), source };
        let section = self.weights_section();
        let mut file = File::open(&self.path).map_err(io)?;
        // The file may have been replaced since `open`: its size bounds what we allocate.
        if file.metadata().map_err(io)?.len() != self.size {
            return Err(self.damaged("the file changed while it was open".to_owned()));
        }
        file.seek(SeekFrom::Start(section.offset)).map_err(io)?;
        let mut bytes = vec![0; section.bytes as usize];
        file.read_exact(&mut bytes).map_err(io)?;
        self.check_weights(&bytes)?;
        Ok(bytes)
    }

    /// Refuses bytes that are not this bundle's weights.
    ///
    /// # Errors
    /// `Damaged` if length or digest differ.
    pub fn check_weights(&self, bytes: &[u8]) -> Result<(), BundleError> {
        self.weights_section().check(bytes).map_err(|reason| self.damaged(reason))
    }

    fn damaged(&self, reason: String) -> BundleError {
        BundleError::Damaged { path: self.path.display().to_string(), reason }
    }
}
