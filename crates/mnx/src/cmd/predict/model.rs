//! What a bundle says about predicting, with the command line's wishes.

use mnx_artifact::{Activation, Average, Gaussian, Inference, Manifest, Postprocess, Preprocess, ProbabilityFile};
use mnx_volume::{Rules, SlidingWindow, activate};

use super::Args;
use crate::failure::Failure;
use crate::text;

/// A bundle's inference, ready to be followed.
pub struct Model {
    /// Image channels.
    pub channels: usize,
    /// Names of the channels, in order; none if nobody named them.
    pub channel_names: Vec<String>,
    /// Sets of weights that are averaged.
    pub folds: usize,
    /// Names of voxel values, by value; empty where a value has none.
    pub names: Vec<String>,
    /// How volumes are prepared.
    pub preprocess: Preprocess,
    /// Scores to labels.
    pub rules: Rules,
    /// The labels that each output stands for, if they are regions.
    pub class_order: Vec<u32>,
    /// Tiles.
    pub window: SlidingWindow,
    /// Axes that mirroring turns (0 = z, 1 = y, 2 = x); none without `--tta`.
    pub mirrors: Vec<usize>,
    /// After the segmentation.
    pub postprocess: Vec<Postprocess>,
    /// Layout of saved probabilities.
    pub file: ProbabilityFile,
}

impl Model {
    /// Reads a manifest; command-line options win over it.
    pub fn new(args: &Args, manifest: &Manifest) -> Result<Self, Failure> {
        check_network(args, manifest)?;
        let inference = manifest.inference.clone().unwrap_or_default();
        let (values, names) = classes(manifest, &inference)?;
        let mut window = SlidingWindow::new(&manifest.patch)?;
        window.step = args.step.or(args.overlap.map(|o| 1.0 - o)).unwrap_or(inference.step);
        window.windows = inference.windows;
        window.gaussian = inference.gaussian;
        if window.gaussian == Gaussian::NnunetV2 {
            // Each fold's sums are rounded by themselves there.
            window.members = manifest.folds.len();
        }
        Ok(Self {
            channels: manifest.model.in_channels,
            channel_names: manifest.channels.clone(),
            folds: manifest.folds.len(),
            names,
            preprocess: manifest.preprocess.clone().unwrap_or_default(),
            rules: Rules {
                values,
                average: inference.average,
                activation: inference.activation,
                export: inference.export,
                half: inference.gaussian == Gaussian::NnunetV2,
            },
            class_order: inference.class_order,
            window,
            mirrors: if args.tta { mirrors(manifest.model.spatial_dims, inference.mirror_axes.as_deref()) } else { Vec::new() },
            postprocess: inference.postprocess,
            file: inference.probabilities,
        })
    }

    /// Outputs of the network.
    pub fn classes(&self) -> usize {
        self.rules.values.len()
    }

    /// A channel for people: `channel 1 (T2)`.
    pub fn channel(&self, index: usize) -> String {
        match self.channel_names.get(index) {
            Some(name) => format!("channel {index} ({name})"),
            None => format!("channel {index}"),
        }
    }

    /// How many channels, and which: `2 (T1, T2)`.
    pub fn takes(&self) -> String {
        let names = if self.channel_names.is_empty() { String::new() } else { format!(" ({})", self.channel_names.join(", ")) };
        format!("{}{names}", self.channels)
    }

    /// Patches of a case whose volume has this shape on the model's grid.
    pub fn tiles(&self, shape: [usize; 3]) -> usize {
        self.window.tiles(shape).iter().map(Vec::len).product()
    }

    /// Makes logits of one run probabilities, if those are what is averaged.
    pub fn activate_first(&self, logits: &mut [f32]) {
        if self.rules.average == Average::Probabilities {
            activate(logits, self.classes(), self.rules.activation);
        }
    }

    /// What the user should know before it starts.
    pub fn notes(&self, args: &Args) -> Vec<String> {
        let mut notes = Vec::new();
        if args.tta && self.mirrors.is_empty() {
            notes.push("the model was trained without mirroring; --tta has no effect".to_owned());
        }
        if self.window.gaussian == Gaussian::None && self.window.step < 1.0 {
            notes.push("the model averages overlapping patches without weights".to_owned());
        }
        notes
    }
}

/// The axes of `--tta`, among z, y, x: a 2-D network's patch has y and x.
fn mirrors(spatial_dims: usize, allowed: Option<&[usize]>) -> Vec<usize> {
    let first = 3 - spatial_dims.min(3);
    match allowed {
        None => (first..3).collect(),
        Some(axes) => axes.iter().map(|a| a + first).collect(),
    }
}

/// Refuses bundles whose first output is not logits over the patch.
fn check_network(args: &Args, manifest: &Manifest) -> Result<(), Failure> {
    let shown = args.bundle.display();
    let model = &manifest.model;
    if model.output != "logits" {
        return Err(Failure::user(
            "mnx-0213",
            format!(
                "{shown}: the bundle's output is {}, predict needs logits (patches overlap and their logits are averaged); \
             compile it without the soft-max or arg-max",
                model.output
            ),
        ));
    }
    let mut want = vec![manifest.batch, model.n_classes];
    want.extend(&manifest.patch);
    match manifest.outputs.first() {
        Some(port) if port.shape == want && port.dtype == "f32" && manifest.inputs.len() == 1 => Ok(()),
        Some(port) => Err(Failure::user(
            "mnx-0214",
            format!(
                "{shown}: output \"{}\" is {} {} of {}, predict needs f32 {} of 1 input",
                port.name,
                port.dtype,
                text::shape(&port.shape),
                mnx_words::many(manifest.inputs.len(), "input"),
                text::shape(&want)
            ),
        )),
        None => Err(Failure::user("mnx-0214", format!("{shown}: the bundle has no output"))),
    }
}

/// The voxel value of each output, and the names of values. With a soft-max, output `k` gets the value of the `k`-th label in order of
/// value; outputs without labels keep their number. Regions paint what `class_order` says.
fn classes(manifest: &Manifest, inference: &Inference) -> Result<(Vec<u16>, Vec<String>), Failure> {
    let n = manifest.model.n_classes;
    // Before a list of so many numbers is made.
    if n > 1 << 16 {
        return Err(Failure::user("mnx-0215", format!("{n} classes, at most 65536 expected")));
    }
    let mut labels: Vec<(u32, &str)> = manifest.labels.iter().map(|l| (l.value, l.name.as_str())).collect();
    labels.sort_unstable();
    let numbers: Vec<u32> = if inference.activation == Activation::Sigmoid {
        inference.class_order.clone()
    } else {
        if labels.len() + 1 == n && labels.first().is_some_and(|l| l.0 != 0) {
            labels.insert(0, (0, "background"));
        }
        if labels.len() == n { labels.iter().map(|l| l.0).collect() } else { (0..u32::try_from(n).unwrap_or(u32::MAX)).collect() }
    };
    let values: Vec<u16> = numbers
        .iter()
        .map(|&v| u16::try_from(v).map_err(|_| Failure::user("mnx-0215", format!("label value {v}, at most 65535 expected"))))
        .collect::<Result<_, _>>()?;
    let last = values.iter().copied().max().unwrap_or(0);
    let mut names = vec![String::new(); usize::from(last) + 1];
    for (value, name) in labels {
        if let Some(place) = names.get_mut(value as usize) {
            name.clone_into(place);
        }
    }
    for &value in values.iter().chain([&0]) {
        let name = &mut names[usize::from(value)];
        if name.is_empty() {
            *name = if value == 0 { "background".to_owned() } else { format!("class {value}") };
        }
    }
    Ok((values, names))
}
