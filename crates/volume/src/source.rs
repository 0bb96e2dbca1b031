//! Bytes of a volume file, plain or gzip, handed out in bounded pieces.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::error::VolumeError;

/// Deflate cannot shrink data by more than this factor, so a smaller file cannot hold a claim.
const DEFLATE_LIMIT: u64 = 1032;

/// One open file.
pub(crate) struct Source {
    stream: Stream,
    file_bytes: u64,
}

enum Stream {
    Plain(BufReader<File>),
    /// `None` once the last member has ended.
    Gzip(Option<Box<GzDecoder<BufReader<File>>>>),
}

impl Source {
    /// Opens a file; gzip is told by its first two bytes, not by the name.
    pub(crate) fn open(path: &Path) -> Result<Source, VolumeError> {
        // Asked before it is opened: opening a pipe waits for its writer.
        let meta = std::fs::metadata(path).map_err(|e| VolumeError::io(path, e))?;
        if !meta.is_file() {
            return Err(VolumeError::unsupported(path, "not a regular file"));
        }
        let file = File::open(path).map_err(|e| VolumeError::io(path, e))?;
        let meta = file.metadata().map_err(|e| VolumeError::io(path, e))?;
        let mut buffered = BufReader::with_capacity(1 << 16, file);
        let gzip = begins_member(&mut buffered).map_err(|e| VolumeError::io(path, e))?;
        let stream = if gzip { Stream::Gzip(Some(Box::new(GzDecoder::new(buffered)))) } else { Stream::Plain(buffered) };
        Ok(Source { stream, file_bytes: meta.len() })
    }

    /// Whether the file is compressed.
    pub(crate) fn is_gzip(&self) -> bool {
        matches!(self.stream, Stream::Gzip(_))
    }

    /// Refuses a claim of `bytes` of content that the file is too small to hold.
    pub(crate) fn check_claim(&self, path: &Path, bytes: u64) -> Result<(), VolumeError> {
        let most = if self.is_gzip() { self.file_bytes.saturating_mul(DEFLATE_LIMIT) } else { self.file_bytes };
        if bytes > most {
            let kind = if self.is_gzip() { "compressed file" } else { "file" };
            return Err(VolumeError::damaged(
                path,
                format!("truncated: the header claims {bytes} bytes, the {kind} has {}", self.file_bytes),
            ));
        }
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(file) => file.read(buf),
            Stream::Gzip(member) => loop {
                let Some(decoder) = member else { return Ok(0) };
                let n = decoder.read(buf)?;
                if n > 0 || buf.is_empty() {
                    return Ok(n);
                }
                // The member ended and its checksum held. Another may follow; other bytes are
                // padding or garbage, which readers of gzip tolerate.
                let Some(ended) = member.take() else {
                    return Ok(0);
                };
                let mut rest = ended.into_inner();
                if begins_member(&mut rest)? {
                    *member = Some(Box::new(GzDecoder::new(rest)));
                }
            },
        }
    }

    /// Fills `buf` as far as the content goes and says how far that was.
    pub(crate) fn fill(&mut self, path: &Path, buf: &mut [u8]) -> Result<usize, VolumeError> {
        let mut have = 0;
        while have < buf.len() {
            match self.read(&mut buf[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.broken(path, e)),
            }
        }
        Ok(have)
    }

    /// Fills `buf` or refuses the file as truncated; `what` names the part.
    pub(crate) fn fill_exact(&mut self, path: &Path, buf: &mut [u8], what: &str) -> Result<(), VolumeError> {
        let have = self.fill(path, buf)?;
        if have < buf.len() {
            return Err(VolumeError::damaged(path, format!("truncated: {what} has {have} of {} bytes", buf.len())));
        }
        Ok(())
    }

    /// Reads on to the end of a gzip stream, so that its checksum is verified; bytes after the
    /// voxels are tolerated, and no more than a megabyte of them is looked at.
    pub(crate) fn finish(&mut self, path: &Path) -> Result<(), VolumeError> {
        if !self.is_gzip() {
            return Ok(());
        }
        let mut scratch = [0u8; 4096];
        for _ in 0..256 {
            if self.fill(path, &mut scratch)? < scratch.len() {
                break;
            }
        }
        Ok(())
    }

    fn broken(&self, path: &Path, e: io::Error) -> VolumeError {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => VolumeError::damaged(path, "truncated: the gzip stream ends early"),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData if self.is_gzip() => {
                VolumeError::damaged(path, format!("damaged gzip stream: {e}"))
            }
            _ => VolumeError::io(path, e),
        }
    }
}

fn begins_member(reader: &mut BufReader<File>) -> io::Result<bool> {
    loop {
        match reader.fill_buf() {
            // A lone first byte at the end of the buffer still counts: the decoder judges the rest.
            Ok(bytes) => {
                return Ok(bytes.first() == Some(&0x1f) && bytes.get(1).is_none_or(|b| *b == 0x8b));
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
