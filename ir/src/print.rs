//! The text form, written. `parse` reads it back exactly.

use std::fmt::{self, Write};

use crate::diag::Loc;
use crate::entity::{OpId, ValueId};
use crate::graph::Graph;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

/// The whole graph as text. Values are numbered in program order, so equal graphs print equally.
pub fn print(g: &Graph) -> String {
    let mut names = vec![String::from("%?"); g.value_count()];
    for (name, v) in g.inputs() {
        names[v.index()] = format!("%{name}");
    }
    for (i, &id) in g.order().iter().enumerate() {
        names[g.result(id).index()] = format!("%{i}");
    }
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_graph(&mut out, g, &names);
    out
}

fn write_graph(out: &mut String, g: &Graph, names: &[String]) -> fmt::Result {
    write!(out, "graph @{}(", g.name)?;
    for (i, (name, v)) in g.inputs().iter().enumerate() {
        write!(out, "{}%{name}: {}", sep(i), g.ty(*v))?;
    }
    out.write_str(") -> (")?;
    for (i, (name, v)) in g.outputs().iter().enumerate() {
        write!(out, "{}{name}: {}", sep(i), g.ty(*v))?;
    }
    writeln!(out, ") stage={} {{", g.stage)?;
    let mut open = None;
    for &id in g.order() {
        let d = g.node(id).dispatch;
        if d != open {
            if let Some(d) = open {
                close_box(out, g, d, names)?;
            }
            if let Some(d) = d {
                writeln!(out, "  dispatch @{} : {} {{", g.dispatch(d).name, g.dispatch(d).pattern)?;
            }
            open = d;
        }
        let indent = if d.is_some() { "    " } else { "  " };
        writeln!(out, "{indent}{}", op_line(g, id, names))?;
    }
    if let Some(d) = open {
        close_box(out, g, d, names)?;
    }
    for (key, v) in g.updates() {
        writeln!(out, "  update {} = {}", mnx_words::quoted(key), names[v.index()])?;
    }
    out.write_str("  return")?;
    for (i, (_, v)) in g.outputs().iter().enumerate() {
        write!(out, "{}{}", if i == 0 { " " } else { ", " }, names[v.index()])?;
    }
    out.write_str("\n}\n")
}

fn close_box(out: &mut String, g: &Graph, d: crate::DispatchId, names: &[String]) -> fmt::Result {
    out.write_str("  } yield")?;
    for (i, v) in yields(g, d).into_iter().enumerate() {
        write!(out, "{}{}", if i == 0 { " " } else { ", " }, names[v.index()])?;
    }
    out.write_char('\n')
}

/// The values of a box that are read outside it, are outputs or go into updates, in program order.
pub fn yields(g: &Graph, d: crate::DispatchId) -> Vec<ValueId> {
    let inside: Vec<OpId> = g.order().iter().copied().filter(|&id| g.node(id).dispatch == Some(d)).collect();
    let mut read = vec![false; g.value_count()];
    for &id in g.order() {
        if g.node(id).dispatch != Some(d) {
            for v in g.operands(id) {
                read[v.index()] = true;
            }
        }
    }
    for (_, v) in g.outputs().iter().chain(g.updates()) {
        read[v.index()] = true;
    }
    inside.into_iter().map(|id| g.result(id)).filter(|v| read[v.index()]).collect()
}

/// One op as a line, with the given value names.
fn op_line(g: &Graph, id: OpId, names: &[String]) -> String {
    let node = g.node(id);
    let mut s = format!("{} = {}", names[node.result.index()], node.op.info().mnemonic);
    let mut loc = node.loc.clone();
    if let Some(key) = node.op.key() {
        let _ = write!(s, " {}", mnx_words::quoted(key));
        if loc.0.as_deref() == Some(key) {
            loc = Loc::default();
        }
    } else {
        for (i, v) in node.operands.iter().enumerate() {
            let _ = write!(s, "{}{}", if i == 0 { " " } else { ", " }, names[v.index()]);
        }
        let attrs = node.op.attr_fields();
        if !attrs.is_empty() {
            s.push_str(" {");
            for (i, (name, value)) in attrs.iter().enumerate() {
                let _ = write!(s, "{}{name}={value}", sep(i));
            }
            s.push('}');
        }
    }
    let _ = write!(s, " : {}", g.ty(node.result));
    if let Some(part) = node.part {
        let _ = write!(s, " as {part}");
    }
    if let Some(name) = loc.0 {
        let _ = write!(s, " loc({})", mnx_words::quoted(&name));
    }
    s
}

fn sep(i: usize) -> &'static str {
    if i == 0 { "" } else { ", " }
}
