//! How far it is: a bar on a terminal, lines otherwise, nothing if quiet.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::text;

/// Off a terminal the first line comes after so many seconds.
const FIRST: f64 = 3.0;
/// Lines about one volume, at most; each stands for as many of its patches.
const LINES: usize = 20;
/// Seconds between lines, at least.
const GAP: f64 = 2.0;

fn bar(length: usize, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// `128 of 1000 patches, 12 s elapsed, about 80 s left`.
fn line_of(done: usize, all: usize, elapsed: f64) -> String {
    let mut line = format!("{done} of {}, {} elapsed", mnx_words::many(all, "patch"), text::duration(elapsed));
    if done > 0 && done < all {
        line.push_str(&format!(", about {} left", text::duration(elapsed / done as f64 * (all - done) as f64)));
    }
    line
}

/// When a line about one volume is due.
#[derive(Debug, Default)]
struct Pace {
    /// Share of the last line, in [`LINES`] parts.
    part: usize,
    /// Seconds at the last line; none before the first.
    last: Option<f64>,
}

impl Pace {
    /// Whether to say that `done` of `all` are done; the last is always said.
    fn due(&mut self, done: usize, all: usize, elapsed: f64) -> bool {
        let part = done * LINES / all.max(1);
        let due = match self.last {
            None => elapsed >= FIRST,
            Some(last) => part > self.part && elapsed - last >= GAP,
        };
        if done > 0 && (due || done == all) {
            (self.part, self.last) = (part, Some(elapsed));
            return true;
        }
        false
    }
}

/// Patches of one case: a bar, or lines with the time that is left.
pub enum Patches {
    /// On a terminal.
    Bar(ProgressBar),
    /// Off one.
    Lines {
        /// Patches in all.
        all: usize,
        /// When the first began.
        start: Instant,
        /// Between the lines.
        pace: Pacing,
    },
    /// If quiet.
    Silent,
}

/// The pace of lines, known to this module alone.
#[derive(Debug, Default)]
pub struct Pacing(Pace);

impl Patches {
    /// A bar for `tiles` patches.
    pub fn new(tiles: usize, quiet: bool) -> Self {
        if quiet {
            Self::Silent
        } else if std::io::stderr().is_terminal() {
            Self::Bar(bar(tiles, "{bar:32} {pos} of {len} patches, {elapsed} elapsed, about {eta} left"))
        } else {
            Self::Lines { all: tiles, start: Instant::now(), pace: Pacing::default() }
        }
    }

    /// Shows that `done` patches are done.
    pub fn at(&mut self, done: usize) {
        match self {
            Self::Bar(bar) => bar.set_position(done as u64),
            Self::Lines { all, start, pace } => {
                let elapsed = start.elapsed().as_secs_f64();
                if pace.0.due(done, *all, elapsed) {
                    mnx_console::say(&line_of(done, *all, elapsed));
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

/// Cases of a folder: a bar that moves with the patches, or a line per case and, within long cases, about patches. All cases that were
/// found count, so that the numbers are those of the report at the end.
pub struct Cases {
    bar: Option<ProgressBar>,
    all: usize,
    /// Cases that have ended, however.
    ended: usize,
    /// Cases that took no time: refused by their names, or there already.
    free: usize,
    /// The case at hand.
    name: String,
    start: Instant,
    /// Seconds at the last line.
    last: f64,
    quiet: bool,
}

impl Cases {
    /// A line for `all` cases.
    pub fn new(all: usize, quiet: bool) -> Self {
        let template = "{bar:32} {msg}, {elapsed} elapsed, about {eta} left";
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| bar(all * TICKS, template));
        Self { bar, all, ended: 0, free: 0, name: String::new(), start: Instant::now(), last: 0.0, quiet }
    }

    /// What warns while the bar is shown, from any thread.
    pub fn warner(&self) -> impl Fn(&str) + Send + Sync + use<> {
        let bar = self.bar.clone();
        move |line: &str| match &bar {
            Some(bar) => bar.suspend(|| mnx_console::warn(line)),
            None => mnx_console::warn(line),
        }
    }

    /// A line where there is no bar.
    fn line(&mut self, text: &str) {
        self.last = self.start.elapsed().as_secs_f64();
        match &self.bar {
            Some(bar) => bar.set_position((self.ended * TICKS) as u64),
            None if self.quiet => {}
            None => mnx_console::say(&format!("{} of {}: {text}", self.ended, mnx_words::many(self.all, "case"))),
        }
    }

    /// A case cannot be tried.
    pub fn untried(&mut self, name: &str) {
        (self.ended, self.free) = (self.ended + 1, self.free + 1);
        self.line(&format!("{name} failed"));
    }

    /// Counts cases that were there before.
    pub fn there(&mut self, cases: usize) {
        (self.ended, self.free) = (self.ended + cases, self.free + cases);
        if cases > 0 {
            self.line(&format!("{cases} there already"));
        }
    }

    /// A case begins.
    pub fn begin(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        if let Some(bar) = &self.bar {
            bar.set_message(format!("case {} of {}: {name}", self.ended + 1, self.all));
        }
    }

    /// Seconds that are left when `share` of the case at hand is done, judged by the cases that took time.
    fn left(&self, share: f64, elapsed: f64) -> f64 {
        let done = (self.ended - self.free) as f64 + share;
        elapsed / done.max(1e-3) * (self.all.saturating_sub(self.ended) as f64 - share).max(0.0)
    }

    /// Patches of the case at hand.
    pub fn patches(&mut self, done: usize, tiles: usize) {
        let share = done as f64 / tiles.max(1) as f64;
        match &self.bar {
            Some(bar) => bar.set_position((self.ended * TICKS) as u64 + (share * TICKS as f64) as u64),
            None => {
                let elapsed = self.start.elapsed().as_secs_f64();
                if done > 0 && done < tiles && folder_line_due(self.last, elapsed) {
                    let (gone, left) = (text::duration(elapsed), text::duration(self.left(share, elapsed)));
                    let name = &self.name;
                    self.line(&format!("{name}, {done} of {tiles} patches, {gone} elapsed, about {left} left"));
                }
            }
        }
    }

    /// A case is through, or has failed.
    pub fn end(&mut self, name: &str, failed: bool) {
        self.ended += 1;
        let word = if failed { "failed" } else { "done" };
        let elapsed = self.start.elapsed().as_secs_f64();
        let mut line = format!("{name} {word}, {} elapsed", text::duration(elapsed));
        let left = self.left(0.0, elapsed);
        if left >= 1.0 {
            line.push_str(&format!(", about {} left", text::duration(left)));
        }
        self.line(&line);
    }

    /// Clears the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Whether a folder's work is long enough since its last line for one about patches: lines thin out as time goes by.
fn folder_line_due(last: f64, elapsed: f64) -> bool {
    elapsed - last >= FIRST.max(elapsed / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of the lines that a run of `all` patches of `each` seconds gets.
    fn lines(all: usize, each: f64) -> Vec<f64> {
        let mut pace = Pace::default();
        (1..=all).map(|n| (n, n as f64 * each)).filter(|&(n, t)| pace.due(n, all, t)).map(|(_, t)| t).collect()
    }

    #[test]
    fn lines_are_few_and_the_first_comes_soon() {
        for (all, each) in [(1, 0.01), (18, 0.001), (1000, 0.1), (1000, 30.0), (100_000, 0.5), (7, 60.0), (300, 0.01)] {
            let said = lines(all, each);
            assert!(said.len() <= LINES + 1, "{all} x {each}: {}", said.len());
            // Never later than the first patch after the first seconds; and the end is told.
            assert!(said[0] <= (FIRST + each).min(all as f64 * each) + 1e-9, "{all} x {each}: {}", said[0]);
            assert!((said[said.len() - 1] - all as f64 * each).abs() < 1e-9);
            assert!(said[..said.len() - 1].windows(2).all(|w| w[1] - w[0] >= GAP));
        }
        assert_eq!(lines(18, 0.001).len(), 1);
        assert!(lines(1000, 30.0).len() >= LINES);
    }

    #[test]
    fn lines_say_what_is_left() {
        assert_eq!(line_of(128, 1000, 12.0), "128 of 1000 patches, 12 s elapsed, about 82 s left");
        assert_eq!(line_of(1000, 1000, 93.7), "1000 of 1000 patches, 94 s elapsed");
        assert_eq!(line_of(1, 1, 0.2), "1 of 1 patch, 0 s elapsed");
    }

    #[test]
    fn a_folder_s_lines_thin_out() {
        let (mut last, mut said) = (0.0, 0);
        for second in 1..36_000 {
            if folder_line_due(last, f64::from(second)) {
                (last, said) = (f64::from(second), said + 1);
            }
        }
        assert!((10..50).contains(&said), "{said}");
        let mut cases = Cases { free: 1, ended: 3, ..Cases::new(5, true) };
        // Two cases took 20 s, half of the third 5 s more: 25 s for 2.5 cases, 1.5 are left.
        assert!((cases.left(0.5, 25.0) - 15.0).abs() < 1e-9);
        cases.ended = 5;
        assert!(cases.left(0.0, 25.0) == 0.0);
    }
}
