//! Exported ONNX files: what is in them, and, where ONNX Runtime is installed, that it computes what the interpreter does.
#![allow(clippy::unwrap_used)]

mod scratch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::Command;

use mnx_interp::{Array, Interpreter};
use mnx_ir::{ApplyAttrs, Graph, LayerAttrs, Loc, NoAttrs, NormAttrs, Op, Stage, StrideAttrs, TensorType, ValueId};
use mnx_model::{Config, build};
use mnx_weights::{Checkpoint, det_input, golden_weight};
use mnxc::onnx::{OPSET, export, proto::ModelProto};
use prost::Message;
use scratch::{FLAT, Scratch, TINY};

/// Small networks that between them have every op of stage `model`: config, batch, patch, more flags.
const NETWORKS: &[(&str, &str, usize, &[usize], &str)] = &[
    ("k3, every head", "grn = false\ndeep_supervision = true\nkernel_size = 3\n", 1, &[32, 16, 48], ""),
    ("k3, main head of five", "deep_supervision = true\nkernel_size = 3\n", 1, &[32, 32, 16], "--heads main"),
    ("k5, batch 2", "kernel_size = 5\n", 2, &[16, 32, 16], ""),
    (
        "mixed kernels, no residual",
        "enc_kernel_size = 5\ndec_kernel_size = 3\ndo_res = false\ndo_res_up_down = false\n",
        1,
        &[16, 16, 32],
        "",
    ),
    ("2-D, soft-max", "kernel_size = 5\ndim = \"2d\"\n", 2, &[48, 32], "--output softmax"),
    ("layer norm", "kernel_size = 3\nnorm_type = \"layer\"\n", 1, &[16, 32, 16], ""),
    ("GRN", "kernel_size = 3\ngrn = true\n", 1, &[32, 16, 32], ""),
    ("GRN by sum, 2-D", "kernel_size = 3\ndim = \"2d\"\ngrn = true\ngrn_reduce = \"sum\"\n", 1, &[32, 64], ""),
    ("MONAI's keys", "kernel_size = 3\nflavour = \"monai\"\ndeep_supervision = true\n", 1, &[32, 16, 16], ""),
];

fn config(options: &str) -> String {
    let residual = if options.contains("do_res") || options.contains("monai") { "" } else { "do_res = true\ndo_res_up_down = true\n" };
    format!(
        "in_channels = 2\nn_channels = 6\nn_classes = 3\nexp_r = [2, 3, 2, 1, 2, 2, 3, 2, 2]\nblock_counts = [1, 2, 1, 1, 1, 1, 1, 2, 1]\n{residual}{options}"
    )
}

fn decode(bytes: &[u8]) -> ModelProto {
    ModelProto::decode(bytes).unwrap()
}

fn list(patch: &[usize]) -> String {
    patch.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Standard operators, every name defined once and before it is read, every initialiser of the size its shape says.
fn sound(model: &ModelProto) {
    const STANDARD: &[&str] = &[
        "Add",
        "ArgMax",
        "Cast",
        "Concat",
        "Conv",
        "ConvTranspose",
        "Div",
        "Erf",
        "Identity",
        "InstanceNormalization",
        "Mul",
        "Pad",
        "Pow",
        "Reciprocal",
        "ReduceL2",
        "ReduceMean",
        "ReduceSum",
        "Reshape",
        "Softmax",
        "Split",
        "Sqrt",
        "Sub",
        "Transpose",
    ];
    assert_eq!((model.ir_version, model.opset_import.len(), model.opset_import[0].version), (8, 1, OPSET));
    assert_eq!(model.opset_import[0].domain, "");
    let graph = model.graph.as_ref().unwrap();
    let mut defined = HashSet::new();
    for input in &graph.input {
        assert!(defined.insert(input.name.clone()));
    }
    for t in &graph.initializer {
        let size = match t.data_type {
            1 => 4,
            7 => 8,
            other => panic!("{}: element type {other}", t.name),
        };
        assert_eq!(t.raw_data.len() as i64, t.dims.iter().product::<i64>() * size, "{}", t.name);
        assert!(defined.insert(t.name.clone()), "{} twice", t.name);
    }
    for node in &graph.node {
        assert!(STANDARD.contains(&node.op_type.as_str()), "{}", node.op_type);
        for read in &node.input {
            assert!(defined.contains(read), "{} reads {read} too early", node.name);
        }
        for made in &node.output {
            assert!(defined.insert(made.clone()), "{made} twice");
        }
    }
    for output in &graph.output {
        assert!(defined.contains(&output.name), "{}", output.name);
    }
}

#[test]
fn the_file_holds_the_layers_and_the_weights_under_their_keys() {
    let dir = Scratch::new();
    for (i, (name, options, batch, patch, more)) in NETWORKS.iter().enumerate() {
        let toml = config(options);
        dir.file("net.toml", &toml);
        let network = Config::from_toml(&toml, "net.toml").unwrap();
        let weights: Checkpoint = mnx_model::signature(&network)
            .tensors
            .iter()
            .map(|t| (t.key.clone(), golden_weight(&format!("case{i}"), &t.key, &t.shape)))
            .collect();
        weights.save(dir.path("w.safetensors")).unwrap();
        let line = format!("export-onnx net.toml --weights w.safetensors --batch {batch} --patch {} {more} -o net.onnx", list(patch));
        let said = dir.good(&line);
        assert!(said.err.contains("net.onnx") && said.err.contains("opset 17"), "{name}: {}", said.err);
        let model = decode(&dir.bytes("net.onnx"));
        sound(&model);
        let graph = model.graph.as_ref().unwrap();

        let source = build(&network, *batch, patch).unwrap();
        let main = more.contains("main");
        let want: BTreeMap<&str, &[f32]> = source
            .params()
            .into_iter()
            .filter(|(key, _)| !main || ["out_1.", "out_2.", "out_3.", "out_4."].iter().all(|head| !key.starts_with(head)))
            .map(|(key, _)| (key, weights.get(key).unwrap().data.as_slice()))
            .collect();
        let keys: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).filter(|n| !n.starts_with("const.")).collect();
        assert_eq!(keys, want.keys().copied().collect(), "{name}");
        for t in graph.initializer.iter().filter(|t| !t.name.starts_with("const.")) {
            let values: Vec<u8> = want[t.name.as_str()].iter().flat_map(|v| v.to_le_bytes()).collect();
            assert!(t.raw_data == values, "{name}: {}", t.name);
        }
        let heads = if options.contains("deep_supervision = true") && !main { 5 } else { 1 };
        let names: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, (0..heads).map(|i| format!("out_{i}")).collect::<Vec<_>>(), "{name}");
        let layers: BTreeSet<&str> = graph.node.iter().map(|n| n.name.as_str()).collect();
        for &id in source.order().iter().filter(|&&id| !source.is_weight(source.result(id))) {
            let layer = source.node(id).loc.to_string();
            let dropped = main && ["out_1.", "out_2.", "out_3.", "out_4."].iter().any(|head| layer.starts_with(head));
            assert!(dropped || layers.contains(layer.as_str()), "{name}: no node for {layer}");
        }
    }
}

#[test]
fn the_file_is_the_same_every_time_and_nothing_is_left_of_a_failure() {
    let dir = Scratch::new();
    dir.file("net.toml", TINY);
    dir.file("flat.toml", FLAT);
    dir.good("export-onnx net.toml --seed 3 --patch 32,16,16 -o a.onnx");
    dir.good("export-onnx net.toml --seed 3 --patch 32,16,16 -o b.onnx");
    dir.good("export-onnx net.toml --seed 4 --patch 32,16,16 -o c.onnx");
    assert!(dir.bytes("a.onnx") == dir.bytes("b.onnx"));
    assert!(dir.bytes("a.onnx") != dir.bytes("c.onnx"));

    let mut wrong = Checkpoint::new();
    wrong.insert("stem.weight", mnx_weights::Tensor::zeros(vec![4, 2, 1, 1]));
    wrong.save(dir.path("wrong.safetensors")).unwrap();
    dir.bad("export-onnx net.toml --weights wrong.safetensors -o d.onnx", 1, &["stem.weight", "[4, 2, 1, 1]", "\"stem.bias\" is missing"]);
    dir.bad("export-onnx net.toml --weights none.safetensors -o d.onnx", 1, &["none.safetensors"]);
    dir.bad("export-onnx net.toml --seed 1 --patch 20,16,16 -o d.onnx", 1, &["20", "multiple of 16"]);
    dir.bad("export-onnx net.toml --seed 1 -o nowhere/d.onnx", 1, &["nowhere"]);
    dir.bad("export-onnx net.toml --seed 1 -o -", 2, &["not text"]);
    dir.bad("export-onnx net.toml -o d.onnx", 2, &["--weights"]);

    let network = Config::from_toml(FLAT, "flat.toml").unwrap();
    let graph = build(&network, 1, &[32, 32]).unwrap();
    let mut weights: Checkpoint =
        graph.params().iter().map(|&(key, v)| (key.to_string(), golden_weight("w", key, &graph.ty(v).shape))).collect();
    let mut stem = weights.get("stem.weight").unwrap().clone();
    stem.data[1] = f32::NAN;
    weights.insert("stem.weight", stem);
    weights.remove("stem.bias");
    let problems: Vec<String> = export(&graph, &weights).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("1 of 4 values are NaN") && problems[1].contains("stem.bias"), "{problems:?}");
}

#[test]
fn graphs_after_the_passes_export_as_well() {
    let dir = Scratch::new();
    for (i, options) in ["kernel_size = 3\ndeep_supervision = true\n", "kernel_size = 3\ngrn = true\n"].iter().enumerate() {
        dir.file("net.toml", &config(options));
        dir.good("compile net.toml --patch 32,16,16 --to graph -o core.mnx");
        dir.good("compile net.toml --patch 32,16,16 --to dispatch -o boxes.mnx");
        for graph in ["core", "boxes"] {
            dir.good(&format!("export-onnx {graph}.mnx --seed {i} -o {graph}.onnx"));
            sound(&decode(&dir.bytes(&format!("{graph}.onnx"))));
        }
    }
}

/// The output of ONNX Runtime, as raw little-endian values, one file per output.
const RUNNER: &str = "
import sys, numpy, onnxruntime
model, inputs, out = sys.argv[1:4]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
s = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
x = s.get_inputs()[0]
given = numpy.fromfile(inputs, dtype='<f4').reshape(x.shape)
for o, y in zip(s.get_outputs(), s.run(None, {x.name: given})):
    y.astype('<f8').tofile(f'{out}/{o.name}.f64')
";

/// A Python that has ONNX Runtime: the one of `make bench-peers`, or the user's.
fn python() -> Option<String> {
    let venv = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers-venv/bin/python");
    [venv, "python3"].into_iter().map(str::to_string).find(|p| {
        let probe = Command::new(p).args(["-c", "import numpy, onnxruntime"]).output();
        probe.is_ok_and(|o| o.status.success())
    })
}

/// Largest difference against the largest value; NaN never passes.
fn close(what: &str, want: &[f64], got: &[f64]) {
    assert_eq!(want.len(), got.len(), "{what}");
    let scale = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let worst = want.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0f64, |m, d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
    assert!(scale > 0.0 && worst <= 1e-4 * scale, "{what}: off by {worst} of {scale}");
}

fn runtime_output(python: &str, dir: &Scratch, model: &str, name: &str) -> Vec<f64> {
    let run = Command::new(python).args(["-c", RUNNER]).arg(dir.path(model)).arg(dir.path("x.f32")).arg(dir.path("")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    dir.bytes(&format!("{name}.f64")).chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn onnx_runtime_computes_what_the_interpreter_does() {
    let Some(python) = python() else {
        eprintln!("SKIPPED: no Python here can import onnxruntime, so the exported files were not run. `make bench-peers` installs it.");
        return;
    };
    let dir = Scratch::new();
    for (i, (name, options, batch, patch, more)) in NETWORKS.iter().enumerate() {
        let toml = config(options);
        dir.file("net.toml", &toml);
        let network = Config::from_toml(&toml, "net.toml").unwrap();
        let graph = build(&network, *batch, patch).unwrap();
        let weights: Checkpoint =
            graph.params().iter().map(|&(key, v)| (key.to_string(), golden_weight(&format!("case{i}"), key, &graph.ty(v).shape))).collect();
        weights.save(dir.path("w.safetensors")).unwrap();
        let x = det_input(&format!("onnx/{i}"), &network.input_shape(*batch, patch));
        std::fs::write(dir.path("x.f32"), x.data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        let arguments = format!("--weights w.safetensors -q -o net.onnx {more}");
        dir.good(&format!("export-onnx net.toml --batch {batch} --patch {} {arguments}", list(patch)));

        let flat = more.contains("softmax");
        let outputs = Interpreter::<f64>::new().run(&graph, &weights, &[("input", &Array::from_tensor(&x))]).unwrap().outputs;
        let kept = if more.contains("main") { 1 } else { outputs.len() };
        for (output, want) in &outputs[..kept] {
            let want = if flat { softmax(&want.data, want.shape[0], want.shape[1]) } else { want.data.clone() };
            close(&format!("{name}, {output}"), &want, &runtime_output(&python, &dir, "net.onnx", output));
        }
        // The same network after the passes, whose ops are others.
        if !flat && !more.contains("main") {
            for stage in ["graph", "dispatch"] {
                dir.good(&format!("compile net.toml -q --batch {batch} --patch {} --to {stage} -o net.mnx", list(patch)));
                dir.good(&format!("export-onnx net.mnx {arguments}"));
                for (output, want) in &outputs {
                    close(&format!("{name} at stage {stage}, {output}"), &want.data, &runtime_output(&python, &dir, "net.onnx", output));
                }
            }
        }
    }
    labels(&python, &dir);
    odd_ops(&python, &dir);
}

/// What no MedNeXt config makes: several channels per group, a bias of its own, normalisation without affine.
fn odd_ops(python: &str, dir: &Scratch) {
    for shape in [&[2usize, 6, 3, 4, 5][..], &[1, 6, 5, 7]] {
        let mut g = Graph::new("odd", Stage::Model);
        let mut x = g.input("input", TensorType::f32(shape));
        let [gamma, beta, bias] = ["gamma", "beta", "bias"].map(|key| g.param(key, TensorType::f32(&[6])).unwrap());
        let norm = NormAttrs { groups: 2, eps: 1e-3 };
        let apply = ApplyAttrs { groups: 2 };
        let mut push = |op: Op, operands: &[ValueId], name: &str| g.push(op, operands, &Loc::layer(name)).unwrap();
        x = push(Op::NormGroup(norm.clone()), &[x, gamma, beta], "a");
        x = push(Op::AddBias(NoAttrs {}), &[x, bias], "b");
        let stats = push(Op::NormStats(norm.clone()), &[x], "c");
        x = push(Op::NormApply(apply.clone()), &[x, stats, beta, gamma], "d");
        x = push(Op::Scatter(StrideAttrs { stride: 3 }), &[x], "e");
        x = push(Op::AddBias(NoAttrs {}), &[x, beta], "f");
        let stats = push(Op::NormStats(norm), &[x], "g");
        x = push(Op::NormApply(apply), &[x, stats], "h");
        x = push(Op::PadFront(NoAttrs {}), &[x], "i");
        let y = push(Op::NormLayer(LayerAttrs { eps: 1e-5 }), &[x], "i");
        let sum = push(Op::SumValues(NoAttrs {}), &[x, y, x], "j");
        let alone = push(Op::SumValues(NoAttrs {}), &[y], "k");
        g.output("plain", x);
        g.output("layer", y);
        g.output("again", y);
        g.output("sum", sum);
        g.output("alone", alone);
        let weights: Checkpoint =
            g.params().iter().map(|&(key, v)| (key.to_string(), golden_weight("odd", &format!("{key}.weight"), &g.ty(v).shape))).collect();
        let bytes = export(&g, &weights).unwrap();
        sound(&decode(&bytes));
        std::fs::write(dir.path("odd.onnx"), bytes).unwrap();
        let x = det_input("onnx/odd", shape);
        std::fs::write(dir.path("x.f32"), x.data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        let outputs = Interpreter::<f64>::new().run(&g, &weights, &[("input", &Array::from_tensor(&x))]).unwrap().outputs;
        for (output, want) in &outputs {
            close(&format!("odd ops, {output}"), &want.data, &runtime_output(python, dir, "odd.onnx", output));
        }
    }
}

/// Soft-max over the second axis.
fn softmax(x: &[f64], n: usize, c: usize) -> Vec<f64> {
    let voxels = x.len() / n / c;
    let mut y = x.to_vec();
    for sample in y.chunks_exact_mut(c * voxels) {
        for v in 0..voxels {
            let sum: f64 = (0..c).map(|i| sample[i * voxels + v].exp()).sum();
            for i in 0..c {
                sample[i * voxels + v] = sample[i * voxels + v].exp() / sum;
            }
        }
    }
    y
}

/// Arg-max: equal but where two classes are as good as equal.
fn labels(python: &str, dir: &Scratch) {
    dir.file("net.toml", FLAT);
    let network = Config::from_toml(FLAT, "net.toml").unwrap();
    let graph = build(&network, 1, &[64, 32]).unwrap();
    let weights: Checkpoint =
        graph.params().iter().map(|&(key, v)| (key.to_string(), golden_weight("labels", key, &graph.ty(v).shape))).collect();
    weights.save(dir.path("w.safetensors")).unwrap();
    let x = det_input("onnx/labels", &network.input_shape(1, &[64, 32]));
    std::fs::write(dir.path("x.f32"), x.data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    dir.good("export-onnx net.toml -q --patch 64,32 --weights w.safetensors --output argmax -o net.onnx");
    let got = runtime_output(python, dir, "net.onnx", "out_0");
    let logits = Interpreter::<f64>::new().run(&graph, &weights, &[("input", &Array::from_tensor(&x))]).unwrap().outputs.remove(0).1.data;
    let (first, second) = logits.split_at(got.len());
    for ((a, b), label) in first.iter().zip(second).zip(&got) {
        assert!(*label == f64::from(u8::from(b > a)) || (a - b).abs() < 1e-4, "{a} {b} gave {label}");
    }
    assert!(got.contains(&0.0) && got.contains(&1.0), "one class everywhere shows nothing");
}
