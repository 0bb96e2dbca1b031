//! Patterns of boxes and parts of ops: round trip, helpers, and every way to depart from a pattern.
#![allow(clippy::unwrap_used)]

use mnx_ir::parse::parse;
use mnx_ir::pattern::{PARTS, PATTERNS};
use mnx_ir::print::print;
use mnx_ir::verify::verify;
use mnx_ir::*;

/// Every part of a block once: an up block with GRN, and the heads behind it.
const BOXES: &str = r#"graph @boxes(%x: f32[1,2,4,4], %skip: f32[1,4,4,4], %small: f32[1,4,2,2]) -> (y: f32[1,4,4,4], out: f32[1,3,3,3], labels: i32[1,3,3], half: bf16[1,4,2,2]) stage=dispatch {
  %0 = param "stem" : f32[4,2,1,1]
  %1 = param "taps" : f32[4,1,3,3]
  %2 = param "square" : f32[4,4,1,1]
  %3 = param "vector" : f32[4]
  %4 = param "head" : f32[3,4,1,1]
  dispatch @grn : grn_stats {
    %5 = conv.pointwise %x, %0 {stride=1} : f32[1,4,4,4] as stem
    %6 = conv.depthwise %5, %1 {stride=1, pad=1} : f32[1,4,4,4] as conv
    %7 = norm.layer %6 {eps=1e-5} : f32[1,4,4,4] as norm
    %8 = conv.pointwise %7, %2 {stride=1} : f32[1,4,4,4] as expand
    %9 = gelu %8 : f32[1,4,4,4] as gelu
    %10 = grn.stats %9 {eps=1e-6, reduce=mean} : f32[1,4] as grn
  } yield %10
  dispatch @conv : conv {
    %11 = conv.pointwise %x, %0 {stride=1} : f32[1,4,4,4] as stem
    %12 = conv.depthwise %11, %1 {stride=1, pad=0} : f32[1,4,2,2] as conv
    %13 = norm.stats %12 {groups=4, eps=1e-5} : f32[1,2,4] as stats
  } yield %12, %13
  dispatch @res : pointwise {
    %14 = conv.pointwise %small, %2 {stride=1} : f32[1,4,2,2] as pointwise
  } yield %14
  dispatch @mlp : mlp {
    %15 = norm.apply %12, %13 {groups=4} : f32[1,4,2,2] as norm
    %16 = conv.pointwise %15, %2 {stride=1} : f32[1,4,2,2] as expand
    %17 = gelu %16 : f32[1,4,2,2] as gelu
    %18 = grn.apply %17, %10, %3, %3 : f32[1,4,2,2] as grn
    %19 = conv.pointwise %18, %2 {stride=1} : f32[1,4,2,2] as compress
    %20 = add %14, %19 : f32[1,4,2,2] as sum
  } yield %20
  dispatch @up : mlp {
    %21 = conv.pointwise %20, %2 {stride=1} : f32[1,4,2,2] as expand
    %22 = gelu %21 : f32[1,4,2,2] as gelu
    %23 = conv.pointwise %22, %2 {stride=1} : f32[1,4,2,2] as compress
    %24 = scatter %small {stride=1} : f32[1,4,2,2] as residual
    %25 = add.bias %24, %3 : f32[1,4,2,2] as bias
    %26 = add %23, %25 : f32[1,4,2,2] as sum
    %27 = pad.front %26 : f32[1,4,3,3] as pad
  } yield %27
  dispatch @pad : alone {
    %28 = pad.front %27 : f32[1,4,4,4] as alone
  } yield %28
  dispatch @last : mlp {
    %29 = conv.pointwise %27, %2 {stride=1} : f32[1,4,3,3] as expand
    %30 = gelu %29 : f32[1,4,3,3] as gelu
    %31 = conv.pointwise %30, %2 {stride=1} : f32[1,4,3,3] as compress
    %32 = add %27, %31 : f32[1,4,3,3] as sum
    %33 = conv.pointwise %32, %4 {stride=1} : f32[1,3,3,3] as head
  } yield %33
  dispatch @skip : mlp {
    %34 = conv.pointwise %27, %2 {stride=1} : f32[1,4,3,3] as expand
    %35 = gelu %34 : f32[1,4,3,3] as gelu
    %36 = conv.pointwise %35, %2 {stride=1} : f32[1,4,3,3] as compress
    %37 = pad.front %36 : f32[1,4,4,4] as pad
    %38 = add %skip, %37 : f32[1,4,4,4] as skip
  } yield %38
  dispatch @labels : classify {
    %39 = argmax %33 : i32[1,3,3] as classify
  } yield %39
  dispatch @rest : fragment {
    %40 = add %28, %38 : f32[1,4,4,4] as sum
    %41 = add %40, %40 : f32[1,4,4,4] as sum
  } yield %41
  dispatch @rounded : mlp {
    %42 = conv.pointwise %small, %2 {stride=1} : f32[1,4,2,2] as expand
    %43 = gelu %42 : f32[1,4,2,2] as gelu
    %44 = cast %43 {to=f16} : f16[1,4,2,2] as cast
    %45 = conv.pointwise %44, %2 {stride=1} : f32[1,4,2,2] as compress
    %46 = cast %45 {to=bf16} : bf16[1,4,2,2] as cast
  } yield %46
  return %41, %33, %39, %46
}
"#;

#[test]
fn boxes_round_trip_and_every_row_has_an_example() {
    let g = parse(BOXES, "boxes.mnx").unwrap_or_else(|e| panic!("{e:#?}"));
    assert_eq!(print(&g), BOXES);
    verify(&g).unwrap_or_else(|e| panic!("{e:#?}"));
    for row in PATTERNS {
        assert!(BOXES.contains(&format!(" : {} {{\n", row.name)), "{} has no example", row.name);
    }
    for row in PARTS {
        assert!(BOXES.contains(&format!(" as {}\n", row.name)), "{} has no example", row.name);
    }
}

#[test]
fn rows_hold_together() {
    for (&pattern, row) in Pattern::ALL.iter().zip(PATTERNS) {
        assert_eq!((pattern.info().name, row.name.parse()), (row.name, Ok(pattern)));
        assert!(row.about.trim().len() > 10);
        let all: Vec<Part> = row.needs.iter().chain(row.may).chain(row.many).copied().collect();
        assert!(!all.is_empty() && all.iter().enumerate().all(|(i, p)| !all[..i].contains(p)), "{pattern} names a part twice");
    }
    for (&part, row) in Part::ALL.iter().zip(PARTS) {
        assert_eq!((part.info().name, row.name.parse()), (row.name, Ok(part)));
        assert!(row.about.trim().len() > 10);
        assert!(
            PATTERNS.iter().filter(|p| p.name != "fragment").any(|p| [p.needs, p.may, p.many].concat().contains(&part)),
            "no pattern has the part {part}"
        );
    }
    assert!("nlp".parse::<Pattern>().unwrap_err().contains("unknown pattern `nlp`, expected one of conv, mlp"));
}

#[test]
fn parts_are_found() {
    let g = parse(BOXES, "boxes.mnx").unwrap();
    let (d, ops) = g.boxes().into_iter().find(|(d, _)| g.dispatch(*d).name == "up").unwrap();
    let parts = g.parts(d);
    assert_eq!(parts.iter().map(|(_, op)| *op).collect::<Vec<_>>(), ops);
    assert!(parts.iter().all(|&(part, op)| g.part(d, part) == Some(op)));
    assert_eq!(g.part(d, Part::Skip), None);
    let own = g.result(g.part(d, Part::Compress).unwrap());
    let bias = g.result(g.part(d, Part::Bias).unwrap());
    let sum = g.part(d, Part::Sum).unwrap();
    assert_eq!(g.other_operand(sum, own), Some(bias));
    assert_eq!(g.other_operand(sum, g.inputs()[0].1), None);
}

#[test]
fn every_departure_from_a_pattern_is_named() {
    let cases: &[(&str, &str, &str, &str)] = &[
        ("ir-0131", "@conv : conv {", "@conv : mlp {", "dispatch @conv : mlp: the part `expand` is missing"),
        ("ir-0131", "@conv : conv {", "@conv : alone {", "conv.depthwise stands as `conv`, which this pattern does not have"),
        (
            "ir-0131",
            "%25 = add.bias %24, %3 : f32[1,4,2,2] as bias",
            "%25 = gelu %24 : f32[1,4,2,2] as bias",
            "gelu cannot stand as `bias`",
        ),
        ("ir-0131", "%25 = add.bias %24, %3 : f32[1,4,2,2] as bias", "%25 = gelu %24 : f32[1,4,2,2] as gelu", "gelu is a second `gelu`"),
        ("ir-0131", "norm.layer %6 {eps=1e-5} : f32[1,4,4,4] as norm", "gelu %6 : f32[1,4,4,4] as norm", "gelu cannot stand as `norm`"),
        ("ir-0131", "%15 = norm.apply %12, %13 {groups=4}", "%15 = norm.layer %12 {eps=1e-5}", "the part `conv` is missing"),
        (
            "ir-0131",
            "%27 = pad.front %26 : f32[1,4,3,3] as pad",
            "%27 = pad.front %26 : f32[1,4,3,3] as skip",
            "pad.front cannot stand as `skip`, expected add",
        ),
        ("ir-0132", "conv.depthwise %11,", "conv.depthwise %5,", "`conv` reads a stored tensor, expected `stem`"),
        ("ir-0132", "norm.stats %12", "norm.stats %11", "`stats` reads `stem`, expected `conv`"),
        ("ir-0132", "%17 = gelu %16", "%17 = gelu %15", "`gelu` reads `norm`, expected `expand`"),
        ("ir-0132", "conv.pointwise %18,", "conv.pointwise %17,", "`compress` reads `gelu`, expected `grn`"),
        ("ir-0132", "%26 = add %23, %25", "%26 = add %23, %24", "`sum` reads `compress` and `residual`, expected `compress` and `bias`"),
        ("ir-0132", "%26 = add %23, %25", "%26 = add %25, %25", "`sum` reads `bias` and `bias`"),
        (
            "ir-0132",
            "%26 = add %23, %25",
            "%26 = add %14, %23",
            "`sum` reads a stored tensor and `compress`, expected `compress` and `bias`",
        ),
        ("ir-0132", "%27 = pad.front %26", "%27 = pad.front %23", "`sum` is read by no part of the box"),
        (
            "ir-0132",
            "%32 = add %27, %31",
            "%32 = add %31, %31",
            "`sum` reads `compress` and `compress`, expected `compress` and a stored tensor",
        ),
        ("ir-0132", "%40 = add %28, %38", "%40 = add %28, %37", "`pad` is read outside the box"),
        ("ir-0132", "%44 = cast %43", "%44 = cast %small", "`cast` reads a stored tensor, expected another part"),
        ("ir-0132", "%45 = conv.pointwise %44", "%45 = conv.pointwise %42", "`compress` reads `expand`, expected `gelu`"),
        ("ir-0132", "%45 = conv.pointwise %44", "%45 = conv.pointwise %43", "`cast` is read by no part of the box"),
        ("ir-0132", "%46 = cast %45", "%46 = cast %44", "`cast` is read outside the box"),
    ];
    for (code, from, to, want) in cases {
        let text = BOXES.replacen(from, to, 1);
        assert_ne!(text, BOXES, "{from}");
        let g = parse(&with_yields(&text), "boxes.mnx").unwrap_or_else(|e| panic!("{to}: {e:#?}"));
        let errors = verify(&g).expect_err(to);
        assert!(errors.iter().any(|e| e.code == *code && e.message.contains(want)), "{to}: {errors:#?}");
    }
}

#[test]
fn each_grn_stands_in_its_own_pattern() {
    let text = r#"graph @g(%x: f32[1,4,2,2], %r: f32[1,4]) -> (y: f32[1,4,2,2]) stage=dispatch {
  %0 = param "w" : f32[4,4,1,1]
  %1 = param "v" : f32[4]
  dispatch @d : grn_stats {
    %2 = conv.pointwise %x, %0 {stride=1} : f32[1,4,2,2] as expand
    %3 = gelu %2 : f32[1,4,2,2] as gelu
    %4 = grn.apply %3, %r, %1, %1 : f32[1,4,2,2] as grn
  } yield %4
  return %4
}
"#;
    let errors = verify(&parse(text, "g.mnx").unwrap()).unwrap_err();
    assert!(errors.iter().any(|e| e.message.contains("grn.apply cannot stand as `grn`, expected grn.stats")), "{errors:#?}");
}

#[test]
fn weights_come_from_outside_and_products_step_by_one() {
    // A convolution whose weight is a value of its own box.
    let text = r#"graph @g(%x: f32[4,4,1,1]) -> (y: f32[4,4,1,1]) stage=dispatch {
  %0 = param "w" : f32[4,4,1,1]
  dispatch @d : mlp {
    %1 = conv.pointwise %x, %0 {stride=1} : f32[4,4,1,1] as expand
    %2 = gelu %1 : f32[4,4,1,1] as gelu
    %3 = conv.pointwise %2, %2 {stride=1} : f32[4,4,1,1] as compress
  } yield %3
  return %3
}
"#;
    let errors = verify(&parse(text, "g.mnx").unwrap()).unwrap_err();
    assert!(errors.iter().any(|e| e.code == "ir-0132" && e.message.contains("reads `gelu` where a weight or stored")), "{errors:#?}");
    let strided = text.replacen("stride=1", "stride=2", 1).replace("%2, %2", "%2, %0");
    let errors = verify(&parse(&strided, "g.mnx").unwrap()).unwrap_err();
    assert!(errors.iter().any(|e| e.code == "ir-0131" && e.message.contains("`expand` has stride 2, expected stride 1")), "{errors:#?}");
}

#[test]
fn hostile_boxes_never_panic() {
    // Every line left out, every part and pattern exchanged, every byte changed: read and verified, or refused.
    for (n, line) in BOXES.lines().enumerate() {
        let without: String = BOXES.lines().enumerate().filter(|(i, _)| *i != n).map(|(_, l)| format!("{l}\n")).collect();
        let mut texts = vec![with_yields(&without)];
        if let Some((head, part)) = line.split_once(" as ") {
            texts.extend(PARTS.iter().map(|p| BOXES.replacen(line, &format!("{head} as {}", p.name), 1)));
            texts.push(BOXES.replacen(line, head, 1));
            texts.push(BOXES.replacen(line, &format!("{head} as {part} as {part}"), 1));
        } else if let Some((head, _)) = line.split_once(" : ").filter(|_| line.contains("dispatch @")) {
            texts.extend(PATTERNS.iter().map(|p| BOXES.replacen(line, &format!("{head} : {} {{", p.name), 1)));
            texts.push(BOXES.replacen(line, &format!("{head} {{"), 1));
        }
        for text in texts {
            if let Ok(g) = parse(&text, "hostile.mnx") {
                let _ = verify(&g);
            }
        }
    }
    let at = BOXES.find("dispatch @mlp").unwrap();
    for n in at..at + 300 {
        for byte in [b'{', b'9', b' ', b'%', b':'] {
            let mut bytes = BOXES.as_bytes().to_vec();
            bytes[n] = byte;
            if let Ok(g) = parse(&String::from_utf8(bytes).unwrap(), "mutated.mnx") {
                let _ = verify(&g);
            }
        }
    }
}

/// The text with every box yielding what is read outside of it, so that an edit says one thing wrong.
fn with_yields(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let words =
        |line: &str| -> Vec<String> { line.split([' ', ',', '(', ')', ':']).filter(|w| w.starts_with('%')).map(str::to_string).collect() };
    // The box of each line, by the line that opens it.
    let mut open = None;
    let mut boxes = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        if line.contains("dispatch @") {
            open = Some(i);
        }
        boxes.push(open);
        if line.starts_with("  } yield") {
            open = None;
        }
    }
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        if !line.starts_with("  } yield") {
            out.push_str(&format!("{line}\n"));
            continue;
        }
        let inside = |j: &usize| boxes[*j] == boxes[i];
        let read = |name: &String| {
            let reads = |j: usize| words(lines[j]).iter().skip(usize::from(!lines[j].starts_with("  return"))).any(|w| w == name);
            (0..lines.len()).filter(|j| !inside(j) && !lines[*j].starts_with("  } yield")).any(reads)
        };
        let made = (0..lines.len()).filter(inside).filter(|&j| lines[j].contains(" = ") && lines[j].starts_with("    %"));
        let yields: Vec<String> = made.filter_map(|j| words(lines[j]).into_iter().next()).filter(read).collect();
        out.push_str(&format!("  }} yield {}\n", yields.join(", ")));
    }
    out
}
