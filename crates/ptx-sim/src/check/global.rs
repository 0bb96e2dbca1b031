//! Which CTA touched each byte of global memory during one launch. There is no order between CTAs, so two of them on one byte, one writing,
//! are a race whichever came first: the answer does not depend on the schedule.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Words of one lazily made page of cells.
const PAGE: usize = 1024;
/// Codes in the 28-bit fields: nobody; several (readers); the word is in the table by bytes (writers).
const NOBODY: u64 = 0;
const MANY: u64 = 1;
const SPLIT: u64 = 2;
const FIRST_CTA: u64 = 3;
const FIELD: u64 = (1 << 28) - 1;

/// Largest number of CTAs that fit the fields.
pub(crate) const MOST_CTAS: u64 = FIELD - FIRST_CTA;

type Page = Box<[AtomicU64]>;
/// Writer and reader of one byte.
type Byte = (u64, u64);

#[derive(Debug)]
pub(crate) struct GlobalWatch {
    /// Per allocation, per page.
    pages: Vec<Box<[OnceLock<Page>]>>,
    /// Words whose bytes belong to different CTAs.
    bytes: Mutex<HashMap<(usize, usize), [Byte; 4]>>,
}

/// Who accesses, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By {
    /// Number of the CTA in the grid.
    pub cta: u64,
    pub write: bool,
}

/// The other side of a race: a CTA if it was one, and whether it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Other {
    pub cta: Option<u64>,
    pub wrote: bool,
}

fn other(code: u64, wrote: bool) -> Other {
    Other { cta: code.checked_sub(FIRST_CTA), wrote }
}

impl GlobalWatch {
    pub(crate) fn new(sizes: impl Iterator<Item = u64>) -> Self {
        let pages = sizes.map(|b| (0..(b as usize).div_ceil(4 * PAGE)).map(|_| OnceLock::new()).collect()).collect();
        Self { pages, bytes: Mutex::default() }
    }

    /// Records an access to up to 8 aligned bytes.
    pub(crate) fn touch(&self, allocation: usize, at: u64, width: u64, by: By) -> Option<Other> {
        if width == 8 {
            let low = self.word(allocation, (at / 4) as usize, 15, by);
            return low.or(self.word(allocation, (at / 4) as usize + 1, 15, by));
        }
        let mask = ((1u64 << width) - 1) << (at % 4);
        self.word(allocation, (at / 4) as usize, mask, by)
    }

    fn word(&self, allocation: usize, word: usize, mask: u64, By { cta, write }: By) -> Option<Other> {
        let page = self.pages[allocation][word / PAGE].get_or_init(|| (0..PAGE).map(|_| AtomicU64::new(0)).collect());
        let cell = &page[word % PAGE];
        let me = cta + FIRST_CTA;
        let mut old = cell.load(Relaxed);
        loop {
            let (writer, reader) = (old & FIELD, old >> 28 & FIELD);
            let (writes, reads) = (old >> 56 & 15, old >> 60);
            if writer == SPLIT {
                return self.by_byte((allocation, word), mask, me, write);
            }
            let mut found = None;
            if writer != NOBODY && writer != me && writes & mask != 0 {
                found = Some(other(writer, true));
            }
            if write && reader != NOBODY && reader != me && reads & mask != 0 {
                found = found.or(Some(other(reader, false)));
            }
            let new = if write {
                let known = writer == NOBODY || writer == me || writes == mask;
                known.then_some(me | reader << 28 | (if writer == me { writes | mask } else { mask }) << 56 | reads << 60)
            } else {
                let next = if reader == NOBODY || reader == me {
                    Some((me, reads | mask))
                } else if reads == mask || (reader == MANY && reads & mask == mask) {
                    Some((MANY, reads))
                } else {
                    None
                };
                next.map(|(reader, reads)| writer | reader << 28 | writes << 56 | reads << 60)
            };
            let Some(new) = new else {
                let mut table = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(now) = cell.compare_exchange(old, SPLIT, Relaxed, Relaxed) {
                    old = now;
                    continue;
                }
                let bytes = std::array::from_fn(|i| {
                    (if writes >> i & 1 == 1 { writer } else { NOBODY }, if reads >> i & 1 == 1 { reader } else { NOBODY })
                });
                table.insert((allocation, word), bytes);
                drop(table);
                return self.by_byte((allocation, word), mask, me, write);
            };
            if new == old {
                return found;
            }
            match cell.compare_exchange(old, new, Relaxed, Relaxed) {
                Ok(_) => return found,
                Err(now) => old = now,
            }
        }
    }

    fn by_byte(&self, key: (usize, usize), mask: u64, me: u64, write: bool) -> Option<Other> {
        let mut table = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = table.entry(key).or_default();
        let mut found = None;
        for (i, (writer, reader)) in bytes.iter_mut().enumerate() {
            if mask >> i & 1 == 0 {
                continue;
            }
            if *writer != NOBODY && *writer != me {
                found = found.or(Some(other(*writer, true)));
            }
            if write {
                if *reader != NOBODY && *reader != me {
                    found = found.or(Some(other(*reader, false)));
                }
                *writer = me;
            } else {
                *reader = if *reader == NOBODY || *reader == me { me } else { MANY };
            }
        }
        found
    }
}
