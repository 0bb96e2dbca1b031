//! A CUDA driver library without a GPU (`driver.c`), and bundles for it. A test that needs it runs itself again in a process of its own, because a driver is loaded
//! once per process and is found by the loader's path.
#![allow(clippy::unwrap_used, dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::OnceLock;

use mnx_artifact::{BundleWriter, Command, Element, Geometry, GpuNeeds, Manifest, Program, Write};

use crate::sample;

/// Kernels of the sample network as the fake driver runs them: one call per block.
const KERNELS: &str = r#"
#define ROW 7
#define ROWS 15
#define VOXELS 105
#define A(type, i) (*(type **)params[i])
int affine_params = 4, count_params = 2;
void affine(void **params, unsigned bx, unsigned by, unsigned bz) {
    const float *x = A(float, 0), *w = A(float, 1), *b = A(float, 2);
    float *out = A(float, 3);
    unsigned c = by, r = bx;
    for (int i = 0; i < ROW; ++i) { float v = w[c] * x[r * ROW + i] + b[c]; out[c * VOXELS + r * ROW + i] = v <= 0 ? 0 : v; }
}
void count(void **params, unsigned bx, unsigned by, unsigned bz) {
    const float *y = A(float, 0);
    int *out = A(int, 1);
    for (int i = 0; i < ROW; ++i) { unsigned v = bx * ROW + i; out[v] += (y[v] > 0.5f) + (y[VOXELS + v] > 0.5f); }
}
"#;

/// Builds a shared object from C.
pub fn build(source: &Path, target: &Path) {
    let status = Process::new("cc")
        .args(["-O1", "-ffp-contract=off", "-shared", "-fPIC", "-w", "-o"])
        .arg(target)
        .arg(source)
        .args(["-ldl", "-lpthread"])
        .status();
    assert!(status.expect("cc is needed for this test").success(), "{}", source.display());
}

/// The folder with the fake driver, under the names that are looked for; built once per process.
pub fn install() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("fake_cuda_", env!("CARGO_PKG_NAME")));
        std::fs::create_dir_all(&dir).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/fake_cuda/driver.c");
        let fresh = tempfile::tempdir_in(&dir).unwrap();
        for name in ["libcuda.so", "libcuda.so.1"] {
            build(&source, &fresh.path().join(name));
            std::fs::rename(fresh.path().join(name), dir.join(name)).unwrap();
        }
        dir
    })
}

/// Whether this process has the fake driver. If not, runs the test called `name` in one that has, with these settings, and fails if it fails.
pub fn within(name: &str, settings: &[(&str, &str)]) -> bool {
    if std::env::var_os("FAKE_CUDA_CHILD").is_some() {
        return true;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("FAKE_CUDA_CHILD", "1")
        .env("FAKE_CUDA_LOG", dir.path().join("log"))
        .env("LD_LIBRARY_PATH", install())
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{name} with {settings:?}:\n{said}");
    false
}

/// The calls of this process so far.
pub fn log() -> Vec<String> {
    let path = std::env::var_os("FAKE_CUDA_LOG").unwrap();
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// How many calls begin with these words.
pub fn calls(log: &[String], words: &str) -> usize {
    log.iter().filter(|l| l.starts_with(words)).count()
}

/// The sample program for a GPU.
pub fn program(target: &str, compute: [u32; 2], exact: bool, ptx: [u32; 2]) -> Program {
    let mut p = sample::program(target, &[]);
    p.scratch_bytes = 0;
    p.gpu = Some(GpuNeeds { compute, exact, ptx });
    for command in &mut p.commands {
        if let Command::Launch { kernel, geometry, writes, .. } = command {
            let first = kernel == "affine";
            // More shared memory than a kernel has without asking.
            let (grid, shared_bytes) = if first { ([15, 2, 1], 100_000) } else { ([15, 1, 1], 0) };
            *geometry = Some(Geometry { grid, block: [32, 4, 1], shared_bytes });
            *writes = vec![if first { Write { arg: 3, element: Element::F32 } } else { Write { arg: 1, element: Element::I32 } }];
        }
    }
    p
}

/// The kernels as a shared object, which the fake driver takes for a cubin of this compute capability (`90`).
pub fn cubin(dir: &Path, arch: u32) -> Vec<u8> {
    let (c, so) = (dir.join(format!("kernels_{arch}.c")), dir.join(format!("kernels_{arch}.so")));
    std::fs::write(&c, format!("{KERNELS}\nint cubin_arch = {arch};\n")).unwrap();
    build(&c, &so);
    std::fs::read(&so).unwrap()
}

/// PTX text of this version and target that leads the fake driver to the kernels.
pub fn ptx(dir: &Path, version: &str, target: &str) -> Vec<u8> {
    cubin(dir, 1);
    format!("// object: {}\n.version {version}\n.target {target}\n.address_size 64\n", dir.join("kernels_1.so").display()).into_bytes()
}

/// Writes a bundle of programs with their code and cubins.
pub fn bundle(dir: &Path, manifest: &Manifest, codes: &[(Vec<u8>, Option<Vec<u8>>)], w: [f32; 2], b: [f32; 2]) -> PathBuf {
    folded(dir, manifest, codes, &[(w, b)])
}

/// A bundle with weights for every fold of the manifest.
pub fn folded(dir: &Path, manifest: &Manifest, codes: &[(Vec<u8>, Option<Vec<u8>>)], folds: &[([f32; 2], [f32; 2])]) -> PathBuf {
    let weights: Vec<Vec<u8>> = folds.iter().map(|(w, b)| sample::weight_bytes(*w, *b)).collect();
    let mut writer = weights.iter().fold(BundleWriter::new(manifest), |writer, section| writer.weights(section));
    for (code, cubin) in codes {
        writer = writer.code(code).cubin(cubin.as_deref());
    }
    let path = dir.join("gpu.mnxa");
    writer.write(&path).unwrap();
    path
}

/// The sample network for compute capability 9.0, PTX and cubin.
pub fn affine(dir: &Path, w: [f32; 2], b: [f32; 2]) -> PathBuf {
    let manifest = sample::manifest(vec![program("sm_90a", [9, 0], true, [8, 0])]);
    bundle(dir, &manifest, &[(ptx(dir, "8.0", "sm_90a"), Some(cubin(dir, 90)))], w, b)
}
