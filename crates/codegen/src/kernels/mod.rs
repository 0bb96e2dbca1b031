//! Emitters: one per family of host kernels, from its description to MLIR.

mod pieces;

pub use pieces::{Piece, pieces};

use crate::args::Args;
use crate::mlir::{Buffer, Builder, Val};
use mnx_plan::host::HostKernel;
use mnx_plan::target::Cpu;

/// What an emitter is given: the work of workgroup `workgroup` is to be emitted, on these buffers.
pub(crate) struct Site<'a, 'c> {
    /// Where code goes.
    pub(crate) b: &'a Builder<'c>,
    /// The machine it runs on.
    pub(crate) cpu: &'a Cpu,
    /// The kernel's buffers.
    pub(crate) args: &'a Args<'c>,
    /// Number of the workgroup.
    pub(crate) workgroup: Val<'c>,
    /// The thread's scratch, in bytes.
    pub(crate) scratch: Buffer<'c>,
}

/// One emitter per row of the table of host kernels: `emit` of the module that the row names.
macro_rules! emitters {
    ($( $(#[doc = $about:literal])+ $Name:ident in $module:ident; )+) => {
        $( pub(crate) mod $module; )+

        /// Emits a kernel's body.
        pub(crate) fn emit(kernel: &HostKernel, site: &Site<'_, '_>) {
            match kernel { $( HostKernel::$Name(k) => $module::emit(k, site), )+ }
        }
    };
}
mnx_plan::host_kernels!(emitters!());
