//! The verifier. It reports every problem, not the first.
//!
//! Checked: operands are defined above their use; arity, shapes, element types; ops legal at the stage; names of inputs, outputs and
//! boxes are unique; outputs exist; params are declared once; boxes are contiguous and hold activations' ops only; at stage `dispatch` every core
//! op stands in exactly one box; every box holds the parts of its pattern, each reading what it should (`pattern.rs`); derived weights depend
//! on weights alone. Not checked: whether a box has a strategy (that is the plan's).

use std::collections::HashSet;

use crate::diag::Diagnostic;
use crate::graph::Graph;
use crate::infer::infer;
use crate::ops::{Kind, Op};
use crate::pattern;
use crate::stage::Stage;
use crate::types::TensorType;

/// Verifies a graph.
///
/// # Errors
/// All problems.
pub fn verify(g: &Graph) -> Result<(), Vec<Diagnostic>> {
    let mut errors = Vec::new();
    names(g, &mut errors);
    ops(g, &mut errors);
    boxes(g, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn names(g: &Graph, errors: &mut Vec<Diagnostic>) {
    let mut seen = HashSet::new();
    for (name, _) in g.inputs() {
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            errors.push(Diagnostic::new("ir-0111", &g.name, format!("input name `{name}` must start with a letter")));
        }
        if !seen.insert(name) {
            errors.push(Diagnostic::new("ir-0111", &g.name, format!("input {name} is declared twice")));
        }
    }
    let mut seen = HashSet::new();
    for (name, _) in g.outputs() {
        if !seen.insert(name) {
            errors.push(Diagnostic::new("ir-0111", &g.name, format!("output {name} is declared twice")));
        }
    }
    if g.outputs().is_empty() {
        errors.push(Diagnostic::new("ir-0111", &g.name, "the graph has no output"));
    }
    let mut seen = HashSet::new();
    for (d, _) in g.boxes() {
        if !seen.insert(&g.dispatch(d).name) {
            errors.push(Diagnostic::new("ir-0111", &g.name, format!("dispatch @{} is drawn twice", g.dispatch(d).name)));
        }
    }
}

fn ops(g: &Graph, errors: &mut Vec<Diagnostic>) {
    let mut defined = vec![false; g.value_count()];
    let mut keys = HashSet::new();
    for (_, v) in g.inputs() {
        defined[v.index()] = true;
    }
    for &id in g.order() {
        let node = g.node(id);
        let info = node.op.info();
        for v in &node.operands {
            if !defined[v.index()] {
                errors.push(Diagnostic::new("ir-0112", &node.loc, format!("{}: {v} is used before it is defined", info.mnemonic)));
            }
        }
        if std::mem::replace(&mut defined[node.result.index()], true) {
            errors.push(Diagnostic::new("ir-0112", &node.loc, format!("{} is defined twice", node.result)));
        }
        if !g.stage.allows(info.kind) {
            errors.push(Diagnostic::new("ir-0113", &node.loc, format!("{} is not legal at stage {}", info.mnemonic, g.stage)));
        }
        let ty = g.ty(node.result);
        if ty.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_none_or(|n| n > 1 << 44) {
            errors.push(Diagnostic::new("ir-0114", &node.loc, format!("{ty} is absurdly large")));
        }
        if let Op::Param(p) = &node.op {
            if !keys.insert(p.key.as_str()) {
                errors.push(Diagnostic::new("ir-0103", &node.loc, format!("param \"{}\" is declared twice", p.key)));
            }
            continue;
        }
        let types: Vec<&TensorType> = node.operands.iter().map(|&v| g.ty(v)).collect();
        match infer(&node.op, &types) {
            Err(why) => {
                errors.push(with_types(Diagnostic::new("ir-0107", &node.loc, format!("{}: {why}", info.mnemonic)), &node.operands, &types))
            }
            Ok(t) if t.shape != ty.shape || t.dtype != ty.dtype => errors.push(with_types(
                Diagnostic::new("ir-0107", &node.loc, format!("{}: result is {ty}, the operands give {t}", info.mnemonic)),
                &node.operands,
                &types,
            )),
            Ok(_) => {}
        }
        if info.kind == Kind::Weight && !node.operands.iter().all(|&v| g.is_weight(v)) {
            errors.push(Diagnostic::new("ir-0115", &node.loc, format!("{}: a derived weight reads an activation", info.mnemonic)));
        }
    }
    for (name, v) in g.outputs() {
        if !defined[v.index()] {
            errors.push(Diagnostic::new("ir-0112", &g.name, format!("output {name} is never defined")));
        }
    }
}

fn with_types(mut d: Diagnostic, operands: &[crate::ValueId], types: &[&TensorType]) -> Diagnostic {
    for (v, t) in operands.iter().zip(types) {
        d = d.note(format!("{v} : {t}"));
    }
    d
}

fn boxes(g: &Graph, errors: &mut Vec<Diagnostic>) {
    let mut closed = HashSet::new();
    let mut open = None;
    for &id in g.order() {
        let node = g.node(id);
        let kind = node.op.info().kind;
        match node.dispatch {
            Some(d) => {
                if g.stage != Stage::Dispatch {
                    errors.push(Diagnostic::new("ir-0116", &node.loc, format!("a dispatch at stage {}", g.stage)));
                }
                if matches!(kind, Kind::Param | Kind::Weight) {
                    errors.push(Diagnostic::new(
                        "ir-0116",
                        &node.loc,
                        format!("{} stands in dispatch @{}: weights stand outside", node.op.info().mnemonic, g.dispatch(d).name),
                    ));
                }
                if open != Some(d) && !closed.insert(d) {
                    errors.push(Diagnostic::new("ir-0117", &node.loc, format!("dispatch @{} is not contiguous", g.dispatch(d).name)));
                }
            }
            None if g.stage == Stage::Dispatch && matches!(kind, Kind::Core | Kind::Sugar) => {
                errors.push(Diagnostic::new("ir-0118", &node.loc, format!("{} stands in no dispatch", node.op.info().mnemonic)));
            }
            None => {}
        }
        open = node.dispatch;
    }
    for (d, _) in g.boxes() {
        errors.extend(pattern::check(g, d));
    }
}
