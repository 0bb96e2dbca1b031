//! Weight passes: checkpoint to checkpoint, guided by signatures.

pub mod fresh;
pub mod resize;
pub mod upkern;
