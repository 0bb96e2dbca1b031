//! `torch.save`'s zip archive: `PREFIX/data.pkl`, `PREFIX/data/KEY`, `PREFIX/byteorder`, `PREFIX/version`.
//!
//! Entries are found by name and read into memory; no name ever becomes a path.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};

use crate::limits;
use crate::pickle::{self, Loaded, Source};

/// An open archive.
#[derive(Debug)]
pub(crate) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    prefix: String,
}

/// A zip archive whose directory stays within the limits and names every entry once.
pub(crate) fn open_zip(mut file: File, size: u64) -> Result<ZipArchive<BufReader<File>>, String> {
    let entries = entries(&mut file, size)?;
    if entries > limits::ZIP_ENTRIES {
        return Err(format!("a zip archive that claims {entries} entries; at most {} are read", limits::ZIP_ENTRIES));
    }
    // The archive begins where the file does: nothing is searched for, so what was counted above is what is read.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let zip = ZipArchive::with_config(config, BufReader::new(file)).map_err(|e| format!("not a sound zip archive: {e}"))?;
    if zip.has_duplicate_names() {
        return Err("a zip archive with two entries of one name".to_owned());
    }
    Ok(zip)
}

impl Archive {
    pub fn open(file: File, size: u64) -> Result<Self, String> {
        let zip = open_zip(file, size)?;
        let mut prefixes = Vec::new();
        let mut script = false;
        for name in zip.file_names() {
            let name = name.map_err(|e| format!("a zip entry whose name cannot be read: {e}"))?;
            script |= name.ends_with("/constants.pkl");
            if let Some(prefix) = name.strip_suffix("/data.pkl")
                && plain(prefix)
            {
                prefixes.push(prefix.to_owned());
            }
        }
        if script {
            return Err(
                "a TorchScript archive (torch.jit.save), which holds code; save the state dict: torch.save(model.state_dict(), \"weights.pth\")"
                    .to_owned(),
            );
        }
        match <[String; 1]>::try_from(prefixes) {
            Ok([prefix]) => Ok(Self { zip, prefix }),
            Err(none) if none.is_empty() => {
                Err("a zip archive without data.pkl; a file of torch.save, a model that nnU-Net exported or a MONAI bundle expected"
                    .to_owned())
            }
            Err(several) => Err(format!("a zip archive with {} files data.pkl; one expected", several.len())),
        }
    }

    /// The pickle, and whether storages are big-endian.
    pub fn structure(&mut self) -> Result<(Loaded, bool), String> {
        let order = match self.entry("byteorder", 16)? {
            None => false,
            Some(text) => match text.as_slice() {
                b"little" => false,
                b"big" => true,
                other => return Err(format!("byteorder \"{}\"; little or big expected", other.escape_ascii())),
            },
        };
        let bytes = self.entry("data.pkl", limits::PICKLE_BYTES)?.ok_or("a zip archive without data.pkl")?;
        let loaded = pickle::load(&mut Source::new(bytes.as_slice())).map_err(|e| format!("data.pkl: {e}"))?;
        Ok((loaded, order))
    }

    /// A storage's bytes, which must be as many as its type and size say.
    pub fn storage(&mut self, key: &str, bytes: u64) -> Result<Vec<u8>, String> {
        let raw = self.entry(&format!("data/{key}"), bytes)?.ok_or_else(|| format!("its storage \"{key}\" is not in the file"))?;
        if raw.len() as u64 != bytes {
            return Err(format!("its storage \"{key}\" has {} bytes, {bytes} expected", raw.len()));
        }
        Ok(raw)
    }

    /// An entry's bytes, at most `limit`; the archive's checksum is compared.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, String> {
        let full = format!("{}/{name}", self.prefix);
        let Some(index) = self.zip.index_for_name(&full) else { return Ok(None) };
        let broken = |e: &dyn std::fmt::Display| format!("zip entry \"{}\": {e}", full.escape_debug());
        let mut file = self.zip.by_index(index).map_err(|e| broken(&e))?;
        if file.size() > limit {
            return Err(broken(&format!("{} bytes, at most {limit} expected", file.size())));
        }
        // The claim may be a lie: what is read is bounded by itself.
        let mut out = Vec::new();
        file.by_ref().take(limit).read_to_end(&mut out).map_err(|e| broken(&e))?;
        let mut more = [0u8; 1];
        match file.read(&mut more) {
            Ok(0) => Ok(Some(out)),
            Ok(_) => Err(broken(&format!("more than {limit} bytes"))),
            Err(e) => Err(broken(&e)),
        }
    }
}

/// Whether an entry's folder is a plain name. Nothing is ever written under it; what looks like a path is not a file of `torch.save`.
fn plain(prefix: &str) -> bool {
    !prefix.is_empty() && prefix != "." && prefix != ".." && !prefix.contains(['/', '\\', '\0'])
}

/// How many entries the archive's end says there are, so that nothing is set aside for more than we take.
fn entries(file: &mut File, size: u64) -> Result<u64, String> {
    let io = |e: std::io::Error| e.to_string();
    let tail = size.min(22 + 65_535 + 20);
    file.seek(SeekFrom::Start(size - tail)).map_err(io)?;
    let mut bytes = vec![0; tail as usize];
    file.read_exact(&mut bytes).map_err(io)?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    // Every place that looks like an end counts: whichever the reader takes, it was looked at.
    let mut most = None;
    for (at, w) in bytes.windows(12).enumerate() {
        if !w.starts_with(b"PK\x05\x06") {
            continue;
        }
        let mut n = u64::from(u16::from_le_bytes([w[10], w[11]]));
        let locator = at.checked_sub(20).and_then(|from| bytes.get(from..at)).filter(|l| l.starts_with(b"PK\x06\x07"));
        if let Some(l) = locator {
            let place = l[8..16].iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
            let mut record = [0u8; 40];
            let there = file.seek(SeekFrom::Start(place)).and_then(|_| file.read_exact(&mut record)).is_ok();
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            if there && record.starts_with(b"PK\x06\x06") {
                n = n.max(record[32..40].iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b)));
            }
        }
        most = most.max(Some(n));
    }
    most.ok_or_else(|| "not a sound zip archive: it has no end (a truncated file?)".to_owned())
}
