//! THE PATTERN TABLE: what a dispatch box is for, and the part that each op plays in it.
//!
//! Whoever draws a box records both; readers ask for parts ([`Graph::part`]) instead of matching ops. [`check`] holds every box to
//! its row: the parts that are there, and which part reads which, so that a reader may rely on them.

use std::fmt;
use std::str::FromStr;

use crate::entity::{DispatchId, OpId, ValueId};
use crate::graph::Graph;
use crate::ops::{Op, OpCode};

mod flow;

pub use flow::check;

/// One row of the table of parts.
#[derive(Debug, Clone, Copy)]
pub struct PartInfo {
    /// Name in the text form.
    pub name: &'static str,
    /// Ops that can play the part; any op if empty.
    pub ops: &'static [OpCode],
    /// First line of its documentation.
    pub about: &'static str,
}

macro_rules! parts {
    ($( #[doc = $about:literal] $name:ident = $text:literal [$($op:ident),*]; )*) => {
        /// The role that an op plays in its box.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Part { $( #[doc = $about] $name, )* }

        /// The table of parts, in the order of a block.
        pub const PARTS: &[PartInfo] = &[ $( PartInfo { name: $text, ops: &[$(OpCode::$op),*], about: $about }, )* ];

        impl Part {
            /// All parts, in the order of the table.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];
        }
    };
}

parts! {
    /// Pointwise convolution of the network's input, recomputed in front of the depthwise convolution.
    Stem = "stem" [ConvPointwise];
    /// Depthwise convolution.
    Conv = "conv" [ConvDepthwise, ConvDepthwiseTransposed];
    /// Statistics of the depthwise convolution.
    Stats = "stats" [NormStats];
    /// Normalisation in front of the expansion: with stored statistics, or over channels behind the depthwise convolution.
    Norm = "norm" [NormApply, NormLayer];
    /// Pointwise convolution to the hidden channels.
    Expand = "expand" [ConvPointwise];
    /// Activation of the hidden tensor.
    Gelu = "gelu" [Gelu];
    /// Global response normalisation of the hidden tensor: its application, or in `grn_stats` its statistics.
    Grn = "grn" [GrnApply, GrnStats];
    /// Pointwise convolution back from the hidden channels.
    Compress = "compress" [ConvPointwise];
    /// Residual branch that the box computes itself: a pointwise convolution (the recomputed stem is one) or a scatter.
    Residual = "residual" [ConvPointwise, Scatter];
    /// Bias of the residual branch, behind its scatter.
    Bias = "bias" [AddBias];
    /// Sum with the residual branch, or with the stored tensor that is the residual.
    Sum = "sum" [Add];
    /// Plane of zeros in front of the sum.
    Pad = "pad" [PadFront];
    /// Sum with the skip connection, a stored tensor.
    Skip = "skip" [Add];
    /// Pointwise convolution to the logits.
    Head = "head" [ConvPointwise];
    /// Pointwise convolution that has a box to itself: stem, head or residual.
    Pointwise = "pointwise" [ConvPointwise];
    /// Soft-max or arg-max that has a box to itself.
    Classify = "classify" [Softmax, Argmax];
    /// Rounding of what another part gives: to the type in which it is stored, or in which the next product reads it.
    Cast = "cast" [Cast];
    /// Any other op that has a box to itself.
    Alone = "alone" [];
}

/// One row of the table of patterns.
#[derive(Debug, Clone, Copy)]
pub struct PatternInfo {
    /// Name in the text form.
    pub name: &'static str,
    /// Parts that every such box has, once.
    pub needs: &'static [Part],
    /// Parts that it may have, once.
    pub may: &'static [Part],
    /// Parts that it may have any number of times.
    pub many: &'static [Part],
    /// First line of its documentation.
    pub about: &'static str,
}

macro_rules! patterns {
    ($( #[doc = $about:literal] $name:ident = $text:literal needs [$($need:ident),*] may [$($may:ident),*] many $many:tt; )*) => {
        /// What a box is for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Pattern { $( #[doc = $about] $name, )* }

        /// The table of patterns.
        pub const PATTERNS: &[PatternInfo] = &[ $( PatternInfo {
            name: $text, needs: &[$(Part::$need),*], may: &[$(Part::$may),*], many: patterns!(@many $many), about: $about,
        }, )* ];

        impl Pattern {
            /// All patterns, in the order of the table.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];
        }
    };
    (@many [all]) => { Part::ALL };
    (@many [$($many:ident),*]) => { &[$(Part::$many),*] };
}

patterns! {
    /// Depthwise convolution with its statistics; the stem is recomputed in front of it.
    Conv = "conv" needs [Conv] may [Stem, Stats] many [Cast];
    /// From the norm to the end of a block: expansion, GELU, compression, residual, pad, skip and head; a layer norm brings its convolution along.
    Mlp = "mlp" needs [Expand, Gelu, Compress] may [Stem, Conv, Norm, Grn, Residual, Bias, Sum, Pad, Skip, Head] many [Cast];
    /// Hidden values that are summed up for global response normalisation and not stored.
    GrnStats = "grn_stats" needs [Expand, Gelu, Grn] may [Stem, Conv, Norm] many [Cast];
    /// One pointwise convolution: stem, head or residual.
    Pointwise = "pointwise" needs [Pointwise] may [] many [Cast];
    /// Soft-max or arg-max over the classes.
    Classify = "classify" needs [Classify] may [] many [];
    /// Any other op by itself, which no kernel does.
    Alone = "alone" needs [Alone] may [] many [];
    /// Parts of a pattern that was cut short, in any number and order, which no kernel does.
    Fragment = "fragment" needs [] may [] many [all];
}

impl Part {
    /// The part's row.
    pub fn info(self) -> &'static PartInfo {
        &PARTS[self as usize]
    }

    /// Whether an op can play the part.
    pub fn takes(self, op: &Op) -> bool {
        let ops = self.info().ops;
        ops.is_empty() || ops.contains(&op.code())
    }
}

impl Pattern {
    /// The pattern's row.
    pub fn info(self) -> &'static PatternInfo {
        &PATTERNS[self as usize]
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

impl FromStr for Part {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|p| p.info().name == s).ok_or_else(|| {
            let names: Vec<&str> = PARTS.iter().map(|p| p.name).collect();
            format!("unknown part `{s}`, expected one of {}", names.join(", "))
        })
    }
}

impl FromStr for Pattern {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|p| p.info().name == s).ok_or_else(|| {
            let names: Vec<&str> = PATTERNS.iter().map(|p| p.name).collect();
            format!("unknown pattern `{s}`, expected one of {}", names.join(", "))
        })
    }
}

impl Graph {
    /// Live ops of a box with their parts, in program order.
    pub fn parts(&self, dispatch: DispatchId) -> Vec<(Part, OpId)> {
        let inside = |&id: &OpId| {
            let node = self.node(id);
            node.part.filter(|_| node.dispatch == Some(dispatch)).map(|part| (part, id))
        };
        self.order().iter().filter_map(inside).collect()
    }

    /// The live op that plays a part in a box; the first one where the row allows several.
    pub fn part(&self, dispatch: DispatchId, part: Part) -> Option<OpId> {
        self.order().iter().copied().find(|&id| self.node(id).part == Some(part) && self.node(id).dispatch == Some(dispatch))
    }

    /// The value that a two-operand part (the sum, the skip) adds to the block's own: the operand that `own` is not.
    pub fn other_operand(&self, op: OpId, own: ValueId) -> Option<ValueId> {
        match *self.operands(op) {
            [a, b] if a == own => Some(b),
            [a, b] if b == own => Some(a),
            _ => None,
        }
    }
}
