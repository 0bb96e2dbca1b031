#![allow(clippy::unwrap_used)]

use super::graphs::test as graphs;
use super::{Outcome, Report, run_text, settle_folder};

const NONE: [&str; 0] = [];
const HEAD: &str = "// test: opt --pipeline=dce\n";
const GRAPH: &str = "graph @g(%x: f32[1,2,3,3]) -> (y: f32[1,2,3,3]) stage=graph {\n  %0 = gelu %x : f32[1,2,3,3]\n  return %0\n}\n";
const MARK: &str = "// === expected (MNX_BLESS=1 rewrites from here on)\n";

/// A file of these parts.
fn file(parts: &[&str]) -> String {
    parts.join("\n// -----\n\n")
}

fn run(text: &str, bless: bool) -> Report {
    run_text("t.mnx", text, bless, &graphs).unwrap()
}

/// Why the one case of a text fails.
fn fails(text: &str) -> String {
    let report = run(text, false);
    assert_eq!(report.failures.len(), 1, "{report:?}");
    report.failures[0].clone()
}

/// Why a text is no golden file.
fn refused(text: &str) -> String {
    run_text("t.mnx", text, false, &|_| Ok(Outcome::Passed)).unwrap_err()
}

#[test]
fn what_is_expected_passes() {
    let text = format!("// Stays.\n{HEAD}{GRAPH}{MARK}{GRAPH}");
    assert_eq!(run(&text, false), Report { text, ..Report::default() });
    assert_eq!(run(&format!("// Stays.\n// test: roundtrip\n{GRAPH}"), false).failures, NONE);
    assert_eq!(run(&format!("// Stays.\n// test: verify\n{GRAPH}"), false).failures, NONE);
}

#[test]
fn a_difference_names_file_line_case_and_point_and_shows_the_lines() {
    let right = format!("// First.\n{GRAPH}{MARK}{GRAPH}");
    let wrong = format!("// Second: wrong.\n{GRAPH}{MARK}{}", GRAPH.replace("gelu", "softmax"));
    let text = file(&[HEAD, &right, &wrong, &right]);
    let line = 1 + text.lines().position(|l| l == "// Second: wrong.").unwrap();
    let why = fails(&text);
    assert!(why.starts_with(&format!("t.mnx:{line}: case 2 (Second: wrong.): differs\n--- expected\n+++ got\n@@ -1,4 +1,4 @@\n")), "{why}");
    assert!(why.contains("\n-  %0 = softmax %x : f32[1,2,3,3]\n+  %0 = gelu %x : f32[1,2,3,3]\n"), "{why}");
    assert_eq!(run(&text, false).text, text, "only blessing changes a file");
}

#[test]
fn blessing_writes_expected_parts_and_nothing_else() {
    let cases = |a: &str, b: &str| {
        let first = format!("// First.\n\n// A remark.\n{}{a}", GRAPH.replace("return", "// inside\n  return"));
        file(&[HEAD, &first, &format!("// Second.\n// test: opt --pipeline=cse\n{GRAPH}{b}")])
    };
    let good = cases(&format!("{MARK}{GRAPH}"), &format!("{MARK}{GRAPH}"));
    for (a, b) in [("", ""), (MARK, "// === expected (MNX_BLESS=1 rewrites from here on)\nnothing like it\n\n")] {
        let report = run(&cases(a, b), true);
        assert_eq!((report.text.as_str(), report.failures.len()), (good.as_str(), 0));
    }
    assert_eq!(run(&good, true).text, good);
    assert_eq!(run(&good, false).failures.len(), 0);
    // What fails keeps its text, and the others are blessed.
    let half = run(&cases("", "").replace("--pipeline=cse", "--pipeline=csee"), true);
    assert!(half.failures.len() == 1 && half.failures[0].contains("case 2 (Second.)") && half.failures[0].contains("unknown pass `csee`"));
    assert_eq!(half.text, cases(&format!("{MARK}{GRAPH}"), "").replace("--pipeline=cse", "--pipeline=csee"));
}

#[test]
fn refusals_are_expected_in_so_many_words() {
    let case = |head: &str, expected: &str| format!("// Point.\n{head}{GRAPH}{MARK}{expected}");
    let dispatched = "// test: opt --pipeline=form-dispatches,form-dispatches\n";
    let blessed = run(&case(dispatched, "// error:\n"), true);
    assert!(
        blessed.failures.is_empty() && blessed.text.contains("\n// error: pass `form-dispatches` takes a graph of stage"),
        "{blessed:?}"
    );
    assert!(run(&blessed.text, false).failures.is_empty());
    assert!(fails(&blessed.text.replace("takes a graph", "takes graphs")).contains("differs"));
    // Neither way is one blessed into the other.
    for bless in [false, true] {
        let report = run(&case(HEAD, "// error: nothing fits\n"), bless);
        assert!(report.failures[0].contains("is to be refused, and gives\ngraph @g"), "{report:?}");
        let report = run(&case(dispatched, GRAPH), bless);
        assert!(report.failures[0].contains("is refused; where that is right"), "{report:?}");
        assert!(report.text.contains(GRAPH));
    }
}

#[test]
fn separators_are_whole_lines() {
    let inside = format!("// About a line // ----- inside.\n{HEAD}//   // -----\n{GRAPH}{MARK}{GRAPH}");
    assert_eq!(run(&inside, false), Report { text: inside.clone(), ..Report::default() });
    for near in ["// ------", "// ----", "// ----- ", "//-----"] {
        let why = refused(&format!("// Point.\n{near}\n{GRAPH}"));
        assert_eq!(why, format!("t.mnx:2: `{near}` looks like the separator `// -----`"));
        // Least of all in an expected part, which blessing overwrites to its end.
        let why = refused(&format!("{inside}\n{near}\n\n{inside}"));
        assert!(why.ends_with("looks like the separator `// -----`"), "{why}");
    }
}

#[test]
fn what_is_no_case_is_refused() {
    let case = format!("// Point.\n{HEAD}{GRAPH}{MARK}{GRAPH}");
    assert_eq!(refused(""), "t.mnx:1: an empty case");
    assert_eq!(refused(&file(&[&case, "", &case])), format!("t.mnx:{}: an empty case", case.lines().count() + 3));
    assert!(refused(&file(&[&case, "\n\n"])).ends_with(": an empty case"));
    assert!(refused(&file(&[HEAD, "// Point.\n// test: verify\n"])).ends_with(": a case without a graph"));
    assert!(refused(&format!("{HEAD}{GRAPH}")).starts_with("t.mnx:1: a case without a point"));
    assert!(refused(GRAPH).starts_with("t.mnx:1: a case without a point"));
    assert!(refused(&format!("//\n{HEAD}{GRAPH}")).starts_with("t.mnx:1: a case without a point"));
    assert!(refused(&format!("{case}{MARK}{GRAPH}")).ends_with("a case with two expected parts"));
    assert!(refused(HEAD).contains("a case without a point"));
    // A head is the first part only.
    assert!(refused(&file(&[&case, HEAD, &case])).contains("a case without a point"));
}

#[test]
fn graphs_say_what_they_fail_by() {
    assert!(fails(&format!("// P.\n// test: roundtrip\n{}", GRAPH.replace("%0", "%a"))).contains("\n-  %a = gelu"));
    assert!(fails(&format!("// P.\n{HEAD}{GRAPH}")).contains("no expected part"));
    assert!(fails(&format!("// P.\n// test: opt --pipeline=dc\n{GRAPH}")).contains("unknown pass"));
    assert!(fails(&format!("// P.\n{HEAD}// same: interp\n{GRAPH}")).contains("expected `same:"));
    assert!(fails(&format!("// P.\n// test: verify\n// error: weight\n{GRAPH}")).contains("line 3: no error says"));
    assert!(fails(&format!("// P.\n// test: verify\n{}", GRAPH.replace("3] {", "4] {").replace("gelu", "glu"))).contains("no `// error:`"));
    assert!(fails(&format!("// P.\n// test: verify\n{GRAPH}{MARK}{GRAPH}")).contains("compares nothing"));
    assert!(fails(&format!("// P.\n{GRAPH}")).contains("no `// test:"));
    assert!(fails(&format!("// P.\n{HEAD}{HEAD}{GRAPH}")).contains("more than one `// test:"));
    // Places are the file's lines, whatever stands in front of the case.
    let text = file(&[&format!("// P.\n// test: verify\n{GRAPH}"), &format!("// Q.\n{HEAD}{}", GRAPH.replace("gelu", "glu"))]);
    let line = 1 + text.lines().position(|l| l.contains("glu ")).unwrap();
    assert!(fails(&text).contains(&format!("t.mnx:{line}:")), "{}", fails(&text));
    // Two graphs that differ by an op do not pass for the same.
    let outputs = |t: &str| crate::same::outputs(&mnx_ir::parse::parse(t, "t").unwrap(), 1).unwrap();
    assert!(crate::same::compare(&outputs(GRAPH), &outputs(&GRAPH.replace("gelu", "softmax")), 1e-9).is_err());
}

#[test]
fn code_of_another_llvm_is_not_compared_and_says_so() {
    let test = |llvm: &'static str, text: &'static str| {
        move |_: &super::split::Case<'_>| Ok(Outcome::Code { llvm: llvm.into(), text: text.into() })
    };
    let case = format!("// Code.\n{GRAPH}");
    let blessed = run_text("t.mnx", &case, true, &test("1.2.3", "\n// -- begin\nadd\n\n")).unwrap().text;
    assert_eq!(blessed, format!("{case}{MARK}// llvm 1.2.3\n// -- begin\nadd\n"));
    let same = run_text("t.mnx", &blessed, false, &test("1.2.3", "// -- begin\nadd")).unwrap();
    assert!(same.failures.is_empty() && same.skipped.is_empty(), "{same:?}");
    assert!(run_text("t.mnx", &blessed, false, &test("1.2.3", "sub")).unwrap().failures[0].contains("\n-add\n+sub"));
    let other = run_text("t.mnx", &blessed, false, &test("1.2.4", "sub")).unwrap();
    assert_eq!(other.skipped, ["t.mnx:1: case 1 (Code.): made with LLVM 1.2.3, here is LLVM 1.2.4: CODE NOT COMPARED"]);
    assert!(other.failures.is_empty());
    let unsaid = blessed.replace("// llvm 1.2.3\n", "");
    assert!(run_text("t.mnx", &unsaid, false, &test("1.2.3", "add")).unwrap().failures[0].contains("does not start with `// llvm"));
    // What would cut the file in two is not written.
    let report = run_text("t.mnx", &case, true, &test("1.2.3", "add\n// -----\nsub")).unwrap();
    assert!(report.text == case && report.failures[0].contains("which golden files keep for themselves"), "{report:?}");
}

#[test]
fn folders_are_blessed_on_disk_and_hold_golden_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mnx");
    let bare = format!("// Stays.\n{HEAD}{GRAPH}");
    std::fs::write(&path, &bare).unwrap();
    let read = || std::fs::read_to_string(&path).unwrap();
    let failures = |bless| settle_folder(folder.path(), bless, &graphs);
    assert!(failures(false)[0].contains("a.mnx:1: case 1 (Stays.): has no expected part"));
    assert_eq!(read(), bare);
    assert_eq!(failures(true), NONE);
    assert_eq!(read(), format!("{bare}{MARK}{GRAPH}"));
    assert_eq!(failures(false), NONE);
    std::fs::write(folder.path().join("b.txt"), "").unwrap();
    std::fs::write(folder.path().join("c.mnx"), "").unwrap();
    assert_eq!(failures(true), ["b.txt: a file that no test reads, expected NAME.mnx", "c.mnx:1: an empty case"]);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(settle_folder(empty.path(), false, &graphs), ["no golden file"]);
}
