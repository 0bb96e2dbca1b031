//! How far it is: a bar on a terminal, lines otherwise, nothing if quiet.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

fn bar(length: usize, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Patches of one case: a bar, or a line every tenth.
pub enum Patches {
    /// On a terminal.
    Bar(ProgressBar),
    /// Patches in all.
    Lines(usize),
    /// If quiet.
    Silent,
}

impl Patches {
    /// For so many patches.
    pub fn new(tiles: usize, quiet: bool) -> Self {
        if quiet {
            Self::Silent
        } else if std::io::stderr().is_terminal() {
            Self::Bar(bar(tiles, "{bar:32} {pos} of {len} patches, {elapsed} gone, {eta} to go"))
        } else {
            Self::Lines(tiles)
        }
    }

    /// So many are done.
    pub fn at(&self, done: usize) {
        match self {
            Self::Bar(bar) => bar.set_position(done as u64),
            Self::Lines(all) => {
                let tenth = |n: usize| n * 10 / all.max(&1);
                if done > 0 && tenth(done) > tenth(done - 1) {
                    mnx_console::say(&format!("{done} of {all} patches"));
                }
            }
            Self::Silent => {}
        }
    }

    /// Clears the bar.
    pub fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Ticks of the bar per case.
const TICKS: usize = 1000;

/// Cases of a folder: a bar that moves with the patches, or a line per case. All that were found count, so that the numbers are those of
/// the report at the end.
pub struct Cases {
    bar: Option<ProgressBar>,
    all: usize,
    /// Cases that have ended, however.
    ended: usize,
    /// Those of them that took no time: refused by their names, or there already.
    free: usize,
    start: Instant,
    quiet: bool,
}

impl Cases {
    /// For so many cases.
    pub fn new(all: usize, quiet: bool) -> Self {
        let template = "{bar:32} {msg}, {elapsed} gone, {eta} to go";
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| bar(all * TICKS, template));
        Self { bar, all, ended: 0, free: 0, start: Instant::now(), quiet }
    }

    /// A line where there is no bar.
    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_position((self.ended * TICKS) as u64),
            None if self.quiet => {}
            None => mnx_console::say(&format!("{} of {} cases: {text}", self.ended, self.all)),
        }
    }

    /// A case cannot be tried.
    pub fn untried(&mut self, name: &str) {
        (self.ended, self.free) = (self.ended + 1, self.free + 1);
        self.line(&format!("{name} failed"));
    }

    /// So many cases were there before.
    pub fn there(&mut self, cases: usize) {
        (self.ended, self.free) = (self.ended + cases, self.free + cases);
        if cases > 0 {
            self.line(&format!("{cases} there already"));
        }
    }

    /// A case begins.
    pub fn begin(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("case {} of {}: {name}", self.ended + 1, self.all));
        }
    }

    /// Patches of the case at hand.
    pub fn patches(&self, done: usize, tiles: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position((self.ended * TICKS + done * TICKS / tiles.max(1)) as u64);
        }
    }

    /// A case is through, or has failed.
    pub fn end(&mut self, name: &str, failed: bool) {
        self.ended += 1;
        let word = if failed { "failed" } else { "done" };
        let gone = self.start.elapsed().as_secs_f64();
        let left = gone / (self.ended - self.free).max(1) as f64 * (self.all - self.ended.min(self.all)) as f64;
        self.line(&format!("{name} {word}, {gone:.0} s gone, about {left:.0} s to go"));
    }

    /// Clears the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
