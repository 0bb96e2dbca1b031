//! Weight passes: checkpoint to checkpoint, guided by signatures.

pub mod upkern;
