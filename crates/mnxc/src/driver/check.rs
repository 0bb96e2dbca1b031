//! What can be seen to be wrong with a request before any work.

use std::path::{Path, PathBuf};

use crate::files::check_output;
use crate::phase::Phase;
use crate::report::{Failure, Outcome};
use crate::request::Request;

/// Refuses a request that contradicts itself; answers where to write.
///
/// # Errors
/// Wrong usage, weights that are no file, an output that cannot be written.
pub fn output(req: &Request) -> Outcome<Option<PathBuf>> {
    if usize::from(!req.weights.is_empty()) + usize::from(req.seed.is_some()) + usize::from(req.formula.is_some()) > 1 {
        return Err(Failure::Usage("--weights, --seed and --formula exclude each other".into()));
    }
    if req.to == Phase::Bundle && req.weights.is_empty() && req.seed.is_none() && req.formula.is_none() {
        let message = "a bundle holds weights: give --weights W.safetensors, or --seed N for fresh ones".to_string();
        return Err(Failure::Usage(message));
    }
    if req.to == Phase::Binary && req.targets.len() > 1 {
        let names: Vec<&str> = req.targets.iter().map(|t| t.name).collect();
        let message = format!("--to binary writes the object of one target; choose it with --target ({})", names.join(" or "));
        return Err(Failure::Usage(message));
    }
    if req.to == Phase::Asm && req.targets.len() > 1 && req.targets.iter().any(|t| t.nvptx().is_some()) {
        let names: Vec<&str> = req.targets.iter().map(|t| t.name).collect();
        let message = format!("--to asm writes one PTX module, for one target; choose it with --target ({})", names.join(" or "));
        return Err(Failure::Usage(message));
    }
    if req.cubin && req.to != Phase::Bundle {
        return Err(Failure::Usage(format!("--cubin: a bundle holds cubins, and --to {} stops before it", req.to.name())));
    }
    if req.cubin && !req.targets.iter().any(|t| t.nvptx().is_some()) {
        return Err(Failure::Usage("--cubin: no GPU among the targets".into()));
    }
    if req.to >= Phase::Binary && req.output.as_deref() == Some(Path::new("-")) {
        return Err(Failure::Usage(format!("-o -: {} is not text and goes to a file", req.to.name())));
    }
    if let Some(path) = req.weights.iter().map(|w| &w.path).find(|p| !p.is_file()) {
        let why = if path.exists() { "is not a file" } else { "no such file" };
        return Err(Failure::user("weights-0100", path.display(), why));
    }
    let output = match (&req.output, req.to) {
        (Some(p), _) => Some(p.clone()),
        (None, Phase::Bundle) => Some(default_output(&req.input, "mnxa")),
        (None, Phase::Binary) => {
            let gpu = req.targets.iter().any(|t| t.nvptx().is_some());
            Some(default_output(&req.input, if gpu { "ptx" } else { "so" }))
        }
        (None, _) => None,
    };
    if let Some(path) = output.as_deref().filter(|p| *p != Path::new("-")) {
        check_output(path)?;
    }
    Ok(output)
}

/// The input's stem with another extension, in the current directory.
pub fn default_output(input: &Path, extension: &str) -> PathBuf {
    let stem = input.file_stem().unwrap_or(input.as_os_str());
    Path::new(stem).with_extension(extension)
}
