//! Every network becomes boxes that have a strategy, on every target, and the plan's text can be edited and read back.
#![allow(clippy::unwrap_used)]

mod text;
mod verifier;

use mnx_ir::Graph;
use mnx_ir::verify::verify;
use mnx_model::Config;
use mnx_passes::manager;
use mnx_passes::pipelines::{InferOptions, infer};
use mnx_plan::host::HostKernel;
use mnx_plan::kernel::Kernel;
use mnx_plan::target::{GPU_TARGETS, TARGETS, Target};
use mnx_plan::vocabulary::{Gelu, Storage};
use mnx_plan::work::{Mlp, Residual};
use mnx_plan::{LaunchArg, ModulePlan, PlanOptions, PlanText, plan};
use mnx_tests::rounded::rounded;

fn dispatches(config: &str, patch: &[usize]) -> Graph {
    let config = Config::from_toml(config, "test.toml").unwrap_or_else(|e| panic!("{config}: {e:?}"));
    let mut g = mnx_model::build(&config, 1, patch).unwrap();
    manager::run(&infer(&InferOptions::default()), &mut g).unwrap();
    verify(&g).unwrap();
    g
}

fn planned(g: &Graph, target: &'static Target, precision: Storage, gelu: Gelu) -> ModulePlan {
    plan(&rounded(g, precision), target, &PlanOptions { gelu, edited: None })
        .unwrap_or_else(|e| panic!("{} on {}: {e:#?}\n{g}", g.name, target.name))
}

fn plans(config: &str, patch: &[usize]) -> Vec<ModulePlan> {
    let g = dispatches(config, patch);
    TARGETS.iter().map(|t| planned(&g, t, Storage::F32, Gelu::Accurate)).collect()
}

/// Every target with the storage types that it knows.
fn storages() -> impl Iterator<Item = (&'static Target, Vec<Storage>)> {
    let hosts = TARGETS.iter().map(|t| (t, vec![Storage::F32]));
    hosts.chain(GPU_TARGETS.iter().map(|t| (t, vec![Storage::Bf16, Storage::F16, Storage::F32])))
}

const SMALL: &str = "in_channels = 2\nn_channels = 8\nn_classes = 3\nexp_r = 2\nkernel_size = 3\nblock_counts = [1,1,1,1,1,1,1,1,1]\n";

/// A network as a config's text, with its patch.
type Network = (String, &'static [usize]);

fn published() -> Vec<Network> {
    let mut all: Vec<Network> = Vec::new();
    for variant in ["S", "B", "M", "L"] {
        for kernel in [3, 5] {
            for flavour in ["official", "monai"] {
                for supervision in [false, true] {
                    let text = format!(
                        "variant = \"{variant}\"\nkernel_size = {kernel}\nflavour = \"{flavour}\"\nin_channels = 1\nn_classes = 14\ndeep_supervision = {supervision}\n"
                    );
                    all.push((text, &[64, 48, 32]));
                }
            }
        }
    }
    all.push(("flavour = \"v2\"\nin_channels = 1\nn_classes = 5\n".to_owned(), &[32, 32, 32]));
    all
}

/// Every option on a small network.
fn options() -> Vec<Network> {
    let res = "do_res = true\ndo_res_up_down = true\n";
    let mut all: Vec<Network> = Vec::new();
    for (extra, patch) in [
        ("", &[32, 48, 16][..]),
        (res, &[32, 48, 16]),
        ("do_res = true\n", &[32, 16, 32]),
        ("do_res_up_down = true\n", &[32, 16, 32]),
        ("do_res = true\ndo_res_up_down = true\nnorm_type = \"layer\"\n", &[32, 32, 32]),
        ("norm_type = \"layer\"\ngrn = true\n", &[32, 32, 32]),
        ("do_res = true\ndo_res_up_down = true\ngrn = true\ndeep_supervision = true\n", &[32, 32, 32]),
        ("do_res = true\ndo_res_up_down = true\ndim = \"2d\"\n", &[64, 96]),
        ("dim = \"2d\"\ngrn = true\ndeep_supervision = true\n", &[64, 96]),
    ] {
        all.push((format!("{SMALL}{extra}"), patch));
    }
    for counts in ["[0,1,1,1,1,1,1,1,1]", "[1,0,1,2,0,1,0,1,0]", "[0,0,0,0,0,0,0,0,0]", "[2,2,2,2,2,2,2,2,2]"] {
        let text = SMALL.replace("[1,1,1,1,1,1,1,1,1]", counts);
        all.push((format!("{text}{res}"), &[32, 32, 48]));
        all.push((text, &[32, 32, 48]));
    }
    all
}

#[test]
fn published_networks_have_a_plan() {
    for (config, patch) in published() {
        plans(&config, patch);
    }
}

#[test]
fn every_option_has_a_plan() {
    for (config, patch) in options() {
        plans(&config, patch);
    }
}

#[test]
fn boxes_are_the_ones_that_make_it_fast() {
    let [plan, _] = &plans("variant = \"S\"\nkernel_size = 5\nin_channels = 1\nn_classes = 4\n", &[64, 64, 64])[..] else { panic!() };
    let launches = || plan.dispatches.iter().flat_map(|d| &d.launches);
    let count = |f: &dyn Fn(&HostKernel) -> bool| launches().filter(|l| matches!(&l.kernel, Kernel::Host(k) if f(k))).count();
    let mlps = |f: &dyn Fn(&Mlp) -> bool| count(&|k| matches!(k, HostKernel::Mlp(m) if f(&m.mlp)));
    let in_place = |f: &dyn Fn(&Mlp) -> bool| count(&|k| matches!(k, HostKernel::Mlp(m) if m.in_place && f(&m.mlp)));
    // 18 plain blocks, 4 down, 4 up: one depthwise and one MLP kernel each; the up blocks' residuals are the only pointwise launches,
    // the stem and the head have none.
    assert_eq!(count(&|k| matches!(k, HostKernel::Depthwise(_))), 26);
    assert_eq!(mlps(&|_| true), 26);
    assert_eq!(count(&|k| matches!(k, HostKernel::MergeStats(_))), 26);
    assert_eq!(count(&|k| matches!(k, HostKernel::Pointwise(_))), 4);
    assert_eq!(count(&|k| matches!(k, HostKernel::Depthwise(d) if d.conv.bias)), 0, "dead biases are dropped");
    assert_eq!(count(&|k| matches!(k, HostKernel::Depthwise(d) if d.conv.stem.is_some())), 1);
    assert_eq!(mlps(&|m| m.head == Some(4) && !m.store), 1);
    assert_eq!(mlps(&|m| matches!(m.residual, Residual::Stem { .. })), 1);
    assert_eq!(mlps(&|m| m.skip && m.pad_front == [1, 1, 1]), 4);
    // Results overwrite what they are added to: the skips of 4 up blocks, the residuals of the plain blocks but the one of the stem and
    // the one whose result only the head reads.
    assert_eq!(in_place(&|m| m.skip), 4);
    assert_eq!(in_place(&|m| m.residual == Residual::Identity), 16);
    // The widest moment is up_0: 64 channels on 63^3 (61 MiB), the skip that becomes the result (32 MiB), the block's
    // input and its residual (12 MiB).
    assert!(plan.memory.arena_bytes <= 106 << 20, "{:?}", plan.memory);
    assert!(plan.memory.arena_bytes * 100 <= plan.memory.live_bytes * 105, "{:?}", plan.memory);
}

#[test]
fn layer_norm_takes_one_box_and_grn_three() {
    let res = "do_res = true\ndo_res_up_down = true\n";
    let layer = &plans(&format!("{SMALL}{res}norm_type = \"layer\"\n"), &[32, 32, 32])[0];
    let of = |p: &ModulePlan, prefix: &str| p.dispatches.iter().filter(|d| d.name.starts_with(prefix)).count();
    assert_eq!(of(layer, "enc_block_1.0"), 1);
    let grn = &plans(&format!("{SMALL}{res}grn = true\n"), &[32, 32, 32])[0];
    assert_eq!(of(grn, "enc_block_1.0"), 3);
    assert_eq!(of(grn, "down_0"), 2, "down_0 has no GRN");
}

#[test]
fn arguments_fit_their_kernels() {
    for p in plans(&format!("{SMALL}do_res = true\ndo_res_up_down = true\ngrn = true\ndeep_supervision = true\n"), &[32, 48, 16]) {
        for launch in p.dispatches.iter().flat_map(|d| &d.launches) {
            let args = launch.kernel.args();
            assert_eq!(args.len(), launch.args.len());
            for (arg, place) in args.iter().zip(&launch.args) {
                match place {
                    LaunchArg::Arena(r) => {
                        assert_eq!(r.bytes, arg.bytes() as u64);
                        assert!(r.offset + r.bytes <= p.memory.arena_bytes);
                    }
                    LaunchArg::Weight(r) => {
                        assert!(!arg.access.writes());
                        assert_eq!(
                            r.shape().unwrap().iter().product::<usize>(),
                            arg.len,
                            "{} of {}",
                            arg.slot,
                            launch.kernel.strategy().name
                        );
                    }
                }
            }
        }
    }
}

/// A seeded stream of numbers (splitmix64), so that a failure can be replayed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
