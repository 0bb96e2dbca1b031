//! THE OP TABLE: one row per op. Everything else about an op is an exhaustive `match`, so rustc leads round:
//! `infer` (here) -> `eval` (interp) -> strategy (plan) -> emit (codegen) -> golden file.

use std::fmt;

use smallvec::SmallVec;

use crate::attrs::{ApplyAttrs, AttrValue, Attrs, CastAttrs, ConvAttrs, GrnAttrs, LayerAttrs, NoAttrs, NormAttrs, StrideAttrs};
use crate::diag::Diagnostic;
use crate::entity::ValueId;
use crate::stage::Stage;

/// What an operand is to its op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Tensor that a run computes.
    Activation,
    /// Param, or a value derived from params alone.
    Weight,
    /// Small tensor of sums over an activation.
    Statistics,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Activation => "activation",
            Self::Weight => "weight",
            Self::Statistics => "statistics",
        })
    }
}

/// One operand of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// Name.
    pub name: &'static str,
    /// What it is to the op.
    pub role: Role,
    /// Whether it may be absent; only operands behind all others may.
    pub optional: bool,
    /// Whether it stands for one or more operands; only the last may.
    pub variadic: bool,
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match (self.optional, self.variadic) {
            (false, false) => "",
            (true, _) => "?",
            (false, true) => "...",
        };
        write!(f, "{}{mark}", self.name)
    }
}

/// The operands that an op takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operands {
    /// Operands, in order.
    pub list: &'static [Operand],
}

impl Operands {
    /// Fewest operands.
    pub fn min(self) -> usize {
        self.list.iter().filter(|o| !o.optional).count()
    }
    /// Most operands; none if the last one stands for any number.
    pub fn max(self) -> Option<usize> {
        (!self.is_variadic()).then_some(self.list.len())
    }
    /// Whether the last operand stands for one or more.
    pub fn is_variadic(self) -> bool {
        self.list.last().is_some_and(|o| o.variadic)
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
    /// Names as `mnxc list ops` shows them: `input, weight, bias?`.
    pub fn names(self) -> String {
        self.list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// What kind of value an op computes. Whether a value is a weight goes by what it depends on: [`crate::Graph::is_weight`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Tensor of the forward pass.
    Activation,
    /// Leaf, or a weight derived from weights.
    Weight,
    /// Derivative of the loss.
    Gradient,
    /// New value of a param or of an optimiser's state.
    Update,
    /// Value that training makes small.
    Loss,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Activation => "activation",
            Self::Weight => "weight",
            Self::Gradient => "gradient",
            Self::Update => "update",
            Self::Loss => "loss",
        })
    }
}

/// Whether a derivative with respect to the operands exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differentiable {
    /// Yes.
    Yes,
    /// No, with the reason.
    No(&'static str),
}

/// How multiply-accumulates of an op are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Macs {
    /// None: the op is no convolution.
    Zero,
    /// Every element of the result reads one filter of the weight, the second operand.
    PerOutput,
    /// Every element of the first operand meets one filter of the weight, the second operand.
    PerInput,
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
    /// What kind of value it computes.
    pub class: Class,
    /// Stages of a graph at which it may stand.
    pub stages: &'static [Stage],
    /// Whether autodiff can go through it.
    pub differentiable: Differentiable,
    /// How its multiply-accumulates are counted.
    pub macs: Macs,
    /// First line of its documentation.
    pub about: &'static str,
}

impl OpInfo {
    /// Whether the op may stand in a graph of this stage.
    pub fn legal_at(&self, stage: Stage) -> bool {
        self.stages.contains(&stage)
    }
}

/// The attributes' type of a row.
macro_rules! attrs_type {
    ([]) => {
        NoAttrs
    };
    ([$attrs:ty]) => {
        $attrs
    };
}

/// One entry of a row's operands.
macro_rules! operand {
    ($name:ident (optional $role:ident)) => { operand!(@ $name $role true false) };
    ($name:ident (variadic $role:ident)) => { operand!(@ $name $role false true) };
    ($name:ident $role:ident) => { operand!(@ $name $role false false) };
    (@ $name:ident $role:ident $optional:literal $variadic:literal) => {
        Operand { name: stringify!($name), role: Role::$role, optional: $optional, variadic: $variadic }
    };
}

/// The type of a builder method's parameter for an operand.
macro_rules! operand_type {
    ((optional $role:ident)) => { Option<ValueId> };
    ((variadic $role:ident)) => { &[ValueId] };
    ($role:ident) => { ValueId };
}

macro_rules! give_operand {
    ($to:ident $operand:ident (optional $role:ident)) => {
        $to.extend($operand)
    };
    ($to:ident $operand:ident (variadic $role:ident)) => {
        $to.extend_from_slice($operand)
    };
    ($to:ident $operand:ident $role:ident) => {
        $to.push($operand)
    };
}

/// The builder method of a row; leaves have none, their types are declared.
macro_rules! build_method {
    (leaf $attrs:tt $name:ident $about:literal ()) => {};
    ($method:ident [] $name:ident $about:literal ($($operand:ident : $kind:tt),*)) => {
        #[doc = concat!("Adds `", stringify!($name), "`:", $about)]
        ///
        /// # Errors
        /// If the operands do not fit.
        fn $method(&mut self, $($operand: operand_type!($kind)),*) -> Result<ValueId, Diagnostic> {
            let mut operands: SmallVec<[ValueId; 4]> = SmallVec::new();
            $( give_operand!(operands $operand $kind); )*
            self.push(Op::$name(NoAttrs {}), &operands)
        }
    };
    ($method:ident [$attrs:ty] $name:ident $about:literal ($($operand:ident : $kind:tt),*)) => {
        #[doc = concat!("Adds `", stringify!($name), "`:", $about)]
        ///
        /// # Errors
        /// If the operands do not fit.
        fn $method(&mut self, $($operand: operand_type!($kind)),*, attrs: $attrs) -> Result<ValueId, Diagnostic> {
            let mut operands: SmallVec<[ValueId; 4]> = SmallVec::new();
            $( give_operand!(operands $operand $kind); )*
            self.push(Op::$name(attrs), &operands)
        }
    };
}

macro_rules! stages {
    (all) => { &Stage::ALL };
    ([$($stage:ident),*]) => { &[$(Stage::$stage),*] };
}

macro_rules! differentiable {
    (yes) => {
        Differentiable::Yes
    };
    (no $why:literal) => {
        Differentiable::No($why)
    };
}

macro_rules! macs {
    () => {
        Macs::Zero
    };
    ($macs:ident) => {
        Macs::$macs
    };
}

macro_rules! ops {
    ($(
        #[doc = $about:literal] $(#[doc = $more:literal])*
        $name:ident $attrs:tt = $mnemonic:literal $method:ident ($($operand:ident : $kind:tt),*)
            : $class:ident at $stages:tt, differentiable $grad:ident $($why:literal)? $(, macs $macs:ident)?;
    )*) => {
        /// An op with its attributes. The documentation of each is its definition; `interp` is the definition in code.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op { $( #[doc = $about] $(#[doc = $more])* $name(attrs_type!($attrs)), )* }

        /// An op's code, without attributes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum OpCode { $( #[doc = $about] $name, )* }

        /// The table.
        pub const OPS: &[OpInfo] = &[ $( OpInfo {
            code: OpCode::$name,
            mnemonic: $mnemonic,
            operands: Operands { list: &[$(operand!($operand $kind)),*] },
            class: Class::$class,
            stages: stages!($stages),
            differentiable: differentiable!($grad $($why)?),
            macs: macs!($($macs)?),
            about: $about,
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
                match code { $( OpCode::$name => <attrs_type!($attrs)>::from_fields(given).map(Self::$name), )* }
            }
        }

        /// A place where ops are added, with a method per op of the table: operands in the order of the row, optional ones as
        /// `Option`, attributes last.
        #[expect(clippy::too_many_arguments, reason = "one parameter per operand of a row, and the attributes")]
        pub trait Builder {
            /// Adds an op on values.
            ///
            /// # Errors
            /// If the operands do not fit the op.
            fn push(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, Diagnostic>;

            $( build_method!($method $attrs $name $about ($($operand : $kind),*)); )*
        }
    };
}

ops! {
    /// A tensor of the checkpoint, by its key. Text: `%w = param "stem.weight" : f32[32,1,1,1,1]`.
    Param [ParamAttrs] = "param" leaf(): Weight at all, differentiable yes;
    /// Named memory that a run may change, by its key: moments, counters. Text: `%m = state "adam.m/stem.weight" : f32[32,1,1,1,1]`.
    ///
    /// A read gives the value before the run; `update "adam.m/stem.weight" = %v` gives the value after it. Stages train and dispatch alone.
    State [ParamAttrs] = "state" leaf(): Weight at [Train, Dispatch], differentiable yes;
    /// Depthwise convolution: output channel c reads input channel c only.
    ///
    /// `y[n,c,o] = b[c] + sum_q x[n,c,o*stride - pad + q] w[c,0,q]`, zeros outside. PyTorch: `ConvNd(C, C, k, stride, pad, groups=C)`.
    ConvDepthwise [ConvAttrs] = "conv.depthwise" conv_depthwise(input: Activation, weight: Weight, bias: (optional Weight))
        : Activation at all, differentiable yes, macs PerOutput;
    /// Transposed depthwise convolution, no output padding.
    ///
    /// `y[n,c,o] = b[c] + sum over (i,q) with o = i*stride - pad + q of x[n,c,i] w[c,0,q]`; extent `(n-1)*stride - 2 pad + k`.
    /// PyTorch: `ConvTransposeNd(C, C, k, stride, pad, groups=C)`.
    ConvDepthwiseTransposed [ConvAttrs] = "conv.depthwise_transposed"
        conv_depthwise_transposed(input: Activation, weight: Weight, bias: (optional Weight))
        : Activation at all, differentiable yes, macs PerInput;
    /// Pointwise (1x1x1) convolution, possibly strided: `y[n,o,m] = b[o] + sum_i w[o,i] x[n,i,m*stride]`.
    ///
    /// PyTorch: `ConvNd(Ci, Co, 1, stride)`; extent `ceil(n/stride)`.
    ConvPointwise [StrideAttrs] = "conv.pointwise" conv_pointwise(input: Activation, weight: Weight, bias: (optional Weight))
        : Activation at all, differentiable yes, macs PerOutput;
    /// Transposed pointwise convolution: `y[n,o,m*stride] = b[o] + sum_i w[i,o] x[n,i,m]`, elsewhere `b[o]`.
    ///
    /// PyTorch: `ConvTransposeNd(Ci, Co, 1, stride)`, weight `[Ci, Co, 1, ..]`; extent `(n-1)*stride + 1`.
    ConvPointwiseTransposed [StrideAttrs] = "conv.pointwise_transposed"
        conv_pointwise_transposed(input: Activation, weight: Weight, bias: (optional Weight))
        : Activation at [Model], differentiable no "decompose first", macs PerInput;
    /// Group normalisation with affine: per sample and group, over channels in the group and space, biased variance.
    ///
    /// `y = (x - mean)/sqrt(var + eps) * gamma[c] + beta[c]`. PyTorch: `GroupNorm(groups, C)`. Refuses one value per group.
    NormGroup [NormAttrs] = "norm.group" norm_group(input: Activation, gamma: Weight, beta: Weight)
        : Activation at [Model], differentiable no "decompose first";
    /// Layer normalisation over channels at each voxel, biased variance; affine if given. ConvNeXt's `channels_first` layer norm.
    NormLayer [LayerAttrs] = "norm.layer" norm_layer(input: Activation, gamma: (optional Weight), beta: (optional Weight))
        : Activation at all, differentiable yes;
    /// Mean and reciprocal standard deviation `1/sqrt(var + eps)` per sample and group: `[n, 2, groups]`.
    NormStats [NormAttrs] = "norm.stats" norm_stats(input: Activation): Activation at all, differentiable yes;
    /// `(x - mean) * rstd`, then affine if given.
    NormApply [ApplyAttrs] = "norm.apply"
        norm_apply(input: Activation, stats: Statistics, gamma: (optional Weight), beta: (optional Weight))
        : Activation at all, differentiable yes;
    /// Global response normalisation: `gamma[c] * x * r[n,c] + beta[c] + x`, r as in `grn.stats`.
    Grn [GrnAttrs] = "grn" grn(input: Activation, gamma: Weight, beta: Weight): Activation at [Model], differentiable no "decompose first";
    /// GRN's ratio `r[n,c] = g[n,c] / (reduce_c g[n,:] + eps)`, `g = sqrt(sum over space of x^2)`: `[n, c]`.
    GrnStats [GrnAttrs] = "grn.stats" grn_stats(input: Activation): Activation at all, differentiable yes;
    /// `gamma[c] * x * r[n,c] + beta[c] + x`.
    GrnApply [] = "grn.apply" grn_apply(input: Activation, ratio: Statistics, gamma: Weight, beta: Weight)
        : Activation at all, differentiable yes;
    /// Exact GELU: `0.5 x (1 + erf(x / sqrt 2))`.
    Gelu [] = "gelu" gelu(input: Activation): Activation at all, differentiable yes;
    /// Elementwise sum of two tensors of one shape.
    Add [] = "add" add(a: Activation, b: Activation): Activation at all, differentiable yes;
    /// Elementwise sum of one or more tensors of one shape, summed from the first to the last. PyTorch: `a + b + c`.
    ///
    /// On weights alone it is a derived weight.
    SumValues [] = "sum.values" sum_values(values: (variadic Activation)): Activation at all, differentiable yes;
    /// Rounding to the element type `to`: to the nearest value, of two equally near the even one, as IEEE 754 and PyTorch's `x.to(dtype)`.
    ///
    /// Beyond the largest finite value by half a step or more it gives infinity; below the smallest normal one, subnormals and zero of the same sign;
    /// NaN stays NaN. Shape and layout are kept. Element types: only `cast` makes 16-bit values. Every other op reads any float type, computes
    /// in the interpreter's number type (float32 in kernels) and gives float32 where it reads 16-bit values; float64 stays float64, and the
    /// operands of a sum agree in type once 16-bit values count as float32. The same holds for ops on weights. Labels (i32) are not cast.
    /// To float32 and float64 nothing is rounded that the number type of the computation holds; where the operand is of type `to` already,
    /// `canonicalize` drops the cast. On weights alone it is a derived weight and stands outside boxes.
    /// Text: `%y = cast %x {to=bf16} : bf16[1,32,16,16,16]`.
    Cast [CastAttrs] = "cast" cast(input: Activation): Activation at all, differentiable yes;
    /// Adds `bias[c]` to every voxel.
    AddBias [] = "add.bias" add_bias(input: Activation, bias: Weight): Activation at all, differentiable yes;
    /// One plane of zeros in front (index 0) of every spatial axis. PyTorch: `F.pad(x, (1,0,1,0,1,0))`.
    PadFront [] = "pad.front" pad_front(input: Activation): Activation at all, differentiable yes;
    /// Zero insertion: `y[m*stride] = x[m]`, zero elsewhere; extent `(n-1)*stride + 1`.
    Scatter [StrideAttrs] = "scatter" scatter(input: Activation): Activation at all, differentiable yes;
    /// Soft-max over channels.
    Softmax [] = "softmax" softmax(input: Activation): Activation at all, differentiable yes;
    /// Index of the largest channel (the first of equals), int32, without the channel axis: `[n, space]`.
    Argmax [] = "argmax" argmax(input: Activation): Activation at all, differentiable no "piecewise constant";
    /// `w[o,i,..] * s[i]`: a scale of the input moved into the weight.
    WeightScaleIn [] = "weight.scale_in" weight_scale_in(weight: Weight, scale: Weight): Weight at all, differentiable yes;
    /// `b[o] + sum_i w[o,i] shift[i]`: a shift of the input moved into the bias; the weight is pointwise.
    WeightFoldBias [] = "weight.fold_bias" weight_fold_bias(weight: Weight, shift: Weight, bias: Weight): Weight at all, differentiable yes;
    /// `[Ci, Co, ..] -> [Co, Ci, ..]`.
    WeightTransposeIo [] = "weight.transpose_io" weight_transpose_io(weight: Weight): Weight at all, differentiable yes;
    /// Elementwise sum of two weights of one shape.
    WeightAdd [] = "weight.add" weight_add(a: Weight, b: Weight): Weight at all, differentiable yes;
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
        let (Self::Param(leaf) | Self::State(leaf)) = self else { return None };
        Some(&leaf.key)
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
