//! The layers of a network and where they stand; the one source for `build` and `signature`.
//!
//! Levels count resolutions: 0 is full, 4 the bottleneck. Official names; `keys` turns them into MONAI's.

use crate::config::{Config, Flavour};

/// What a block does to the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Keeps it.
    Plain,
    /// Halves it.
    Down,
    /// Doubles it.
    Up,
}

/// A MedNeXt block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Official name, `enc_block_0.1` or `down_2`.
    pub name: String,
    pub form: Form,
    /// Input channels.
    pub c: usize,
    /// Output channels.
    pub co: usize,
    /// Expansion ratio; the expanded tensor has `c * ratio` channels.
    pub ratio: usize,
    /// Kernel extent.
    pub k: usize,
    pub grn: bool,
    /// Residual: plain, or through `res_conv` in down and up blocks.
    pub residual: bool,
}

impl Block {
    /// Channels between expansion and compression.
    pub fn expanded(&self) -> usize {
        self.c * self.ratio
    }
}

/// All layers, by level.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    /// `enc_block_i`.
    pub enc: [Vec<Block>; 4],
    /// `down_i`: level i to i + 1.
    pub down: [Block; 4],
    pub bottleneck: Vec<Block>,
    /// `up_i`: level i + 1 to i.
    pub up: [Block; 4],
    /// `dec_block_i`.
    pub dec: [Vec<Block>; 4],
    /// Input channels of `out_i`, one per output.
    pub heads: Vec<usize>,
}

/// Lays out a network.
pub(crate) fn topology(cfg: &Config) -> Topology {
    // Which down blocks lack GRN: the official code forgets `down_0`, MONAI leaves out all of them.
    let down_grn = |i: usize| match cfg.flavour {
        Flavour::Official => i > 0,
        Flavour::Monai => false,
        Flavour::V2 => true,
    };
    // A down block takes the ratio of the stage it leads into; MONAI's that of the stage it leaves.
    let down_ratio = |i: usize| match cfg.flavour {
        Flavour::Official | Flavour::V2 => cfg.exp_r[i + 1],
        Flavour::Monai => cfg.exp_r[i],
    };
    let plain = |stage: &str, level: usize, index: usize, k: usize| -> Vec<Block> {
        (0..cfg.block_counts[index])
            .map(|j| Block {
                name: format!("{stage}.{j}"),
                form: Form::Plain,
                c: cfg.channels(level),
                co: cfg.channels(level),
                ratio: cfg.exp_r[index],
                k,
                grn: cfg.grn,
                residual: cfg.do_res,
            })
            .collect()
    };
    let (enc_k, dec_k) = (cfg.enc_kernel_size, cfg.dec_kernel_size);
    Topology {
        enc: std::array::from_fn(|i| plain(&format!("enc_block_{i}"), i, i, enc_k)),
        down: std::array::from_fn(|i| Block {
            name: format!("down_{i}"),
            form: Form::Down,
            c: cfg.channels(i),
            co: cfg.channels(i + 1),
            ratio: down_ratio(i),
            k: enc_k,
            grn: cfg.grn && down_grn(i),
            residual: cfg.do_res_up_down,
        }),
        bottleneck: plain("bottleneck", 4, 4, dec_k),
        up: std::array::from_fn(|i| Block {
            name: format!("up_{i}"),
            form: Form::Up,
            c: cfg.channels(i + 1),
            co: cfg.channels(i),
            ratio: cfg.exp_r[8 - i],
            k: dec_k,
            grn: cfg.grn,
            residual: cfg.do_res_up_down,
        }),
        dec: std::array::from_fn(|i| plain(&format!("dec_block_{i}"), i, 8 - i, dec_k)),
        heads: (0..cfg.outputs()).map(|i| cfg.channels(i)).collect(),
    }
}
