//! THE OP TABLE: one row per op. Everything else about an op is an exhaustive `match`, so rustc leads round:
//! `infer` (here) -> `eval` (interp) -> strategy (plan) -> emit (codegen) -> golden file.

use crate::attrs::{ApplyAttrs, AttrValue, Attrs, CastAttrs, ConvAttrs, GrnAttrs, LayerAttrs, NoAttrs, NormAttrs, StrideAttrs};

/// How many operands an op takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operands {
    /// Names, in order; a trailing `?` marks those that may be absent, a trailing `...` on the last one or more of its kind.
    pub names: &'static [&'static str],
}

impl Operands {
    /// Fewest operands.
    pub fn min(self) -> usize {
        self.names.iter().filter(|n| !n.ends_with('?')).count()
    }
    /// Most operands; none if the last name stands for any number.
    pub fn max(self) -> Option<usize> {
        (!self.is_variadic()).then_some(self.names.len())
    }
    /// Whether the last name stands for one or more operands.
    pub fn is_variadic(self) -> bool {
        self.names.last().is_some_and(|n| n.ends_with("..."))
    }
    /// Whether an op may have this many operands.
    pub fn admits(self, count: usize) -> bool {
        count >= self.min() && self.max().is_none_or(|most| count <= most)
    }
    /// The number of operands in words: `2 operands`, `2 to 3 operands`, `1 or more operands`.
    pub fn arity(self) -> String {
        match (self.min(), self.max()) {
            (min, None) => format!("{min} or more operands"),
            (min, Some(max)) if min == max => mnx_words::many(min, "operand"),
            (min, Some(max)) => format!("{min} to {max} operands"),
        }
    }
}

/// What kind of op it is, for stages and passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Written by the model, removed before stage `graph`.
    Sugar,
    /// Computes activations.
    Core,
    /// Computes a derived weight from weights alone, at compile time or on refit.
    Weight,
    /// A named weight of the checkpoint.
    Param,
    /// Named memory beside the checkpoint that a run may change.
    State,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct OpInfo {
    /// The op's code.
    pub code: OpCode,
    /// Mnemonic in the text form.
    pub mnemonic: &'static str,
    /// Operands.
    pub operands: Operands,
    /// Kind.
    pub kind: Kind,
    /// First line of its documentation.
    pub about: &'static str,
}

macro_rules! ops {
    ($( #[doc = $about:literal] $(#[doc = $more:literal])* $name:ident($attrs:ty) = $mnemonic:literal [$($operand:literal),*] $kind:ident; )*) => {
        /// An op with its attributes. The documentation of each is its definition; `interp` is the definition in code.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op { $( #[doc = $about] $(#[doc = $more])* $name($attrs), )* }

        /// An op's code, without attributes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum OpCode { $( #[doc = $about] $name, )* }

        /// The table.
        pub const OPS: &[OpInfo] = &[ $( OpInfo {
            code: OpCode::$name, mnemonic: $mnemonic, operands: Operands { names: &[$($operand),*] }, kind: Kind::$kind, about: $about,
        }, )* ];

        impl Op {
            /// The op's code.
            pub fn code(&self) -> OpCode { match self { $( Self::$name(_) => OpCode::$name, )* } }
            /// Attribute names and values, in order.
            pub fn attr_fields(&self) -> Vec<(&'static str, AttrValue)> {
                match self { $( Self::$name(a) => a.fields(), )* }
            }
            /// An op from its code and attributes.
            ///
            /// # Errors
            /// The attribute at fault and what was expected.
            pub fn from_fields(code: OpCode, given: &[(String, AttrValue)]) -> Result<Self, String> {
                match code { $( OpCode::$name => <$attrs>::from_fields(given).map(Self::$name), )* }
            }
        }
    };
}

ops! {
    /// A tensor of the checkpoint, by its key. Text: `%w = param "stem.weight" : f32[32,1,1,1,1]`.
    Param(ParamAttrs) = "param" [] Param;
    /// Named memory that a run may change, by its key: moments, counters. Text: `%m = state "adam.m/stem.weight" : f32[32,1,1,1,1]`.
    ///
    /// A read gives the value before the run; `update "adam.m/stem.weight" = %v` gives the value after it. Stages train and dispatch alone.
    State(ParamAttrs) = "state" [] State;
    /// Depthwise convolution: output channel c reads input channel c only.
    ///
    /// `y[n,c,o] = b[c] + sum_q x[n,c,o*stride - pad + q] w[c,0,q]`, zeros outside. PyTorch: `ConvNd(C, C, k, stride, pad, groups=C)`.
    ConvDepthwise(ConvAttrs) = "conv.depthwise" ["input", "weight", "bias?"] Core;
    /// Transposed depthwise convolution, no output padding.
    ///
    /// `y[n,c,o] = b[c] + sum over (i,q) with o = i*stride - pad + q of x[n,c,i] w[c,0,q]`; extent `(n-1)*stride - 2 pad + k`.
    /// PyTorch: `ConvTransposeNd(C, C, k, stride, pad, groups=C)`.
    ConvDepthwiseTransposed(ConvAttrs) = "conv.depthwise_transposed" ["input", "weight", "bias?"] Core;
    /// Pointwise (1x1x1) convolution, possibly strided: `y[n,o,m] = b[o] + sum_i w[o,i] x[n,i,m*stride]`.
    ///
    /// PyTorch: `ConvNd(Ci, Co, 1, stride)`; extent `ceil(n/stride)`.
    ConvPointwise(StrideAttrs) = "conv.pointwise" ["input", "weight", "bias?"] Core;
    /// Transposed pointwise convolution: `y[n,o,m*stride] = b[o] + sum_i w[i,o] x[n,i,m]`, elsewhere `b[o]`.
    ///
    /// PyTorch: `ConvTransposeNd(Ci, Co, 1, stride)`, weight `[Ci, Co, 1, ..]`; extent `(n-1)*stride + 1`.
    ConvPointwiseTransposed(StrideAttrs) = "conv.pointwise_transposed" ["input", "weight", "bias?"] Sugar;
    /// Group normalisation with affine: per sample and group, over channels in the group and space, biased variance.
    ///
    /// `y = (x - mean)/sqrt(var + eps) * gamma[c] + beta[c]`. PyTorch: `GroupNorm(groups, C)`. Refuses one value per group.
    NormGroup(NormAttrs) = "norm.group" ["input", "gamma", "beta"] Sugar;
    /// Layer normalisation over channels at each voxel, biased variance; affine if given. ConvNeXt's `channels_first` layer norm.
    NormLayer(LayerAttrs) = "norm.layer" ["input", "gamma?", "beta?"] Core;
    /// Mean and reciprocal standard deviation `1/sqrt(var + eps)` per sample and group: `[n, 2, groups]`.
    NormStats(NormAttrs) = "norm.stats" ["input"] Core;
    /// `(x - mean) * rstd`, then affine if given.
    NormApply(ApplyAttrs) = "norm.apply" ["input", "stats", "gamma?", "beta?"] Core;
    /// Global response normalisation: `gamma[c] * x * r[n,c] + beta[c] + x`, r as in `grn.stats`.
    Grn(GrnAttrs) = "grn" ["input", "gamma", "beta"] Sugar;
    /// GRN's ratio `r[n,c] = g[n,c] / (reduce_c g[n,:] + eps)`, `g = sqrt(sum over space of x^2)`: `[n, c]`.
    GrnStats(GrnAttrs) = "grn.stats" ["input"] Core;
    /// `gamma[c] * x * r[n,c] + beta[c] + x`.
    GrnApply(NoAttrs) = "grn.apply" ["input", "ratio", "gamma", "beta"] Core;
    /// Exact GELU: `0.5 x (1 + erf(x / sqrt 2))`.
    Gelu(NoAttrs) = "gelu" ["input"] Core;
    /// Elementwise sum of two tensors of one shape.
    Add(NoAttrs) = "add" ["a", "b"] Core;
    /// Elementwise sum of one or more tensors of one shape, summed from the first to the last. PyTorch: `a + b + c`.
    ///
    /// On weights alone it is a derived weight.
    SumValues(NoAttrs) = "sum.values" ["values..."] Core;
    /// Rounding to the element type `to`: to the nearest value, of two equally near the even one, as IEEE 754 and PyTorch's `x.to(dtype)`.
    ///
    /// Beyond the largest finite value by half a step or more it gives infinity; below the smallest normal one, subnormals and zero of the same sign;
    /// NaN stays NaN. Shape and layout are kept. Element types: only `cast` makes 16-bit values. Every other op reads any float type, computes
    /// in the interpreter's number type (float32 in kernels) and gives float32 where it reads 16-bit values; float64 stays float64, and the
    /// operands of a sum agree in type once 16-bit values count as float32. The same holds for ops on weights. Labels (i32) are not cast.
    /// To float32 and float64 nothing is rounded that the number type of the computation holds; where the operand is of type `to` already,
    /// `canonicalize` drops the cast. On weights alone it is a derived weight and stands outside boxes.
    /// Text: `%y = cast %x {to=bf16} : bf16[1,32,16,16,16]`.
    Cast(CastAttrs) = "cast" ["input"] Core;
    /// Adds `bias[c]` to every voxel.
    AddBias(NoAttrs) = "add.bias" ["input", "bias"] Core;
    /// One plane of zeros in front (index 0) of every spatial axis. PyTorch: `F.pad(x, (1,0,1,0,1,0))`.
    PadFront(NoAttrs) = "pad.front" ["input"] Core;
    /// Zero insertion: `y[m*stride] = x[m]`, zero elsewhere; extent `(n-1)*stride + 1`.
    Scatter(StrideAttrs) = "scatter" ["input"] Core;
    /// Soft-max over channels.
    Softmax(NoAttrs) = "softmax" ["input"] Core;
    /// Index of the largest channel (the first of equals), int32, without the channel axis: `[n, space]`.
    Argmax(NoAttrs) = "argmax" ["input"] Core;
    /// `w[o,i,..] * s[i]`: a scale of the input moved into the weight.
    WeightScaleIn(NoAttrs) = "weight.scale_in" ["weight", "scale"] Weight;
    /// `b[o] + sum_i w[o,i] shift[i]`: a shift of the input moved into the bias; the weight is pointwise.
    WeightFoldBias(NoAttrs) = "weight.fold_bias" ["weight", "shift", "bias"] Weight;
    /// `[Ci, Co, ..] -> [Co, Ci, ..]`.
    WeightTransposeIo(NoAttrs) = "weight.transpose_io" ["weight"] Weight;
    /// Elementwise sum of two weights of one shape.
    WeightAdd(NoAttrs) = "weight.add" ["a", "b"] Weight;
}

/// Attributes of `param` and `state`: the key of the tensor, printed before the type.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamAttrs {
    /// Key in the checkpoint, or of the state.
    pub key: String,
}

impl Attrs for ParamAttrs {
    fn fields(&self) -> Vec<(&'static str, AttrValue)> {
        vec![("key", AttrValue::Text(self.key.clone()))]
    }
    fn from_fields(given: &[(String, AttrValue)]) -> Result<Self, String> {
        match given {
            [(name, AttrValue::Text(key))] if name == "key" => Ok(Self { key: key.clone() }),
            _ => Err("expected one quoted key and nothing else".into()),
        }
    }
}

impl Op {
    /// A param by its key.
    pub fn param(key: &str) -> Self {
        Self::Param(ParamAttrs { key: key.to_string() })
    }

    /// A state by its key.
    pub fn state(key: &str) -> Self {
        Self::State(ParamAttrs { key: key.to_string() })
    }

    /// The key of a leaf (a param or a state); none for every other op.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Param(p) | Self::State(p) => Some(&p.key),
            _ => None,
        }
    }

    /// The op's row.
    pub fn info(&self) -> &'static OpInfo {
        self.code().info()
    }
}

impl OpCode {
    /// The row of this code.
    pub fn info(self) -> &'static OpInfo {
        &OPS[self as usize]
    }

    /// By mnemonic.
    pub fn from_mnemonic(s: &str) -> Option<Self> {
        OPS.iter().find(|o| o.mnemonic == s).map(|o| o.code)
    }
}
