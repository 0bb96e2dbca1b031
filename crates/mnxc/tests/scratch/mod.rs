//! A directory of its own for every test, and the binary run in it.
#![allow(clippy::unwrap_used, dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A scratch directory, removed at the end.
pub struct Scratch(tempfile::TempDir);

/// What a run said.
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Scratch {
    /// An empty directory.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a text file into it.
    pub fn file(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A file's bytes.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// A file's text.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Names of everything in it, sorted.
    pub fn names(&self) -> Vec<String> {
        names(self.0.path())
    }

    /// Runs `mnxc` in it; the words are split at blanks.
    pub fn mnxc(&self, line: &str) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_mnxc"))
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env_remove("MNX_DUMP_DIR")
            .output()
            .unwrap();
        Said::from(output)
    }

    /// Runs it and demands success.
    pub fn good(&self, line: &str) -> Said {
        let said = self.mnxc(line);
        assert_eq!(said.code, 0, "mnxc {line}\n{}", said.err);
        said
    }

    /// Runs it and demands an exit code, every text on stderr, nothing on stdout, and that no file came or went.
    pub fn bad(&self, line: &str, code: i32, texts: &[&str]) -> Said {
        let before = self.names();
        let said = self.mnxc(line);
        assert_eq!(said.code, code, "mnxc {line}\n{}", said.err);
        for text in texts {
            assert!(said.err.contains(text), "mnxc {line}: no `{text}` in\n{}", said.err);
        }
        assert_eq!(said.out, "", "mnxc {line}");
        assert_eq!(self.names(), before, "mnxc {line} left something behind");
        said
    }
}

impl From<Output> for Said {
    fn from(o: Output) -> Self {
        Self {
            code: o.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&o.stdout).into_owned(),
            err: String::from_utf8_lossy(&o.stderr).into_owned(),
        }
    }
}

/// Names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

/// A small three-dimensional network with three heads' worth of everything: names, labels, preparation.
pub const TINY: &str = r#"# A trial network.
in_channels = 2
n_channels = 4
n_classes = 3
exp_r = 2
kernel_size = 3
deep_supervision = true
do_res = true
do_res_up_down = true
block_counts = [1, 1, 1, 1, 1, 1, 1, 1, 1]

[preprocess]
spacing = [2.0, 1.0, 1.0]
orientation = "RAS"
crop_to_nonzero = true
normalization = ["zscore", "none"]

[labels]
background = 0
grey = 1
white = 2
"#;

/// A two-dimensional one.
pub const FLAT: &str = "in_channels = 1\nn_channels = 4\nn_classes = 2\nexp_r = 2\nkernel_size = 5\ndim = \"2d\"\ndo_res = true\n";
