//! Whole graphs: errors, the observer, boxes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use mnx_interp::{Array, InterpError, Interpreter, Results};
use mnx_ir::{ConvAttrs, Graph, Loc, NoAttrs, Op, Part, Pattern, Stage, StrideAttrs, TensorType};
use mnx_weights::{Checkpoint, Tensor, WeightsError};

/// `gelu(W x) + W x`, and `W x` itself.
fn graph() -> Graph {
    let mut g = Graph::new("g", Stage::Model);
    let x = g.input("input", TensorType::f32(&[1, 2, 2, 2]));
    let w = g.param("w", TensorType::f32(&[2, 2, 1, 1])).unwrap();
    let y = g.push(Op::ConvPointwise(StrideAttrs { stride: 1 }), &[x, w], &Loc::layer("conv")).unwrap();
    let a = g.push(Op::Gelu(NoAttrs {}), &[y], &Loc::layer("act")).unwrap();
    let s = g.push(Op::Add(NoAttrs {}), &[y, a], &Loc::layer("add")).unwrap();
    g.output("out_0", s);
    g.output("out_1", y);
    g
}

fn weights() -> Checkpoint {
    [("w".to_string(), Tensor::new(vec![2, 2, 1, 1], vec![1.0, 2.0, 0.5, -1.0]))].into_iter().collect()
}

fn input() -> Array<f64> {
    Array::new(&[1, 2, 2, 2], vec![1.0, 2.0, 3.0, 4.0, -1.0, 0.0, 1.0, 2.0])
}

#[test]
fn runs_and_shows_every_result() {
    let (g, x) = (graph(), input());
    let mut seen = Vec::new();
    let run = Interpreter::<f64>::new();
    let results = run.run_observed(&g, &weights(), &[("input", &x)], &mut |id, v| seen.push((id, v.clone()))).unwrap();
    let outputs = &results.outputs;
    assert_eq!(seen.len(), g.order().len());
    assert_eq!(outputs[0].0, "out_0");
    assert_eq!(outputs[1].1.data, [-1.0, 2.0, 5.0, 8.0, 1.5, 1.0, 0.5, 0.0]);
    assert_eq!(seen.last().unwrap().1, outputs[0].1);
    assert!(results.updates.is_empty());
    assert_eq!(run.run(&g, &weights(), &[("input", &x)]).unwrap(), results);
}

#[test]
fn boxes_make_no_difference() {
    let mut g = graph();
    let before = Interpreter::<f64>::new().run(&g, &weights(), &[("input", &input())]).unwrap();
    let order = g.order().to_vec();
    let d = g.add_dispatch("conv.mlp", Pattern::Fragment);
    for id in &order[1..] {
        g.set_dispatch(*id, Some((d, Part::Alone)));
    }
    g.stage = Stage::Dispatch;
    assert_eq!(Interpreter::<f64>::new().run(&g, &weights(), &[("input", &input())]).unwrap(), before);
}

#[test]
fn what_does_not_fit_is_named() {
    let (g, x, run) = (graph(), input(), Interpreter::<f64>::new());
    let message = |r: Result<Results<f64>, InterpError>| r.unwrap_err().to_string();
    assert!(message(run.run(&g, &weights(), &[])).contains("input \"input\" is missing"));
    let m = message(run.run(&g, &weights(), &[("input", &x), ("image", &x)]));
    assert!(m.contains("no input \"image\"") && m.contains("\"input\""), "{m}");
    let m = message(run.run(&g, &weights(), &[("input", &Array::zeros(&[1, 2, 3, 2]))]));
    assert!(m.contains("[1, 2, 3, 2]") && m.contains("[1, 2, 2, 2]"), "{m}");
    let missing = run.run(&g, &Checkpoint::new(), &[("input", &x)]).unwrap_err();
    assert!(matches!(missing, InterpError::Weights(WeightsError::Missing(key)) if key == "w"));
    let other: BTreeMap<String, Array<f64>> = [("w".to_string(), Array::zeros(&[4]))].into();
    assert!(message(run.run(&g, &other, &[("input", &x)])).contains("[4]"));
}

#[test]
fn unsound_graphs_are_refused_not_run() {
    let (x, run) = (input(), Interpreter::<f64>::new());
    // A declared type that does not follow.
    let mut g = graph();
    let y = g.result(g.order()[1]);
    let wide = g.push_typed(Op::Gelu(NoAttrs {}), &[y], TensorType::f32(&[1, 2, 9, 9]), Loc::layer("wide"));
    g.output("out_2", wide);
    assert!(run.run(&g, &weights(), &[("input", &x)]).unwrap_err().to_string().contains("wide"));
    // Operands that do not fit their op.
    let mut g = graph();
    let input = g.inputs()[0].1;
    let bad = g.push_typed(Op::ConvDepthwise(ConvAttrs { stride: 1, pad: 1 }), &[input], TensorType::f32(&[1, 2, 2, 2]), Loc::layer("bad"));
    g.output("out_2", bad);
    assert!(run.run(&g, &weights(), &[("input", &x)]).unwrap_err().to_string().contains("takes 2 to 3 operands"));
    // A value read before it is made.
    let mut g = graph();
    let mut order = g.order().to_vec();
    order.swap(1, 2);
    g.set_order(order);
    assert!(run.run(&g, &weights(), &[("input", &x)]).unwrap_err().to_string().contains("before it is defined"));
    // An output that was dropped.
    let mut g = graph();
    let order = g.order()[..3].to_vec();
    g.set_order(order);
    assert!(run.run(&g, &weights(), &[("input", &x)]).unwrap_err().to_string().contains("out_0"));
}

/// A step of gradient descent with momentum, the gradient being an input: `m' = m + g`, `w' = w + m'`.
fn step() -> Graph {
    let mut g = Graph::new("step", Stage::Train);
    let ty = TensorType::f32(&[1, 2, 2, 2]);
    let grad = g.input("grad", ty.clone());
    let (w, m) = (g.param("w", ty.clone()).unwrap(), g.state("m/w", ty).unwrap());
    let m1 = g.push(Op::Add(NoAttrs {}), &[m, grad], &Loc::layer("moment")).unwrap();
    let w1 = g.push(Op::SumValues(NoAttrs {}), &[w, m1], &Loc::layer("step")).unwrap();
    let y = g.push(Op::Gelu(NoAttrs {}), &[w], &Loc::layer("read")).unwrap();
    g.output("y", y);
    g.update("w", w1);
    g.update("m/w", m1);
    mnx_ir::verify::verify(&g).unwrap();
    g
}

#[test]
fn updates_stand_beside_outputs_and_reads_see_the_old_value() {
    let run = Interpreter::<f64>::new();
    let full = |v: f64| Array::new(&[1, 2, 2, 2], vec![v; 8]);
    let mut memory: BTreeMap<String, Array<f64>> = [("w".to_string(), full(1.0)), ("m/w".to_string(), full(10.0))].into();
    let phi = 0.841_344_746_068_542_9;
    for (want_w, want_m, want_y) in [(111.0, 110.0, phi), (321.0, 210.0, 111.0)] {
        let results = run.run(&step(), &memory, &[("grad", &full(100.0))]).unwrap();
        assert_eq!(results.updates, [("w".to_string(), full(want_w)), ("m/w".to_string(), full(want_m))]);
        assert!((results.outputs[0].1.data[0] - want_y).abs() < 1e-12, "{results:?}");
        memory.extend(results.updates);
    }
}

#[test]
fn what_an_update_lacks_is_named() {
    let run = Interpreter::<f64>::new();
    let full = |v: f64| Array::new(&[1, 2, 2, 2], vec![v; 8]);
    let memory: BTreeMap<String, Array<f64>> = [("w".to_string(), full(1.0)), ("m/w".to_string(), full(10.0))].into();
    let message = |g: &Graph, memory: &BTreeMap<String, Array<f64>>| run.run(g, memory, &[("grad", &full(1.0))]).unwrap_err().to_string();
    let mut none = memory.clone();
    none.remove("m/w");
    assert!(message(&step(), &none).contains("m/w"));
    let mut g = step();
    g.update("other", g.inputs()[0].1);
    assert!(
        message(&g, &memory).contains("update \"other\"") && message(&g, &memory).contains("none of this key"),
        "{}",
        message(&g, &memory)
    );
    let mut g = step();
    let order = g.order()[..3].to_vec();
    g.set_order(order);
    g.set_outputs(vec![("y".to_string(), g.inputs()[0].1)]);
    assert!(message(&g, &memory).contains("update \"w\""), "{}", message(&g, &memory));
}

#[test]
fn labels_are_inputs_of_whole_numbers() {
    let mut g = Graph::new("labels", Stage::Graph);
    let x = g.input("input", TensorType::f32(&[1, 2, 2, 2]));
    let labels = g.input("target", TensorType::new(mnx_ir::DType::I32, &[1, 2, 2, 2]));
    let y = g.push(Op::Gelu(NoAttrs {}), &[x], &Loc::layer("act")).unwrap();
    g.output("y", y);
    g.output("labels", labels);
    mnx_ir::verify::verify(&g).unwrap();
    let t = Array::new(&[1, 2, 2, 2], vec![0.0, 1.0, 2.0, 3.0, -1.0, 0.0, 1.0, 2.0]);
    let results = Interpreter::<f64>::new().run(&g, &Checkpoint::new(), &[("input", &input()), ("target", &t)]).unwrap();
    assert_eq!(results.outputs[1].1, t);
}
