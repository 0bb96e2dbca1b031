//! What real hardware computed, bit for bit, in the PTX interpreter: every recording in `vectors/gpu` (made by `mnx record` on a GPU machine, see
//! `benches/gpu/run.sh`) is replayed launch by launch. Each holds the PTX that ran, the buffers before and the written ones after.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use mnx_artifact::Command;
use mnx_ptx_sim::{Launch, Memory, MmaModel, Module, Options, launch};
use mnx_tests::cases::Case;
use mnx_tests::host::Compiled;
use safetensors::SafeTensors;

/// Replays a recording; answers how many launches there were, and the first byte that differs of each that does.
fn replay(file: &[u8], model: MmaModel) -> (usize, Vec<String>) {
    let (_, header) = SafeTensors::read_metadata(file).unwrap();
    let metadata: BTreeMap<String, String> = header.metadata().clone().unwrap().into_iter().collect();
    let tensors = SafeTensors::deserialize(file).unwrap();
    let module = Module::parse(std::str::from_utf8(tensors.tensor("code").unwrap().data()).unwrap()).unwrap();
    let (mut launches, mut wrong) = (0, Vec::new());
    for (key, json) in &metadata {
        let Some(index) = key.strip_prefix("launch ") else { continue };
        let Command::Launch { kernel, args, writes, geometry, .. } = serde_json::from_str(json).unwrap() else {
            panic!("{key} is no launch")
        };
        let geometry = geometry.unwrap();
        let mut memory = Memory::new();
        let mut params = Vec::new();
        for (i, arg) in args.iter().enumerate() {
            let at = memory.alloc(arg.bytes, 64);
            memory.write(at, tensors.tensor(&format!("{index}.{kernel}.before.{i}")).unwrap().data()).unwrap();
            params.push(at);
        }
        let what = Launch {
            kernel: &kernel,
            grid: geometry.grid,
            block: geometry.block,
            dynamic_shared: geometry.shared_bytes,
            params: params.clone(),
        };
        let report = launch(&module, &mut memory, &what, &Options { model, ..Options::default() }).unwrap();
        assert!(report.is_clean(), "{kernel}: {:?}", report.findings.first());
        for w in &writes {
            let want = tensors.tensor(&format!("{index}.{kernel}.after.{}", w.arg)).unwrap();
            let mut got = vec![0; want.data().len()];
            memory.read(params[w.arg], &mut got).unwrap();
            if let Some(at) = got.iter().zip(want.data()).position(|(g, w)| g != w) {
                wrong.push(format!("launch {index}, {kernel}, argument {}: byte {at} of {} differs", w.arg, got.len()));
            }
        }
        launches += 1;
    }
    (launches, wrong)
}

#[test]
fn recordings_of_real_hardware_replay_bit_for_bit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/gpu");
    let files: Vec<_> = std::fs::read_dir(&folder).map(|d| d.map(|e| e.unwrap().path()).collect()).unwrap_or_default();
    if files.is_empty() {
        eprintln!("NOT YET RECORDED: no recording of a GPU in tests/vectors/gpu; run scripts/gpu-check.sh on a GPU machine");
    }
    for path in files.iter().filter(|p| p.extension().is_some_and(|e| e == "safetensors")) {
        let (launches, wrong) = replay(&std::fs::read(path).unwrap(), MmaModel::Hopper);
        assert!(launches > 0 && wrong.is_empty(), "{}: {wrong:#?}", path.display());
    }
}

/// The road itself: a recording made on the interpreter replays there, and a flipped bit is found.
#[test]
fn a_recording_replays_and_a_changed_one_does_not() {
    let case = Case::load("tiny_2d");
    let shape = case.input_shape();
    let net = Compiled::new(&case.toml(None), &case.weights(), shape[0], &shape[2..], &["--vectors", "none", "--target", "sm_90a"]);
    let out = net.path().with_file_name("recorded.safetensors");
    let mnx = mnx_tests::binaries::folder().join("mnx");
    let run = std::process::Command::new(mnx).arg("record").arg(net.path()).args(["--device", "ptx-sim", "-o"]).arg(&out).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let mut file = std::fs::read(&out).unwrap();
    let (launches, wrong) = replay(&file, MmaModel::Exact);
    assert!(launches >= 5 && wrong.is_empty(), "{launches} launches, {wrong:#?}");
    // One bit of one written buffer.
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let name = tensors.names().into_iter().find(|n| n.contains(".after.")).unwrap().to_owned();
    let at = tensors.tensor(&name).unwrap().data().as_ptr() as usize - file.as_ptr() as usize;
    file[at] ^= 1;
    assert_eq!(replay(&file, MmaModel::Exact).1.len(), 1);
}
