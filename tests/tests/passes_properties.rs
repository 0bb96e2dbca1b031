//! Properties of passes over random networks: results stay, promises hold, boxes can be planned.
#![allow(clippy::unwrap_used)]

use mnx_ir::ops::{Kind, OpCode};
use mnx_ir::print::{print, yields};
use mnx_ir::{Graph, Layout, Op};
use mnx_model::{Config, build};
use mnx_passes::{Changed, Manager, PassError, Pipeline, Verdict, bisect, bisect::bisect_passes};
use mnx_tests::golden::run_checked;
use mnx_tests::networks::networks;
use mnx_tests::same::{compare, outputs};
use proptest::prelude::*;

/// Relative to the largest value. The golden files hold passes to 1e-9; random networks without residuals amplify float64's own rounding, a norm
/// at a time, while a wrong pass is wrong in the first digits.
const TOL: f64 = 1e-7;

fn options() -> impl Strategy<Value = String> {
    (any::<bool>(), any::<bool>(), prop::option::weighted(0.2, 1..=9usize)).prop_map(|(stem, head, max)| {
        let max = max.map_or_else(String::new, |n| format!(",max-ops={n}"));
        format!("{{recompute-stem={stem},fuse-head={head}{max}}}")
    })
}

/// What stage `dispatch` promises beyond the verifier: weights first, classes and ports channels-first, the rest channels-last.
fn check_dispatches(g: &Graph) {
    let mut core = false;
    for &id in g.order() {
        let is_core = g.op(id).info().kind == Kind::Core;
        assert!(is_core || !core, "weights stand before all boxes");
        core |= is_core;
        let v = g.result(id);
        if is_core && g.ty(v).shape.len() >= 4 && !matches!(g.op(id), Op::Argmax(_)) {
            assert_eq!(g.ty(v).layout == Layout::ChannelsFirst, g.is_output(v), "{}", g.node(id).loc);
        }
    }
}

/// Nothing as large as a hidden tensor is stored: no box yields a GELU or a GRN result, nor the input of one.
fn check_hidden_stays_inside(g: &Graph) {
    for (d, ops) in g.boxes() {
        let out = yields(g, d);
        for &id in &ops {
            let v = g.result(id);
            if matches!(g.op(id).code(), OpCode::Gelu | OpCode::GrnApply | OpCode::NormLayer | OpCode::NormApply) {
                assert!(!out.contains(&v), "@{} stores the result of {}", g.dispatch(d).name, g.op(id).info().mnemonic);
                assert!(!out.contains(&g.operands(id)[0]), "@{} stores what {} reads", g.dispatch(d).name, g.op(id).info().mnemonic);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The whole pipeline of inference, interpreted after each of its passes that changed something.
    #[test]
    fn infer_keeps_the_results(network in networks(1..=5, 5), options in options(), seed in 0..1000u64) {
        let mut g = network.graph();
        let want = outputs(&g, seed).unwrap();
        let pipeline = Pipeline::parse(&format!("infer{options}")).unwrap();
        Manager::default().run(&pipeline, &mut g, &mut |step| {
            if step.changed == Changed::Yes {
                let got = outputs(step.graph, seed).map_err(PassError::Caller)?;
                compare(&want, &got, TOL).map_err(|e| PassError::Caller(format!("{}: {e}", step.pass)))?;
            }
            Ok(())
        }).unwrap();
        check_dispatches(&g);
        if !options.contains("max-ops") {
            check_hidden_stays_inside(&g);
        }
        // Run on what came out, boxes and all, nothing changes any more.
        let before = print(&g);
        run_checked(&Pipeline::parse("dce,assign-layouts").unwrap(), &mut g).unwrap();
        prop_assert_eq!(before, print(&g));
    }

    /// Every single pass that takes the graph as the model wrote it, and every order of passes, keeps the results.
    #[test]
    fn passes_in_any_order_keep_the_results(
        network in networks(1..=5, 5),
        early in Just(vec!["canonicalize", "cse", "dce", "decompose-norm", "decompose-transposed", "drop-dead-bias", "fold-norm-affine", "merge-bias"]).prop_shuffle(),
        late in Just(vec!["canonicalize", "cse", "dce", "drop-dead-bias", "fold-norm-affine", "merge-bias"]).prop_shuffle(),
        keep in any::<bool>(),
        seed in 0..1000u64,
    ) {
        let mut g = network.graph();
        let want = outputs(&g, seed).unwrap();
        let heads = if keep { "drop-training-heads," } else { "" };
        let text = format!("{},{heads}{},form-dispatches,assign-layouts", early.join(","), late.join(","));
        run_checked(&Pipeline::parse(&text).unwrap(), &mut g).unwrap();
        compare(&want, &outputs(&g, seed).unwrap(), TOL).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
        prop_assert!(!keep || g.outputs().len() == 1);
        check_dispatches(&g);
    }

    /// The boxes of the default pipeline are such that the plan has kernels for all of them, on every target.
    #[test]
    fn boxes_can_be_planned(network in networks(1..=5, 5), stem in any::<bool>(), head in any::<bool>()) {
        let mut g = network.graph();
        let text = format!("infer{{recompute-stem={stem},fuse-head={head}}}");
        run_checked(&Pipeline::parse(&text).unwrap(), &mut g).unwrap();
        for target in mnx_plan::target::TARGETS {
            if let Err(errors) = mnx_plan::plan(&g, target, &mnx_plan::PlanOptions::default()) {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                return Err(TestCaseError::fail(lines.join("\n")));
            }
        }
    }

    /// Wherever the patch limit cuts a pipeline short, the graph still computes the same.
    #[test]
    fn every_prefix_of_patches_keeps_the_results(network in networks(1..=5, 5), share in 0.0..1.0f64, seed in 0..1000u64) {
        let whole = network.graph();
        let pipeline = Pipeline::parse("infer").unwrap();
        let all = Manager::default().run(&pipeline, &mut whole.clone(), &mut |_| Ok(())).unwrap().applied.len();
        let limit = (all as f64 * share) as usize;
        let mut g = whole.clone();
        let report = Manager { patch_limit: Some(limit) }.run(&pipeline, &mut g, &mut |_| Ok(())).unwrap();
        prop_assert!(report.stopped && report.applied.len() == limit);
        compare(&outputs(&whole, seed).unwrap(), &outputs(&g, seed).unwrap(), TOL).map_err(TestCaseError::fail)?;
    }
}

/// A pass that breaks the third GELU it meets, for bisection to find.
mod broken {
    use std::ops::RangeInclusive;

    use mnx_ir::{Diagnostic, Graph, Op, OpCode, Patch, Stage, StrideAttrs};
    use mnx_passes::{Changed, Pass, PassCx, PassError, Promise, Rewrite, Site};

    #[derive(Debug)]
    pub struct Break;

    #[derive(Debug)]
    struct TouchGelu;

    impl Pass for Break {
        fn name(&self) -> &'static str {
            "break"
        }
        fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
            (Stage::Model..=Stage::Graph, Promise::Same)
        }
        fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
            mnx_passes::rewrite::rewrite(graph, cx, &[&TouchGelu])
        }
    }

    impl Rewrite for TouchGelu {
        fn name(&self) -> &'static str {
            "touch-gelu"
        }
        fn roots(&self) -> &'static [OpCode] {
            &[OpCode::Gelu]
        }
        fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
            // Marked ops are those that stand behind a unit scatter.
            let marked = |v| site.def(v).is_some_and(|(_, op, _)| matches!(op, Op::Scatter(_)));
            let x = site.operands()[0];
            if marked(x) {
                return Ok(None);
            }
            let at = site.graph.node(site.root).loc.to_string();
            let mut patch = Patch::new(self.name(), site.graph, site.root);
            let mut v = patch.push(site.graph, Op::Scatter(StrideAttrs { stride: 1 }), &[x])?;
            if at == "down_0.act" {
                v = patch.push(site.graph, Op::Add(mnx_ir::NoAttrs {}), &[v, x])?;
                v = patch.push(site.graph, Op::Scatter(StrideAttrs { stride: 1 }), &[v])?;
            }
            let y = patch.push(site.graph, site.op().clone(), &[v])?;
            patch.shunt(site.result(), y);
            Ok(Some(patch))
        }
    }
}

#[test]
fn bisection_names_the_pass_and_the_patch() {
    let toml =
        "in_channels = 1\nn_channels = 2\nn_classes = 2\nexp_r = 2\nkernel_size = 3\nblock_counts = [2,1,1,1,1,1,1,1,1]\ndim = \"2d\"\n";
    let g = build(&Config::from_toml(toml, "t.toml").unwrap(), 1, &[32, 16]).unwrap();
    let want = outputs(&g, 3).unwrap();
    let mut judge = |g: &Graph| {
        let got = outputs(g, 3).map_err(PassError::Caller)?;
        Ok(compare(&want, &got, TOL).map_or_else(Verdict::Bad, |()| Verdict::Good))
    };
    let clean = bisect(&g, &Pipeline::parse("infer").unwrap(), &mut judge).unwrap();
    assert!(clean.to_string().starts_with("all 11 passes keep the results"), "{clean}");
    let pipeline = Pipeline::parse("canonicalize,decompose-norm,dce").unwrap();
    let mut passes = pipeline.passes();
    passes.insert(2, &broken::Break);
    let found = bisect_passes(&g, &passes, &mut judge).unwrap();
    let text = found.to_string();
    assert!(text.contains("first bad pass:  break (number 3)"), "{text}");
    // Two blocks of enc_block_0 come first: down_0 is the third GELU.
    assert!(text.contains("number 3 of it, rule touch-gelu at down_0.act"), "{text}");
    let wrong = bisect(&g, &pipeline, &mut |_| Ok(Verdict::Bad("always".into()))).unwrap_err();
    assert!(wrong.to_string().contains("bad before any pass: always"));
}

#[test]
fn passes_refuse_the_wrong_stage_and_unknown_heads() {
    let toml =
        "in_channels = 1\nn_channels = 2\nn_classes = 2\nkernel_size = 3\nblock_counts = [1,1,1,1,1,1,1,1,1]\ndeep_supervision = true\n";
    let g = build(&Config::from_toml(toml, "t.toml").unwrap(), 1, &[32, 16, 16]).unwrap();
    let run = |text: &str| mnx_passes::manager::run(&Pipeline::parse(text).unwrap(), &mut g.clone()).unwrap_err().to_string();
    let error = run("form-dispatches");
    assert!(error.contains("takes a graph of stage graph, this one is of stage model: run decompose-norm"), "{error}");
    let error = run("infer,cse");
    assert!(error.contains("pass `cse` takes a graph of stage model or graph, this one is of stage dispatch"), "{error}");
    let error = run("drop-training-heads{keep=out_5}");
    assert!(error.contains("no output `out_5`, it has out_0, out_1, out_2, out_3, out_4") && error.contains("did you mean"), "{error}");
}
