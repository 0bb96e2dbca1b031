//! The config of an imported network, as TOML.

use std::fmt::Write;

use mnx_model::{Dim, Flavour, NormType};
use serde::Serialize;
use serde_json::Value as Json;

use crate::network::Facts;
use crate::rules::Rules;
use crate::wording::list;

/// The network of a config.
pub(crate) struct Network<'a> {
    pub name: &'a str,
    /// What its tensors tell.
    pub facts: &'a Facts,
    /// What they do not: whether blocks have residual connections, and which normalisation it has.
    pub do_res: bool,
    pub norm: NormType,
}

/// The text of `config.toml`: every field of the network explicit, tables only where something is known.
pub(crate) fn config_text(network: &Network<'_>, rules: &Rules, what: &str) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, network, rules, what);
    out
}

fn write_all(out: &mut String, network: &Network<'_>, rules: &Rules, what: &str) -> std::fmt::Result {
    let Network { name, facts: f, do_res, norm } = *network;
    write!(out, "# Imported by mnxc {} from {what}", env!("CARGO_PKG_VERSION"))?;
    match &rules.trainer {
        Some(trainer) if !trainer.is_empty() => writeln!(out, ", trainer {}.", trainer.escape_debug())?,
        _ => writeln!(out, ".")?,
    }
    writeln!(out, "name = {}", string(name))?;
    writeln!(out, "flavour = \"{}\"", f.flavour.as_str())?;
    if let Some(v) = f.variant() {
        writeln!(out, "variant = \"{}\"", v.as_str())?;
    }
    writeln!(out, "in_channels = {}\nn_channels = {}\nn_classes = {}", f.in_channels, f.n_channels, f.n_classes)?;
    writeln!(out, "exp_r = [{}]\nblock_counts = [{}]", list(&f.exp_r), list(&f.block_counts))?;
    if f.enc_kernel_size == f.dec_kernel_size {
        writeln!(out, "kernel_size = {}", f.enc_kernel_size)?;
    } else {
        writeln!(out, "enc_kernel_size = {}\ndec_kernel_size = {}", f.enc_kernel_size, f.dec_kernel_size)?;
    }
    writeln!(out, "deep_supervision = {}\ndo_res = {do_res}\ndo_res_up_down = {}", f.deep_supervision, f.do_res_up_down)?;
    writeln!(out, "norm_type = \"{}\"", if norm == NormType::Layer { "layer" } else { "group" })?;
    writeln!(out, "dim = \"{}\"", if f.dim == Dim::Two { "2d" } else { "3d" })?;
    if f.grn || f.flavour == Flavour::V2 {
        writeln!(out, "grn = {}", f.grn)?;
    }
    remark(out, rules, "patch")?;
    if let Some(patch) = &rules.patch {
        writeln!(out, "patch = [{}]", list(patch))?;
    }
    if let Some(p) = &rules.preprocess {
        table(out, rules, "preprocess", p)?;
    }
    if let Some(i) = &rules.inference {
        table(out, rules, "inference", i)?;
    }
    if !rules.channels.is_empty() {
        writeln!(out, "\n[channels]")?;
        for (value, name) in rules.channels.iter().enumerate() {
            writeln!(out, "{} = {value}", key(name))?;
        }
    }
    if !rules.labels.is_empty() {
        writeln!(out, "\n[labels]")?;
        for (name, value) in &rules.labels {
            writeln!(out, "{} = {value}", key(name))?;
        }
    }
    if !rules.remarks.last.is_empty() {
        writeln!(out)?;
    }
    rules.remarks.last.iter().try_for_each(|line| comment(out, line))
}

/// The comment lines that stand before a key, `preprocess.reader` or a key of the root.
fn remark(out: &mut String, rules: &Rules, key: &str) -> std::fmt::Result {
    let lines = rules.remarks.before.iter().filter(|(k, _)| *k == key).flat_map(|(_, lines)| lines);
    lines.into_iter().try_for_each(|line| comment(out, line))
}

/// One comment line; text of files in it cannot begin another.
fn comment(out: &mut String, line: &str) -> std::fmt::Result {
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    writeln!(out, "# {plain}")
}

/// A table of one line per field; fields that say nothing are left out.
fn table(out: &mut String, rules: &Rules, name: &str, value: &impl Serialize) -> std::fmt::Result {
    writeln!(out, "\n[{name}]")?;
    if let Ok(Json::Object(fields)) = serde_json::to_value(value) {
        for (key, v) in fields.iter().filter(|(_, v)| !v.is_null()) {
            remark(out, rules, &format!("{name}.{key}"))?;
            writeln!(out, "{key} = {}", inline(v))?;
        }
    }
    Ok(())
}

/// A value on one line.
fn inline(v: &Json) -> String {
    match v {
        // TOML has no null; fields without a value are left out before.
        Json::Null => "\"\"".to_owned(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => n.to_string(),
        Json::String(s) => string(s),
        Json::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        // `{ scheme = "zscore" }` is written as the config has it, "zscore".
        Json::Object(map) if map.len() == 1 && map.contains_key("scheme") => map.get("scheme").map_or_else(String::new, inline),
        Json::Object(map) => {
            let fields: Vec<String> = map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| format!("{k} = {}", inline(v))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}

/// A key, quoted where it has to be.
fn key(text: &str) -> String {
    let bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { text.to_owned() } else { string(text) }
}

/// A basic string; file contents go in here, so everything unusual is escaped.
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
