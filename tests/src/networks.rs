//! Random small networks for property tests.

use mnx_ir::Graph;
use mnx_model::{Config, build};
use proptest::prelude::*;

/// A random small network as a config's text, with batch and patch.
#[derive(Debug, Clone)]
pub struct Network {
    /// The config.
    pub toml: String,
    /// Samples.
    pub batch: usize,
    /// Spatial extents.
    pub patch: Vec<usize>,
}

impl Network {
    /// Config of the network, read.
    ///
    /// # Panics
    /// If the strategy draws something that is not a config.
    pub fn config(&self) -> Config {
        Config::from_toml(&self.toml, "random.toml").expect("a random config")
    }

    /// Graph of the network.
    ///
    /// # Panics
    /// If the network cannot be built.
    pub fn graph(&self) -> Graph {
        build(&self.config(), self.batch, &self.patch).expect("a random network")
    }
}

/// Networks of 2 and 3 dimensions with every option, `channels` wide at the finest level, kernels up to `kernel`.
pub fn networks(channels: std::ops::RangeInclusive<usize>, kernel: usize) -> impl Strategy<Value = Network> {
    let sizes = (1..=3usize, channels, 2..=4usize, prop::array::uniform9(1..=3usize), prop::array::uniform9(0..=2usize));
    let kernels = (0..=kernel / 2, 0..=kernel / 2);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..3usize);
    let patch = (1..=2usize, prop::array::uniform3(1..=2usize));
    (sizes, kernels, flags, patch).prop_map(|((ci, n, classes, exp_r, counts), (enc, dec), flags, (batch, steps))| {
        let (deep, res, res_ud, grn, sum, form) = flags;
        // Two channels that nearly agree leave layer norm almost nothing to divide by, layer after layer: nothing to compare numbers on.
        let n = if form == 2 { n.max(4) } else { n };
        // 0: 2-D, 1: 3-D, 2: 3-D with layer norm (the official layer norm is 3-D only).
        let mut toml = format!(
            "in_channels = {ci}\nn_channels = {n}\nn_classes = {classes}\nexp_r = {exp_r:?}\nblock_counts = {counts:?}\n\
             enc_kernel_size = {}\ndec_kernel_size = {}\ndeep_supervision = {deep}\ndo_res = {res}\ndo_res_up_down = {res_ud}\n\
             grn = {grn}\n",
            2 * enc + 1,
            2 * dec + 1
        );
        if grn && sum {
            toml += "grn_reduce = \"sum\"\n";
        }
        toml += ["dim = \"2d\"\n", "", "norm_type = \"layer\"\n"][form];
        let mut patch: Vec<usize> = steps.iter().map(|s| 16 * s).collect();
        patch[0] = 16;
        if form == 0 {
            patch.remove(0);
        }
        // One voxel at the bottleneck leaves no variance.
        let batch = if patch.iter().all(|&n| n == 16) { 2 } else { batch };
        Network { toml, batch, patch }
    })
}
