//! The bytes of a pickle, counted.

use std::io::{BufRead, Read};

use crate::limits;

/// What is wrong with a pickle, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pickle, byte {offset}: {reason}")]
pub struct PickleError {
    /// Offset of the instruction from the start of the stream.
    pub offset: u64,
    /// What was found and what was expected.
    pub reason: String,
}

/// A stream of bytes with a position; several pickles may follow one another in it.
#[derive(Debug)]
pub struct Source<R> {
    reader: R,
    at: u64,
    /// Where the pickle being read has to end.
    end: u64,
}

impl<R: BufRead> Source<R> {
    /// A stream whose first byte has offset 0.
    pub fn new(reader: R) -> Self {
        Self { reader, at: 0, end: limits::PICKLE_BYTES }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The reader, at the next byte.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// A new pickle begins: it may be as long as any.
    pub(super) fn begin(&mut self) {
        self.end = self.at.saturating_add(limits::PICKLE_BYTES);
    }

    pub(super) fn fail<T>(&self, reason: impl Into<String>) -> Result<T, PickleError> {
        Err(PickleError { offset: self.at, reason: reason.into() })
    }

    fn claim(&mut self, n: u64) -> Result<(), PickleError> {
        match self.at.checked_add(n).filter(|&end| end <= self.end) {
            Some(_) => Ok(()),
            None => self.fail(format!("{n} more bytes asked for; a pickle of at most {} is read", limits::PICKLE_BYTES)),
        }
    }

    fn ended<T>(&self, n: u64) -> Result<T, PickleError> {
        self.fail(format!("the file ends here, {n} more bytes expected"))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.claim(N as u64)?;
        let mut out = [0; N];
        if self.reader.read_exact(&mut out).is_err() {
            return self.ended(N as u64);
        }
        self.at += N as u64;
        Ok(out)
    }

    pub(super) fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.array::<1>()?[0])
    }

    /// `n` bytes; memory grows with what is there, not with what is claimed.
    pub(super) fn bytes(&mut self, n: u64) -> Result<Vec<u8>, PickleError> {
        self.claim(n)?;
        let mut out = Vec::new();
        match self.reader.by_ref().take(n).read_to_end(&mut out) {
            Ok(got) if got as u64 == n => {
                self.at += n;
                Ok(out)
            }
            _ => self.ended(n),
        }
    }

    /// Bytes up to a line's end, which is taken and not given.
    pub(super) fn line(&mut self) -> Result<Vec<u8>, PickleError> {
        let room = self.end.saturating_sub(self.at);
        let mut out = Vec::new();
        match self.reader.by_ref().take(room).read_until(b'\n', &mut out) {
            Ok(got) if out.last() == Some(&b'\n') => {
                self.at += got as u64;
                out.pop();
                Ok(out)
            }
            _ => self.fail("a line without an end"),
        }
    }
}
