//! The tensors of a network's checkpoint, in the order of its state dict.

use mnx_weights::{Role, Signature, TensorRole};

use crate::config::{Config, Flavour};
use crate::keys::name_in;
use crate::topology::{Block, Form, topology};

/// The signature of a config's checkpoint: keys, shapes, roles and fan-in, in state-dict order.
///
/// Fan-in is PyTorch's `weight.shape[1] * prod(kernel)`, which for transposed pointwise convolutions counts outputs;
/// tensors without one (norms, GRN, dummy) have 1.
pub fn signature(cfg: &Config) -> Signature {
    let t = topology(cfg);
    let mut w = Writer { cfg, out: Vec::new() };
    if cfg.flavour == Flavour::Official {
        w.tensor("dummy_tensor", vec![1], Role::Dummy, 1);
    }
    w.conv("stem", vec![cfg.channels(0), cfg.in_channels], 1, Role::Pointwise);
    match cfg.flavour {
        Flavour::Official | Flavour::V2 => {
            for i in 0..4 {
                w.blocks(&t.enc[i]);
                w.block(&t.down[i]);
            }
            w.blocks(&t.bottleneck);
            for i in (0..4).rev() {
                w.block(&t.up[i]);
                w.blocks(&t.dec[i]);
            }
            for (i, &c) in t.heads.iter().enumerate() {
                w.head(i, c);
            }
        }
        // MONAI keeps module lists: all stages, then all down blocks, and so on; extra heads deepest first.
        Flavour::Monai => {
            t.enc.iter().for_each(|stage| w.blocks(stage));
            w.blocks(&t.down);
            w.blocks(&t.bottleneck);
            t.up.iter().rev().for_each(|block| w.block(block));
            t.dec.iter().rev().for_each(|stage| w.blocks(stage));
            w.head(0, t.heads[0]);
            for (i, &c) in t.heads.iter().enumerate().skip(1).rev() {
                w.head(i, c);
            }
        }
    }
    Signature { tensors: w.out }
}

struct Writer<'c> {
    cfg: &'c Config,
    out: Vec<TensorRole>,
}

impl Writer<'_> {
    fn tensor(&mut self, official: &str, shape: Vec<usize>, role: Role, fan_in: usize) {
        let key = match role {
            Role::Dummy => official.to_string(),
            Role::SpatialKernel
            | Role::Pointwise
            | Role::PointwiseTransposed
            | Role::Bias
            | Role::NormScale
            | Role::NormShift
            | Role::Grn => name_in(self.cfg.flavour, official),
        };
        self.out.push(TensorRole { key, shape, role, fan_in });
    }

    /// Weight `[channels.., k, ..]` and bias of a convolution.
    fn conv(&mut self, name: &str, channels: Vec<usize>, k: usize, role: Role) {
        let axes = self.cfg.dim.axes();
        let fan_in = channels[1] * k.pow(axes as u32);
        let filters = if role == Role::PointwiseTransposed { channels[1] } else { channels[0] };
        let mut shape = channels;
        shape.extend(std::iter::repeat_n(k, axes));
        self.tensor(&format!("{name}.weight"), shape, role, fan_in);
        self.tensor(&format!("{name}.bias"), vec![filters], Role::Bias, fan_in);
    }

    fn blocks(&mut self, blocks: &[Block]) {
        for b in blocks {
            self.block(b);
        }
    }

    fn block(&mut self, b: &Block) {
        let name = &b.name;
        if b.grn {
            // Direct parameters stand before those of submodules, beta first.
            let mut shape = vec![1, b.expanded()];
            shape.extend(std::iter::repeat_n(1, self.cfg.dim.axes()));
            self.tensor(&format!("{name}.grn_beta"), shape.clone(), Role::Grn, 1);
            self.tensor(&format!("{name}.grn_gamma"), shape, Role::Grn, 1);
        }
        self.conv(&format!("{name}.conv1"), vec![b.c, 1], b.k, Role::SpatialKernel);
        self.tensor(&format!("{name}.norm.weight"), vec![b.c], Role::NormScale, 1);
        self.tensor(&format!("{name}.norm.bias"), vec![b.c], Role::NormShift, 1);
        let e = b.expanded();
        self.conv(&format!("{name}.conv2"), vec![e, b.c], 1, Role::Pointwise);
        self.conv(&format!("{name}.conv3"), vec![b.co, e], 1, Role::Pointwise);
        if b.residual {
            let res = format!("{name}.res_conv");
            match b.form {
                Form::Plain => {}
                Form::Down => self.conv(&res, vec![b.co, b.c], 1, Role::Pointwise),
                Form::Up => self.conv(&res, vec![b.c, b.co], 1, Role::PointwiseTransposed),
            }
        }
    }

    fn head(&mut self, i: usize, c: usize) {
        self.conv(&format!("out_{i}.conv_out"), vec![c, self.cfg.n_classes], 1, Role::PointwiseTransposed);
    }
}
