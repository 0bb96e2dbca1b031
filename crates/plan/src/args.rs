//! The buffers of each kernel: what, of which element type, how many elements, in the order of the kernel ABI.

use crate::kernel::{Depthwise, Grn, Kernel, Mlp, MlpSource, Residual, voxels};

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

/// One buffer of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg {
    /// The name that the kernel's description gives it.
    pub name: &'static str,
    /// Element type.
    pub element: Element,
    /// Elements.
    pub len: usize,
    /// Whether the kernel writes it: every element, over all workgroups, unless it also reads it.
    pub written: bool,
    /// Whether what it holds before the launch matters.
    pub read: bool,
}

impl Arg {
    pub(crate) fn read(name: &'static str, len: usize) -> Self {
        Self { name, element: Element::F32, len, written: false, read: true }
    }

    pub(crate) fn write(name: &'static str, len: usize) -> Self {
        Self { written: true, read: false, ..Self::read(name, len) }
    }

    pub(crate) fn update(name: &'static str, len: usize) -> Self {
        Self { written: true, ..Self::read(name, len) }
    }

    pub(crate) fn of(self, element: Element) -> Self {
        Self { element, ..self }
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.len * self.element.bytes()
    }
}

impl Kernel {
    /// The buffers, in the order of the kernel ABI.
    pub fn args(&self) -> Vec<Arg> {
        match self {
            Self::Depthwise(k) => {
                let mut args = k.inputs();
                args.push(Arg::write("y", k.batch * voxels(k.output) * k.channels));
                if k.stats {
                    let len = k.batch * k.parts() * 2 * k.channels;
                    args.push(Arg::write("partials", len).of(Element::F64));
                }
                args
            }
            Self::MergeStats(k) => vec![
                Arg::read("partials", k.batch * k.parts * 2 * k.channels).of(Element::F64),
                Arg::write("stats", k.batch * 2 * k.channels),
            ],
            Self::MergeGrn(k) => {
                vec![Arg::read("partials", k.batch * k.parts * k.channels).of(Element::F64), Arg::write("ratio", k.batch * k.channels)]
            }
            Self::Mlp(k) => mlp(k),
            Self::Gpu(k) => k.args(),
            Self::Pointwise(k) => {
                let mut args =
                    vec![Arg::read("x", k.batch * voxels(k.input) * k.in_channels), Arg::read("w", k.out_channels * k.in_channels)];
                if k.bias {
                    args.push(Arg::read("b", k.out_channels));
                }
                args.push(Arg::write("y", k.batch * voxels(k.output) * k.out_channels));
                args
            }
            Self::Classify(k) => {
                let x = Arg::read("x", k.batch * k.classes * k.space);
                let y = if k.argmax {
                    Arg::write("y", k.batch * k.space).of(Element::I32)
                } else {
                    Arg::write("y", k.batch * k.classes * k.space)
                };
                vec![x, y]
            }
        }
    }
}

impl Depthwise {
    /// The buffers it reads: all of its args up to the bias.
    pub fn inputs(&self) -> Vec<Arg> {
        let mut args = Vec::new();
        let space = self.batch * voxels(self.input);
        match self.stem {
            None => args.push(Arg::read("x", space * self.channels)),
            Some(image) => {
                args.push(Arg::read("x", space * image));
                args.push(Arg::read("stem_w", self.channels * image));
                args.push(Arg::read("stem_b", self.channels));
            }
        }
        args.push(Arg::read("w", voxels(self.taps) * self.channels));
        if self.bias {
            args.push(Arg::read("b", self.channels));
        }
        args
    }
}

fn mlp(k: &Mlp) -> Vec<Arg> {
    let grid = k.batch * voxels(k.grid);
    let output = k.batch * voxels(k.output());
    let mut args = match &k.source {
        MlpSource::Tensor { norm } => {
            let mut args = vec![Arg::read("x", grid * k.channels)];
            if *norm {
                args.push(Arg::read("stats", k.batch * 2 * k.channels));
            }
            args
        }
        MlpSource::ConvLayerNorm { conv, .. } => conv.inputs(),
    };
    args.push(Arg::read("w2", k.hidden * k.channels));
    args.push(Arg::read("b2", k.hidden));
    match k.grn {
        Grn::None => {}
        Grn::Apply => {
            args.push(Arg::read("ratio", k.batch * k.hidden));
            args.push(Arg::read("gamma", k.hidden));
            args.push(Arg::read("beta", k.hidden));
        }
        Grn::Partials => {
            let len = k.batch * k.parts() * k.hidden;
            args.push(Arg::write("partials", len).of(Element::F64));
            return args;
        }
    }
    args.push(Arg::read("w3", k.out_channels * k.hidden));
    args.push(Arg::read("b3", k.out_channels));
    match k.residual {
        Residual::None => {}
        Residual::Identity => args.push(Arg::read("res", grid * k.out_channels)),
        Residual::Stem { channels } => {
            args.push(Arg::read("input", grid * channels));
            args.push(Arg::read("stem_w", k.out_channels * channels));
        }
        Residual::Strided { from, channels, .. } => {
            args.push(Arg::read("res", k.batch * voxels(from) * channels));
            args.push(Arg::read("res_w", k.out_channels * channels));
        }
        Residual::Scattered { from, .. } => {
            args.push(Arg::read("res", k.batch * voxels(from) * k.out_channels));
        }
    }
    if k.skip {
        args.push(Arg::read("skip", output * k.out_channels));
    }
    if let Some(classes) = k.head {
        args.push(Arg::read("head_w", classes * k.out_channels));
        args.push(Arg::read("head_b", classes));
        args.push(Arg::write("logits", output * classes));
    }
    if k.store && k.in_place {
        args.retain(|a| Some(a.name) != k.overwritten());
        args.push(Arg::update("out", output * k.out_channels));
    } else if k.store {
        args.push(Arg::write("out", output * k.out_channels));
    }
    args
}
