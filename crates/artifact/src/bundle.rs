//! The bundle file: writing one, opening one.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mnx_files::WholeFile;

use crate::check;
use crate::container::{self, PREFIX, Section, SectionKind};
use crate::error::BundleError;
use crate::manifest::Manifest;

/// Collects what a bundle holds and writes it.
#[derive(Debug)]
pub struct BundleWriter<'a> {
    manifest: &'a Manifest,
    code: Vec<(&'a [u8], Option<&'a [u8]>)>,
    folds: Vec<&'a [u8]>,
}

impl<'a> BundleWriter<'a> {
    /// A writer of a manifest; code and weights follow.
    pub fn new(manifest: &'a Manifest) -> Self {
        Self { manifest, code: Vec::new(), folds: Vec::new() }
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

    /// Adds the weights of the next fold, in the order of `Manifest::folds`: every `WeightEntry` at its offset, little-endian f32, zero gaps.
    #[must_use]
    pub fn weights(mut self, bytes: &'a [u8]) -> Self {
        self.folds.push(bytes);
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
        // A network without weights still has its (empty) section.
        let folds = if self.folds.is_empty() { vec![&[][..]] } else { self.folds.clone() };
        let mut problems = check::problems(self.manifest, folds[0].len() as u64);
        if folds.len() != self.manifest.folds.len() {
            problems.push(format!("{} weights sections for {} folds", folds.len(), self.manifest.folds.len()));
        }
        if folds.iter().any(|f| f.len() != folds[0].len()) {
            problems.push("the folds' weights are of different sizes".to_owned());
        }
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
        contents.extend(folds.iter().zip(0..).map(|(&bytes, i)| (SectionKind::Weights, i, bytes)));
        let (sections, size) = container::lay_out(&contents);

        let file = WholeFile::create(path).map_err(io)?;
        {
            let mut out = BufWriter::new(file.file());
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
        file.commit().map_err(io)?;
        tracing::info!(path = %shown, bytes = size, "bundle written");
        Ok(())
    }
}

/// An open bundle: header, manifest and code are read and checked; the weights are left in the file.
/// Clones share manifest and code.
#[derive(Debug, Clone)]
pub struct Bundle {
    path: PathBuf,
    size: u64,
    sections: Arc<[Section]>,
    manifest: Arc<Manifest>,
    code: Arc<[Vec<u8>]>,
    cubins: Arc<[Option<Vec<u8>>]>,
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
            } else {
                file.seek(SeekFrom::Start(at)).map_err(io)?;
            }
        }
        let manifest: Manifest = serde_json::from_slice(&json).map_err(|e| damaged(format!("the manifest cannot be read: {e}")))?;

        let (manifest, sections) = (Arc::new(manifest), sections.into());
        let bundle = Self { path, size, sections, manifest, code: code.into(), cubins: cubins.into() };
        let mut problems = check::problems(&bundle.manifest, bundle.weights_bytes());
        if bundle.folds() != bundle.manifest.folds.len() {
            problems.push(format!("{} weights sections for {} folds", bundle.folds(), bundle.manifest.folds.len()));
        }
        if bundle.code.len() != bundle.manifest.programs.len() {
            problems.push(format!("{} code sections for {} programs", bundle.code.len(), bundle.manifest.programs.len()));
        }
        problems.extend(check::cubins(&bundle.manifest, bundle.cubins.iter().map(Option::as_deref)));
        if !problems.is_empty() {
            return Err(BundleError::Inconsistent { path: shown, problems });
        }
        let (programs, folds) = (bundle.code.len(), bundle.folds());
        tracing::info!(path = %shown, bytes = size, model = %bundle.manifest.model.name, programs, folds, "bundle opened");
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

    /// Number of folds: weights sections, at least one.
    pub fn folds(&self) -> usize {
        self.sections.iter().filter(|s| s.kind == SectionKind::Weights).count()
    }

    /// Size of a weights section; all folds have the same.
    pub fn weights_bytes(&self) -> u64 {
        self.sections.last().map_or(0, |s| s.bytes)
    }

    /// Where a fold's weights lie in the file, for mapping them. Check what was mapped with [`Self::check_weights`].
    ///
    /// # Errors
    /// `Damaged` if there is no such fold.
    pub fn weights_section(&self, fold: usize) -> Result<&Section, BundleError> {
        let mut sections = self.sections.iter().filter(|s| s.kind == SectionKind::Weights);
        sections.nth(fold).ok_or_else(|| self.damaged(format!("fold {fold} asked for, there are {}", self.folds())))
    }

    /// Reads a fold's weights and checks their digest.
    ///
    /// # Errors
    /// `Io`, or `Damaged` if there is no such fold or the digest differs.
    pub fn read_weights(&self, fold: usize) -> Result<Vec<u8>, BundleError> {
        let io = |source| BundleError::Io { path: self.path.display().to_string(), source };
        let section = self.weights_section(fold)?;
        let mut file = File::open(&self.path).map_err(io)?;
        // The file may have been replaced since `open`: its size bounds what we allocate.
        if file.metadata().map_err(io)?.len() != self.size {
            return Err(self.damaged("the file changed while it was open".to_owned()));
        }
        file.seek(SeekFrom::Start(section.offset)).map_err(io)?;
        let mut bytes = vec![0; section.bytes as usize];
        file.read_exact(&mut bytes).map_err(io)?;
        self.check_weights(fold, &bytes)?;
        Ok(bytes)
    }

    /// Refuses bytes that are not this fold's weights.
    ///
    /// # Errors
    /// `Damaged` if there is no such fold, or length or digest differ.
    pub fn check_weights(&self, fold: usize, bytes: &[u8]) -> Result<(), BundleError> {
        self.weights_section(fold)?.check(bytes).map_err(|reason| self.damaged(reason))
    }

    fn damaged(&self, reason: String) -> BundleError {
        BundleError::Damaged { path: self.path.display().to_string(), reason }
    }
}
