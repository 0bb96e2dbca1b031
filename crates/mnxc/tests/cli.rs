//! Transcripts: what every command prints, its exit codes, and that failures leave nothing behind.
#![allow(clippy::unwrap_used)]

mod scratch;
use mnx_weights::Checkpoint;
use scratch::{FLAT, Scratch, TINY};

const COMMANDS: [&str; 12] =
    ["model", "compile", "explain", "opt", "bisect", "reduce", "list", "tune", "upkern", "view", "explain-error", "completions"];

fn tiny() -> Scratch {
    let s = Scratch::new();
    s.file("tiny.toml", TINY);
    s.file("flat.toml", FLAT);
    s
}

/// A checkpoint of a config's network with values that depend on key and index.
fn checkpoint(s: &Scratch, config: &str, out: &str) {
    let config = mnx_model::Config::load(s.path(config)).unwrap();
    let mut made = Checkpoint::new();
    for t in mnx_model::signature(&config).tensors {
        made.insert(t.key.clone(), mnx_weights::golden_weight("cli", &t.key, &t.shape));
    }
    made.save(s.path(out)).unwrap();
}

#[test]
fn help_says_that_fold_all_is_one_fold() {
    let help = Scratch::new().good("import --help").out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("all is not every fold but nnU-Net's fold_all"), "{help}");
}

#[test]
fn every_command_has_help_with_examples() {
    let s = Scratch::new();
    let all = s.good("--help").out;
    for command in COMMANDS {
        assert!(all.contains(command), "{command} is not in\n{all}");
        for flag in ["-h", "--help"] {
            let help = s.good(&format!("{command} {flag}")).out;
            assert!(help.contains("Examples:") && help.contains(&format!("mnxc {command}")), "{help}");
        }
    }
    assert!(s.good("--version").out.starts_with("mnxc "));
}

#[test]
fn wrong_usage_is_two_and_names_the_fault() {
    let s = tiny();
    s.bad("", 2, &["Usage"]);
    s.bad("compil tiny.toml", 2, &["unrecognized subcommand 'compil'", "'compile'"]);
    s.bad("compile tiny.toml --seed x", 2, &["invalid value 'x' for '--seed"]);
    s.bad("compile tiny.toml --seed 1 --patch 32", 2, &["expected two or three extents such as 32,48,32"]);
    s.bad("compile tiny.toml --seed 1 --target arm64", 2, &["arm64", "x86-64-v3", "host"]);
    s.bad("compile tiny.toml --to nowhere", 2, &["nowhere", "dispatch", "plan"]);
    s.bad("compile tiny.toml --seed 1 --weights w.safetensors", 2, &["cannot be used with"]);
    s.bad("opt tiny.toml --pipeline=decompos-norm", 2, &["decompos-norm", "did you mean `decompose-norm`?"]);
    s.bad("opt tiny.toml --pipeline=form-dispatches{max-op=3}", 2, &["max-op", "did you mean `max-ops`?"]);
    s.bad("explain a.mnxa --threads 2", 2, &["--measure"]);
    s.bad("explain a.mnxa --gflops 0", 2, &["expected a rate"]);
    s.bad("compile tiny.toml --plan a --tuned b", 2, &["cannot be used with"]);
    s.bad("tune tiny.toml --budget soon", 2, &["such as 90s"]);
    s.bad("list things", 2, &["things", "strategies"]);
    s.bad("bisect tiny.toml --pipeline=dce --tol nan", 2, &["--tol"]);
    s.bad("completions tcsh9", 2, &["tcsh9", "bash"]);
}

#[test]
fn sixteen_bits_are_for_gpus() {
    let s = tiny();
    for word in ["bf16", "f16"] {
        let line = format!("compile tiny.toml --patch 32,32,32 --to plan --precision {word}");
        for host in ["", " --target host", " --target x86-64-v3"] {
            s.bad(&format!("{line}{host}"), 2, &[&format!("--precision {word}"), "no GPU among the targets", "float32 alone"]);
        }
        let fat = s.good(&format!("{line} --target host,sm_90a")).out;
        let host = s.good("compile tiny.toml --patch 32,32,32 --to plan").out;
        let gpu = fat.strip_prefix(&host).expect("the host's plans are those of the host alone");
        let single = s.good("compile tiny.toml --patch 32,32,32 --to plan --precision f32 --target sm_90a").out;
        assert_ne!(gpu.trim(), single.trim(), "the GPU's plan is of {word}");
    }
    s.good("compile tiny.toml --patch 32,32,32 --to plan --precision f32");
    s.bad("compile tiny.toml --patch 32,32,32 --to plan --target sm_90a --cubin", 2, &["--cubin", "--to plan"]);
}

#[test]
fn a_wrong_config_lists_every_problem_with_its_place() {
    let s = Scratch::new();
    s.file("bad.toml", "in_chanels = 1\nn_channels = 8\nn_classes = 0\nkernel_size = 4\n");
    let said = s.bad("model bad.toml", 1, &["bad.toml:1:1", "did you mean `in_channels`?", "bad.toml:3:", "bad.toml:4:", "errors"]);
    assert!(said.err.lines().all(|l| l.starts_with("error[") || l.starts_with("  ") || l.ends_with("errors")), "{}", said.err);
    s.bad("model none.toml", 1, &["none.toml", "no such file or directory"]);
    s.bad("model .", 1, &["is a folder without config.toml"]);
    std::fs::write(s.path("binary.toml"), [0xffu8, 0xfe, 0]).unwrap();
    s.bad("model binary.toml", 1, &["binary.toml", "byte 0 is not UTF-8"]);
}

#[test]
fn patches_that_do_not_fit_are_refused_with_the_next_that_do() {
    let s = tiny();
    s.bad("model tiny.toml --patch 32,40,32", 1, &["extent 40 is not a positive multiple of 16; take 32 or 48"]);
    s.bad("model tiny.toml --patch 32,32", 1, &["has 2 extents, expected 3"]);
    s.bad("model flat.toml --patch 32,32,32", 1, &["has 3 extents, expected 2"]);
    s.bad("model tiny.toml --batch 0", 1, &["batch is 0"]);
}

#[test]
fn the_model_is_printed_and_summed_up() {
    let s = tiny();
    let graph = s.good("model tiny.toml --patch 16,32,48 --batch 3").out;
    let parsed = mnx_ir::parse::parse(&graph, "stdout").unwrap();
    assert_eq!(parsed.ty(parsed.inputs()[0].1).shape.as_slice(), [3, 2, 16, 32, 48]);
    assert_eq!(parsed.outputs().len(), 5);
    let default = s.good("model flat.toml").out;
    assert!(default.contains("%input: f32[1,1,64,64]"), "the default patch is 64 per axis: {default}");

    let table = s.good("model tiny.toml --patch 32,32,32 --summary").out;
    let json: serde_json::Value = serde_json::from_str(&s.good("model tiny.toml --patch 32,32,32 --json").out).unwrap();
    let config = mnx_model::Config::load(s.path("tiny.toml")).unwrap();
    assert_eq!(json["parameters"], mnx_model::signature(&config).parameters());
    // The stem: 2 to 4 channels at every voxel.
    assert_eq!(json["layers"][0]["macs"], 2 * 4 * 32 * 32 * 32);
    assert_eq!(json["config"]["n_classes"], 3);
    assert!(table.contains("enc_block_0.0.conv1") && table.contains("total") && table.contains("output out_4: f32[1,3,2,2,2]"), "{table}");

    let argmax = s.good("model tiny.toml --patch 32,32,32 --output argmax").out;
    assert!(argmax.contains("out_0: i32[1,32,32,32]") && argmax.contains("argmax"), "{argmax}");
}

#[test]
fn lists_are_complete() {
    let s = Scratch::new();
    let first = |table: &str| -> Vec<String> {
        let json: serde_json::Value = serde_json::from_str(&s.good(&format!("list {table} --json")).out).unwrap();
        json.as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_string()).collect()
    };
    let ops = first("ops");
    assert_eq!(ops, mnx_ir::ops::OPS.iter().map(|o| o.mnemonic).collect::<Vec<_>>());
    let passes = first("passes");
    assert!(mnx_passes::PASSES.iter().all(|p| passes.iter().any(|n| n == p.name)));
    assert!(["infer", "upkern"].iter().all(|n| passes.iter().any(|p| p == n)), "{passes:?}");
    assert_eq!(first("strategies"), mnx_plan::Kernel::strategies().map(|x| x.name).collect::<Vec<_>>());
    assert_eq!(first("targets"), ["x86-64-v4", "x86-64-v3", "host", "sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120"]);
    assert_eq!(first("patterns"), mnx_ir::pattern::PATTERNS.iter().map(|p| p.name).collect::<Vec<_>>());
    for table in ["ops", "passes", "patterns", "strategies", "targets"] {
        let text = s.good(&format!("list {table}")).out;
        assert!(first(table).iter().all(|n| text.contains(n.as_str())), "{text}");
    }
}

#[test]
fn stages_can_be_left_and_entered_again() {
    let s = tiny();
    for (config, patch) in [("tiny.toml", "32,16,48"), ("flat.toml", "48,32")] {
        let plan = s.good(&format!("compile {config} --patch {patch} --to plan")).out;
        assert!(plan.contains("target(x86-64-v4)") && plan.contains("target(x86-64-v3)"), "{plan}");
        let mut last = s.good(&format!("compile {config} --patch {patch} --to dispatch")).out;
        for stage in ["model", "graph", "dispatch"] {
            s.good(&format!("compile {config} --patch {patch} --to {stage} -o s.mnx"));
            let text = s.text("s.mnx");
            assert!(text.contains(&format!("stage={stage} {{")), "{stage}");
            assert!(text.starts_with("// mnxc: graph of "), "{text}");
            assert_eq!(s.good("compile s.mnx --to plan").out, plan, "from {stage}");
            last = s.good("compile s.mnx --to dispatch").out;
            assert_eq!(last, s.good(&format!("compile {config} --patch {patch} --to dispatch")).out, "from {stage}");
        }
        let main = s.good(&format!("compile {config} --patch {patch} --to dispatch --heads main")).out;
        assert!(main.contains("out_0: ") && !main.contains("out_1: "), "{main}");
        assert_eq!(config == "flat.toml", main == last, "one head: nothing to drop");
    }
}

#[test]
fn an_edited_plan_is_used_and_a_wrong_one_refused() {
    let s = tiny();
    s.good("compile tiny.toml --patch 32,32,32 --to plan --target x86-64-v3 -o p.plan");
    let plan = s.text("p.plan");
    assert_eq!(s.good("compile tiny.toml --patch 32,32,32 --to plan --target x86-64-v3 --plan p.plan").out, plan);
    let line = plan.lines().find(|l| l.contains("launch depthwise.ring")).unwrap();
    let depth: usize = line.split("depth=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    s.file("edited.plan", &plan.replacen(&format!("depth={depth}"), "depth=1", 1));
    let other = s.good("compile tiny.toml --patch 32,32,32 --to plan --target x86-64-v3 --plan edited.plan").out;
    assert!(other != plan && other.contains("depth=1,"), "{other}");

    s.bad("compile tiny.toml --patch 32,32,32 --to plan --target x86-64-v4 --plan p.plan", 1, &["p.plan", "target x86-64-v3"]);
    s.file("knob.plan", &plan.replacen("depth=", "deepness=", 1));
    let line = 1 + plan.lines().position(|l| l.contains("depth=")).unwrap();
    let place = format!("knob.plan:{line}");
    s.bad("compile tiny.toml --patch 32,32,32 --to plan --target x86-64-v3 --plan knob.plan", 1, &[&place, "deepness"]);
    s.file("name.plan", &plan.replacen("dispatch @", "dispatch @x", 1));
    s.bad("compile tiny.toml --patch 32,32,32 --to plan --target x86-64-v3 --plan name.plan", 1, &["name.plan:2", "no dispatch @x"]);
    s.file("text.plan", "hello\n");
    s.bad("compile tiny.toml --to plan --plan text.plan", 1, &["text.plan:1", "expected `plan @name"]);
}

#[test]
fn dumps_hold_every_stage_in_order() {
    let s = tiny();
    s.good("compile tiny.toml --patch 32,32,32 --to plan -o p.plan --dump-dir d");
    let names = scratch::names(&s.path("d"));
    assert_eq!(names[0], "010-model.mnx");
    assert!(names.iter().any(|n| n.ends_with("-form-dispatches.mnx")) && names.last().unwrap() == "log", "{names:?}");
    let log = s.text("d/log");
    let passes = mnx_passes::infer(&mnx_passes::InferOptions::default()).len();
    assert_eq!(log.lines().count(), 1 + passes + 2, "{log}");
    for (i, line) in log.lines().enumerate() {
        assert!(line.starts_with(&format!("{:03}-", 10 * (i + 1))), "{log}");
        let (name, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest == "(unchanged)", !names.iter().any(|n| n == name), "{line}");
    }
    let plans: Vec<&String> = names.iter().filter(|n| n.ends_with(".plan")).collect();
    assert!(plans[0].ends_with("-x86-64-v4.plan") && plans[1].ends_with("-x86-64-v3.plan"), "{names:?}");
    let both = format!("{}\n{}", s.text(&format!("d/{}", plans[0])), s.text(&format!("d/{}", plans[1])));
    assert_eq!(both, s.text("p.plan"));
    // Every graph in it can be gone on with; the boxes just drawn still want their layouts.
    for name in names.iter().filter(|n| n.ends_with(".mnx")) {
        let rest = if name.ends_with("form-dispatches.mnx") { " --pipeline=assign-layouts" } else { "" };
        assert_eq!(s.good(&format!("compile d/{name} --to plan{rest}")).out, both, "{name}");
    }
}

#[test]
fn passes_run_one_by_one() {
    let s = tiny();
    s.good("model tiny.toml --patch 32,32,32");
    s.file("m.mnx", &s.good("model tiny.toml --patch 32,32,32").out);
    s.good("opt m.mnx --pipeline=decompose-norm,decompose-transposed -o a.mnx --dump-dir d");
    assert!(!s.text("a.mnx").contains("norm.group") && s.text("a.mnx").contains("norm.stats"));
    assert_eq!(scratch::names(&s.path("d")), ["010-model.mnx", "020-decompose-norm.mnx", "030-decompose-transposed.mnx", "log"]);
    assert_eq!(s.good("opt a.mnx --pipeline=decompose-norm").out, s.text("a.mnx"), "nothing left to decompose");
    let timed = s.good("opt a.mnx --pipeline=cse,dce --time-passes -o b.mnx");
    assert!(timed.err.contains("cse") && timed.err.contains("ms") && timed.out.is_empty(), "{}", timed.err);
    s.bad("opt m.mnx --pipeline=form-dispatches", 1, &["form-dispatches", "stage model"]);
    s.bad("opt tiny.toml --pipeline=drop-training-heads{keep=out_9}", 1, &["no output `out_9`"]);
    s.bad("compile m.mnx --to dispatch --pipeline=decompose-norm", 1, &["end it with form-dispatches"]);
}

#[test]
fn wrong_graphs_are_refused_with_line_and_column() {
    let s = tiny();
    s.file("m.mnx", &s.good("model tiny.toml --patch 32,32,32").out);
    s.file("cut.mnx", &s.text("m.mnx")[..s.text("m.mnx").len() / 2]);
    s.bad("opt cut.mnx --pipeline=dce", 1, &["cut.mnx:"]);
    s.file("type.mnx", &s.text("m.mnx").replacen("gelu", "gelo", 1));
    let line = 1 + s.text("m.mnx").lines().position(|l| l.contains("gelu")).unwrap();
    s.bad("view type.mnx", 1, &[&format!("type.mnx:{line}:"), "gelo"]);
    s.bad("compile m.mnx --to plan --patch 32,32,32", 2, &["--patch and --batch are for a config"]);
    s.good("compile m.mnx --to dispatch -o d.mnx");
    s.bad("compile d.mnx --to plan --heads main", 2, &["--heads main"]);
    s.bad("compile d.mnx --to plan --output argmax", 2, &["--output is for"]);
    s.bad("compile d.mnx --to graph", 1, &["stage"]);
    s.bad("compile d.mnx --to model", 1, &["stage dispatch, beyond model"]);
}

#[test]
fn files_of_several_graphs_and_training_graphs_are_refused_by_name() {
    let s = tiny();
    let step = "graph @step(%x: f32[4]) -> (y: f32[4]) stage=train {\n  %0 = state \"m\" : f32[4]\n  %1 = sum.values %0, %x : f32[4]\n  \
                update \"m\" = %1\n  return %1\n}\n";
    s.file("step.mnx", step);
    s.file("two.mnx", &format!("{step}{}", step.replace("@step", "@again")));
    assert_eq!(s.good("opt step.mnx --pipeline=cse,dce").out, step);
    for command in ["opt two.mnx --pipeline=dce", "view two.mnx", "compile two.mnx --to plan", "bisect two.mnx --pipeline=dce"] {
        s.bad(command, 1, &["error[ir-0106]: two.mnx: the text holds 2 graphs (@step, @again), expected one"]);
    }
    s.bad("compile step.mnx --to plan", 1, &["error[mnxc-0302]: step.mnx: @step is a training graph"]);
    s.bad("opt step.mnx --pipeline=canonicalize", 1, &["takes a graph of stage model or graph, this one is of stage train"]);
}

#[test]
fn bisect_finds_nothing_in_sound_passes() {
    let s = tiny();
    let text = s.good("bisect tiny.toml --patch 32,16,16 --pipeline=infer --seed 5").out;
    assert!(text.contains("passes keep the results"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&s.good("bisect flat.toml --patch 32,16 --pipeline=infer --json").out).unwrap();
    assert_eq!(json["outcome"], "clean");
    checkpoint(&s, "tiny.toml", "w.safetensors");
    s.good("bisect tiny.toml --patch 16,32,16 --pipeline=infer{keep=out_0} --weights w.safetensors");
}

#[test]
fn bisect_names_pass_patch_and_value() {
    let s = tiny();
    // Folding and merging are exact only up to rounding: with no tolerance at all they must be found out.
    let said =
        s.mnxc("bisect tiny.toml --patch 32,16,16 --pipeline=canonicalize,decompose-norm,decompose-transposed,fold-norm-affine --tol 0");
    assert_eq!(said.code, 1, "{}", said.err);
    for text in ["first bad pass:", "first bad patch: number", "first bad value: out_"] {
        assert!(said.out.contains(text), "no `{text}` in\n{}", said.out);
    }
    assert!(said.err.contains("changes what the graph computes"), "{}", said.err);
}

#[test]
fn upkern_makes_a_checkpoint_or_lists_what_does_not_fit() {
    let s = tiny();
    checkpoint(&s, "tiny.toml", "k3.safetensors");
    s.file("k5.toml", &TINY.replace("kernel_size = 3", "kernel_size = 5"));
    let said = s.good("upkern --from tiny.toml --weights k3.safetensors --to k5.toml -o k5.safetensors");
    assert!(said.err.contains("kernels resized, 0 freshly initialised"), "{}", said.err);
    let made = Checkpoint::load(s.path("k5.safetensors")).unwrap();
    let config = mnx_model::Config::load(s.path("k5.toml")).unwrap();
    for t in mnx_model::signature(&config).tensors {
        made.require(&t.key, &t.shape).unwrap();
    }

    s.file(
        "more.toml",
        &TINY.replace("kernel_size = 3", "kernel_size = 5").replace("n_classes = 3", "n_classes = 4").replace("white = 2", "white = 3"),
    );
    let line = "upkern --from tiny.toml --weights k3.safetensors --to more.toml -o more.safetensors";
    s.bad(
        line,
        1,
        &["10 tensors do not fit", "\"out_4.conv_out.weight\" has shape [64, 3, 1, 1, 1]", "[64, 4, 1, 1, 1]", "--allow-mismatch"],
    );
    let said = s.good(&format!("{line} --allow-mismatch"));
    assert!(said.err.contains("\"out_4.conv_out.weight\"") && said.err.contains("10 freshly initialised"), "{}", said.err);
    assert_eq!(s.good(&format!("-q {line} --allow-mismatch")).err, "");
    s.bad("upkern --from k5.toml --weights k3.safetensors --to tiny.toml -o x.safetensors", 1, &["conv1.weight", "in the checkpoint"]);
    s.bad("upkern --from tiny.toml --weights tiny.toml --to k5.toml -o x.safetensors", 1, &["tiny.toml"]);
    s.bad("upkern --from tiny.toml --weights k3.safetensors --to k5.toml -o no/x.safetensors", 1, &["directory no does not exist"]);
}

#[test]
fn views_and_completions_come_out() {
    let s = tiny();
    let dot = s.good("view tiny.toml").out;
    assert!(dot.starts_with("digraph") && dot.contains("enc_block_0.0.conv1"), "{dot}");
    s.good("compile tiny.toml --to dispatch -o d.mnx");
    s.good("view d.mnx -o d.dot");
    assert!(s.text("d.dot").contains("subgraph \"cluster_"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(s.good(&format!("completions {shell}")).out.contains("mnxc"));
    }
}

#[test]
fn weights_are_demanded_before_any_work() {
    let s = tiny();
    let (code, text) = if cfg!(feature = "llvm") { (2, "--weights") } else { (1, "built without LLVM") };
    s.bad("compile tiny.toml -o x.mnxa", code, &[text]);
    if cfg!(not(feature = "llvm")) {
        for stage in ["mlir", "llvm", "asm", "binary", "bundle"] {
            s.bad(&format!("compile tiny.toml --seed 1 --to {stage}"), 1, &["built without LLVM", "--features llvm"]);
        }
    }
}

#[test]
fn a_closed_pipe_is_a_normal_end() {
    use std::process::{Command, Stdio};
    let s = tiny();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mnxc"))
        .args(["model", "tiny.toml"])
        .current_dir(s.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn nothing_partial_is_left_when_the_disk_says_no() {
    let s = tiny();
    std::fs::create_dir(s.path("taken.mnx")).unwrap();
    s.bad("compile tiny.toml --to dispatch -o taken.mnx", 1, &["taken.mnx", "this is a directory"]);
    s.bad("view tiny.toml -o none/x.dot", 1, &["directory none does not exist"]);
    s.file("plain", "");
    s.bad("compile tiny.toml --to dispatch --dump-dir plain -o x.mnx", 1, &["plain"]);
}

#[cfg(unix)]
#[test]
fn reduce_keeps_what_the_script_wants() {
    use std::os::unix::fs::PermissionsExt;
    let s = tiny();
    let script = |name: &str, text: &str| {
        s.file(name, text);
        std::fs::set_permissions(s.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("up.sh", "#!/bin/sh\ngrep -q conv.depthwise_transposed \"$1\"\n");
    let said = s.good("reduce flat.toml --if ./up.sh -o small.mnx");
    assert!(said.err.contains("are left after"), "{}", said.err);
    let small = mnx_ir::parse::parse(&s.text("small.mnx"), "small.mnx").unwrap();
    assert_eq!(small.order().len(), 3, "the convolution, its weight and its bias: {small}");
    script("never.sh", "#!/bin/sh\nfalse\n");
    s.bad("reduce flat.toml --if ./never.sh", 1, &["never.sh does not end with 0 on the whole graph"]);
    s.bad("reduce flat.toml --if ./none.sh", 1, &["none.sh", "cannot be run: no such file"]);
}
