//! The text form and the verifier: exact round trip, and every kind of mistake named.
#![allow(clippy::unwrap_used)]

use mnx_ir::dataflow::{Dataflow, dot};
use mnx_ir::parse::parse;
use mnx_ir::print::print;
use mnx_ir::verify::verify;
use mnx_ir::*;

const BLOCK: &str = r#"// a block
graph @block(%x: f32[1,32,16,17,9]) -> (out_0: f32[1,32,16,17,9]) stage=graph {
  %0 = param "conv1.weight" : f32[32,1,3,3,3]
  %1 = param "conv2.weight" : f32[64,32,1,1,1]
  %2 = param "conv3.weight" : f32[32,64,1,1,1]
  %3 = param "norm.weight" : f32[32]
  %4 = weight.scale_in %1, %3 : f32[64,32,1,1,1] loc("a \"quoted\" \\ layer\n")
  %5 = conv.depthwise %x, %0 {stride=1, pad=1} : f32[1,32,16,17,9] loc("conv1")
  %6 = norm.stats %5 {groups=32, eps=1e-5} : f32[1,2,32]
  %7 = norm.apply %5, %6 {groups=32} : f32[1,32,16,17,9]:channels_last
  %8 = conv.pointwise %7, %4 {stride=1} : f32[1,64,16,17,9]:channels_last
  %9 = gelu %8 : f32[1,64,16,17,9]:channels_last
  %10 = conv.pointwise %9, %2 {stride=1} : f32[1,32,16,17,9]
  %11 = add %x, %10 : f32[1,32,16,17,9]
  return %11
}
"#;

fn boxed() -> String {
    let mut g = parse(BLOCK, "block.mnx").unwrap();
    g.stage = Stage::Dispatch;
    let core: Vec<OpId> = g.order().iter().copied().filter(|&id| !g.is_weight(g.result(id))).collect();
    let (a, b) = (g.add_dispatch("block.dwconv_stats", Pattern::Conv), g.add_dispatch("block.norm_mlp", Pattern::Mlp));
    let parts = [Part::Conv, Part::Stats, Part::Norm, Part::Expand, Part::Gelu, Part::Compress, Part::Sum];
    for (i, (id, part)) in core.iter().zip(parts).enumerate() {
        g.set_dispatch(*id, Some((if i < 2 { a } else { b }, part)));
    }
    verify(&g).unwrap();
    print(&g)
}

#[test]
fn text_round_trips_exactly() {
    for text in [BLOCK.trim_start_matches("// a block\n").to_string(), boxed()] {
        let g = parse(&text, "t.mnx").unwrap();
        assert_eq!(print(&g), text);
        verify(&g).unwrap();
    }
    assert!(boxed().contains("} yield %5, %6\n"), "{}", boxed());
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let cases: &[(&str, &str, &str)] = &[
        ("conv.depthwise %x", "conv.depthwse %x", "unknown op `conv.depthwse`, did you mean `conv.depthwise`?"),
        ("f32[32,1,3,3,3]", "f32[16,1,3,3,3]", "weight has 16 filters, input has 32 channels"),
        ("stride=1, pad=1", "stride=1", "attribute `pad` is missing"),
        ("stride=1, pad=1", "stride=0, pad=1", "stride must be at least 1"),
        ("stride=1, pad=1", "stride=1, pad=1, dilation=2", "unknown attribute `dilation`, expected stride, pad"),
        ("stride=1, pad=1", "stride=99999999999, pad=1", "99999999999 is too large"),
        ("{groups=32, eps=1e-5}", "{groups=5, eps=1e-5}", "32 channels cannot be divided into 5 groups"),
        ("eps=1e-5", "eps=inf", "expected a number, got `inf`"),
        ("%9 = gelu %8", "%9 = gelu %12", "%12 is not defined above"),
        ("%9 = gelu %8", "%8 = gelu %8", "%8 is defined twice"),
        ("add %x, %10", "add %x, %9", "cannot add"),
        ("return %11", "return %11, %x", "returns 2 values, the header declares 1"),
        ("return %11", "", "the graph has no return"),
        ("stage=graph", "stage=grph", "unknown stage `grph`"),
        ("\"conv1.weight\"", "\"conv1.weight", "unclosed quote"),
        (": f32[32]\n", ": f31[32]\n", "unknown element type `f31`"),
        (": f32[32]\n", ": f32[99999999999999]\n", "is not an extent below 2^31"),
        ("%11 = add", "%11 = ?add", "unexpected character `?`"),
        ("\n}\n", "\n", "the graph is not closed by }"),
    ];
    for (from, to, want) in cases {
        let text = BLOCK.replacen(from, to, 1);
        assert_ne!(&text, BLOCK, "{from}");
        let errors = parse(&text, "bad.mnx").expect_err(to);
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(all.iter().any(|e| e.contains(want) && e.contains("bad.mnx")), "{to}: {all:#?}");
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    let text = BLOCK.replace("f32[32,1,3,3,3]", "f32[16,1,3,3,3]").replace("groups=32, eps", "groups=3, eps");
    assert!(parse(&text, "bad.mnx").unwrap_err().len() >= 2);
}

#[test]
fn verifier_finds_what_the_parser_cannot() {
    let g = parse(BLOCK, "b").unwrap();
    let message = |g: &Graph| verify(g).unwrap_err().iter().map(|d| d.message.clone()).collect::<Vec<_>>().join("; ");

    let mut late = g.clone();
    let mut order = late.order().to_vec();
    let last = order.len() - 1;
    order.swap(last, last - 1);
    late.set_order(order);
    assert!(message(&late).contains("is used before it is defined"));

    let mut loose = g.clone();
    loose.stage = Stage::Dispatch;
    assert!(message(&loose).contains("conv.depthwise stands in no dispatch"));

    let mut torn = g.clone();
    torn.stage = Stage::Dispatch;
    let core: Vec<OpId> = torn.order().iter().copied().skip(5).collect();
    let (a, b) = (torn.add_dispatch("a", Pattern::Fragment), torn.add_dispatch("b", Pattern::Fragment));
    for (i, id) in core.iter().enumerate() {
        torn.set_dispatch(*id, Some((if i % 2 == 0 { a } else { b }, Part::Alone)));
    }
    assert!(message(&torn).contains("is not contiguous"));

    let mut sugar = Graph::new("s", Stage::Graph);
    let x = sugar.input("x", TensorType::f32(&[1, 4, 2, 2]));
    let w = sugar.param("w", TensorType::f32(&[4])).unwrap();
    let y = sugar.push(Op::NormGroup(NormAttrs { groups: 4, eps: 1e-5 }), &[x, w, w], &Loc::layer("norm")).unwrap();
    sugar.output("y", y);
    assert!(message(&sugar).contains("norm.group is not legal at stage graph"));
    sugar.stage = Stage::Model;
    verify(&sugar).unwrap();

    let mut weight = g.clone();
    let (x, w) = (weight.inputs()[0].1, weight.params()[1].1);
    let v = weight.push_typed(Op::WeightScaleIn(NoAttrs {}), &[w, x], weight.ty(w).clone(), Loc::default());
    weight.output("v", v);
    assert!(message(&weight).contains("a derived weight reads an activation"));
}

#[test]
fn one_voxel_has_no_variance() {
    let mut g = Graph::new("s", Stage::Model);
    let x = g.input("x", TensorType::f32(&[1, 4, 1, 1, 1]));
    let w = g.param("w", TensorType::f32(&[4])).unwrap();
    let e = g.push(Op::NormGroup(NormAttrs { groups: 4, eps: 1e-5 }), &[x, w, w], &Loc::layer("norm")).unwrap_err();
    assert!(e.message.contains("one value per channel"), "{e}");
}

#[test]
fn views_follow_the_graph() {
    let g = parse(BLOCK, "b").unwrap();
    let flow = Dataflow::new(&g);
    assert_eq!(flow.order().unwrap().len(), g.order().len());
    let at = |n: u32| g.order()[n as usize];
    assert!(flow.reaches(at(5), at(11)) && !flow.reaches(at(11), at(5)));
    assert!(flow.is_convex(&[at(5), at(6)]));
    assert!(!flow.is_convex(&[at(5), at(7)]), "norm.stats lies between");
    assert!(dot(&g).contains("conv.depthwise"));
}

#[test]
fn the_table_is_complete() {
    for info in ops::OPS {
        assert_eq!(info.code.info().mnemonic, info.mnemonic);
        assert_eq!(OpCode::from_mnemonic(info.mnemonic), Some(info.code));
        assert!(!info.about.trim().is_empty());
        let operands = info.operands.list;
        let first_optional = operands.iter().position(|o| o.optional).unwrap_or(operands.len());
        assert!(operands[first_optional..].iter().all(|o| o.optional), "{}", info.mnemonic);
    }
}

#[test]
fn hostile_text_never_panics() {
    // Every prefix and every single-byte change of a good text is read or refused, never a panic.
    for n in 0..BLOCK.len() {
        let _ = parse(&BLOCK[..n], "cut");
        for byte in [b'{', b'9', b' ', b'%', b'"'] {
            let mut bytes = BLOCK.as_bytes().to_vec();
            bytes[n] = byte;
            if let Ok(text) = String::from_utf8(bytes)
                && let Ok(g) = parse(&text, "mutated")
            {
                let _ = verify(&g);
            }
        }
    }
}
