//! Every network becomes boxes that have a strategy, on every target, and the plan's text can be edited and read back.
#![allow(clippy::unwrap_used)]

use mnx_ir::Graph;
use mnx_ir::verify::verify;
use mnx_model::Config;
use mnx_passes::manager;
use mnx_passes::pipelines::{InferOptions, infer};
use mnx_plan::kernel::{Kernel, Residual};
use mnx_plan::target::TARGETS;
use mnx_plan::{LaunchArg, ModulePlan, PlanText, plan};

fn dispatches(config: &str, patch: &[usize]) -> Graph {
    let config = Config::from_toml(config, "test.toml").unwrap_or_else(|e| panic!("{config}: {e:?}"));
    let mut g = mnx_model::build(&config, 1, patch).unwrap();
    manager::run(&infer(&InferOptions::default()), &mut g).unwrap();
    verify(&g).unwrap();
    g
}

fn plans(config: &str, patch: &[usize]) -> Vec<ModulePlan> {
    let g = dispatches(config, patch);
    TARGETS.iter().map(|t| plan(&g, t, None).unwrap_or_else(|e| panic!("{config} on {}: {e:#?}\n{g}", t.name))).collect()
}

const SMALL: &str = "in_channels = 2\nn_channels = 8\nn_classes = 3\nexp_r = 2\nkernel_size = 3\nblock_counts = [1,1,1,1,1,1,1,1,1]\n";

#[test]
fn published_networks_have_a_plan() {
    for variant in ["S", "B", "M", "L"] {
        for kernel in [3, 5] {
            for flavour in ["official", "monai"] {
                for supervision in [false, true] {
                    let text = format!(
                        "variant = \"{variant}\"\nkernel_size = {kernel}\nflavour = \"{flavour}\"\nin_channels = 1\nn_classes = 14\ndeep_supervision = {supervision}\n"
                    );
                    plans(&text, &[64, 48, 32]);
                }
            }
        }
    }
    plans("flavour = \"v2\"\nin_channels = 1\nn_classes = 5\n", &[32, 32, 32]);
}

#[test]
fn every_option_has_a_plan() {
    let res = "do_res = true\ndo_res_up_down = true\n";
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
        plans(&format!("{SMALL}{extra}"), patch);
    }
    for counts in ["[0,1,1,1,1,1,1,1,1]", "[1,0,1,2,0,1,0,1,0]", "[0,0,0,0,0,0,0,0,0]", "[2,2,2,2,2,2,2,2,2]"] {
        let text = SMALL.replace("[1,1,1,1,1,1,1,1,1]", counts);
        plans(&format!("{text}{res}"), &[32, 32, 48]);
        plans(&text, &[32, 32, 48]);
    }
}

#[test]
fn boxes_are_the_ones_that_make_it_fast() {
    let [plan, _] = &plans("variant = \"S\"\nkernel_size = 5\nin_channels = 1\nn_classes = 4\n", &[64, 64, 64])[..] else { panic!() };
    let count = |f: &dyn Fn(&Kernel) -> bool| plan.dispatches.iter().flat_map(|d| &d.launches).filter(|l| f(&l.kernel)).count();
    // 18 plain blocks, 4 down, 4 up: one depthwise and one MLP kernel each; the up blocks' residuals are the only pointwise launches,
    // the stem and the head have none.
    assert_eq!(count(&|k| matches!(k, Kernel::Depthwise(_))), 26);
    assert_eq!(count(&|k| matches!(k, Kernel::Mlp(_))), 26);
    assert_eq!(count(&|k| matches!(k, Kernel::MergeStats(_))), 26);
    assert_eq!(count(&|k| matches!(k, Kernel::Pointwise(_))), 4);
    assert_eq!(count(&|k| matches!(k, Kernel::Depthwise(d) if d.bias)), 0, "dead biases are dropped");
    assert_eq!(count(&|k| matches!(k, Kernel::Depthwise(d) if d.stem.is_some())), 1);
    assert_eq!(count(&|k| matches!(k, Kernel::Mlp(m) if m.head == Some(4) && !m.store)), 1);
    assert_eq!(count(&|k| matches!(k, Kernel::Mlp(m) if matches!(m.residual, Residual::Stem { .. }))), 1);
    assert_eq!(count(&|k| matches!(k, Kernel::Mlp(m) if m.skip && m.pad_front == [1, 1, 1])), 4);
    // Results overwrite what they are added to: the skips of 4 up blocks, the residuals of the plain blocks but the one of the stem and
    // the one whose result only the head reads.
    assert_eq!(count(&|k| matches!(k, Kernel::Mlp(m) if m.in_place && m.skip)), 4);
    assert_eq!(count(&|k| matches!(k, Kernel::Mlp(m) if m.in_place && m.residual == Residual::Identity)), 16);
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

/// Every value that a launch reads still stands where it was written, whatever ran in between: the plan is run on labels instead of numbers.
#[test]
fn nothing_is_overwritten_before_its_last_reader() {
    let options = "do_res = true\ndo_res_up_down = true\n";
    for (extra, patch) in [
        (options.to_owned(), [32, 48, 16]),
        (format!("{options}deep_supervision = true\ngrn = true\n"), [32, 32, 32]),
        (format!("{options}norm_type = \"layer\"\n"), [32, 32, 32]),
        ("do_res = true\nblock_counts = [0,1,2,0,1,0,2,1,0]\n".to_owned(), [32, 32, 32]),
    ] {
        let text =
            if extra.contains("block_counts") { SMALL.replace("block_counts = [1,1,1,1,1,1,1,1,1]\n", "") } else { SMALL.to_owned() };
        let g = dispatches(&format!("{text}{extra}"), &patch);
        let p = plan(&g, &TARGETS[0], None).unwrap();
        // Which launch wrote each 64-byte line last; the reads of a launch must see one whole tensor by one launch.
        let mut lines: Vec<usize> = vec![usize::MAX; p.memory.arena_bytes.div_ceil(64) as usize];
        let at = |r: &mnx_artifact::BufferRef| (r.offset / 64) as usize..((r.offset + r.bytes).div_ceil(64)) as usize;
        for (i, r) in p.inputs.iter().enumerate() {
            lines[at(r)].fill(1_000_000 + i);
        }
        let launches = p.dispatches.iter().flat_map(|d| &d.launches).enumerate();
        for (number, launch) in launches {
            let args = launch.kernel.args();
            let arena: Vec<_> =
                args.iter().zip(&launch.args).filter_map(|(a, l)| if let LaunchArg::Arena(r) = l { Some((a, r)) } else { None }).collect();
            for (i, (a, r)) in arena.iter().enumerate() {
                if a.read {
                    let writer = lines[at(r).start];
                    assert!(writer != usize::MAX && lines[at(r)].iter().all(|&w| w == writer), "{} of launch {number}: {extra}", a.name);
                }
                for (b, s) in &arena[i + 1..] {
                    let apart = at(r).end <= at(s).start || at(s).end <= at(r).start;
                    assert!(apart || !(a.written || b.written), "{} and {} of launch {number} share bytes: {extra}", a.name, b.name);
                }
            }
            for (a, r) in arena {
                if a.written {
                    lines[at(r)].fill(number);
                }
            }
        }
    }
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
                        assert!(!arg.written);
                        assert_eq!(r.shape().unwrap().iter().product::<usize>(), arg.len, "{} of {}", arg.name, launch.kernel.strategy());
                    }
                }
            }
        }
    }
}

#[test]
fn plan_text_is_read_back_and_obeyed() {
    let g = dispatches(&format!("{SMALL}do_res = true\n"), &[32, 32, 32]);
    let target = &TARGETS[0];
    let first = plan(&g, target, None).unwrap();
    let text = first.to_string();
    let read = PlanText::parse(&text, "a.plan").unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].target, target.name);
    assert_eq!(plan(&g, target, Some(&read[0])).unwrap().to_string(), text);

    let d = &first.dispatches[0];
    let Kernel::Depthwise(k) = &d.launches[0].kernel else { panic!() };
    assert_ne!(k.tile.depth, 3);
    let edited = format!("plan @x target({}) {{\n  dispatch @{} {{\n    launch depthwise.ring [depth=3]\n  }}\n}}\n", target.name, d.name);
    let read = PlanText::parse(&edited, "b.plan").unwrap();
    let changed = plan(&g, target, Some(&read[0])).unwrap();
    let Kernel::Depthwise(k) = &changed.dispatches[0].launches[0].kernel else { panic!() };
    assert_eq!(k.tile.depth, 3);
    let Kernel::MergeStats(m) = &changed.dispatches[0].launches[1].kernel else { panic!() };
    assert_eq!(m.parts, k.parts(), "the merge follows the edited tile");

    for (from, to, want) in [
        ("depth=3", "depth=0", "depth"),
        ("depth=3", "deep=3", "has no knob `deep`"),
        ("depthwise.ring", "mlp.tile", "follows depthwise.ring, the plan says mlp.tile"),
    ] {
        let read = PlanText::parse(&edited.replace(from, to), "b.plan").unwrap();
        let e = plan(&g, target, Some(&read[0])).unwrap_err();
        assert!(e.iter().any(|e| e.message.contains(want) && e.place.starts_with("b.plan:3")), "{to}: {e:?}");
    }
    let stray = PlanText::parse(&edited.replace(&d.name, "nowhere"), "b.plan").unwrap();
    assert!(plan(&g, target, Some(&stray[0])).unwrap_err()[0].message.contains("no dispatch @nowhere"));
    for bad in
        ["", "plan @x target(v4", "plan @x target(v4) {\n launch a []\n}", "plan @x target(v4) {\n dispatch @a {\n launch b [c=-1]\n }\n}"]
    {
        assert!(PlanText::parse(bad, "c.plan").is_err(), "{bad}");
    }
}
