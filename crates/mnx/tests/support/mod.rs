//! A bundle whose answer is known voxel by voxel, a volume for it, and the program.
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../../../runtime/tests/sample/mod.rs"]
pub mod sample;

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use mnx_artifact::{BundleWriter, Command, Manifest};
use mnx_volume::{Header, write_f32};
use mnx_weights::det;
use sample::{manifest, program};

pub const W: [f32; 2] = [1.5, -0.5];
pub const B: [f32; 2] = [0.125, 0.325];
pub const SHAPE: [usize; 3] = [7, 9, 17];

/// Class `c` is scored by channel `c`, so channels in another order give another segmentation.
const TWO_CHANNELS: &str = r#"
#include <stdint.h>
void both(const void *const *buffers, uint64_t workgroup, void *scratch) {
    const float *x = buffers[0], *w = buffers[1], *b = buffers[2];
    float *out = (float *)buffers[3];
    (void)scratch;
    for (int i = 0; i < 105; ++i)
        out[workgroup * 105 + i] = w[workgroup] * x[workgroup * 105 + i] + b[workgroup];
}
"#;

/// A folder that goes when the test ends.
pub struct Room {
    _dir: tempfile::TempDir,
    pub root: PathBuf,
    pub bundle: PathBuf,
}

pub fn model() -> Manifest {
    manifest(vec![program("x86-64-v3", &["sse2"])])
}

/// A model of two channels, with their names.
pub fn two_channels(names: &[&str]) -> Manifest {
    let mut m = model();
    m.model.in_channels = 2;
    m.inputs[0].shape[1] = 2;
    m.outputs.truncate(1);
    m.channels = names.iter().map(|n| (*n).to_owned()).collect();
    let p = &mut m.programs[0];
    p.inputs = vec![sample::arena(0, 840)];
    p.outputs = vec![sample::arena(1024, 840)];
    let Command::Launch { kernel, args, workgroups, .. } = &mut p.commands[1] else { panic!("not a launch") };
    (*kernel, *workgroups) = ("both".into(), 2);
    (args[0], args[3]) = (sample::arena(0, 840), sample::arena(1024, 840));
    p.commands = vec![p.commands[1].clone()];
    m
}

impl Room {
    pub fn new(m: &Manifest) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let bundle = root.join("m.mnxa");
        let source = if m.model.in_channels == 2 { TWO_CHANNELS } else { sample::SOURCE };
        let code = sample::compile(&root, source);
        let weights = sample::weight_bytes(W, B);
        let mut writer = BundleWriter::new(m).weights(&weights);
        for _ in &m.programs {
            writer = writer.code(&code);
        }
        writer.write(&bundle).unwrap();
        Self { _dir: dir, root, bundle }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A volume of seeded noise; the name is the seed.
    pub fn volume(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let values: Vec<f32> = det(name, SHAPE.iter().product()).map(|v| (100.0 + 30.0 * v) as f32).collect();
        write_f32(&path, &values, 1, &header(SHAPE, [3.0, 1.5, 2.0])).unwrap();
        path
    }

    /// `mnx` in this folder; a minute is more than any of these takes, and a hang ends with code 124.
    pub fn mnx(&self, args: &[&str]) -> Said {
        Said::of(Process::new("timeout").arg("60").arg(env!("CARGO_BIN_EXE_mnx")).args(args).current_dir(&self.root).output().unwrap())
    }

    pub fn predict(&self, args: &[&str]) -> Said {
        self.mnx(&[&["predict", "m.mnxa"], args].concat())
    }
}

/// Axes z, y, x.
pub fn header(shape: [usize; 3], [z, y, x]: [f64; 3]) -> Header {
    Header::new(shape, [[-x, 0.0, 0.0, 5.0], [0.0, y, 0.0, -7.0], [0.0, 0.0, z, 1.0], [0.0, 0.0, 0.0, 1.0]]).unwrap()
}

/// What a run said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Expects success and these words on standard error.
    #[track_caller]
    pub fn ok(self, words: &[&str]) -> Self {
        self.ends(0, words)
    }

    /// Expects exit code 1, these words on standard error and nothing on standard output.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Self {
        assert!(self.out.is_empty(), "{}", self.out);
        self.ends(1, words)
    }

    #[track_caller]
    pub fn ends(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} not in {}", self.err);
        }
        self
    }

    #[track_caller]
    pub fn never(self, words: &[&str]) -> Self {
        for word in words {
            assert!(!self.err.contains(word) && !self.out.contains(word), "{word:?} in {}{}", self.out, self.err);
        }
        self
    }
}

/// Names in a folder, sorted.
pub fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
