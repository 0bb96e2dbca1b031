//! The header of a `.mnxa` file.
//!
//! Little-endian: magic (8 bytes), format version (u32), number of sections (u32), file size (u64); then per section kind (u32),
//! index (u32), offset (u64), length (u64) and the BLAKE3 digest of its bytes (32); then the digest of all header bytes before it (32).
//! Sections follow in table order: the manifest, each program's code and its cubin if it has one at the next multiple of 64, the weights last at the next multiple of 4096.
//! Gaps are zero. There is one byte string for a given content.

use crate::FORMAT_VERSION;

/// First bytes of every bundle. The high byte and the line ends show a transfer as text.
pub(crate) const MAGIC: [u8; 8] = *b"\x89MNXA\r\n\x1a";

/// Sections that a bundle may have.
const MAX_SECTIONS: u32 = 64;
/// Bytes before the section table.
pub(crate) const PREFIX: usize = 24;
const ENTRY: usize = 56;
const DIGEST: usize = 32;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// The manifest as JSON.
    Manifest,
    /// The code of one program.
    Code,
    /// The weights.
    Weights,
    /// A GPU program's kernels assembled for its architecture, beside its PTX.
    Cubin,
}

impl SectionKind {
    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Code => "code",
            Self::Weights => "weights",
            Self::Cubin => "cubin",
        }
    }

    fn tag(self) -> u32 {
        match self {
            Self::Manifest => 1,
            Self::Code => 2,
            Self::Weights => 3,
            Self::Cubin => 4,
        }
    }

    fn from_tag(tag: u32) -> Option<Self> {
        [Self::Manifest, Self::Code, Self::Weights, Self::Cubin].into_iter().find(|k| k.tag() == tag)
    }

    /// Where such a section may start.
    fn alignment(self) -> u64 {
        match self {
            Self::Manifest | Self::Code | Self::Cubin => crate::ALIGNMENT,
            Self::Weights => 4096,
        }
    }
}

/// One entry of the section table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// The program it belongs to (code and cubin), else 0.
    pub index: u32,
    /// First byte in the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub digest: [u8; 32],
}

impl Section {
    /// Name for people: `manifest`, `code 0`, `cubin 0`, `weights`.
    pub fn name(&self) -> String {
        match self.kind {
            SectionKind::Code | SectionKind::Cubin => format!("{} {}", self.kind.name(), self.index),
            kind => kind.name().to_owned(),
        }
    }

    /// The digest in hex.
    pub fn digest_hex(&self) -> String {
        self.digest.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Refuses bytes that are not this section's.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() as u64 != self.bytes {
            return Err(format!("section \"{}\": {} bytes, {} expected", self.name(), bytes.len(), self.bytes));
        }
        if blake3::hash(bytes).as_bytes() != &self.digest {
            return Err(format!("section \"{}\": digest mismatch, the file is damaged", self.name()));
        }
        Ok(())
    }
}

/// Bytes of a header with this many sections.
pub(crate) fn header_bytes(sections: usize) -> usize {
    PREFIX + sections * ENTRY + DIGEST
}

/// Gives sections of known kind, index and bytes their offsets; returns them and the file size.
pub(crate) fn lay_out(contents: &[(SectionKind, u32, &[u8])]) -> (Vec<Section>, u64) {
    let mut at = header_bytes(contents.len()) as u64;
    let mut sections = Vec::with_capacity(contents.len());
    for &(kind, index, bytes) in contents {
        let offset = at.next_multiple_of(kind.alignment());
        let digest = *blake3::hash(bytes).as_bytes();
        sections.push(Section { kind, index, offset, bytes: bytes.len() as u64, digest });
        at = offset + bytes.len() as u64;
    }
    (sections, at)
}

/// The header's bytes.
pub(crate) fn encode(sections: &[Section], file_size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(header_bytes(sections.len()));
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    out.extend_from_slice(&file_size.to_le_bytes());
    for s in sections {
        out.extend_from_slice(&s.kind.tag().to_le_bytes());
        out.extend_from_slice(&s.index.to_le_bytes());
        out.extend_from_slice(&s.offset.to_le_bytes());
        out.extend_from_slice(&s.bytes.to_le_bytes());
        out.extend_from_slice(&s.digest);
    }
    let digest = blake3::hash(&out);
    out.extend_from_slice(digest.as_bytes());
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |n, &b| n << 8 | u32::from(b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// Number of sections, from the first [`PREFIX`] bytes, after checking that they begin a bundle of our version whose size is `size`.
pub(crate) fn check_prefix(prefix: &[u8], size: u64) -> Result<usize, String> {
    let head = &prefix[..prefix.len().min(8)];
    if head != MAGIC {
        return Err(format!(
            "not a bundle: expected magic {}, found {}",
            MAGIC.escape_ascii(),
            if head.is_empty() { "an empty file".to_owned() } else { head.escape_ascii().to_string() }
        ));
    }
    if prefix.len() < PREFIX {
        return Err(format!("truncated: file has {size} bytes, not even a whole header"));
    }
    let version = u32_at(prefix, 8);
    if version != FORMAT_VERSION {
        return Err(format!("bundle format version {version}, this mnx reads version {FORMAT_VERSION}; compile the model anew"));
    }
    let sections = u32_at(prefix, 12);
    if sections > MAX_SECTIONS {
        return Err(format!("header lists {sections} sections, at most {MAX_SECTIONS} allowed"));
    }
    let want = u64_at(prefix, 16);
    if size < want {
        return Err(format!("truncated: file has {size} bytes, header says {want}"));
    }
    if size > want {
        return Err(format!("file has {size} bytes, header says {want}: something was appended"));
    }
    if (header_bytes(sections as usize) as u64) > size {
        return Err(format!("file of {size} bytes cannot hold a table of {sections} sections"));
    }
    Ok(sections as usize)
}

/// The section table of a whole header whose prefix was checked; every offset is checked against `size`.
pub(crate) fn decode(header: &[u8], count: usize, size: u64) -> Result<Vec<Section>, String> {
    let (body, digest) = header.split_at(header.len() - DIGEST);
    if blake3::hash(body).as_bytes() != digest {
        return Err("header digest mismatch, the file is damaged".to_owned());
    }
    let mut sections = Vec::with_capacity(count);
    let mut at = header.len() as u64;
    for entry in body[PREFIX..].chunks_exact(ENTRY) {
        let tag = u32_at(entry, 0);
        let kind = SectionKind::from_tag(tag).ok_or_else(|| format!("unknown section kind {tag}"))?;
        let mut digest = [0; DIGEST];
        digest.copy_from_slice(&entry[24..ENTRY]);
        let section = Section { kind, index: u32_at(entry, 4), offset: u64_at(entry, 8), bytes: u64_at(entry, 16), digest };
        let want = at.next_multiple_of(kind.alignment());
        if section.offset != want {
            return Err(format!("section \"{}\" at byte {}, expected at {want}", section.name(), section.offset));
        }
        at = want
            .checked_add(section.bytes)
            .filter(|&end| end <= size)
            .ok_or_else(|| format!("section \"{}\" ends beyond the file of {size} bytes", section.name()))?;
        sections.push(section);
    }
    if at != size {
        return Err(format!("sections end at byte {at}, the file has {size}"));
    }
    check_order(&sections)?;
    Ok(sections)
}

/// One manifest first, then code 0, 1, ..., each followed by its cubin if it has one, then one weights section.
fn check_order(sections: &[Section]) -> Result<(), String> {
    let found: Vec<String> = sections.iter().map(Section::name).collect();
    let mut want = vec!["manifest".to_owned()];
    let mut codes = 0;
    for section in &sections[sections.len().min(1)..sections.len().saturating_sub(1)] {
        if section.kind == SectionKind::Cubin && codes > 0 {
            want.push(format!("cubin {}", codes - 1));
        } else {
            want.push(format!("code {codes}"));
            codes += 1;
        }
    }
    want.push("weights".to_owned());
    // A second cubin of one program is named as its first and gives itself away.
    let twice = found.windows(2).any(|pair| pair[0] == pair[1]);
    if found != want || twice || sections[0].index != 0 || sections[sections.len() - 1].index != 0 {
        return Err(format!("sections are {}; manifest, code 0.. each with at most one cubin, weights expected", found.join(", ")));
    }
    Ok(())
}
