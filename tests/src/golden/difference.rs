//! How two texts differ, as `diff -u` says it.

use std::fmt::Write;

/// Unchanged lines shown around a change.
const AROUND: usize = 3;

/// A line of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// What turns `want` into `got`, in the form of a unified diff; texts that differ in their line ends alone are called so.
pub fn difference(want: &str, got: &str) -> String {
    let lines = compare(&want.lines().collect::<Vec<_>>(), &got.lines().collect::<Vec<_>>());
    let changed: Vec<usize> = (0..lines.len()).filter(|&i| !matches!(lines[i], Line::Same(_))).collect();
    if changed.is_empty() {
        return "only line ends differ".into();
    }
    let mut out = "--- expected\n+++ got".to_string();
    let (mut old, mut new, mut at) = (1, 1, 0);
    let mut next = 0;
    while next < changed.len() {
        let start = changed[next].saturating_sub(AROUND);
        let mut end = changed[next];
        while next < changed.len() && changed[next] <= end + 2 * AROUND + 1 {
            end = changed[next];
            next += 1;
        }
        let end = (end + 1 + AROUND).min(lines.len());
        (old, new) = advance(&lines[at..start], old, new);
        let (old_end, new_end) = advance(&lines[start..end], old, new);
        // A String takes any text.
        let _ = write!(out, "\n@@ -{old},{} +{new},{} @@", old_end - old, new_end - new);
        for line in &lines[start..end] {
            let (mark, text) = match line {
                Line::Same(text) => (' ', text),
                Line::Gone(text) => ('-', text),
                Line::New(text) => ('+', text),
            };
            let _ = write!(out, "\n{mark}{text}");
        }
        (old, new, at) = (old_end, new_end, end);
    }
    out
}

/// Line numbers of both texts behind some lines of their comparison.
fn advance(lines: &[Line<'_>], old: usize, new: usize) -> (usize, usize) {
    let count = |skip: fn(&Line<'_>) -> bool| lines.iter().filter(|l| !skip(l)).count();
    (old + count(|l| matches!(l, Line::New(_))), new + count(|l| matches!(l, Line::Gone(_))))
}

/// The comparison by a longest common subsequence: as few changed lines as can be.
fn compare<'a>(want: &[&'a str], got: &[&'a str]) -> Vec<Line<'a>> {
    // Equal lines at both ends need no table.
    let front = want.iter().zip(got).take_while(|(a, b)| a == b).count();
    let back = want[front..].iter().rev().zip(got[front..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&want[front..want.len() - back], &got[front..got.len() - back]);
    // longest[i][j]: of a[i..] and b[j..].
    let mut longest = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i][j] = if a[i] == b[j] { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let mut out: Vec<Line<'a>> = want[..front].iter().map(|l| Line::Same(l)).collect();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push(Line::Same(a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            out.push(Line::Gone(a[i]));
            i += 1;
        } else {
            out.push(Line::New(b[j]));
            j += 1;
        }
    }
    out.extend(want[want.len() - back..].iter().map(|l| Line::Same(l)));
    out
}

#[cfg(test)]
mod tests {
    use super::difference;

    fn numbered(skip: &[usize]) -> String {
        (1..=30).filter(|i| !skip.contains(i)).map(|i| format!("line {i}\n")).collect()
    }

    #[test]
    fn a_change_shows_with_its_surroundings() {
        let got = numbered(&[]).replace("line 10\n", "line ten\nand more\n");
        assert_eq!(
            difference(&numbered(&[]), &got),
            "--- expected\n+++ got\n@@ -7,7 +7,8 @@\n line 7\n line 8\n line 9\n-line 10\n+line ten\n+and more\n line 11\n line 12\n line 13"
        );
    }

    #[test]
    fn changes_far_apart_stand_in_pieces_of_their_own() {
        let text = difference(&numbered(&[]), &numbered(&[1, 30]));
        assert_eq!(
            text,
            "--- expected\n+++ got\n@@ -1,4 +1,3 @@\n-line 1\n line 2\n line 3\n line 4\n@@ -27,4 +26,3 @@\n line 27\n line 28\n line 29\n-line 30"
        );
        // Six unchanged lines between two changes belong to both; seven part them.
        assert_eq!(difference(&numbered(&[]), &numbered(&[10, 17])).matches("@@ -").count(), 1);
        assert_eq!(difference(&numbered(&[]), &numbered(&[10, 18])).matches("@@ -").count(), 2);
    }

    #[test]
    fn nothing_and_line_ends() {
        assert_eq!(difference("a\n", "a"), "only line ends differ");
        assert_eq!(difference("", "a"), "--- expected\n+++ got\n@@ -1,0 +1,1 @@\n+a");
        assert_eq!(difference("a", ""), "--- expected\n+++ got\n@@ -1,1 +1,0 @@\n-a");
    }
}
