//! Host memory with a stable address: anonymous for arenas and scratch, mapped from the bundle for weights.

use std::fs::File;
use std::path::Path;

use memmap2::{Mmap, MmapMut, MmapOptions};

use crate::memory;

/// Who gives the pages back.
#[derive(Debug)]
enum Owner {
    None,
    Anonymous(#[allow(dead_code, reason = "held for its drop")] MmapMut),
    File(Mmap),
}

/// A page-aligned block that never moves.
#[derive(Debug)]
pub(super) struct Memory {
    base: *mut u8,
    len: usize,
    owner: Owner,
}

// SAFETY: `base` points to pages that `owner` holds for the whole life of the value; who may touch them when is `Bound`'s affair.
unsafe impl Send for Memory {}
// SAFETY: as above; no method writes.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed pages, huge ones where the system has them.
    pub(super) fn alloc(bytes: u64) -> Result<Self, String> {
        // Beyond the limit the system may say yes and end the process later, when the pages are touched.
        if let Some(why) = memory::limit().and_then(|limit| limit.refusal(bytes)) {
            return Err(format!("{why}; take a smaller patch"));
        }
        let len = usize::try_from(bytes).map_err(|_| format!("{bytes} bytes are more than an address space"))?;
        if len == 0 {
            return Ok(Self::empty());
        }
        let mut map = MmapMut::map_anon(len).map_err(|e| format!("cannot allocate {bytes} bytes: {e}"))?;
        // Fewer TLB misses; a system without huge pages says no and nothing is lost.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { base: map.as_mut_ptr(), len, owner: Owner::Anonymous(map) })
    }

    /// Maps a range of a file, which must still be `size` bytes long.
    pub(super) fn map(path: &Path, offset: u64, bytes: u64, size: u64) -> Result<Self, String> {
        if bytes == 0 {
            return Ok(Self::empty());
        }
        let io = |e: std::io::Error| format!("{}: {e}", path.display());
        let file = File::open(path).map_err(io)?;
        let now = file.metadata().map_err(io)?.len();
        if now != size {
            return Err(format!("{}: the file changed while it was open", path.display()));
        }
        let len = usize::try_from(bytes).map_err(|_| format!("{bytes} bytes are more than an address space"))?;
        // SAFETY: the map is private and read-only. Bundles are replaced by rename, never written in place, so the mapped file
        // keeps its bytes; someone who edits it in place all the same gets wrong weights or SIGBUS, as with any mapped file.
        let map = unsafe { MmapOptions::new().offset(offset).len(len).map(&file) }.map_err(io)?;
        Ok(Self { base: map.as_ptr().cast_mut(), len, owner: Owner::File(map) })
    }

    /// Nothing, at an address that every kernel's alignment accepts.
    fn empty() -> Self {
        Self { base: std::ptr::without_provenance_mut(4096), len: 0, owner: Owner::None }
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.base
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn writable(&self) -> bool {
        !matches!(self.owner, Owner::File(_))
    }

    /// The contents of a mapped file; empty for other memory, whose bytes belong to running kernels.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.owner {
            Owner::File(map) => map,
            Owner::None | Owner::Anonymous(_) => &[],
        }
    }
}
