//! The stages a compilation can stop at, in order.

use clap::ValueEnum;

/// Where `--to` stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Phase {
    /// The graph as the model wrote it (.mnx)
    Model,
    /// Core ops only (.mnx)
    Graph,
    /// Every op in a dispatch box (.mnx)
    Dispatch,
    /// Kernels, tiles and memory (.plan)
    Plan,
    /// MLIR, one module per kernel (.mlir)
    Mlir,
    /// LLVM IR after optimisation (.ll)
    Llvm,
    /// Assembly (.s)
    Asm,
    /// The shared object of one target (.so)
    #[value(alias = "object")]
    Binary,
    /// The bundle (.mnxa)
    #[value(alias = "artifact")]
    Bundle,
}

impl Phase {
    /// Whether the stage can only be reached with LLVM.
    pub fn needs_llvm(self) -> bool {
        self >= Self::Mlir
    }

    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |v| v.get_name().to_string())
    }
}
