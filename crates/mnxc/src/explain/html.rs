//! An explanation as one HTML page that needs nothing else: no network, no other file.

use std::fmt::Write as _;

use super::gpu::{self, Occupied};
use super::table::{machine, mib, ms, summary};
use super::{Explanation, Row};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

const COLUMNS: [&str; 11] =
    ["dispatch", "strategy", "MFLOP", "M GELU", "MiB", "bound", "floor ms", "predicted ms", "measured ms", "% of floor", "% of time"];

/// The page; `kernels` are what a GPU program's kernels take, empty where that is not known.
pub fn page(e: &Explanation, kernels: &[Occupied]) -> String {
    let title = escape(&format!("{} at {}", e.model, e.patch));
    let threads = e.threads.map_or(String::new(), |n| format!(", {}", mnx_words::many(n, "thread")));
    let runs = e.runs.map_or(String::new(), |n| format!(", median of {}", mnx_words::many(n, "run")));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>mnxc explain: {title}</title>\n<style>\n{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>{}{threads}{runs}</p>\n",
        escape(&e.target)
    );
    tiles(&mut out, e);
    let _ = writeln!(out, "<p class=\"say\">{}.</p>", escape(&machine(e)));
    for line in summary(e) {
        let _ = writeln!(out, "<p class=\"say\">{}.</p>", escape(&line));
    }
    bars(&mut out, e);
    table(&mut out, e);
    occupied(&mut out, e, kernels);
    let _ = write!(out, "<script>\n{SCRIPT}</script>\n</body></html>\n");
    out
}

fn tiles(out: &mut String, e: &Explanation) {
    let shown = |s: f64| format!("{} ms", ms(s));
    let t = &e.total;
    let mut all: Vec<(String, &str)> = Vec::new();
    if let Some(s) = t.measured_s {
        all.push((shown(s), "measured"));
    }
    all.push((shown(t.floor_s), "floor"));
    match t.measured_s.filter(|_| t.floor_s > 0.0) {
        Some(s) => all.push((format!("{:.2}", s / t.floor_s), "times the floor")),
        None => all.push((shown(t.predicted_s), "predicted")),
    }
    all.push((format!("{:.2} GFLOP", t.cost.flops as f64 / 1e9), "per run, GELU apart"));
    all.push((format!("{:.0} MiB", mib(e.memory.arena)), "arena, by the plan"));
    if let Some(peak) = e.memory.peak {
        all.push((format!("{:.0} MiB", mib(peak)), "peak resident, measured"));
    }
    out.push_str("<div class=\"tiles\">");
    for (value, what) in all {
        let _ = write!(out, "<div class=\"tile\"><b>{value}</b><span>{what}</span></div>");
    }
    out.push_str("</div>\n");
}

/// Seconds that a dispatch's bar shows.
fn shown(r: &Row) -> f64 {
    r.measured_s.unwrap_or(r.predicted_s)
}

fn bars(out: &mut String, e: &Explanation) {
    let longest = e.rows.iter().map(|r| shown(r).max(r.floor_s)).fold(f64::MIN_POSITIVE, f64::max);
    let what = if e.total.measured_s.is_some() { "Measured" } else { "Predicted" };
    let _ = write!(
        out,
        "<h2>{what} time per dispatch, in the order they run</h2>\n<div class=\"key\"><span><i class=\"compute\"></i>compute bound</span>\
         <span><i class=\"memory\"></i>memory bound</span><span><i class=\"compute\" style=\"box-shadow:inset 9px 0 0 var(--floor)\"></i>\
         darker: its floor, and per cent of the floor's speed</span></div>\n"
    );
    for r in &e.rows {
        let width = 82.0 * shown(r) / longest;
        let floor = 100.0 * (r.floor_s / shown(r).max(f64::MIN_POSITIVE)).min(1.0);
        let percent = r.percent().map_or(String::new(), |p| format!(" &middot; {p:.0} %"));
        let name = escape(&r.name);
        let _ = writeln!(
            out,
            "<div class=\"bar\" title=\"{}\"><div class=\"name\">{name}</div><div class=\"track\"><div class=\"fill {}\" style=\"width:{width:.3}%\">\
             <div class=\"floor\" style=\"width:{floor:.2}%\"></div></div><span class=\"value\">{} ms{percent}</span></div></div>",
            escape(&format!("{}: {}", r.name, r.strategy)),
            r.bound().word(),
            ms(shown(r)),
        );
    }
}

fn table(out: &mut String, e: &Explanation) {
    open_table(out, "Table", &COLUMNS);
    let measured: f64 = e.rows.iter().filter_map(|r| r.measured_s).sum();
    e.rows.iter().for_each(|r| row(out, r, measured));
    out.push_str("</tbody>\n<tfoot>\n");
    row(out, &e.total, e.total.measured_s.unwrap_or(0.0));
    out.push_str("</tfoot></table></div>\n");
}

/// A heading, and a table that sorts, up to its first row.
fn open_table(out: &mut String, heading: &str, columns: &[&str]) {
    let _ = write!(out, "<h2>{}</h2>\n<div class=\"wide\"><table><thead><tr>", escape(heading));
    for name in columns {
        let _ = write!(out, "<th scope=\"col\"><button title=\"sort\">{name}</button></th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
}

/// Registers, shared memory, spills and occupancy per kernel; a dispatch cell's title names all dispatches.
fn occupied(out: &mut String, e: &Explanation, kernels: &[Occupied]) {
    if kernels.is_empty() {
        return;
    }
    open_table(out, &format!("Kernels, as ptxas assembles them for {}", e.target), &gpu::COLUMNS);
    for k in kernels {
        let all = escape(&k.dispatches.join(", "));
        let cell = |(column, text): (usize, String)| {
            let title = if gpu::COLUMNS[column] == "dispatch" { format!(" title=\"{all}\"") } else { String::new() };
            format!("<td data-v=\"{0}\"{title}>{0}</td>", escape(&text))
        };
        let _ = writeln!(out, "<tr>{}</tr>", gpu::cells(k).into_iter().enumerate().map(cell).collect::<String>());
    }
    out.push_str("</tbody></table></div>\n");
}

fn row(out: &mut String, r: &Row, measured: f64) {
    let word = |v: &str| format!("<td data-v=\"{0}\">{0}</td>", escape(v));
    let number = |v: Option<f64>, digits: usize| match v {
        Some(v) => format!("<td data-v=\"{v:e}\">{v:.digits$}</td>"),
        None => "<td data-v=\"\">-</td>".to_string(),
    };
    let bound = r.bound().word();
    let cells = [
        word(&r.name),
        word(&r.strategy),
        number(Some(r.cost.flops as f64 / 1e6), 1),
        number(Some(r.cost.gelus as f64 / 1e6), 2),
        number(Some(mib(r.cost.bytes)), 2),
        format!("<td data-v=\"{bound}\"><span class=\"dot {bound}\"></span>{bound}</td>"),
        number(Some(r.floor_s * 1e3), 3),
        number(Some(r.predicted_s * 1e3), 3),
        number(r.measured_s.map(|s| s * 1e3), 3),
        number(r.percent(), 0),
        number(r.measured_s.filter(|_| measured > 0.0).map(|s| 100.0 * s / measured), 1),
    ];
    let _ = writeln!(out, "<tr>{}</tr>", cells.concat());
}

/// Text as HTML shows it, in elements and in quoted attributes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
