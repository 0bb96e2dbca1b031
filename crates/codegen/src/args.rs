//! A kernel's buffers, asked for by slot.

use crate::mlir::Buffer;
use mnx_plan::slot::{Arg, Slot};

/// The buffers that a kernel's description lists.
pub(crate) struct Args<'c> {
    bound: Vec<(Arg, Buffer<'c>)>,
}

impl<'c> Args<'c> {
    /// Buffers in the order of the kernel ABI.
    pub(crate) fn new(args: &[Arg], buffers: &[Buffer<'c>]) -> Self {
        debug_assert_eq!(args.len(), buffers.len());
        Self { bound: args.iter().copied().zip(buffers.iter().copied()).collect() }
    }

    /// The buffer of a slot, be it the one that has taken its place; none if the kernel has none.
    pub(crate) fn get(&self, slot: Slot) -> Option<Buffer<'c>> {
        self.bound.iter().find(|(arg, _)| arg.serves(slot)).map(|(_, buffer)| *buffer)
    }

    /// The buffer of a slot that the kernel's description lists.
    pub(crate) fn of(&self, slot: Slot) -> Buffer<'c> {
        self.get(slot).unwrap_or_else(|| unreachable!("the kernel's description lists no buffer {slot}"))
    }
}
