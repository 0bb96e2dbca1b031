//! THE SLOT TABLE: what a kernel's buffers are for, and the buffers themselves in the order of the kernel ABI.
//!
//! A family of kernels lists its buffers as [`Arg`]s; lowering binds operands by [`Slot`]; emitters ask for buffers by [`Slot`]. Nothing goes by position or by string.

use std::fmt;

macro_rules! slots {
    ($( #[doc = $about:literal] $name:ident = $word:literal; )*) => {
        /// What a buffer of a kernel is for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Slot { $( #[doc = $about] $name, )* }

        impl Slot {
            /// Every slot, in the order of the table.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// The name in plan texts and diagnostics.
            pub fn name(self) -> &'static str {
                match self { $( Self::$name => $word, )* }
            }

            /// The first line of its documentation.
            pub fn about(self) -> &'static str {
                match self { $( Self::$name => $about, )* }
            }
        }
    };
}

slots! {
    /// The tensor a kernel works on: an activation, channels-last, or a port, channels-first.
    X = "x";
    /// Weight of a stem recomputed in front of a convolution.
    StemW = "stem_w";
    /// Bias of a stem recomputed in front of a convolution.
    StemB = "stem_b";
    /// Weight: the taps of a depthwise convolution, or the matrix of a pointwise one.
    W = "w";
    /// Bias that goes with `w`.
    B = "b";
    /// Result, where a kernel has one and no block's end.
    Y = "y";
    /// Partial results: one row per part of a sample.
    Partials = "partials";
    /// Partial results summed to fewer of them.
    Sums = "sums";
    /// Mean and reciprocal standard deviation by sample and channel.
    Stats = "stats";
    /// GRN's ratio by sample and hidden channel.
    Ratio = "ratio";
    /// Weight of the expansion.
    W2 = "w2";
    /// Bias of the expansion.
    B2 = "b2";
    /// Scale of GRN.
    Gamma = "gamma";
    /// Shift of GRN.
    Beta = "beta";
    /// Weight of the compression.
    W3 = "w3";
    /// Bias of the compression, with those of everything added to it.
    B3 = "b3";
    /// Weight with a normalisation or GRN folded in, by sample.
    Wf = "wf";
    /// Bias that goes with `wf`.
    Bf = "bf";
    /// Residual: the tensor that is added to the compressed result, or that a residual convolution reads.
    Res = "res";
    /// Weight of a residual convolution or of a recomputed stem.
    ResW = "res_w";
    /// Skip: the encoder's tensor that is added on the padded grid.
    Skip = "skip";
    /// Weight of the head.
    HeadW = "head_w";
    /// Bias of the head.
    HeadB = "head_b";
    /// Logits of the head, channels-first.
    Logits = "logits";
    /// Result of a block.
    Out = "out";
}

impl Slot {
    /// By name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.name() == name)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Element type of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// float32.
    F32,
    /// float64.
    F64,
    /// int32.
    I32,
    /// bfloat16.
    Bf16,
    /// float16.
    F16,
}

impl Element {
    /// `f32`, `f64`, `i32`, `bf16` or `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::I32 => "i32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F64 => 8,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// What a kernel does with a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading of what stands there.
    Read,
    /// Writing of every element, over all workgroups, whatever stood there.
    Write,
    /// Reading of what stands there, and writing of every element.
    Update,
}

impl Access {
    /// Whether what the buffer holds before the launch matters.
    pub fn reads(self) -> bool {
        self != Self::Write
    }

    /// Whether the launch changes the buffer.
    pub fn writes(self) -> bool {
        self != Self::Read
    }

    /// The verb in plan texts.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Update => "updates",
        }
    }
}

/// One buffer of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg {
    /// What it is for.
    pub slot: Slot,
    /// Element type.
    pub element: Element,
    /// Elements.
    pub len: usize,
    /// What the kernel does with it.
    pub access: Access,
    /// The slot of the tensor whose bytes an updated buffer holds at the start; that tensor is then no buffer of its own.
    pub over: Option<Slot>,
}

impl Arg {
    /// A buffer that is read, float32.
    pub fn read(slot: Slot, len: usize) -> Self {
        Self { slot, element: Element::F32, len, access: Access::Read, over: None }
    }

    /// A buffer that is written, float32.
    pub fn write(slot: Slot, len: usize) -> Self {
        Self { access: Access::Write, ..Self::read(slot, len) }
    }

    /// A buffer that is updated, float32.
    pub fn update(slot: Slot, len: usize) -> Self {
        Self { access: Access::Update, ..Self::read(slot, len) }
    }

    /// A result that takes the place of `over`, float32.
    pub fn in_place(slot: Slot, over: Slot, len: usize) -> Self {
        Self { over: Some(over), ..Self::update(slot, len) }
    }

    /// A buffer in another element type.
    pub fn of(self, element: Element) -> Self {
        Self { element, ..self }
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.len * self.element.bytes()
    }

    /// Whether it is the buffer of `slot`, be it as the tensor whose place it takes.
    pub fn serves(&self, slot: Slot) -> bool {
        self.slot == slot || self.over == Some(slot)
    }
}
