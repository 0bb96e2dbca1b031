//! The null device: accepts every program, checks every range, computes nothing; downloads give zeros.

use std::ops::Range;

use crate::device::{Binary, Buffer, Device, KernelSet, check, range};
use crate::error::RuntimeError;

/// Sizes of what was allocated and lengths of what was loaded; no memory behind them.
#[derive(Debug, Default)]
pub struct Null {
    buffers: Vec<u64>,
    sets: Vec<usize>,
}

impl Null {
    fn size(&self, buffer: Buffer) -> u64 {
        self.buffers.get(buffer.id).copied().unwrap_or(0)
    }
}

impl Device for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn runs(&self, _target: &str) -> bool {
        true
    }

    fn has(&self, _feature: &str) -> bool {
        true
    }

    fn alloc(&mut self, bytes: u64) -> Result<Buffer, RuntimeError> {
        self.buffers.push(bytes);
        Ok(Buffer { id: self.buffers.len() - 1, bytes })
    }

    fn upload(&mut self, src: &[u8], dst: Buffer, offset: u64) -> Result<(), RuntimeError> {
        range(offset, src.len() as u64, self.size(dst)).map(|_| ())
    }

    fn download(&mut self, src: Buffer, offset: u64, dst: &mut [u8]) -> Result<(), RuntimeError> {
        range(offset, dst.len() as u64, self.size(src))?;
        dst.fill(0);
        Ok(())
    }

    fn load(&mut self, binary: &Binary<'_>) -> Result<KernelSet, RuntimeError> {
        check(binary)?;
        self.sets.push(binary.program.commands.len());
        Ok(KernelSet { id: self.sets.len() - 1 })
    }

    fn submit(&mut self, kernels: KernelSet, commands: Range<usize>) -> Result<(), RuntimeError> {
        let limit = self.sets.get(kernels.id).copied().unwrap_or(0) as u64;
        range(commands.start as u64, commands.len() as u64, limit).map(|_| ())
    }

    fn wait(&mut self) -> Result<(), RuntimeError> {
        Ok(())
    }
}
