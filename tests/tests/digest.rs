//! The safety net under every refactoring: for S, B, M, L and small networks, on every target, one line per kernel with the digests of its description, its plan
//! text and its code. A change that claims to change nothing leaves `tests/digest` alone; any other says which lines changed and why. `MNX_BLESS=1` rewrites them.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use mnx_codegen::{Options, Stage};
use mnx_model::Config;
use mnx_passes::manager;
use mnx_passes::pipelines::{InferOptions, infer};
use mnx_plan::target::{GPU_TARGETS, TARGETS, Target};
use mnx_plan::vocabulary::{Gelu, Storage};
use mnx_plan::{Kernel, ModulePlan, PlanOptions};
use mnx_tests::golden::say_loudly;
use mnx_tests::rounded::rounded;

/// A network as it is compiled for a target.
struct Case {
    name: String,
    toml: String,
    patch: Vec<usize>,
    precision: Storage,
    gelu: Gelu,
}

/// The published sizes at the patch that their users take on such a target, and small networks that together have every op.
fn cases(target: &Target) -> Vec<Case> {
    let gpu = target.nvptx().is_some();
    let usual = target.storage();
    let case = |name: &str, toml: String, patch: &[usize], precision: Storage, gelu: Gelu| {
        let extents: Vec<String> = patch.iter().map(usize::to_string).collect();
        let fast = if gelu == Gelu::Fast { " fast gelu" } else { "" };
        Case { name: format!("{name} {} {}{fast}", extents.join("x"), precision.as_str()), toml, patch: patch.to_vec(), precision, gelu }
    };
    let mut out = Vec::new();
    let patch = if gpu { [128; 3] } else { [64; 3] };
    for (size, k) in [("S", 3), ("S", 5), ("B", 3), ("M", 3), ("L", 3), ("L", 5)] {
        let toml = format!("variant = \"{size}\"\nkernel_size = {k}\nin_channels = 1\nn_classes = 4\n");
        out.push(case(&format!("{size}_k{k}"), toml, &patch, usual, Gelu::Accurate));
    }
    let small = |channels: usize, more: &str| {
        format!("in_channels = 2\nn_channels = {channels}\nn_classes = 3\nexp_r = 3\nblock_counts = [1,1,1,1,1,1,1,1,1]\n{more}")
    };
    let res = "do_res = true\ndo_res_up_down = true\ndeep_supervision = true\n";
    for (name, toml, patch) in [
        ("tiny_k7", small(12, &format!("kernel_size = 7\n{res}")), &[32, 48, 16][..]),
        ("tiny_grn", small(8, &format!("kernel_size = 5\ngrn = true\n{res}")), &[32, 32, 32]),
        ("tiny_layer", small(16, &format!("kernel_size = 3\nnorm_type = \"layer\"\n{res}")), &[32, 32, 32]),
        ("tiny_2d", small(16, "kernel_size = 3\ndim = \"2d\"\n"), &[64, 96]),
        ("tiny_nores", small(8, "kernel_size = 3\n"), &[16, 32, 48]),
    ] {
        // Other storage types on the oldest and on today's target: what they change is the same on all.
        let precisions =
            if ["sm_80", "sm_90a"].contains(&target.name) { &[Storage::Bf16, Storage::F16, Storage::F32][..] } else { &[usual] };
        for precision in precisions {
            out.push(case(name, toml.clone(), patch, *precision, Gelu::Accurate));
        }
        if name == "tiny_k7" {
            out.push(case(name, toml, patch, usual, Gelu::Fast));
        }
    }
    out
}

fn plan(case: &Case, target: &'static Target) -> ModulePlan {
    let config = Config::from_toml(&case.toml, "net.toml").unwrap();
    let mut g = mnx_model::build(&config, 1, &case.patch).unwrap();
    manager::run(&infer(&InferOptions::default()), &mut g).unwrap();
    let options = PlanOptions { gelu: case.gelu, edited: None };
    mnx_plan::plan(&rounded(&g, case.precision), target, &options).unwrap_or_else(|e| panic!("{} on {}: {e:#?}", case.name, target.name))
}

fn short(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..12].to_string()
}

/// The code of every kernel: assembly on a host, PTX on a GPU, without the kernel's symbol.
fn codes(kernels: &[Kernel], target: &'static Target) -> HashMap<Kernel, String> {
    let named: Vec<(String, Kernel)> = kernels.iter().enumerate().map(|(i, k)| (format!("kernel_{i}_"), k.clone())).collect();
    let mut out = HashMap::new();
    let options = Options { stages: vec![Stage::Asm], ..Options::default() };
    mnx_codegen::compile_with(&named, target, &options, &mut |_, symbol, text| {
        let kernel = &named.iter().find(|(s, _)| s == symbol).unwrap().1;
        let text = std::str::from_utf8(text).unwrap().replace(symbol, "kernel");
        out.insert(kernel.clone(), short(text.as_bytes()));
    })
    .unwrap();
    assert_eq!(out.len(), kernels.len());
    out
}

/// Sections of a file: title and lines.
type Sections = BTreeMap<String, Vec<String>>;

fn digests(target: &'static Target) -> Sections {
    let plans: Vec<(Case, ModulePlan)> = cases(target).into_iter().map(|c| (plan(&c, target), c)).map(|(p, c)| (c, p)).collect();
    let launches = |plan: &ModulePlan| plan.dispatches.iter().flat_map(|d| &d.launches).map(|l| l.kernel.clone()).collect::<Vec<_>>();
    let mut distinct: Vec<Kernel> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for kernel in plans.iter().flat_map(|(_, p)| launches(p)) {
        if seen.insert(kernel.clone()) {
            distinct.push(kernel);
        }
    }
    let codes = codes(&distinct, target);
    let mut out = Sections::new();
    for (case, plan) in &plans {
        let mut lines = vec![format!("plan {}", short(plan.to_string().as_bytes()))];
        let mut seen = std::collections::HashSet::new();
        for kernel in launches(plan).into_iter().filter(|k| seen.insert(k.clone())) {
            let values: Vec<String> = kernel.knobs().iter().map(|(n, v)| format!("{n}={v}")).collect();
            let text = format!("{} [{}]", kernel.strategy().name, values.join(", "));
            lines.push(format!("{} {} {text}", short(kernel.description().as_bytes()), codes[&kernel]));
        }
        out.insert(case.name.clone(), lines);
    }
    out
}

fn file(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("digest").join(format!("{}.txt", target.name))
}

fn check(target: &'static Target) {
    let got = digests(target);
    let path = file(target);
    if std::env::var_os("MNX_BLESS").is_some() {
        let mut text =
            format!("llvm {}\n# per kernel: digest of its description, of its code, and its plan text\n", mnx_codegen::llvm_version());
        for (name, lines) in &got {
            write!(text, "\n[{name}]\n{}\n", lines.join("\n")).unwrap();
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}; MNX_BLESS=1 makes it", path.display()));
    let (head, body) = stored.split_once("\n\n").unwrap();
    let version = mnx_codegen::llvm_version();
    let same_llvm = head.lines().next() == Some(&format!("llvm {version}"));
    if !same_llvm {
        let made = head.lines().next().unwrap();
        say_loudly(&format!("{}: made with {made}, here is LLVM {version}: CODE NOT COMPARED, descriptions and plans are", target.name));
    }
    let mut want = Sections::new();
    for section in body.split("\n\n") {
        let (name, lines) = section.trim().split_once('\n').unwrap();
        want.insert(name.trim_matches(['[', ']']).to_string(), lines.lines().map(str::to_string).collect());
    }
    let without_code = |line: &String| match line.split(' ').collect::<Vec<_>>()[..] {
        [description, _, ref rest @ ..] if description != "plan" => format!("{description} {}", rest.join(" ")),
        _ => line.clone(),
    };
    let mut wrong = String::new();
    for name in want.keys().chain(got.keys().filter(|n| !want.contains_key(*n))) {
        let empty = Vec::new();
        let (a, b) = (want.get(name).unwrap_or(&empty), got.get(name).unwrap_or(&empty));
        let lines = |l: &[String]| l.iter().map(|x| if same_llvm { x.clone() } else { without_code(x) }).collect::<Vec<_>>();
        let (a, b) = (lines(a), lines(b));
        for i in 0..a.len().max(b.len()) {
            let (x, y) = (a.get(i), b.get(i));
            if x != y {
                writeln!(wrong, "[{name}] {i}: stored {}, now {}", x.map_or("nothing", |s| s), y.map_or("nothing", |s| s)).unwrap();
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}: kernels changed. If that is meant, MNX_BLESS=1 and say in the commit which and why:\n{wrong}",
        path.display()
    );
}

macro_rules! targets {
    ($($name:ident = $list:ident[$index:expr], $text:expr;)*) => {
        $(
            #[test]
            fn $name() {
                assert_eq!($list[$index].name, $text);
                check(&$list[$index]);
            }
        )*
        #[test]
        fn every_target_is_here() {
            let mut names: Vec<&str> = TARGETS.iter().chain(GPU_TARGETS).map(|t| t.name).collect();
            let mut here = [$($text),*];
            names.sort_unstable();
            here.sort_unstable();
            assert_eq!(names, here);
        }
    };
}

targets! {
    x86_64_v4 = TARGETS[0], "x86-64-v4";
    x86_64_v3 = TARGETS[1], "x86-64-v3";
    sm_80 = GPU_TARGETS[0], "sm_80";
    sm_86 = GPU_TARGETS[1], "sm_86";
    sm_89 = GPU_TARGETS[2], "sm_89";
    sm_90a = GPU_TARGETS[3], "sm_90a";
    sm_100a = GPU_TARGETS[4], "sm_100a";
    sm_120 = GPU_TARGETS[5], "sm_120";
}
