//! The file of tuned tiles: JSON lines, one per kernel shape, target and compiler, sorted; people may read, ship and merge it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mnx_ir::{Diagnostic, Graph};
use mnx_plan::space::shape;
use mnx_plan::target::Target;
use mnx_plan::vocabulary::Gelu;
use mnx_plan::{Kernel, ModulePlan, PlanOptions, PlanText, plan};
use serde::{Deserialize, Serialize};

use crate::files::{read_text, write};
use crate::report::Outcome;

/// What schedules of this compiler depend on: a digest of its planner's and its emitters' sources.
pub const COMPILER: &str = env!("MNXC_SCHEDULE_DIGEST");

/// The best tile found for one kernel shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Code target.
    pub target: String,
    /// The kernel without its tile, by [`shape`].
    pub kernel: String,
    /// [`COMPILER`] of the mnxc that measured.
    pub compiler: String,
    /// Every knob of the kernel.
    pub knobs: BTreeMap<String, usize>,
    /// The default tile it was compared with.
    pub default_knobs: BTreeMap<String, usize>,
    /// Seconds of its dispatches with these knobs.
    pub best_s: f64,
    /// Seconds of its dispatches with the default tile.
    pub default_s: f64,
    /// Threads that were measured.
    pub threads: usize,
    /// The machine, in words.
    pub machine: String,
    /// Line in the file, 0 if it is new.
    #[serde(skip)]
    pub line: usize,
}

impl Entry {
    fn key(&self) -> (String, String, String) {
        (self.target.clone(), self.kernel.clone(), self.compiler.clone())
    }
}

/// A cache file's contents.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cache {
    file: String,
    entries: BTreeMap<(String, String, String), Entry>,
}

/// What a cache did to a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Kernel shapes of the plan that have knobs.
    pub shapes: usize,
    /// Kernels that the cache knows.
    pub found: usize,
    /// Entries for this target by another compiler.
    pub foreign: usize,
}

impl Cache {
    /// Reads a cache file.
    ///
    /// # Errors
    /// An unreadable file, or every line of it that is not an entry.
    pub fn read(path: &Path) -> Outcome<Self> {
        Ok(Self::parse(&read_text(path)?, &path.display().to_string())?)
    }

    /// Reads a cache's text.
    ///
    /// # Errors
    /// Every line that is not an entry, or repeats one.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut cache = Self { file: file.to_string(), entries: BTreeMap::new() };
        let mut problems = Vec::new();
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let place = format!("{file}:{}", i + 1);
            let mut wrong = |message: String| problems.push(Diagnostic::new("mnxc-0510", &place, message));
            let mut entry: Entry = match serde_json::from_str(line) {
                Ok(entry) => entry,
                Err(e) => {
                    wrong(format!("not an entry of a file of tuned tiles: {e}"));
                    continue;
                }
            };
            for (what, s) in [("best_s", entry.best_s), ("default_s", entry.default_s)] {
                if !(s.is_finite() && s > 0.0) {
                    wrong(format!("{what} = {s}: expected seconds above 0"));
                }
            }
            entry.line = i + 1;
            if let Some(before) = cache.entries.insert(entry.key(), entry) {
                wrong(format!("the same kernel, target and compiler as line {}", before.line));
            }
        }
        if problems.is_empty() { Ok(cache) } else { Err(problems) }
    }

    /// Puts an entry in place of the one for the same kernel, target and compiler.
    pub fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.key(), entry);
    }

    /// Entries, sorted.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Outcome {
        let mut text = String::new();
        for entry in self.entries() {
            text.push_str(&serde_json::to_string(entry).expect("an entry holds only strings, numbers and maps of them"));
            text.push('\n');
        }
        write(path, text.as_bytes())
    }

    fn find(&self, kernel: &Kernel, target: &Target) -> Option<&Entry> {
        self.entries.get(&(target.name.to_string(), shape(kernel), COMPILER.to_string()))
    }

    /// Plans a graph with the tiles that the cache knows, the default ones elsewhere.
    ///
    /// # Errors
    /// As [`plan`]; an entry whose knobs are not the kernel's, or not legal.
    pub fn plan(&self, graph: &Graph, target: &'static Target, gelu: Gelu) -> Result<(ModulePlan, Applied), Vec<Diagnostic>> {
        let mut made = plan(graph, target, &PlanOptions { gelu, ..PlanOptions::default() })?;
        let mut seen: Vec<String> = Vec::new();
        let mut problems: Vec<Diagnostic> = Vec::new();
        let mut found = 0;
        let launches = made.dispatches.iter_mut().flat_map(|d| d.launches.iter_mut().map(|launch| (d.name.as_str(), launch)));
        for (dispatch, launch) in launches.filter(|(_, l)| !l.kernel.knobs().is_empty()) {
            let key = shape(&launch.kernel);
            let first = !seen.contains(&key);
            if first {
                seen.push(key);
            }
            let Some(entry) = self.find(&launch.kernel, target) else { continue };
            found += usize::from(first);
            if let Err(why) = set(&mut launch.kernel, entry, target)
                && first
            {
                let place = format!("{}:{}", self.file, entry.line);
                problems.push(Diagnostic::new("mnxc-0511", place, why).note(format!("of dispatch @{dispatch}")));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let foreign = self.entries().filter(|e| e.target == target.name && e.compiler != COMPILER).count();
        let applied = Applied { shapes: seen.len(), found, foreign };
        Ok((replan(graph, &made, gelu)?, applied))
    }
}

/// Draws a plan up anew with the tiles that its kernels have now: partials and the arena follow the tiles.
///
/// # Errors
/// As [`plan`].
pub fn replan(graph: &Graph, edited: &ModulePlan, gelu: Gelu) -> Result<ModulePlan, Vec<Diagnostic>> {
    let texts = PlanText::parse(&edited.to_string(), "tuned plan")?;
    plan(graph, edited.target, &PlanOptions { gelu, edited: texts.first() })
}

fn set(kernel: &mut Kernel, entry: &Entry, target: &Target) -> Result<(), String> {
    for (name, value) in &entry.knobs {
        kernel.set_knob(name, *value)?;
    }
    if let Some((name, _)) = kernel.knobs().iter().find(|(n, _)| !entry.knobs.contains_key(*n)) {
        return Err(format!("knob {name} of {} is missing", kernel.strategy().name));
    }
    kernel.legal(target)
}

/// Knobs of a kernel as a cache holds them.
pub fn knob_map(kernel: &Kernel) -> BTreeMap<String, usize> {
    kernel.knobs().into_iter().map(|(n, v)| (n.to_string(), v)).collect()
}

/// Where tuned tiles are kept if no file is named: `$XDG_CACHE_HOME/mnx/tuned.jsonl`, else `~/.cache/mnx/tuned.jsonl`.
pub fn default_path() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("mnx").join("tuned.jsonl"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use mnx_plan::space::candidates;
    use mnx_plan::target::TARGETS;

    fn graph() -> Graph {
        let text = "in_channels = 1\nn_channels = 16\nn_classes = 2\nexp_r = 2\nkernel_size = 3\ndo_res = true\nblock_counts = [1,1,1,1,1,1,1,1,1]\n";
        let config = mnx_model::Config::from_toml(text, "t.toml").unwrap();
        let mut graph = mnx_model::build(&config, 1, &[32, 32, 16]).unwrap();
        mnx_passes::manager::run(&mnx_passes::infer(&mnx_passes::InferOptions::default()), &mut graph).unwrap();
        graph
    }

    /// A cache that gives every kernel of the default plan its first candidate.
    fn cache(graph: &Graph, compiler: &str) -> Cache {
        let mut cache = Cache { file: "t.jsonl".into(), ..Cache::default() };
        for target in TARGETS {
            let made = plan(graph, target, &PlanOptions::default()).unwrap();
            for k in made.dispatches.iter().flat_map(|d| &d.launches).map(|l| &l.kernel) {
                let Some(best) = candidates(k, target).into_iter().next() else { continue };
                cache.insert(Entry {
                    target: target.name.into(),
                    kernel: shape(k),
                    compiler: compiler.into(),
                    knobs: knob_map(&best),
                    default_knobs: knob_map(k),
                    best_s: 1.25e-3,
                    default_s: 0.1,
                    threads: 2,
                    machine: "a \"test\" machine".into(),
                    line: 0,
                });
            }
        }
        cache
    }

    #[test]
    fn a_file_reads_back_as_it_was_written_and_is_sorted() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let made = cache(&graph(), COMPILER);
        assert!(made.entries().count() > 10);
        made.write(&a).unwrap();
        let back = Cache::read(&a).unwrap();
        let plain = |c: &Cache| c.entries().cloned().map(|e| Entry { line: 0, ..e }).collect::<Vec<_>>();
        assert_eq!(plain(&back), plain(&made));
        back.write(&b).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        let text = std::fs::read_to_string(&a).unwrap();
        let keys: Vec<_> = back.entries().map(Entry::key).collect();
        assert!(keys.is_sorted() && text.lines().count() == keys.len());
    }

    #[test]
    fn plans_obey_the_cache_and_other_compilers_are_ignored() {
        let g = graph();
        let mine = cache(&g, COMPILER);
        for target in TARGETS {
            let default = plan(&g, target, &PlanOptions::default()).unwrap();
            let (tuned, applied) = mine.plan(&g, target, Gelu::Accurate).unwrap();
            assert_eq!(applied.foreign, 0);
            let all = default.dispatches.iter().zip(&tuned.dispatches).flat_map(|(a, b)| a.launches.iter().zip(&b.launches));
            let mut changed = 0;
            for (a, b) in all {
                assert_eq!(shape(&a.kernel), shape(&b.kernel));
                let want = candidates(&a.kernel, target).into_iter().next();
                if let Some(want) = want {
                    assert_eq!(b.kernel.knobs(), want.knobs());
                    changed += 1;
                }
            }
            assert!(changed > 10 && applied.found > 5 && applied.found <= applied.shapes, "{changed}, {applied:?}");
            let (same, applied) = cache(&g, "0123").plan(&g, target, Gelu::Accurate).unwrap();
            assert_eq!(same.to_string(), default.to_string());
            assert!(applied.found == 0 && applied.foreign > 5);
        }
    }

    #[test]
    fn damage_is_named_by_line() {
        let g = graph();
        let made = cache(&g, COMPILER);
        let lines: Vec<String> = made.entries().map(|e| serde_json::to_string(e).unwrap()).collect();
        let fails =
            |text: String| Cache::parse(&text, "t.jsonl").unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let text = fails(format!("{}\n{{\"target\": 3}}\nhello\n", lines[0]));
        assert!(text.contains("t.jsonl:2") && text.contains("t.jsonl:3") && !text.contains("t.jsonl:1"), "{text}");
        assert!(fails(format!("{0}\n\n{0}\n", lines[1])).contains("as line 1"));
        assert!(fails(lines[0][..lines[0].len() / 2].to_string()).contains("EOF"));
        assert!(fails(lines[0].replace("\"best_s\":0.00125", "\"best_s\":-1.0")).contains("best_s = -1"));
        assert!(fails(lines[0].replace("\"threads\"", "\"thraeds\"")).contains("thraeds"));
    }

    #[test]
    fn wrong_knobs_are_refused_by_line() {
        let g = graph();
        let target = &TARGETS[0];
        let refuse = |edit: fn(&mut Entry)| {
            let mut made = cache(&g, COMPILER);
            let mut entry = made.entries().find(|e| e.target == target.name && e.kernel.starts_with("mlp.tile ")).unwrap().clone();
            entry.line = 7;
            edit(&mut entry);
            made.insert(entry);
            made.plan(&g, target, Gelu::Accurate).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        type Edit = fn(&mut Entry);
        let edits: [(Edit, &str); 4] = [
            (|e| e.knobs.extend([("rows".to_string(), 0)]), "rows"),
            (|e| e.knobs.extend([("hidden".to_string(), 31)]), "hidden = 31"),
            (|e| e.knobs.retain(|name, _| name != "rows"), "knob rows of mlp.tile is missing"),
            (|e| e.knobs.extend([("speed".to_string(), 9)]), "no knob `speed`"),
        ];
        for (edit, text) in edits {
            let said = refuse(edit);
            assert!(said.contains("t.jsonl:7") && said.contains(text), "{said}");
        }
    }
}
