//! NVIDIA's assembler, where the machine has it: PTX to a cubin, and what each kernel takes.
//!
//! ptxas is never bundled. It is looked for in `MNX_PTXAS`, then on PATH, then in the cache that `scripts/get-ptxas.sh` fills.

use crate::CodegenError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that `scripts/get-ptxas.sh` pins.
const CACHED: &str = "ptxas-13.0.88";

/// What ptxas says of one kernel (`-v`). Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelResources {
    /// The entry's name.
    pub name: String,
    /// 32-bit registers per thread.
    pub registers: u32,
    /// Stores of registers that did not fit, per thread.
    pub spill_stores: u32,
    /// Loads of registers that did not fit, per thread.
    pub spill_loads: u32,
    /// Static shared memory per block.
    pub shared: u32,
    /// Stack per thread.
    pub stack: u32,
    /// Constant memory, all banks together.
    pub constant: u32,
}

/// The ptxas of this machine: `MNX_PTXAS` if set (a file, else there is none), else the first on PATH, else the cached one.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("MNX_PTXAS") {
        return Some(PathBuf::from(named)).filter(|p| p.is_file());
    }
    let on_path = std::env::var_os("PATH").and_then(|p| std::env::split_paths(&p).map(|f| f.join("ptxas")).find(|p| p.is_file()));
    on_path.or_else(|| cached().filter(|p| p.is_file()))
}

fn cached() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|h| h.join(".cache")))?;
    Some(cache.join("mnx").join(CACHED).join("ptxas"))
}

/// Assembles PTX text for `arch` (`sm_90a`): the cubin and the resources of its kernels, in the order of their names.
///
/// With `verbose`, what ptxas says goes to standard error too.
///
/// # Errors
/// There is no ptxas, it refused the text (its own words, with line numbers), or its report could not be read.
pub fn assemble(ptx: &str, arch: &str, verbose: bool) -> Result<(Vec<u8>, Vec<KernelResources>), CodegenError> {
    let program = find().ok_or_else(|| {
        let named = std::env::var_os("MNX_PTXAS").map(|v| format!("MNX_PTXAS={} is no file", Path::new(&v).display()));
        let where_ = named.unwrap_or_else(|| "looked for MNX_PTXAS, ptxas on PATH, then the cache of scripts/get-ptxas.sh".into());
        CodegenError::Link(format!("no ptxas on this machine: {where_}"))
    })?;
    let folder = mnx_files::ScratchFolder::create().map_err(|source| CodegenError::Io { path: std::env::temp_dir(), source })?;
    let (input, output) = (folder.path().join("kernels.ptx"), folder.path().join("kernels.cubin"));
    std::fs::write(&input, ptx).map_err(|source| CodegenError::Io { path: input, source })?;
    // Relative names, so that no path of this machine can reach the output or the messages.
    let run = Command::new(&program)
        .current_dir(folder.path())
        .args(["-v", "-arch", arch, "-o", "kernels.cubin", "kernels.ptx"])
        .output()
        .map_err(|e| CodegenError::Link(format!("{}: {e}", program.display())))?;
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    if verbose {
        // Nobody can be told when standard error itself is gone.
        let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), said.as_bytes());
    }
    if !run.status.success() {
        return Err(CodegenError::Link(format!("ptxas for {arch} failed ({}): {}", run.status, said.trim())));
    }
    let cubin = std::fs::read(&output).map_err(|source| CodegenError::Io { path: output, source })?;
    let kernels = parse(&said).map_err(|line| CodegenError::Link(format!("ptxas for {arch}: its report has an unknown form: {line}")))?;
    Ok((cubin, kernels))
}

/// Reads the report of `-v`; the error is the line that it stumbled over.
fn parse(report: &str) -> Result<Vec<KernelResources>, String> {
    let mut kernels: Vec<KernelResources> = Vec::new();
    // Functions that are called, not inlined, have properties of their own, which are no kernel's.
    let mut in_kernel = false;
    for line in report.lines() {
        let bad = || line.to_string();
        let text = line.trim_start().strip_prefix("ptxas info").map_or(line.trim(), |rest| rest.trim_start_matches([' ', ':']));
        if let Some(rest) = text.strip_prefix("Compiling entry function '") {
            let name = rest.split('\'').next().ok_or_else(bad)?.to_string();
            kernels.push(KernelResources { name, ..KernelResources::default() });
        } else if let Some(name) = text.strip_prefix("Function properties for ") {
            in_kernel = kernels.last().is_some_and(|k| k.name == name.trim());
        } else if text.contains("bytes stack frame") {
            let Some(kernel) = kernels.last_mut().filter(|_| in_kernel) else { continue };
            for (value, what) in quantities(text).ok_or_else(bad)? {
                match what {
                    "bytes stack frame" => kernel.stack = value,
                    "bytes spill stores" => kernel.spill_stores = value,
                    "bytes spill loads" => kernel.spill_loads = value,
                    _ => return Err(bad()),
                }
            }
        } else if let Some(rest) = text.strip_prefix("Used ") {
            let kernel = kernels.last_mut().ok_or_else(bad)?;
            for (value, what) in quantities(rest).ok_or_else(bad)? {
                match what {
                    "registers" => kernel.registers = value,
                    "bytes smem" => kernel.shared = value,
                    // `368 bytes cmem[0]`, one for each bank.
                    _ if what.starts_with("bytes cmem") => kernel.constant += value,
                    // Barriers, `bytes lmem`, `bytes cumulative stack size`, `textures` and the like are of no interest here.
                    _ => {}
                }
            }
            if kernel.registers == 0 {
                return Err(bad());
            }
        }
    }
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kernels)
}

/// `8 registers, used 0 barriers, 128 bytes smem` as pairs of number and words.
fn quantities(text: &str) -> Option<Vec<(u32, &str)>> {
    let pair = |part: &str| -> Option<(u32, usize)> {
        let part = part.trim_start();
        let digits = part.find(|c: char| !c.is_ascii_digit())?;
        Some((part[..digits].parse().ok()?, digits))
    };
    text.split(',')
        .map(|part| {
            let part = part.trim();
            let part = part.strip_prefix("used ").unwrap_or(part);
            // `128+0 bytes smem` is how old versions part the static from the dynamic.
            let (value, digits) = pair(part)?;
            let rest = part[digits..].strip_prefix('+').map_or(&part[digits..], |r| r.trim_start_matches(|c: char| c.is_ascii_digit()));
            Some((value, rest.trim()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const REPORT: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'second' for 'sm_80'
ptxas info    : Function properties for second
    24 bytes stack frame, 16 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 24 bytes cumulative stack size, 360 bytes cmem[0], 8 bytes cmem[2]
ptxas info    : Compile time = 1.490 ms
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for helper_function
    8 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
ptxas info    : Function properties for first
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 128 bytes smem, 368 bytes cmem[0]
";

    #[test]
    fn reads_the_report() {
        let kernels = parse(REPORT).unwrap();
        let first = KernelResources { name: "first".into(), registers: 8, shared: 128, constant: 368, ..KernelResources::default() };
        let second = KernelResources {
            name: "second".into(),
            registers: 255,
            spill_stores: 16,
            spill_loads: 20,
            shared: 0,
            stack: 24,
            constant: 368,
        };
        assert_eq!(kernels, [first, second]);
        assert!(parse("ptxas info    : Used many registers").is_err());
        assert_eq!(parse("ptxas info    : 0 bytes gmem\n").unwrap(), []);
    }

    fn found() -> bool {
        if find().is_none() {
            eprintln!("\n*** NO PTXAS: NOT TESTED. scripts/get-ptxas.sh fetches it. ***\n");
        }
        find().is_some()
    }

    fn kernel(arch: &str, body: &str) -> String {
        format!(
            ".version 8.0\n.target {arch}\n.address_size 64\n.visible .entry kernel(.param .u64 p)\n{{\n.reg .b64 %rd<4>; .reg .b32 %r<200>;\n.shared .align 4 .b8 s[256];\n{body}\nret;\n}}\n"
        )
    }

    #[test]
    fn assembles_for_several_targets() {
        if !found() {
            return;
        }
        let body = "ld.param.u64 %rd1, [p]; ld.global.u32 %r1, [%rd1]; st.shared.u32 [s], %r1; bar.sync 0; ld.shared.u32 %r2, [s+4]; st.global.u32 [%rd1], %r2;";
        for arch in ["sm_80", "sm_90a"] {
            let (cubin, kernels) = assemble(&kernel(arch, body), arch, false).unwrap();
            assert_eq!(&cubin[..4], b"\x7fELF");
            assert_eq!(kernels.len(), 1);
            let k = &kernels[0];
            assert_eq!((k.name.as_str(), k.shared, k.spill_stores, k.spill_loads, k.stack), ("kernel", 256, 0, 0, 0));
            assert!((1..=32).contains(&k.registers), "{k:?}");
        }
    }

    #[test]
    fn spills_are_seen() {
        if !found() {
            return;
        }
        // A hundred values, all alive across a barrier, in 32 registers.
        let mut body = String::from("ld.param.u64 %rd1, [p];");
        for i in 0..100 {
            body += &format!("ld.volatile.global.u32 %r{i}, [%rd1+{}];", 4 * i);
        }
        body += "bar.sync 0;";
        for i in 0..100 {
            body += &format!("st.volatile.global.u32 [%rd1+{}], %r{i};", 4 * (99 - i));
        }
        let text = kernel("sm_80", &body).replace("(.param .u64 p)\n", "(.param .u64 p)\n.maxnreg 32\n");
        let (_, kernels) = assemble(&text, "sm_80", false).unwrap();
        assert!(kernels[0].spill_stores > 0 && kernels[0].spill_loads > 0 && kernels[0].stack > 0, "{kernels:?}");
        assert!(kernels[0].registers <= 32);
    }

    #[test]
    fn a_refusal_names_the_line() {
        if !found() {
            return;
        }
        let error = assemble(&kernel("sm_80", "add.u32 %r1, %r2;"), "sm_80", false).unwrap_err().to_string();
        assert!(error.contains("kernels.ptx, line 8") && error.contains("add"), "{error}");
        let error = assemble(&kernel("sm_80", ""), "sm_1", false).unwrap_err().to_string();
        assert!(error.contains("sm_1"), "{error}");
    }
}
