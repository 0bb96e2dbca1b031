//! From a config to a graph of stage `model`.

use std::collections::HashMap;

use mnx_ir::builder::At;
use mnx_ir::{Builder as _, ConvAttrs, Diagnostic, Graph, GrnAttrs, LayerAttrs, NormAttrs, Stage, StrideAttrs, TensorType, ValueId};

use crate::config::{Config, NormType};
use crate::keys::name_in;
use crate::signature::signature;
use crate::topology::{Block, Form, topology};

/// Added to the variance by either norm.
const NORM_EPS: f64 = 1e-5;
/// Added to GRN's denominator, mean or sum.
const GRN_EPS: f64 = 1e-6;

/// Builds the graph of a network for a batch and a patch (`[d, h, w]`, or `[h, w]` for a 2-D network).
///
/// Input `input` and outputs `out_0` (full resolution) .. `out_4` are `f32[n, c, (d,) h, w]`; outputs are logits.
/// Locations are layer names, params the keys of [`signature`].
///
/// # Errors
/// A patch or batch that the network cannot take: all complaints.
pub fn build(cfg: &Config, batch: usize, patch: &[usize]) -> Result<Graph, Vec<Diagnostic>> {
    check_patch(cfg, batch, patch)?;
    let mut b = Builder {
        cfg,
        graph: Graph::new(&identifier(&cfg.name), Stage::Model),
        shapes: signature(cfg).tensors.into_iter().map(|t| (t.key, t.shape)).collect(),
    };
    b.network(batch, patch).map_err(|d| vec![d])?;
    Ok(b.graph)
}

fn check_patch(cfg: &Config, batch: usize, patch: &[usize]) -> Result<(), Vec<Diagnostic>> {
    let axes = cfg.dim.axes();
    let mut problems = Vec::new();
    let mut complain = |message: String| {
        problems.push(Diagnostic::new("model-0201", &cfg.name, message));
    };
    let text = patch.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let step = Config::STRIDE;
    if batch == 0 {
        complain("batch is 0, expected at least 1".into());
    }
    if patch.len() != axes {
        complain(format!("patch {text} has {} extents, expected {axes} for a {axes}-D network", patch.len()));
    }
    for &n in patch {
        if n == 0 || !n.is_multiple_of(step) {
            let near = (n / step * step).max(step);
            let next = n.div_ceil(step).max(1) * step;
            complain(if n == 0 || near == next {
                format!("patch {text}: extent {n} is not a positive multiple of {step}; take {next}")
            } else {
                format!("patch {text}: extent {n} is not a positive multiple of {step}; take {near} or {next}")
            });
        }
    }
    let largest = patch
        .iter()
        .chain([&batch, &cfg.n_channels.max(cfg.in_channels), &(2 * cfg.exp_r.iter().max().copied().unwrap_or(1))])
        .try_fold(1usize, |all, &n| all.checked_mul(n));
    if largest.is_none_or(|n| n > isize::MAX as usize / 64) {
        complain(format!("patch {text} at batch {batch} has more voxels than memory can hold"));
    }
    let bottleneck: usize = patch.iter().map(|n| n / step).fold(1, usize::saturating_mul);
    if problems.is_empty() && cfg.norm_type == NormType::Group && batch * bottleneck == 1 {
        problems.push(Diagnostic::new(
            "model-0202",
            &cfg.name,
            format!("patch {text} at batch 1 leaves a bottleneck of one voxel: group norm has no variance to normalise by; take a larger patch or batch"),
        ));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// A name as the text form takes it: letters, digits, `_`, `.` and `-` stay.
fn identifier(name: &str) -> String {
    let mut id: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' }).collect();
    if !id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        id.insert(0, '_');
    }
    id
}

struct Builder<'c> {
    cfg: &'c Config,
    graph: Graph,
    shapes: HashMap<String, Vec<usize>>,
}

impl Builder<'_> {
    fn network(&mut self, batch: usize, patch: &[usize]) -> Result<(), Diagnostic> {
        let t = topology(self.cfg);
        let shape = self.cfg.input_shape(batch, patch);
        let image = self.graph.input("input", TensorType::f32(&shape));
        let mut heads: Vec<Option<ValueId>> = vec![None; t.heads.len()];

        let mut x = self.pointwise("stem", image, 1)?;
        let mut skips = Vec::with_capacity(4);
        for i in 0..4 {
            x = self.blocks(&t.enc[i], x)?;
            skips.push(x);
            x = self.block(&t.down[i], x)?;
        }
        x = self.blocks(&t.bottleneck, x)?;
        self.head(4, x, &mut heads)?;
        for i in (0..4).rev() {
            let up = self.block(&t.up[i], x)?;
            x = self.at(&format!("up_{i}.skip")).add(skips[i], up)?;
            x = self.blocks(&t.dec[i], x)?;
            self.head(i, x, &mut heads)?;
        }
        for (i, head) in heads.into_iter().flatten().enumerate() {
            self.graph.output(&format!("out_{i}"), head);
        }
        Ok(())
    }

    fn head(&mut self, i: usize, x: ValueId, heads: &mut [Option<ValueId>]) -> Result<(), Diagnostic> {
        if let Some(slot) = heads.get_mut(i) {
            *slot = Some(self.pointwise_transposed(&format!("out_{i}.conv_out"), x, 1)?);
        }
        Ok(())
    }

    fn blocks(&mut self, blocks: &[Block], x: ValueId) -> Result<ValueId, Diagnostic> {
        blocks.iter().try_fold(x, |x, b| self.block(b, x))
    }

    /// Depthwise convolution, norm, expand, GELU, GRN, compress; residual; front padding in up blocks.
    fn block(&mut self, b: &Block, x: ValueId) -> Result<ValueId, Diagnostic> {
        let name = &b.name;
        let (weight, bias) = self.weights(&format!("{name}.conv1"))?;
        let attrs = ConvAttrs { stride: if b.form == Form::Plain { 1 } else { 2 }, pad: b.k / 2 };
        let mut conv = self.at(&format!("{name}.conv1"));
        let mut h = match b.form {
            Form::Plain | Form::Down => conv.conv_depthwise(x, weight, Some(bias), attrs)?,
            Form::Up => conv.conv_depthwise_transposed(x, weight, Some(bias), attrs)?,
        };

        let norm = format!("{name}.norm");
        let (gamma, beta) = self.weights(&norm)?;
        h = match self.cfg.norm_type {
            NormType::Group => self.at(&norm).norm_group(h, gamma, beta, NormAttrs { groups: b.c, eps: NORM_EPS })?,
            NormType::Layer => self.at(&norm).norm_layer(h, Some(gamma), Some(beta), LayerAttrs { eps: NORM_EPS })?,
        };

        h = self.pointwise(&format!("{name}.conv2"), h, 1)?;
        h = self.at(&format!("{name}.act")).gelu(h)?;
        if b.grn {
            let beta = self.param(&format!("{name}.grn_beta"))?;
            let gamma = self.param(&format!("{name}.grn_gamma"))?;
            let attrs = GrnAttrs { eps: GRN_EPS, reduce: self.cfg.grn_reduce };
            h = self.at(&format!("{name}.grn")).grn(h, gamma, beta, attrs)?;
        }
        h = self.pointwise(&format!("{name}.conv3"), h, 1)?;

        if b.form == Form::Up {
            h = self.at(&format!("{name}.pad")).pad_front(h)?;
        }
        if !b.residual {
            return Ok(h);
        }
        let res = format!("{name}.res_conv");
        let skip = match b.form {
            Form::Plain => x,
            Form::Down => self.pointwise(&res, x, 2)?,
            Form::Up => {
                let r = self.pointwise_transposed(&res, x, 2)?;
                self.at(&format!("{name}.res_pad")).pad_front(r)?
            }
        };
        self.at(&format!("{name}.add")).add(skip, h)
    }

    fn pointwise(&mut self, name: &str, x: ValueId, stride: usize) -> Result<ValueId, Diagnostic> {
        let (w, b) = self.weights(name)?;
        self.at(name).conv_pointwise(x, w, Some(b), StrideAttrs { stride })
    }

    fn pointwise_transposed(&mut self, name: &str, x: ValueId, stride: usize) -> Result<ValueId, Diagnostic> {
        let (w, b) = self.weights(name)?;
        self.at(name).conv_pointwise_transposed(x, w, Some(b), StrideAttrs { stride })
    }

    fn weights(&mut self, name: &str) -> Result<(ValueId, ValueId), Diagnostic> {
        Ok((self.param(&format!("{name}.weight"))?, self.param(&format!("{name}.bias"))?))
    }

    fn param(&mut self, official: &str) -> Result<ValueId, Diagnostic> {
        let key = name_in(self.cfg.flavour, official);
        let shape = self.shapes.get(&key).expect("the signature and the graph follow one topology");
        self.graph.param(&key, TensorType::f32(shape))
    }

    /// Where the ops of a layer go, by its official name.
    fn at(&mut self, official: &str) -> At<'_> {
        self.graph.at(&name_in(self.cfg.flavour, official))
    }
}
