//! What a manifest must satisfy before a runtime may trust it: a file whose digests match can still be wrong.

use std::collections::BTreeSet;

use crate::check_inference;
use crate::manifest::{Manifest, Port};
use crate::program::{BufferRef, Command, Geometry, Program, Space, Write};
use crate::{ALIGNMENT, MAX_SHARED_BYTES};

/// Every problem of a manifest over a weights section of `weights_bytes`, one line each; empty if it is sound.
pub(crate) fn problems(manifest: &Manifest, weights_bytes: u64) -> Vec<String> {
    let mut found = Vec::new();
    network(manifest, &mut found);
    folds(manifest, &mut found);
    weights(manifest, weights_bytes, &mut found);
    let mut targets = BTreeSet::new();
    for p in &manifest.programs {
        if !targets.insert(p.target.as_str()) {
            found.push(format!("two programs for target {}", p.target));
        }
        program(manifest, p, weights_bytes, &mut found);
    }
    if manifest.programs.is_empty() {
        found.push("no program".to_owned());
    }
    vectors(manifest, &mut found);
    if let Some(p) = &manifest.preprocess {
        check_inference::preprocess(manifest, p, &mut found);
    }
    if let Some(i) = &manifest.inference {
        check_inference::inference(manifest, i, &mut found);
    }
    found
}

/// Elements of a shape, if they fit an address space with room to spare.
fn elements(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, &extent| n.checked_mul(extent as u64)).filter(|&n| n > 0 && n < 1 << 48)
}

fn network(manifest: &Manifest, found: &mut Vec<String>) {
    let model = &manifest.model;
    if !(model.spatial_dims == 2 || model.spatial_dims == 3) {
        found.push(format!("model has {} spatial dimensions, 2 or 3 expected", model.spatial_dims));
    }
    if manifest.patch.len() != model.spatial_dims || manifest.patch.contains(&0) {
        found.push(format!("patch {} for {} spatial dimensions", mnx_words::extents(&manifest.patch), model.spatial_dims));
    }
    if manifest.inputs.is_empty() || manifest.outputs.is_empty() {
        found.push("a program needs at least one input and one output".to_owned());
    }
    let mut names = BTreeSet::new();
    for port in manifest.inputs.iter().chain(&manifest.outputs) {
        if !names.insert(port.name.as_str()) {
            found.push(format!("two ports named \"{}\"", port.name));
        }
        if port_bytes(port).is_none() {
            found.push(format!("port \"{}\": {} {} is not a tensor we carry", port.name, port.dtype, mnx_words::list(&port.shape)));
        }
    }
    for port in &manifest.inputs {
        if port.dtype != "f32" {
            found.push(format!("input \"{}\" is {}, f32 expected", port.name, port.dtype));
        }
    }
    if let Some(port) = manifest.inputs.first() {
        let mut want = vec![manifest.batch, model.in_channels];
        want.extend(&manifest.patch);
        if port.shape != want {
            found.push(format!(
                "input \"{}\" has shape {}; batch, channels and patch say {want}",
                port.name,
                mnx_words::list(&port.shape),
                want = mnx_words::list(&want)
            ));
        }
    }
    let mut values = BTreeSet::new();
    for label in &manifest.labels {
        if !values.insert(label.value) {
            found.push(format!("two labels with value {}", label.value));
        }
    }
}

fn folds(manifest: &Manifest, found: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for fold in &manifest.folds {
        if fold.name.is_empty() || !names.insert(fold.name.as_str()) {
            found.push(format!("a fold's name \"{}\" is empty or taken", fold.name));
        }
    }
    if manifest.folds.is_empty() {
        found.push("no fold, at least one set of weights expected".to_owned());
    }
}

/// Bytes of a port's tensor; none for a dtype or a shape that we do not carry.
fn port_bytes(port: &Port) -> Option<u64> {
    if port.dtype != "f32" && port.dtype != "i32" {
        return None;
    }
    elements(&port.shape).map(|n| n * 4)
}

fn weights(manifest: &Manifest, weights_bytes: u64, found: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    let mut spans = Vec::new();
    for entry in &manifest.weights {
        if !names.insert(entry.name.as_str()) {
            found.push(format!("two weights named \"{}\"", entry.name));
        }
        let end = entry.offset.checked_add(entry.bytes).filter(|&end| end <= weights_bytes);
        let Some(end) = end else {
            found.push(format!("weight \"{}\": {} bytes at {} of a section of {weights_bytes}", entry.name, entry.bytes, entry.offset));
            continue;
        };
        if !entry.offset.is_multiple_of(ALIGNMENT) || !entry.bytes.is_multiple_of(4) {
            found.push(format!(
                "weight \"{}\": {} bytes at {}; offsets are multiples of {ALIGNMENT}, sizes of 4",
                entry.name, entry.bytes, entry.offset
            ));
        }
        spans.push((entry.offset, end, &entry.name));
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if pair[0].1 > pair[1].0 {
            found.push(format!("weights \"{}\" and \"{}\" overlap", pair[0].2, pair[1].2));
        }
    }
}

fn program(manifest: &Manifest, p: &Program, weights_bytes: u64, found: &mut Vec<String>) {
    let mut say = |what: String| found.push(format!("program {}: {what}", p.target));
    let range = |b: &BufferRef| -> Option<String> {
        let limit = match b.space {
            Space::Arena => p.arena_bytes,
            Space::Weights => weights_bytes,
        };
        let fits = b.offset.checked_add(b.bytes).is_some_and(|end| end <= limit);
        if fits && b.offset.is_multiple_of(ALIGNMENT) {
            None
        } else {
            Some(format!("{} bytes at {} of the {}, which has {limit} (offsets are multiples of {ALIGNMENT})", b.bytes, b.offset, b.space))
        }
    };
    for (what, ports, buffers) in [("inputs", &manifest.inputs, &p.inputs), ("outputs", &manifest.outputs, &p.outputs)] {
        if ports.len() != buffers.len() {
            say(format!("{} {what} for {}", buffers.len(), mnx_words::many(ports.len(), "port")));
        }
        for (port, buffer) in ports.iter().zip(buffers) {
            if buffer.space != Space::Arena || port_bytes(port) != Some(buffer.bytes) {
                say(format!("port \"{}\" of {} {} in {buffer}", port.name, port.dtype, mnx_words::list(&port.shape)));
            }
            if let Some(problem) = range(buffer) {
                say(format!("port \"{}\": {problem}", port.name));
            }
        }
    }
    if !["f32", "bf16", "f16"].contains(&p.precision.as_str()) {
        say(format!("precision \"{}\", f32, bf16 or f16 expected", p.precision));
    }
    if p.gpu.is_some() && p.scratch_bytes != 0 {
        say(format!("{} bytes of scratch, which GPU kernels do not have", p.scratch_bytes));
    }
    for (i, command) in p.commands.iter().enumerate() {
        let mut at = |what: String| say(format!("command {i}: {what}"));
        match command {
            Command::Launch { kernel, args, workgroups, geometry, writes, .. } => {
                match (p.gpu.is_some(), geometry) {
                    (true, Some(g)) => launch_geometry(g, *workgroups).into_iter().for_each(|problem| at(format!("{kernel}: {problem}"))),
                    (true, None) => at(format!("{kernel}: a GPU's launch without grid and block")),
                    (false, Some(g)) => at(format!(
                        "{kernel}: grid {} and block {} in a program that is not a GPU's",
                        mnx_words::list(&g.grid),
                        mnx_words::list(&g.block)
                    )),
                    (false, None) => {}
                }
                for Write { arg, element } in writes {
                    match args.get(*arg) {
                        Some(b) if b.space == Space::Arena && b.bytes.is_multiple_of(element.bytes() as u64) => {}
                        Some(b) => at(format!("{kernel}: writes {element} to argument {arg} of {}, which is {b}", args.len())),
                        None => at(format!("{kernel}: writes {element} to argument {arg} of {}", args.len())),
                    }
                }
                for problem in args.iter().filter_map(range) {
                    at(format!("{kernel}: {problem}"));
                }
                if kernel.is_empty() || kernel.contains('\0') || *workgroups == 0 {
                    at(format!("launch of {workgroups} workgroups of kernel {kernel}", kernel = mnx_words::quoted(kernel)));
                }
            }
            Command::Fill { dst, .. } => {
                if let Some(problem) = range(dst) {
                    at(format!("fill: {problem}"));
                }
                if dst.space != Space::Arena {
                    at("fill of the weights, which are read only".to_owned());
                }
            }
            Command::Copy { src, dst } => {
                for problem in [src, dst].into_iter().filter_map(range) {
                    at(format!("copy: {problem}"));
                }
                if dst.space != Space::Arena {
                    at("copy into the weights, which are read only".to_owned());
                }
                let apart = src.space != dst.space
                    || src.offset.saturating_add(src.bytes) <= dst.offset
                    || dst.offset.saturating_add(dst.bytes) <= src.offset;
                if src.bytes != dst.bytes || !apart {
                    at(format!("copy between {src} and {dst}: equal lengths without overlap expected"));
                }
            }
        }
    }
}

/// What CUDA would refuse in a launch, by the limits that all supported GPUs share (CUDA C programming guide, compute capabilities 8.0 to 12.0).
fn launch_geometry(g: &Geometry, workgroups: u64) -> Vec<String> {
    let mut found = Vec::new();
    let blocks = g.grid.iter().try_fold(1u64, |n, &extent| n.checked_mul(u64::from(extent)));
    if blocks != Some(workgroups) {
        found.push(format!("grid {} for {workgroups} workgroups", mnx_words::list(&g.grid)));
    }
    let [x, y, z] = g.grid;
    if x == 0 || y == 0 || z == 0 || x > i32::MAX as u32 || y > 65_535 || z > 65_535 {
        found.push(format!("grid {}, 1 to [2147483647, 65535, 65535] possible", mnx_words::list(&g.grid)));
    }
    let threads = g.block.iter().fold(1u64, |n, &extent| n.saturating_mul(u64::from(extent)));
    if g.block.iter().zip([1024, 1024, 64]).any(|(&n, most)| n == 0 || n > most) || threads > 1024 {
        found.push(format!("block {}, 1 to [1024, 1024, 64] and 1024 threads in all possible", mnx_words::list(&g.block)));
    }
    if g.shared_bytes > MAX_SHARED_BYTES {
        found.push(format!("{} bytes of shared memory, at most {MAX_SHARED_BYTES} possible", g.shared_bytes));
    }
    found
}

/// Problems of the cubins that stand beside the programs' code.
pub(crate) fn cubins<'a>(manifest: &Manifest, cubins: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<String> {
    let mut found = Vec::new();
    for (program, cubin) in manifest.programs.iter().zip(cubins) {
        let Some(bytes) = cubin else { continue };
        if program.gpu.is_none() {
            found.push(format!("program {}: a cubin for a program that is not a GPU's", program.target));
        }
        if !bytes.starts_with(b"\x7fELF") {
            found.push(format!("program {}: its cubin of {} bytes is no ELF file", program.target, bytes.len()));
        }
    }
    found
}

fn vectors(manifest: &Manifest, found: &mut Vec<String>) {
    let Some(v) = &manifest.vectors else { return };
    if v.outputs.len() != manifest.outputs.len() || v.maxima.len() != manifest.outputs.len() {
        found.push(format!("test vectors of {} outputs, the network has {}", v.outputs.len().min(v.maxima.len()), manifest.outputs.len()));
    }
    for (port, samples) in manifest.outputs.iter().zip(&v.outputs) {
        let n = elements(&port.shape).unwrap_or(0);
        if let Some((index, _)) = samples.iter().find(|(i, _)| *i >= n) {
            found.push(format!("test vector of \"{}\" at index {index} of {n}", port.name));
        }
    }
    let finite = v.outputs.iter().flatten().map(|(_, value)| value).chain(&v.maxima).all(|x| x.is_finite());
    if !(finite && v.tolerance > 0.0 && v.tolerance.is_finite()) {
        found.push("test vectors hold values or a tolerance that are not finite and positive".to_owned());
    }
}
