//! The tables: for people, Markdown, CSV.

use std::fmt::Write;

use mnx_volume::metrics::{Means, Scores};
use mnx_words::many;

use super::{Evaluation, list, shown};
use crate::text;

/// Columns that every readable table ends in.
const COLUMNS: [&str; 7] = ["Dice", "IoU", "surface Dice", "HD95 mm", "unbounded", "pred ml", "ref ml"];

/// A number as people read it; `-` where there is none.
fn number(v: f64, digits: usize) -> String {
    if v.is_nan() { "-".to_owned() } else { format!("{v:.digits$}") }
}

fn cells(m: &Means) -> Vec<String> {
    vec![
        number(m.dice, 4),
        number(m.iou, 4),
        number(m.surface_dice, 4),
        number(m.hd95_mm, 3),
        m.unbounded.to_string(),
        number(m.prediction_ml, 3),
        number(m.reference_ml, 3),
    ]
}

/// One case's scores have the same columns as means, without the count of unbounded distances.
fn case_cells(s: &Scores) -> Vec<String> {
    let mut cells = cells(&Means::over_cases(&[*s]));
    cells[3] = number(s.hd95_mm, 3);
    cells.remove(4);
    cells
}

/// Case, class and scores of every comparison.
fn case_rows(e: &Evaluation) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let mut header = vec!["case", "class"];
    header.extend(COLUMNS.iter().filter(|c| **c != "unbounded"));
    let rows = e.cases.iter().flat_map(|case| {
        e.classes.iter().zip(&case.scores).map(|(class, s)| {
            let mut row = vec![case.pair.case.clone(), class.name.clone()];
            row.extend(case_cells(s));
            row
        })
    });
    (header, rows.collect())
}

/// Class, labels, number of cases that have it, means; the last row is the mean over the foreground classes.
fn mean_rows(e: &Evaluation) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let mut header = vec!["class", "labels", "cases"];
    header.extend(COLUMNS);
    let row = |name: &str, labels: String, cases: String, m: &Means| {
        let mut row = vec![name.to_owned(), labels, cases];
        row.extend(cells(m));
        row
    };
    let mut rows: Vec<Vec<String>> =
        e.classes.iter().zip(&e.means).map(|(class, m)| row(&class.name, class.sum(), m.present.to_string(), m)).collect();
    rows.push(row("mean", String::new(), String::new(), &e.foreground));
    (header, rows)
}

/// What the columns mean.
fn legend(e: &Evaluation) -> String {
    format!(
        "Surface Dice at {} mm. \"-\": in neither prediction nor reference, left out of means. HD95 \"inf\": one of them is empty; \
         such cases are left out of the mean and counted as unbounded. The last mean is over classes, background left out.",
        e.tolerance_mm
    )
}

/// For standard output.
pub fn table(e: &Evaluation) -> String {
    let (header, rows) = case_rows(e);
    let (mean_header, mean_rows) = mean_rows(e);
    format!("{}\n{}\n{}\n", text::table(&header, &rows), text::table(&mean_header, &mean_rows), legend(e))
}

/// A Markdown document.
pub fn markdown(e: &Evaluation) -> String {
    let mut out = format!(
        "# Segmentation metrics\n\n{}, {}. {}\n\n## Means\n\n",
        many(e.cases.len(), "case"),
        many(e.classes.len(), "class"),
        legend(e)
    );
    let (header, rows) = mean_rows(e);
    out.push_str(&markdown_table(&header, 2, &rows));
    let (header, rows) = case_rows(e);
    let _ = write!(out, "\n## Cases\n\n{}", markdown_table(&header, 2, &rows));
    if !e.failed.is_empty() {
        let _ = write!(out, "\n## Failed\n\n```\n{}\n```\n", list(&e.failed));
    }
    out
}

/// The first `left` columns hold words, the others numbers.
fn markdown_table(header: &[&str], left: usize, rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = line(header.iter().map(|h| (*h).to_owned()).collect());
    out.push_str(&line((0..header.len()).map(|i| if i < left { "---" } else { "---:" }.to_owned()).collect()));
    for row in rows {
        out.push_str(&line(row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect()));
    }
    out
}

/// Comma-separated values, full precision: a row per case and class (`case`), per class over cases (`class_mean`), and over the
/// foreground classes (`foreground_mean`). No number is `NaN`, an infinite one `inf`.
pub fn csv(e: &Evaluation) -> String {
    let mut out = String::from(
        "row,case,class,labels,dice,iou,surface_dice,hd95_mm,hd95_unbounded,pred_ml,ref_ml,tp,fp,fn,tn,prediction_file,reference_file\n",
    );
    let mut line = |row: &str, [case, class, labels]: [&str; 3], m: &Means, hd95: f64, files: [&str; 2]| {
        let [tp, fp, fn_, tn] = m.counts;
        let (a, b) = (quoted(files[0]), quoted(files[1]));
        let _ = writeln!(
            out,
            "{row},{},{},{labels},{},{},{},{hd95},{},{},{},{tp},{fp},{fn_},{tn},{a},{b}",
            quoted(case),
            quoted(class),
            m.dice,
            m.iou,
            m.surface_dice,
            m.unbounded,
            m.prediction_ml,
            m.reference_ml,
        );
    };
    for case in &e.cases {
        let files = [shown(&case.pair.prediction), shown(&case.pair.reference)];
        for (class, s) in e.classes.iter().zip(&case.scores) {
            let words = [case.pair.case.as_str(), class.name.as_str(), &class.sum()];
            line("case", words, &Means::over_cases(&[*s]), s.hd95_mm, [&files[0], &files[1]]);
        }
    }
    for (class, m) in e.classes.iter().zip(&e.means) {
        line("class_mean", ["", &class.name, &class.sum()], m, m.hd95_mm, ["", ""]);
    }
    line("foreground_mean", ["", "", ""], &e.foreground, e.foreground.hd95_mm, ["", ""]);
    out
}

/// A CSV field (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_survive_their_format() {
        assert_eq!(quoted("plain name"), "plain name");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        let table = markdown_table(&["a", "b"], 1, &[vec!["x|y".into(), "1".into()]]);
        assert_eq!(table, "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n");
        assert_eq!((number(f64::NAN, 2), number(f64::INFINITY, 2), number(0.125, 2)), ("-".into(), "inf".into(), "0.12".into()));
    }
}
