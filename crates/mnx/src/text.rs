//! What people read: numbers with units, tables.

use crate::failure::Failure;

/// Writes to standard output; a reader that has gone changes nothing.
///
/// # Errors
/// `User` if the text cannot be written for another reason.
pub fn print(text: &str) -> Result<(), Failure> {
    mnx_console::emit(text).map_err(|e| Failure::user("mnx-0102", format!("standard output: {}", mnx_words::reason(&e))))
}

/// Bytes with a binary unit: `1.50 GiB`.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A count with a decimal unit: `12.3 M`.
pub fn count(n: f64) -> String {
    scaled(n, 1000.0, &["", "k", "M", "G", "T"]).trim_end().to_owned()
}

/// Seconds in the unit that fits: `1.23 s`, `4.56 ms`, `7.89 us`.
pub fn seconds(s: f64) -> String {
    if s >= 1.0 {
        format!("{s:.2} s")
    } else if s >= 1e-3 {
        format!("{:.2} ms", s * 1e3)
    } else {
        format!("{:.2} us", s * 1e6)
    }
}

/// A step's time, none below its meaning: `1.23 s`, `45 ms`, `< 1 ms`.
pub fn step(s: f64) -> String {
    if s >= 1.0 {
        format!("{s:.2} s")
    } else if s >= 1e-3 {
        format!("{:.0} ms", s * 1e3)
    } else {
        "< 1 ms".to_owned()
    }
}

/// How long something takes, as a person says it: `12 s`, `5 min`, `3 h 20 min`.
pub fn duration(s: f64) -> String {
    let minutes = (s / 60.0).round() as u64;
    if s < 99.5 {
        format!("{s:.0} s")
    } else if minutes < 100 {
        format!("{minutes} min")
    } else {
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    }
}

/// `1 thread`, `2 threads`.
pub fn threads(n: usize) -> String {
    mnx_words::many(n, "thread")
}

/// Numbers along the axes: `1.0, 0.5, 3.0 mm`.
pub fn millimetres(values: [f64; 3]) -> String {
    format!("{} mm", mnx_words::numbers(&values))
}

/// Channels by number and name, as files are numbered: `0 CT, 1 MR`.
pub fn channels(names: &[String]) -> String {
    names.iter().enumerate().map(|(i, name)| format!("{i} {name}")).collect::<Vec<_>>().join(", ")
}

/// `1x1x64x64x64`.
pub fn shape(extents: &[usize]) -> String {
    mnx_words::extents(extents)
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} {}", units[0]) } else { format!("{value:.2} {}", units[unit]) }
}

/// Rows under a header: the first column left, the others right aligned, two spaces between.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (cell, &w))| if i == 0 { format!("{cell:<w$}") } else { format!("{cell:>w$}") })
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let header: Vec<String> = header.iter().map(|&h| h.to_owned()).collect();
    std::iter::once(&header).chain(rows).map(|row| line(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_columns() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3 << 29), "1.50 GiB");
        assert_eq!(channels(&["CT".to_owned(), "T1".to_owned()]), "0 CT, 1 T1");
        assert_eq!(count(999.0), "999");
        assert_eq!(count(12_345_678.0), "12.35 M");
        assert_eq!(seconds(0.0025), "2.50 ms");
        assert_eq!([1.5, 0.0456, 2.8e-6].map(step), ["1.50 s", "46 ms", "< 1 ms"]);
        assert_eq!([0.2, 99.4, 100.0, 5400.0, 12_000.0].map(duration), ["0 s", "99 s", "2 min", "90 min", "3 h 20 min"]);
        assert_eq!([1, 0, 2].map(|n| mnx_words::many(n, "case")), ["1 case", "0 cases", "2 cases"]);
        assert_eq!(millimetres([1000.0, 0.699_999_988, 1e-9]), "1000.0, 0.7, 0.000000001 mm");
        let rows = vec![vec!["ä".to_owned(), "10".to_owned()], vec!["long".to_owned(), "7".to_owned()]];
        assert_eq!(table(&["n", "v"], &rows), "n      v\nä     10\nlong   7\n");
    }
}
