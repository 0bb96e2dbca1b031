//! What training adds to the text form and the verifier: states, updates, labels, sums of many values, several graphs in a file.
#![allow(clippy::unwrap_used)]

use mnx_ir::dataflow::dot;
use mnx_ir::infer::infer;
use mnx_ir::parse::{parse, parse_module};
use mnx_ir::print::print;
use mnx_ir::verify::verify;
use mnx_ir::*;

const STEP: &str = r#"graph @step(%x: f32[2,4,4,4,4], %target: i32[2,4,4,4]) -> (y: f32[2,4,4,4,4]) stage=train {
  %0 = param "conv.weight" : f32[4,4,1,1,1]
  %1 = param "norm.weight" : f32[4]
  %2 = state "adam.m/conv.weight" : f32[4,4,1,1,1]
  %3 = weight.scale_in %0, %1 : f32[4,4,1,1,1]
  %4 = conv.pointwise %x, %3 {stride=1} : f32[2,4,4,4,4]
  %5 = sum.values %4, %x, %4 : f32[2,4,4,4,4]
  %6 = weight.transpose_io %0 : f32[4,4,1,1,1]
  %7 = sum.values %2, %6, %0 : f32[4,4,1,1,1]
  update "adam.m/conv.weight" = %7
  update "conv.weight" = %6
  return %5
}
"#;

const INFER: &str = r#"graph @infer(%x: f32[1,4,8,8,8]) -> (y: f32[1,4,8,8,8]) stage=graph {
  %0 = param "conv.weight" : f32[4,4,1,1,1]
  %1 = conv.pointwise %x, %0 {stride=1} : f32[1,4,8,8,8]
  return %1
}
"#;

fn both() -> String {
    format!("{STEP}\n{INFER}")
}

/// `STEP` with the ops on activations in a box.
fn boxed() -> String {
    STEP.replace("stage=train", "stage=dispatch")
        .replace("  %4", "  dispatch @step.0 : fragment {\n  %4")
        .replace("  %6 = weight.transpose_io %0", "  } yield %5\n  %6 = weight.transpose_io %0")
        .replace("f32[2,4,4,4,4]\n", "f32[2,4,4,4,4] as alone\n")
}

#[test]
fn states_updates_and_modules_round_trip() {
    let g = parse(STEP, "step.mnx").unwrap();
    verify(&g).unwrap();
    assert_eq!(print(&g), STEP);
    assert_eq!(g.updates().iter().map(|(k, _)| k.as_str()).collect::<Vec<_>>(), ["adam.m/conv.weight", "conv.weight"]);
    assert_eq!(g.states().len(), 1);
    assert!(g.is_kept(g.updates()[0].1) && !g.is_output(g.updates()[0].1) && g.is_kept(g.outputs()[0].1));
    verify(&parse(&boxed(), "boxed.mnx").unwrap()).unwrap();
    let module = parse_module(&both(), "both.mnx").unwrap();
    module.verify().unwrap();
    assert_eq!(module.to_string(), both());
    assert_eq!(print(module.graph("infer").unwrap()), INFER);
    assert!(module.graph("eval").unwrap_err().message.contains("expected one of @step, @infer"));
    // Comments and empty lines between graphs go, the graphs stay.
    assert_eq!(parse_module(&format!("// a\n\n{STEP}// b\n{INFER}\n\n"), "t").unwrap().to_string(), both());
    let drawn = dot(&g);
    assert!(drawn.contains("\"update conv.weight\"") && drawn.contains("\"out y\""), "{drawn}");
}

#[test]
fn an_update_inside_a_box_is_yielded() {
    let text = boxed()
        .replace("update \"conv.weight\" = %6", "update \"conv.weight\" = %8")
        .replace("  } yield %5", "  %8 = weight.scale_in %9, %1 : f32[4,4,1,1,1] as alone\n  } yield %5, %8");
    // A gradient: a value of a weight's shape that depends on an input.
    let text = text.replace("%target", "%g: f32[4,4,1,1,1], %target").replace("%9", "%g");
    let g = parse(&text, "t.mnx").unwrap();
    verify(&g).unwrap();
    assert_eq!(print(&parse(&print(&g), "again").unwrap()), print(&g));
    let not_yielded = parse(&text.replace("yield %5, %8", "yield %5"), "t.mnx").unwrap_err();
    assert!(not_yielded[0].code == "ir-0105", "{not_yielded:?}");
    // Outside of a box the same op has no place, and at stage graph it has none at all.
    let outside = text.replace(
        "  %8 = weight.scale_in %g, %1 : f32[4,4,1,1,1] as alone\n  } yield %5, %8",
        "  } yield %5\n  %8 = weight.scale_in %g, %1 : f32[4,4,1,1,1]",
    );
    assert_eq!(codes(&outside), ["ir-0118"]);
}

/// Codes of everything that is wrong with a text.
fn codes(text: &str) -> Vec<&'static str> {
    let found = match parse_module(text, "t.mnx") {
        Ok(module) => module.verify().err().unwrap_or_default(),
        Err(errors) => errors,
    };
    found.iter().map(|d| d.code).collect()
}

#[test]
fn every_mistake_has_its_code() {
    let update = "  update \"conv.weight\" = %6\n";
    let with = |line: &str| STEP.replacen(update, line, 1);
    let cases: &[(&str, String, &[&str])] = &[
        ("nothing", STEP.into(), &[]),
        ("no updates", with("  update \"adam.m/conv.weight\" = %7\n").replacen("  update \"adam.m/conv.weight\" = %7\n", "", 1), &[]),
        ("twice", with("  update \"adam.m/conv.weight\" = %6\n"), &["ir-0122"]),
        ("unknown key", with("  update \"conv.weigth\" = %6\n"), &["ir-0122"]),
        ("other type", with("  update \"conv.weight\" = %5\n"), &["ir-0122"]),
        ("undefined", with("  update \"conv.weight\" = %99\n"), &["ir-0101"]),
        ("no key", with("  update conv.weight = %6\n"), &["ir-0101"]),
        ("no value", with("  update \"conv.weight\" =\n"), &["ir-0101"]),
        ("two values", with("  update \"conv.weight\" = %6, %6\n"), &["ir-0101"]),
        ("a state twice", STEP.replacen("  %3 =", "  %z = state \"adam.m/conv.weight\" : f32[4,4,1,1,1]\n  %3 =", 1), &["ir-0103"]),
        ("a param and a state", STEP.replacen("state \"adam.m/conv.weight\"", "state \"norm.weight\"", 1), &["ir-0103", "ir-0122"]),
        ("a state without key", STEP.replacen("state \"adam.m/conv.weight\"", "state", 1), &["ir-0101", "ir-0101", "ir-0101"]),
        ("stage graph", STEP.replacen("train", "graph", 1), &["ir-0121", "ir-0121", "ir-0121"]),
        ("stage model", STEP.replacen("train", "model", 1), &["ir-0121", "ir-0121", "ir-0121"]),
        ("sugar", STEP.replacen("  %5 =", "  %s = norm.group %4, %1, %1 {groups=4, eps=1e-5} : f32[2,4,4,4,4]\n  %5 =", 1), &["ir-0113"]),
        ("nothing to sum", STEP.replacen("sum.values %4, %x, %4", "sum.values", 1), &["ir-0107"]),
        ("other shapes", STEP.replacen("sum.values %4, %x, %4", "sum.values %4, %x, %1", 1), &["ir-0107"]),
        ("labels are no numbers", STEP.replacen("sum.values %4, %x, %4", "sum.values %target", 1), &["ir-0107"]),
        ("a name twice", format!("{STEP}{}", INFER.replacen("@infer", "@step", 1)), &["ir-0111"]),
        ("another shape", format!("{STEP}{}", INFER.replacen("\"conv.weight\"", "\"norm.weight\"", 1)), &["ir-0123"]),
        ("a param here, a state there", format!("{STEP}{}", INFER.replacen("\"conv.weight\"", "\"adam.m/conv.weight\"", 1)), &["ir-0123"]),
        ("not closed", both().replacen("}\n", "", 1), &["ir-0102"]),
        ("text between", format!("{STEP}gelu\n{INFER}"), &["ir-0101"]),
        ("update in a box", boxed().replacen("  } yield", "  update \"norm.weight\" = %1\n  } yield", 1), &["ir-0101"]),
        ("a state in a box", boxed().replacen("  %5 =", "  %z = state \"z\" : f32[4] as alone\n  %5 =", 1), &["ir-0116"]),
        (
            "a weight in a box",
            boxed().replacen("  %5 =", "  %z = weight.transpose_io %0 : f32[4,4,1,1,1] as alone\n  %5 =", 1),
            &["ir-0116"],
        ),
        ("empty", "// nothing\n".into(), &["ir-0102"]),
    ];
    for (what, text, want) in cases {
        assert_eq!(codes(text), *want, "{what}:\n{text}");
    }
}

#[test]
fn messages_say_what_was_expected() {
    let message = |text: &str| match parse_module(text, "t.mnx") {
        Ok(module) => module.verify().unwrap_err()[0].to_string(),
        Err(errors) => errors[0].to_string(),
    };
    let one = parse(&both(), "both.mnx").unwrap_err()[0].to_string();
    assert!(one.contains("both.mnx: the text holds 2 graphs (@step, @infer), expected one"), "{one}");
    let m = message(&STEP.replacen("update \"conv.weight\" = %6", "update \"conv.weight\" = %5", 1));
    assert!(m.contains("\"conv.weight\" has type f32[2,4,4,4,4], expected f32[4,4,1,1,1]"), "{m}");
    let m = message(&STEP.replacen("sum.values %4, %x, %4", "sum.values", 1));
    assert!(m.contains("takes 1 or more operands (values...), got 0") && m.contains("t.mnx:7:3"), "{m}");
    assert!(m.contains("  note: in `%5 = sum.values : f32[2,4,4,4,4]`"), "{m}");
    let m = message(&format!("{STEP}{}", INFER.replacen("\"conv.weight\"", "\"norm.weight\"", 1)));
    assert!(m.contains("@step declares param \"norm.weight\" : f32[4], @infer declares param \"norm.weight\" : f32[4,4,1,1,1]"), "{m}");
    // A long line is cut, at a letter and not within one.
    let m = message(&STEP.replacen("sum.values %4, %x, %4", &format!("sum.values \"{}\"", "ä".repeat(400)), 1));
    assert!(m.contains("äää...`") && m.lines().all(|l| l.chars().count() < 200), "{m}");
}

#[test]
fn weights_are_told_by_what_they_depend_on() {
    let g = parse(STEP, "t").unwrap();
    let weight: Vec<bool> = g.order().iter().map(|&id| g.is_weight(g.result(id))).collect();
    assert_eq!(weight, [true, true, true, true, false, false, true, true]);
    assert!(!g.is_weight(g.inputs()[0].1));
    // A weight's use is shunted to an activation: everything behind it follows, in one walk.
    let mut g = Graph::new("g", Stage::Train);
    let ty = TensorType::f32(&[4]);
    let (x, w) = (g.input("x", ty.clone()), g.param("w", ty.clone()).unwrap());
    let push = |g: &mut Graph, op: Op, x: &[ValueId]| g.push(op, x, &Loc::default()).unwrap();
    let a = push(&mut g, Op::WeightAdd(NoAttrs {}), &[w, w]);
    let b = push(&mut g, Op::SumValues(NoAttrs {}), &[a, w]);
    g.update("w", b);
    assert!(g.is_weight(b));
    let mut patch = Patch::new("to-activation", &g, g.def(a).unwrap());
    let y = patch.push(&g, Op::SumValues(NoAttrs {}), &[x, w]).unwrap();
    assert!(!patch.is_weight(&g, y) && patch.is_weight(&g, w));
    patch.shunt(a, y);
    g.apply(patch);
    assert!(!g.is_weight(b) && !g.is_weight(g.updates()[0].1));
    let mut patch = Patch::new("to-weight", &g, g.def(b).unwrap());
    patch.shunt(b, w);
    g.apply(patch);
    assert!(g.is_weight(g.updates()[0].1), "updates follow shunts");
    g.output("y", w);
    verify(&g).unwrap();
}

#[test]
fn named_tensors_are_found_or_declared_once() {
    let mut g = Graph::new("g", Stage::Train);
    let ty = TensorType::f32(&[4]);
    let (w, m) = (g.param("w", ty.clone()).unwrap(), g.state("m", ty.clone()).unwrap());
    assert_eq!((g.param("w", ty.clone()).unwrap(), g.state("m", ty.clone()).unwrap()), (w, m));
    assert_eq!(g.def(m), g.leaf("m"));
    let message = g.state("w", ty.clone()).unwrap_err().message;
    assert!(message.contains("state \"w\" is declared as param f32[4] and as state f32[4]"), "{message}");
    let message = g.state("m", TensorType::f32(&[5])).unwrap_err().message;
    assert!(message.contains("f32[4]") && message.contains("f32[5]"), "{message}");
    assert_eq!(g.order().len(), 2);
}

#[test]
fn labels_are_no_activations() {
    let labels = TensorType::new(DType::I32, &[2, 4, 4, 4]);
    let image = TensorType::f32(&[2, 4, 4, 4]);
    assert!(!labels.is_activation() && image.is_activation() && !TensorType::f32(&[2, 4, 4]).is_activation());
    for (op, operands) in
        [(Op::Gelu(NoAttrs {}), vec![&labels]), (Op::Argmax(NoAttrs {}), vec![&labels]), (Op::Add(NoAttrs {}), vec![&image, &labels])]
    {
        let why = infer(&op, &operands).unwrap_err();
        assert!(why.contains("i32[2,4,4,4]") && why.contains("labels"), "{why}");
    }
    let g = parse("graph @g(%t: i32[2,4,4,4]) -> (t: i32[2,4,4,4]) stage=train {\n  return %t\n}\n", "t").unwrap();
    verify(&g).unwrap();
}

#[test]
fn hostile_modules_never_panic() {
    let text = both();
    for n in 0..text.len() {
        let _ = parse_module(&text[..n], "cut");
        for byte in [b'}', b'9', b' ', b'%', b'"', b'u', b'\n'] {
            let mut bytes = text.as_bytes().to_vec();
            bytes[n] = byte;
            if let Ok(text) = String::from_utf8(bytes)
                && let Ok(module) = parse_module(&text, "mutated")
            {
                let _ = module.verify();
                let again = parse_module(&module.to_string(), "again").unwrap();
                assert_eq!(again.to_string(), module.to_string());
            }
        }
    }
    // Without an end to errors, reading stops.
    assert!(parse_module(&"graph\n".repeat(10_000), "many").unwrap_err().len() <= 200);
    assert!(parse_module(&"\u{1}\n".repeat(10_000), "many").unwrap_err().len() <= 200);
}
