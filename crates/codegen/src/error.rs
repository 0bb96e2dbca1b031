//! What can go wrong between a kernel and a shared object.

/// A failed compilation.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// A kernel's tile does not suit the target, or its sizes contradict each other.
    #[error("kernel {symbol}: {reason}")]
    Illegal {
        /// The kernel's symbol.
        symbol: String,
        /// What is wrong.
        reason: String,
    },
    /// MLIR refused a module: a defect of an emitter.
    #[error("MLIR: {0}")]
    Mlir(String),
    /// LLVM refused a module: a defect of an emitter or of the installation.
    #[error("LLVM: {0}")]
    Llvm(String),
    /// The generated code calls something that no kernel may call.
    #[error("kernel {symbol} calls `{callee}`, which is not one of memcpy, memmove, memset")]
    Callee {
        /// The kernel's symbol.
        symbol: String,
        /// The function it calls.
        callee: String,
    },
    /// No linker was found, or it failed.
    #[error("linking: {0}")]
    Link(String),
    /// A temporary file could not be written or read.
    #[error("temporary file {path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
