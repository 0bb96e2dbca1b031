//! GPU code of every official network: planned, emitted, and with ptxas at hand assembled for every target without a spilled register.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::collections::HashSet;

use mnx_codegen::ptxas;
use mnx_model::Config;
use mnx_passes::manager;
use mnx_passes::pipelines::{InferOptions, infer};
use mnx_plan::target::{GPU_TARGETS, Target};
use mnx_plan::vocabulary::Storage;
use mnx_plan::{Kernel, PlanOptions, plan};
use mnx_tests::rounded::rounded;

/// Every kernel that these networks need on a target, once.
fn kernels(networks: &[(String, Vec<usize>)], target: &'static Target, precision: Storage) -> Vec<(String, Kernel)> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for (text, patch) in networks {
        let config = Config::from_toml(text, "net.toml").unwrap();
        let mut g = mnx_model::build(&config, 1, patch).unwrap();
        manager::run(&infer(&InferOptions::default()), &mut g).unwrap();
        let plan =
            plan(&rounded(&g, precision), target, &PlanOptions::default()).unwrap_or_else(|e| panic!("{text} on {}: {e:#?}", target.name));
        for launch in plan.dispatches.into_iter().flat_map(|d| d.launches) {
            if seen.insert(launch.kernel.clone()) {
                out.push((format!("{}_{}", launch.kernel.strategy().name.replace('.', "_"), out.len()), launch.kernel));
            }
        }
    }
    out
}

fn assemble(networks: &[(String, Vec<usize>)], target: &'static Target, precision: Storage) {
    let kernels = kernels(networks, target, precision);
    let ptx = String::from_utf8(mnx_codegen::compile(&kernels, target, &mut |_, _, _| {}).unwrap()).unwrap();
    for (symbol, _) in &kernels {
        assert!(ptx.contains(&format!(".entry {symbol}(")), "{symbol} is missing");
    }
    let needs = target.nvptx().unwrap();
    let version = format!(".version {}.{}", needs.ptx[0], needs.ptx[1]);
    assert!(ptx.contains(&version) && ptx.contains(&format!(".target {}", target.name)), "{version} for {}", target.name);
    if ptxas::find().is_none() {
        eprintln!("NOT CHECKED BY PTXAS: {} kernels for {}: no ptxas here (scripts/get-ptxas.sh fetches it)", kernels.len(), target.name);
        return;
    }
    let (cubin, resources) = ptxas::assemble(&ptx, target.name, false).unwrap_or_else(|e| panic!("{}: {e}", target.name));
    assert!(!cubin.is_empty());
    assert_eq!(resources.len(), kernels.len());
    let mut most = 0;
    let mut spilling = Vec::new();
    for r in &resources {
        let kernel = &kernels.iter().find(|(s, _)| *s == r.name).unwrap().1;
        if (r.spill_loads, r.spill_stores) != (0, 0) {
            spilling.push(format!("{} spills {} and {} B: {kernel:?}", r.name, r.spill_loads, r.spill_stores));
        }
        let g = kernel.geometry().unwrap();
        let threads: u32 = g.block.iter().product();
        assert!(r.registers <= 255 && r.registers * threads <= 65_536, "{} takes {} registers of {threads} threads", r.name, r.registers);
        assert!((r.shared + g.shared_bytes) as usize <= needs.shared_block, "{} takes {} bytes of shared memory", r.name, g.shared_bytes);
        most = most.max(r.registers);
    }
    assert!(spilling.is_empty(), "{} {}:\n{}", target.name, precision.as_str(), spilling.join("\n"));
    println!("{} {}: {} kernels, at most {most} registers, no spills", target.name, precision.as_str(), kernels.len());
}

/// S, B, M, L with this kernel, as nnU-Net runs them.
fn official(kernel: usize) -> Vec<(String, Vec<usize>)> {
    let net = |v| (format!("variant = \"{v}\"\nkernel_size = {kernel}\nin_channels = 1\nn_classes = 14\n"), vec![128; 3]);
    ["S", "B", "M", "L"].map(net).to_vec()
}

/// Everything else that a config can ask for.
fn others() -> Vec<(String, Vec<usize>)> {
    let small = |channels: usize, more: &str| {
        format!("in_channels = 2\nn_channels = {channels}\nn_classes = 3\nexp_r = 3\nblock_counts = [1,1,1,1,1,1,1,1,1]\n{more}")
    };
    let res = "do_res = true\ndo_res_up_down = true\ndeep_supervision = true\n";
    vec![
        (small(24, &format!("kernel_size = 7\n{res}")), vec![32, 48, 16]),
        (small(8, &format!("kernel_size = 5\ngrn = true\n{res}")), vec![32; 3]),
        (small(16, &format!("kernel_size = 3\nnorm_type = \"layer\"\n{res}")), vec![32; 3]),
        (small(64, "kernel_size = 3\ndim = \"2d\"\n"), vec![64, 96]),
        ("flavour = \"v2\"\nin_channels = 1\nn_classes = 5\n".to_string(), vec![64; 3]),
        ("variant = \"S\"\nkernel_size = 3\nn_channels = 64\nin_channels = 4\nn_classes = 3\n".to_string(), vec![64; 3]),
    ]
}

macro_rules! targets {
    ($($name:ident = $index:expr)*) => {
        $(
            #[test]
            fn $name() {
                let target = &GPU_TARGETS[$index];
                assert_eq!(target.name, stringify!($name));
                for k in [3, 5, 7] {
                    assemble(&official(k), target, Storage::Bf16);
                }
            }
        )*
        #[test]
        fn every_target_is_here() {
            assert_eq!(GPU_TARGETS.len(), [$(stringify!($name)),*].len());
        }
    };
}

targets! { sm_80 = 0 sm_86 = 1 sm_89 = 2 sm_90a = 3 sm_100a = 4 sm_120 = 5 }

/// Least and most shared memory: what fits there fits the targets between.
#[test]
fn other_networks_and_storage_types() {
    let networks = [&official(3)[..1], &others()[..]].concat();
    for (target, precision) in [(1, Storage::F32), (1, Storage::F16), (1, Storage::Bf16), (3, Storage::Bf16)] {
        assemble(&networks, &GPU_TARGETS[target], precision);
    }
}
