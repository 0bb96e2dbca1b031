//! `--dump-dir`: every stage's text under a running number, and a log that also names what did not change.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::write;
use crate::report::{Failure, Outcome, system_reason};

/// Writes the stages of one compilation into a directory; without one it does nothing.
#[derive(Debug)]
pub struct Dump {
    dir: Option<PathBuf>,
    number: usize,
    log: String,
}

impl Dump {
    /// A dump into `dir`. Nothing is written before the first stage arrives.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, number: 0, log: String::new() }
    }

    /// Whether anything is kept.
    pub fn wanted(&self) -> bool {
        self.dir.is_some()
    }

    /// Keeps one stage: `NNN-<name>`. `contents` is asked for only if it is kept.
    ///
    /// # Errors
    /// If the directory or the file cannot be written.
    pub fn stage(&mut self, name: &str, contents: impl FnOnce() -> Vec<u8>) -> Outcome {
        let Some(dir) = self.dir.clone() else { return Ok(()) };
        self.open(&dir)?;
        let file = format!("{:03}-{name}", self.number);
        let bytes = contents();
        self.log.push_str(&format!("{file} {} bytes\n", bytes.len()));
        write(&dir.join(&file), &bytes)?;
        write(&dir.join("log"), self.log.as_bytes())
    }

    /// Notes a stage that left everything as it was.
    ///
    /// # Errors
    /// As [`Self::stage`].
    pub fn unchanged(&mut self, name: &str) -> Outcome {
        let Some(dir) = self.dir.clone() else { return Ok(()) };
        self.open(&dir)?;
        self.log.push_str(&format!("{:03}-{name} (unchanged)\n", self.number));
        write(&dir.join("log"), self.log.as_bytes())
    }

    /// Makes the directory for the first stage, and clears what an earlier compilation left there.
    fn open(&mut self, dir: &Path) -> Outcome {
        let io = |e: std::io::Error| Failure::user("mnxc-0002", dir.display(), system_reason(&e.to_string()));
        if self.number == 0 {
            fs::create_dir_all(dir).map_err(io)?;
            if dir.join("log").is_file() {
                for entry in fs::read_dir(dir).map_err(io)? {
                    let path = entry.map_err(io)?.path();
                    if is_dump(&path) {
                        fs::remove_file(&path).map_err(io)?;
                    }
                }
            }
        }
        self.number += 10;
        Ok(())
    }
}

/// Whether a file is named as this module names files.
fn is_dump(path: &Path) -> bool {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let numbered = name.split_once('-').is_some_and(|(n, _)| n.len() >= 3 && n.chars().all(|c| c.is_ascii_digit()));
    let known = ["mnx", "plan", "mlir", "ll", "s", "so"];
    numbered && path.extension().is_some_and(|e| known.iter().any(|k| e == *k))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stages_are_numbered_and_a_second_run_clears_the_first() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("d");
        let mut first = Dump::new(Some(dir.clone()));
        assert!(!dir.exists());
        first.stage("model.mnx", || b"a".to_vec()).unwrap();
        first.unchanged("cse").unwrap();
        first.stage("dce.mnx", || b"b".to_vec()).unwrap();
        assert_eq!(fs::read_to_string(dir.join("log")).unwrap(), "010-model.mnx 1 bytes\n020-cse (unchanged)\n030-dce.mnx 1 bytes\n");
        fs::write(dir.join("notes.txt"), "mine").unwrap();
        Dump::new(Some(dir.clone())).stage("graph.mnx", || b"c".to_vec()).unwrap();
        let mut names: Vec<String> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["010-graph.mnx", "log", "notes.txt"]);
    }

    #[test]
    fn without_a_directory_nothing_is_even_computed() {
        Dump::new(None).stage("x", || unreachable!("no directory, no contents")).unwrap();
    }
}
