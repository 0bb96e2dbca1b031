//! Our own bugs: a panic says so, prints the command that replays it and, inside a pass, leaves the graph it choked on.

use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use mnx_console::say;
use mnx_ir::Graph;

/// The graph a pass is working on, and the passes still to run (that one first).
#[derive(Debug, Clone)]
struct Scene {
    graph: Graph,
    header: String,
    remaining: String,
}

static SPOKEN: AtomicBool = AtomicBool::new(false);
static SCENE: Mutex<Option<Scene>> = Mutex::new(None);

/// Notes what the next pass starts from. `header` goes before the graph's text (see `header.rs`).
pub fn entering(graph: &Graph, header: &str, remaining: &str) {
    let scene = Scene { graph: graph.clone(), header: header.to_string(), remaining: remaining.to_string() };
    *SCENE.lock().unwrap_or_else(PoisonError::into_inner) = Some(scene);
}

/// No pass is running any more.
pub fn left() {
    *SCENE.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Installs the panic hook. The process then ends with 101, as Rust's panics do.
pub fn install() {
    panic::set_hook(Box::new(|info| {
        // A worker's panic comes again when its thread is joined; once is enough.
        if SPOKEN.swap(true, Ordering::SeqCst) {
            return;
        }
        let what = info.payload().downcast_ref::<&str>().map(|s| (*s).to_string());
        let what = what.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_string());
        let place = info.location().map_or_else(|| "unknown place".to_string(), ToString::to_string);
        say(&format!(
            "internal error: {what}\n  note: at {place}\n  note: this is a bug in mnxc {}, not in your input; please report it",
            env!("CARGO_PKG_VERSION")
        ));
        let scene = SCENE.lock().unwrap_or_else(PoisonError::into_inner).take();
        match scene.and_then(|s| write_scene(&s, Path::new(".")).map(|p| (p, s.remaining))) {
            Some((path, remaining)) => {
                say(&format!("  note: the graph before the failing pass is in {}", path.display()));
                say(&format!("  note: replay: mnxc opt {} --pipeline='{remaining}'", path.display()));
            }
            None => say(&format!("  note: replay: {}", replay_command(std::env::args_os().map(|a| a.to_string_lossy().into_owned())))),
        }
    }));
}

fn write_scene(scene: &Scene, dir: &Path) -> Option<PathBuf> {
    let body = scene.graph.to_string();
    let hash = blake3::hash(body.as_bytes()).to_hex();
    let path = dir.join(format!("mnx-crash-{}.mnx", &hash[..12]));
    let replay = format!("mnxc opt {} --pipeline='{}'", path.display(), scene.remaining);
    let text = format!("// crashed before or in: {}\n// replay: {replay}\n{}{body}", scene.remaining, scene.header);
    mnx_files::write(&path, text.as_bytes()).ok().map(|()| path)
}

/// The command line as one could type it again.
fn replay_command(args: impl Iterator<Item = String>) -> String {
    let quoted = args.enumerate().map(|(i, a)| {
        if i == 0 {
            "mnxc".to_string()
        } else if !a.is_empty() && a.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c)) {
            a
        } else {
            format!("'{}'", a.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use mnx_ir::{Loc, Op, Stage, TensorType};

    #[test]
    fn the_replay_command_survives_a_shell() {
        let args = ["/usr/bin/mnxc", "opt", "my graph.mnx", "--pipeline=a,b{max-ops=8}", "it's"].map(String::from);
        assert_eq!(replay_command(args.into_iter()), r"mnxc opt 'my graph.mnx' '--pipeline=a,b{max-ops=8}' 'it'\''s'");
    }

    #[test]
    fn the_scene_of_a_crash_parses_and_names_its_replay() {
        let mut graph = Graph::new("g", Stage::Graph);
        let x = graph.input("x", TensorType::f32(&[1, 2, 4, 4]));
        let op = Op::from_fields(mnx_ir::OpCode::Gelu, &[]).unwrap();
        let y = graph.push(op, &[x], &Loc::layer("act")).unwrap();
        graph.output("out_0", y);
        let dir = tempfile::tempdir().unwrap();
        let scene = Scene { graph: graph.clone(), header: String::new(), remaining: "cse,dce".into() };
        let path = write_scene(&scene, dir.path()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("--pipeline='cse,dce'") && path.file_name().unwrap().to_string_lossy().starts_with("mnx-crash-"), "{text}");
        assert_eq!(mnx_ir::parse::parse(&text, "crash.mnx").unwrap().to_string(), graph.to_string());
    }
}
