//! The verifier. It reports every problem, not the first.
//!
//! Checked: operands are defined above their use; arity, shapes, element types; ops legal at the stage; names of inputs, outputs and
//! boxes are unique; outputs exist; params and states are declared once; updates name one of them, once each, with a value of its type; boxes are
//! contiguous; at stage `dispatch` every op that depends on an activation stands in exactly one box, params, states and `weight.*` ops on these
//! alone stand outside; every box holds the parts of its pattern, each reading what it should (`pattern.rs`); before stage `train` there are no
//! states and no updates, and no `weight.*` op reads an activation. Whether a value is a weight goes by what it depends on
//! ([`Graph::is_weight`]). Not checked: whether a box has a strategy (that is the plan's).

use std::collections::{HashMap, HashSet};

use crate::diag::Diagnostic;
use crate::graph::Graph;
use crate::infer::infer;
use crate::ops::{Class, Op};
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
    updates(g, &mut errors);
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
        if matches!(node.op, Op::State(_)) && !g.stage.trains() {
            let message = format!("{} at stage {}, expected stage train or dispatch", info.mnemonic, g.stage);
            errors.push(Diagnostic::new("ir-0121", &node.loc, message));
        } else if !info.legal_at(g.stage) {
            errors.push(Diagnostic::new("ir-0113", &node.loc, format!("{} is not legal at stage {}", info.mnemonic, g.stage)));
        }
        let ty = g.ty(node.result);
        if ty.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_none_or(|n| n > 1 << 44) {
            errors.push(Diagnostic::new("ir-0114", &node.loc, format!("{ty} is absurdly large")));
        }
        if let Some(key) = node.op.key() {
            if !keys.insert(key) {
                errors.push(Diagnostic::new("ir-0103", &node.loc, format!("{} \"{key}\" is declared twice", info.mnemonic)));
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
        if info.class == Class::Weight && !g.stage.trains() && !g.is_weight(node.result) {
            let message = format!("{}: a derived weight reads an activation at stage {}", info.mnemonic, g.stage);
            errors.push(Diagnostic::new("ir-0115", &node.loc, message));
        }
    }
    for (name, v) in g.outputs() {
        if !defined[v.index()] {
            errors.push(Diagnostic::new("ir-0112", &g.name, format!("output {name} is never defined")));
        }
    }
}

fn updates(g: &Graph, errors: &mut Vec<Diagnostic>) {
    let leaves: HashMap<&str, &TensorType> = g.params().into_iter().chain(g.states()).map(|(key, v)| (key, g.ty(v))).collect();
    let made: HashSet<_> = g.order().iter().map(|&id| g.result(id)).chain(g.inputs().iter().map(|(_, v)| *v)).collect();
    let mut seen = HashSet::new();
    for (key, v) in g.updates() {
        let mut wrong = |code, message: String| errors.push(Diagnostic::new(code, format!("@{}", g.name), message));
        if !g.stage.trains() {
            wrong("ir-0121", format!("update \"{key}\" at stage {}, expected stage train or dispatch", g.stage));
        }
        if !seen.insert(key) {
            wrong("ir-0122", format!("update \"{key}\" stands twice, expected once"));
        }
        if !made.contains(v) {
            wrong("ir-0112", format!("update \"{key}\" = {v}, which is never defined"));
        }
        match leaves.get(key.as_str()) {
            None => wrong("ir-0122", format!("update \"{key}\": the graph declares no param and no state of this key")),
            Some(want) if *want != g.ty(*v) => wrong("ir-0122", format!("update \"{key}\" has type {}, expected {want}", g.ty(*v))),
            Some(_) => {}
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
        // Ops on weights alone stand outside; of ordinary ones (a sum, a cast) a box may have its own.
        let inside = !g.is_weight(node.result);
        let outside = !inside && node.op.info().class == Class::Weight;
        match node.dispatch {
            Some(d) => {
                if g.stage != Stage::Dispatch {
                    errors.push(Diagnostic::new("ir-0116", &node.loc, format!("a dispatch at stage {}", g.stage)));
                }
                if outside {
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
            None if g.stage == Stage::Dispatch && inside => {
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
