//! Device memory: allocations with guard gaps, one bit per byte for "ever written", words that any thread may touch at any time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::error::MemoryError;

/// First address. Above 32 bits, so that a truncated pointer never lands in an allocation.
const BASE: u64 = 0x7_0000_0000;
/// Allocations start at page boundaries and leave at least one page free between them.
const PAGE: u64 = 1 << 16;
/// Bytes never written read as NaN in every float format.
const JUNK: u32 = 0x7fff_7fff;

/// Global memory of the device.
#[derive(Debug, Default)]
pub struct Memory {
    allocations: Vec<Allocation>,
    /// Allocation number plus one of each page above `BASE`; 0 is a gap.
    pages: Vec<u32>,
    modules: HashMap<u64, u64>,
}

#[derive(Debug)]
pub(crate) struct Allocation {
    pub base: u64,
    pub bytes: u64,
    words: Box<[AtomicU32]>,
    /// One bit per byte.
    written: Box<[AtomicU32]>,
    read_only: bool,
    freed: bool,
}

/// Why a device access is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    OutOfBounds,
    ReadOnly,
    Freed,
}

impl Allocation {
    /// One aligned element of 1, 2, 4 or 8 bytes at a byte offset.
    #[inline]
    pub(crate) fn load(&self, at: u64, width: u64) -> u64 {
        let w = (at / 4) as usize;
        let low = u64::from(self.words[w].load(Relaxed));
        match width {
            8 => low | u64::from(self.words[w + 1].load(Relaxed)) << 32,
            4 => low,
            _ => low >> (8 * (at % 4)) & ((1 << (8 * width)) - 1),
        }
    }

    /// Stores one aligned element and marks it written.
    pub(crate) fn store(&self, at: u64, width: u64, value: u64) {
        let w = (at / 4) as usize;
        match width {
            8 => {
                self.words[w].store(value as u32, Relaxed);
                self.words[w + 1].store((value >> 32) as u32, Relaxed);
            }
            4 => self.words[w].store(value as u32, Relaxed),
            _ => {
                let shift = 8 * (at % 4) as u32;
                let mask = ((1u32 << (8 * width)) - 1) << shift;
                let value = ((value as u32) << shift) & mask;
                // The other bytes of the word may belong to another thread.
                let _ = self.words[w].fetch_update(Relaxed, Relaxed, |old| Some((old & !mask) | value));
            }
        }
        self.mark(at, width);
    }

    pub(crate) fn mark(&self, at: u64, bytes: u64) {
        let bits = ((1u64 << bytes) - 1) << (at % 32);
        let word = &self.written[(at / 32) as usize];
        if word.load(Relaxed) & bits as u32 != bits as u32 {
            word.fetch_or(bits as u32, Relaxed);
        }
    }

    /// Whether all of up to 32 bytes, aligned to their number, have been written.
    #[inline]
    pub(crate) fn is_written(&self, at: u64, bytes: u64) -> bool {
        let bits = (((1u64 << bytes) - 1) << (at % 32)) as u32;
        self.written[(at / 32) as usize].load(Relaxed) & bits == bits
    }

    /// Replaces the word that holds `at` by `f` of it; returns the old word.
    pub(crate) fn update(&self, at: u64, mut f: impl FnMut(u32) -> u32) -> u32 {
        match self.words[(at / 4) as usize].fetch_update(Relaxed, Relaxed, |old| Some(f(old))) {
            Ok(old) | Err(old) => old,
        }
    }

    /// An atomic update of a 64-bit element. Callers hold `Memory`'s promise that 64-bit atomics are serialised by `lock`.
    pub(crate) fn update_wide(&self, at: u64, mut f: impl FnMut(u64) -> u64) -> u64 {
        let old = self.load(at, 8);
        self.store(at, 8, f(old));
        old
    }
}

impl Memory {
    /// Empty memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reserves `bytes` bytes whose address is a multiple of `align`, rounded up to a power of two. The bytes count as never written. A gap
    /// follows, so that a small step beyond the end is seen.
    pub fn alloc(&mut self, bytes: u64, align: u64) -> u64 {
        let align_pages = align.next_power_of_two().div_ceil(PAGE);
        let first = (BASE / PAGE + self.pages.len() as u64).next_multiple_of(align_pages);
        let base = first * PAGE;
        self.pages.resize((first - BASE / PAGE) as usize, 0);
        let index = self.allocations.len() as u32 + 1;
        let pages = bytes.div_ceil(PAGE).max(1) as usize;
        self.pages.resize(self.pages.len() + pages, index);
        self.pages.push(0);
        let words = (0..bytes.div_ceil(8) * 2).map(|_| AtomicU32::new(JUNK)).collect();
        let written = (0..bytes.div_ceil(32)).map(|_| AtomicU32::new(0)).collect();
        self.allocations.push(Allocation { base, bytes, words, written, read_only: false, freed: false });
        base
    }

    /// Gives an allocation back; its addresses are never used again, so that late accesses are seen.
    ///
    /// # Errors
    /// If `address` is not the start of a living allocation.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        match self.index(address).filter(|&i| self.allocations[i].base == address && !self.allocations[i].freed) {
            Some(i) => {
                let a = &mut self.allocations[i];
                a.freed = true;
                a.words = Box::default();
                a.written = Box::default();
                Ok(())
            }
            None => Err(MemoryError { address, bytes: 0, message: "not the start of an allocation".into() }),
        }
    }

    /// Makes an allocation read-only for kernels.
    ///
    /// # Errors
    /// If `address` lies in no allocation.
    pub fn protect(&mut self, address: u64) -> Result<(), MemoryError> {
        match self.index(address) {
            Some(i) => {
                self.allocations[i].read_only = true;
                Ok(())
            }
            None => Err(MemoryError { address, bytes: 0, message: "lies in no allocation".into() }),
        }
    }

    /// Copies from the host.
    ///
    /// # Errors
    /// If the range leaves its allocation.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let (a, at) = self.host_range(address, data.len() as u64)?;
        let mut i = 0;
        while i < data.len() {
            let at = at + i as u64;
            if at.is_multiple_of(4) && data.len() - i >= 4 {
                a.store(at, 4, u64::from(u32::from_le_bytes([data[i], data[i + 1], data[i + 2], data[i + 3]])));
                i += 4;
            } else {
                a.store(at, 1, u64::from(data[i]));
                i += 1;
            }
        }
        Ok(())
    }

    /// Copies to the host. Bytes that nobody has written read as 0xff and 0x7f.
    ///
    /// # Errors
    /// If the range leaves its allocation.
    pub fn read(&self, address: u64, data: &mut [u8]) -> Result<(), MemoryError> {
        let (a, at) = self.host_range(address, data.len() as u64)?;
        let mut i = 0;
        while i < data.len() {
            let from = at + i as u64;
            if from.is_multiple_of(4)
                && let Some(word) = data[i..].first_chunk_mut()
            {
                *word = (a.load(from, 4) as u32).to_le_bytes();
                i += 4;
            } else {
                data[i] = a.load(from, 1) as u8;
                i += 1;
            }
        }
        Ok(())
    }

    /// Which bytes of a range have ever been written.
    ///
    /// # Errors
    /// If the range leaves its allocation.
    pub fn written(&self, address: u64, out: &mut [bool]) -> Result<(), MemoryError> {
        let (a, at) = self.host_range(address, out.len() as u64)?;
        for (i, w) in out.iter_mut().enumerate() {
            *w = a.is_written(at + i as u64, 1);
        }
        Ok(())
    }

    /// Forgets what has been written to a range, so that reading it counts as uninitialised again.
    ///
    /// # Errors
    /// If the range leaves its allocation.
    pub fn forget(&mut self, address: u64, bytes: u64) -> Result<(), MemoryError> {
        let (a, at) = self.host_range(address, bytes)?;
        for b in at..at + bytes {
            a.store(b, 1, u64::from(JUNK.to_le_bytes()[(b % 4) as usize]));
            a.written[(b / 32) as usize].fetch_and(!(1 << (b % 32)), Relaxed);
        }
        Ok(())
    }

    fn host_range(&self, address: u64, bytes: u64) -> Result<(&Allocation, u64), MemoryError> {
        let refuse = |message: &str| Err(MemoryError { address, bytes, message: message.into() });
        let Some(i) = self.index(address) else { return refuse("lies in no allocation") };
        let a = &self.allocations[i];
        let at = address - a.base;
        if a.freed {
            return refuse("has been freed");
        }
        match at.checked_add(bytes) {
            Some(end) if end <= a.bytes => Ok((a, at)),
            _ => refuse(&format!("leaves its allocation of {} bytes at {:#x}", a.bytes, a.base)),
        }
    }

    fn index(&self, address: u64) -> Option<usize> {
        let page = address.checked_sub(BASE)? / PAGE;
        match self.pages.get(usize::try_from(page).ok()?) {
            Some(0) | None => None,
            Some(&i) => Some(i as usize - 1),
        }
    }

    /// The allocation of a device access, its number, and the offset in it.
    pub(crate) fn find(&self, address: u64, bytes: u64, write: bool) -> Result<(&Allocation, usize, u64), Fault> {
        let i = self.index(address).ok_or(Fault::OutOfBounds)?;
        let a = &self.allocations[i];
        let at = address - a.base;
        if a.freed {
            return Err(Fault::Freed);
        }
        if at.saturating_add(bytes) > a.bytes {
            return Err(Fault::OutOfBounds);
        }
        if write && a.read_only {
            return Err(Fault::ReadOnly);
        }
        Ok((a, i, at))
    }

    /// Bytes of every allocation, in order.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.allocations.iter().map(|a| if a.freed { 0 } else { a.bytes })
    }

    /// The closest allocation below an address, for messages.
    pub(crate) fn near(&self, address: u64) -> String {
        match self.allocations.iter().filter(|a| a.base <= address).max_by_key(|a| a.base) {
            Some(a) => format!("{} bytes after the start of an allocation of {} bytes at {:#x}", address - a.base, a.bytes, a.base),
            None => "below every allocation".into(),
        }
    }

    /// Where a module's `.global` variables lie; they are written at the first launch.
    pub(crate) fn module(&mut self, id: u64, image: &[u8]) -> Result<u64, MemoryError> {
        if let Some(&a) = self.modules.get(&id) {
            return Ok(a);
        }
        let address = self.alloc(image.len() as u64, 256);
        self.write(address, image)?;
        self.modules.insert(id, address);
        Ok(address)
    }
}
