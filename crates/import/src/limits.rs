//! What a file may ask for. Real checkpoints stay far below; hostile ones end here, in an error.
//!
//! Together they bound the memory of reading one file's structure at about 400 MB, whatever the file says; the tensors that are read
//! out of it add at most [`tensor_bytes`] of its size. Time is bounded by the number of instructions and by the same bytes.

/// Longest pickle, in bytes. A MedNeXt-L checkpoint with its optimiser's state has less than half a megabyte.
pub const PICKLE_BYTES: u64 = 64 << 20;
/// Most instructions of one pickle; each puts at most one value on the stack.
pub const PICKLE_INSTRUCTIONS: u64 = 4_000_000;
/// Most objects of one pickle.
pub const PICKLE_OBJECTS: usize = 2_000_000;
/// Most bytes that conversions inside a pickle (text to bytes) may make.
pub const PICKLE_CONVERTED: u64 = 64 << 20;
/// Deepest nesting of a structure that is turned into JSON.
pub const DEPTH: usize = 64;
/// Most values of a structure that is turned into JSON; shared parts count as often as they stand there.
pub const JSON_VALUES: usize = 2_000_000;
/// Most axes of a tensor.
pub const AXES: usize = 16;
/// Most entries of a zip archive.
pub const ZIP_ENTRIES: u64 = 100_000;
/// Largest JSON text (`plans.json`, `dataset.json`), in bytes.
pub const JSON_BYTES: u64 = 64 << 20;

/// Most bytes of tensors, as float32, that are read out of a checkpoint file of this size: half-precision and shared storages
/// grow when they are read, but not without end.
pub fn tensor_bytes(file: u64) -> u64 {
    file.saturating_mul(8).saturating_add(64 << 20)
}

/// Most files that are unpacked from an exported model or a bundle.
pub const UNPACKED_FILES: usize = 1_000;
/// Most folders above a file of an exported model or a bundle.
pub const UNPACKED_DEPTH: usize = 12;

/// Most bytes that are unpacked from a zip archive of this size: weights hardly shrink, text shrinks more, what grows beyond is no model.
pub fn unpacked_bytes(file: u64) -> u64 {
    file.saturating_mul(8).saturating_add(64 << 20)
}
