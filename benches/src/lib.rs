//! Measurements: the two binaries of mnx, driven as a user drives them.
//!
//! Room: what is timed, on which machine, and how the tables of `benches/results` are written.
//! May import: nothing of ours, it runs `mnxc` and `mnx`; `bin/volume.rs` alone measures the volume crate by itself.
//! Never: assertions on time.
//! Start reading at: `bin/e2e.rs`.
// A tool for people who work on mnx; a closed stream may end it.
#![allow(clippy::print_stderr)]
#![forbid(unsafe_code)]

pub mod assembly;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use serde_json::{Value, json};

/// What went wrong, in words.
pub type Failure = String;

/// Folders that a measurement reads and writes.
#[derive(Debug, clap::Args)]
pub struct Folders {
    /// Folder of the binaries `mnxc` and `mnx`.
    #[arg(long, default_value = "target/release")]
    pub bin: PathBuf,
    /// Where the tables go.
    #[arg(long, default_value = "benches/results")]
    pub out: PathBuf,
}

/// Exit code of a measurement; what went wrong is printed.
pub fn exit(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The binaries under test and a folder for what they make.
#[derive(Debug)]
pub struct Bench {
    /// Where `mnxc` and `mnx` are.
    pub bin: PathBuf,
    /// Scratch folder.
    pub dir: tempfile::TempDir,
}

/// One network to measure.
#[derive(Debug, Clone)]
pub struct Case {
    /// `S`, `B`, `M` or `L`.
    pub variant: &'static str,
    /// Kernel size.
    pub kernel: usize,
    /// Voxels per axis of the patch.
    pub patch: usize,
}

impl Case {
    /// `S k3 64^3`.
    pub fn name(&self) -> String {
        format!("{} k{} {}^3", self.variant, self.kernel, self.patch)
    }

    /// The case as a config.
    pub fn config(&self) -> String {
        format!("variant = \"{}\"\nin_channels = 1\nn_classes = 4\nkernel_size = {}\n", self.variant, self.kernel)
    }
}

/// Every case of the first table.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for variant in ["S", "B", "M", "L"] {
        for kernel in [3, 5] {
            all.push(Case { variant, kernel, patch: 64 });
        }
    }
    all.push(Case { variant: "S", kernel: 3, patch: 128 });
    all
}

impl Bench {
    /// Looks for the binaries.
    ///
    /// # Errors
    /// If they are not built.
    pub fn new(bin: &Path) -> Result<Self, Failure> {
        for name in ["mnxc", "mnx"] {
            if !bin.join(name).is_file() {
                return Err(format!("{} is not there: run `make release` first", bin.join(name).display()));
            }
        }
        let dir = tempfile::tempdir().map_err(|e| format!("a scratch folder: {e}"))?;
        Ok(Self { bin: bin.to_path_buf(), dir })
    }

    /// Compiles a case for one target and says how long that took, in seconds, and where the bundle is.
    ///
    /// # Errors
    /// What the compiler said.
    pub fn compile(&self, case: &Case, target: &str) -> Result<(PathBuf, f64), Failure> {
        let config = self.dir.path().join("case.toml");
        std::fs::write(&config, case.config()).map_err(|e| format!("{}: {e}", config.display()))?;
        let bundle = self.dir.path().join("case.mnxa");
        let p = case.patch.to_string();
        let start = Instant::now();
        let patch = format!("{p},{p},{p}");
        run(Command::new(self.bin.join("mnxc")).arg("compile").arg(&config).arg("-o").arg(&bundle).args([
            "--seed",
            "1",
            "--target",
            target,
            "--patch",
            &patch,
            "--vectors",
            "none",
            "--quiet",
        ]))?;
        Ok((bundle, start.elapsed().as_secs_f64()))
    }

    /// Runs a bundle `runs` times on `threads` threads; `mnx bench`'s JSON.
    ///
    /// # Errors
    /// What the runtime said.
    pub fn measure(&self, bundle: &Path, runs: usize, threads: usize) -> Result<Value, Failure> {
        let text = run(Command::new(self.bin.join("mnx")).arg("bench").arg(bundle).args([
            "--runs",
            &runs.to_string(),
            "--threads",
            &threads.to_string(),
            "--per-dispatch",
            "--json",
            "-",
        ]))?;
        serde_json::from_str(&text).map_err(|e| format!("mnx bench printed no JSON: {e}"))
    }
}

fn run(command: &mut Command) -> Result<String, Failure> {
    let out = command.output().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    } else {
        Err(format!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&out.stderr)))
    }
}

/// The machine, as far as Linux tells.
pub fn machine() -> Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.split(':').nth(1)).map_or("unknown", str::trim).to_string()
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let avx512 = cpuinfo.contains("avx512f");
    json!({ "cpu": field("model name"), "family": field("cpu family"), "model": field("model"), "cores": cores, "avx512": avx512 })
}

/// Writes under a temporary name, then renames.
///
/// # Errors
/// What the system said.
pub fn write_atomic(path: &Path, text: &str) -> Result<(), Failure> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let file = tempfile::NamedTempFile::new_in(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    std::fs::write(file.path(), text).map_err(|e| format!("{}: {e}", path.display()))?;
    file.persist(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(())
}
