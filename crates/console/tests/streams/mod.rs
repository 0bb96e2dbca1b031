//! A program run with standard output and standard error closed, on a full disk, or with a reader that has gone: the exit code is the
//! verdict.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

/// What may be wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Full,
    Gone,
}

/// One command line.
pub struct Line {
    /// Words after the program's name.
    pub words: Vec<String>,
    /// Exit code that it has when everything is read.
    pub code: i32,
    /// What it reads.
    pub stdin: &'static str,
}

/// A command line, split at blanks, with the exit code that it should have.
pub fn line(code: i32, words: &str) -> Line {
    Line { words: words.split_whitespace().map(str::to_owned).collect(), code, stdin: "" }
}

/// Runs with one stream in a state, the other one captured.
fn run(program: &str, line: &Line, dir: &Path, spoiled: Option<(bool, State)>) -> Output {
    let mut command = match spoiled {
        Some((out, State::Closed)) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", if out { "exec \"$0\" \"$@\" >&-" } else { "exec \"$0\" \"$@\" 2>&-" }, program]);
            shell
        }
        _ => Command::new(program),
    };
    command.args(&line.words).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let broken = match spoiled {
        Some((out, State::Full)) => Some((out, Stdio::from(File::options().write(true).open("/dev/full").unwrap()))),
        // The reading end is dropped here.
        Some((out, State::Gone)) => Some((out, Stdio::from(std::io::pipe().unwrap().1))),
        _ => None,
    };
    match broken {
        Some((true, stream)) => command.stdout(stream),
        Some((false, stream)) => command.stderr(stream),
        None => &mut command,
    };
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(line.stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn shown(status: ExitStatus) -> String {
    status.to_string()
}

/// Runs every line as it is and in the six states. Nobody's going changes a verdict; a full disk under standard output is a failure if
/// something was to be written, under standard error none.
pub fn check(program: &str, dir: &Path, lines: &[Line]) {
    let mut wrong = Vec::new();
    for line in lines {
        let words = line.words.join(" ");
        let plain = run(program, line, dir, None);
        let said = String::from_utf8_lossy(&plain.stderr).into_owned();
        if plain.status.code() != Some(line.code) {
            wrong.push(format!("{words}: {}, {} expected\n{said}", shown(plain.status), line.code));
            continue;
        }
        for out in [true, false] {
            for state in [State::Closed, State::Full, State::Gone] {
                let got = run(program, line, dir, Some((out, state)));
                let cannot = out && state == State::Full && !plain.stdout.is_empty();
                let want = if cannot && line.code == 0 { 1 } else { line.code };
                let text = format!("{}{}", String::from_utf8_lossy(&got.stdout), String::from_utf8_lossy(&got.stderr));
                let name = if out { "stdout" } else { "stderr" };
                if got.status.code() != Some(want) || text.contains("internal error") || text.contains("panicked") {
                    wrong.push(format!("{words}: {name} {state:?}: {}, {want} expected\n{text}", shown(got.status)));
                }
                if cannot && line.code == 0 && !text.to_lowercase().contains("no space left") {
                    wrong.push(format!("{words}: {name} {state:?}: the reason is not told\n{text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
