//! A network compiled and run on the host, as a user would: `mnxc compile`, then a session of the runtime.

use std::ffi::OsString;
use std::path::PathBuf;

use mnx_artifact::Bundle;
use mnx_runtime::{DeviceChoice, PortData, Session};
use mnx_weights::Checkpoint;

/// A compiled network in a folder of its own.
#[derive(Debug)]
pub struct Compiled {
    dir: tempfile::TempDir,
    /// The opened bundle.
    pub bundle: Bundle,
}

impl Compiled {
    /// Compiles a config with these weights.
    ///
    /// # Panics
    /// If `mnxc` refuses.
    pub fn new(config: &str, weights: &Checkpoint, batch: usize, patch: &[usize], more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("net.toml"), config).expect("a scratch file");
        weights.save(path("w.safetensors")).expect("a scratch file");
        let patch: Vec<String> = patch.iter().map(ToString::to_string).collect();
        let mut args: Vec<OsString> =
            ["mnxc", "compile", "--quiet", "--batch", &batch.to_string(), "--patch", &patch.join(","), "--weights"]
                .into_iter()
                .map(OsString::from)
                .collect();
        args.push(path("w.safetensors").into());
        args.push(path("net.toml").into());
        args.push("-o".into());
        args.push(path("net.mnxa").into());
        args.extend(more.iter().map(OsString::from));
        assert_eq!(mnxc::cli::run(args), 0, "mnxc refuses\n{config}");
        let bundle = Bundle::open(path("net.mnxa")).expect("a bundle just written");
        Self { dir, bundle }
    }

    /// Where the bundle is.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("net.mnxa")
    }

    /// Runs it.
    ///
    /// # Panics
    /// If the runtime refuses.
    pub fn run(&self, input: &[f32], isa: &str, threads: usize) -> Vec<PortData> {
        let mut session = Session::open(&self.bundle, DeviceChoice::Host, Some(threads), Some(isa)).expect("the host runs it");
        let first = session.run(&[input]).expect("it runs");
        let again = session.run(&[input]).expect("it runs again");
        for (a, b) in first.iter().zip(&again) {
            assert!(a.bytes() == b.bytes(), "two runs of one session differ");
        }
        first
    }

    /// The instruction sets of the bundle that this machine can run.
    pub fn isas(&self) -> Vec<&str> {
        let programs = &self.bundle.manifest().programs;
        programs.iter().filter(|p| p.requires.iter().all(|f| mnx_runtime::isa::cpu_has(f))).map(|p| p.target.as_str()).collect()
    }
}
