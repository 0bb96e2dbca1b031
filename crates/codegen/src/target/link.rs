//! Linking objects into a shared object, with the first linker that the machine has.

use crate::CodegenError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names that are looked for on PATH, best first, before any `ld.lld-N` and then these fall-backs.
const PREFERRED: &[&str] = &["ld.lld-22", "ld.lld"];
const FALLBACK: &[&str] = &["ld", "cc"];

/// Links the objects in their order. The result depends on nothing else than their bytes and the linker.
pub(crate) fn shared_object(objects: &[Vec<u8>]) -> Result<Vec<u8>, CodegenError> {
    let linker = find().ok_or_else(|| CodegenError::Link("no linker on PATH: looked for ld.lld-22, ld.lld, ld.lld-N, ld, cc".into()))?;
    let folder = mnx_files::ScratchFolder::create().map_err(|source| CodegenError::Io { path: std::env::temp_dir(), source })?;
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| CodegenError::Io { path, source }
    };
    // Relative names, so that no path of this machine can reach the output.
    let mut names = Vec::with_capacity(objects.len());
    for (i, object) in objects.iter().enumerate() {
        let name = format!("{i}.o");
        let path = folder.path().join(&name);
        std::fs::write(&path, object).map_err(io(&path))?;
        names.push(name);
    }
    // A response file, because a large network has more kernels than fit comfortably on a command line.
    let list = folder.path().join("objects");
    std::fs::write(&list, names.join("\n")).map_err(io(&list))?;
    let output = folder.path().join("out.so");
    let through_driver = linker.file_name().is_some_and(|n| n == "cc");
    let mut command = Command::new(&linker);
    command.current_dir(folder.path());
    if through_driver {
        command.args(["-shared", "-nostdlib", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--hash-style=gnu"]);
    } else {
        command.args(["-shared", "--build-id=none", "-z", "noexecstack", "--hash-style=gnu"]);
    }
    command.args(["-o", "out.so", "@objects"]);
    let run = command.output().map_err(|e| CodegenError::Link(format!("{}: {e}", linker.display())))?;
    if !run.status.success() {
        return Err(CodegenError::Link(format!(
            "{} failed ({}): {}",
            linker.display(),
            run.status,
            String::from_utf8_lossy(&run.stderr).trim()
        )));
    }
    std::fs::read(&output).map_err(io(&output))
}

fn find() -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
    let named = |name: &str| folders.iter().map(|f| f.join(name)).find(|path| path.is_file());
    PREFERRED.iter().find_map(|n| named(n)).or_else(|| newest_lld(&folders)).or_else(|| FALLBACK.iter().find_map(|n| named(n)))
}

fn newest_lld(folders: &[PathBuf]) -> Option<PathBuf> {
    let version = |path: &Path| -> Option<u32> { path.file_name()?.to_str()?.strip_prefix("ld.lld-")?.parse().ok() };
    folders
        .iter()
        .filter_map(|f| std::fs::read_dir(f).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter_map(|path| Some((version(&path)?, path)))
        .max_by_key(|(version, _)| *version)
        .map(|(_, path)| path)
}
