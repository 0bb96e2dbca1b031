//! The search itself, without processes: which tile each kernel tries in a round, and what the rounds have shown.
//!
//! One round times one bundle in which every kernel has its next candidate, so N bundles try N candidates of every kernel. A dispatch's time
//! belongs to its kernel; where a dispatch has several kernels with knobs, only one of them
//! varies in a round.

use mnx_plan::space::{candidates, shape};
use mnx_plan::{Kernel, ModulePlan};

/// A kernel shape of a plan, with the tiles to try.
#[derive(Debug, Clone)]
pub struct Tunable {
    /// The kernel without its tile.
    pub shape: String,
    /// Default tile first, then the candidates.
    pub tiles: Vec<Kernel>,
    /// Dispatches it is launched in.
    pub dispatches: Vec<usize>,
    /// Least seconds of those dispatches, per tile; infinite where not measured.
    pub seconds: Vec<f64>,
    next: usize,
}

/// A tile for every kernel: indices into [`Tunable::tiles`].
pub type Choice = Vec<usize>;

/// The search.
#[derive(Debug, Clone)]
pub struct Search {
    /// Kernels with knobs, in the order of first use.
    pub kernels: Vec<Tunable>,
    turn: usize,
}

impl Search {
    /// Over the kernels of a default plan.
    pub fn new(plan: &ModulePlan) -> Self {
        let mut kernels: Vec<Tunable> = Vec::new();
        for (at, d) in plan.dispatches.iter().enumerate() {
            for k in d.launches.iter().map(|l| &l.kernel).filter(|k| !k.knobs().is_empty()) {
                let key = shape(k);
                let i = kernels.iter().position(|t| t.shape == key).unwrap_or_else(|| {
                    let mut tiles = vec![k.clone()];
                    tiles.extend(candidates(k, plan.target));
                    let seconds = vec![f64::INFINITY; tiles.len()];
                    kernels.push(Tunable { shape: key, tiles, dispatches: Vec::new(), seconds, next: 1 });
                    kernels.len() - 1
                });
                if !kernels[i].dispatches.contains(&at) {
                    kernels[i].dispatches.push(at);
                }
            }
        }
        Self { kernels, turn: 0 }
    }

    /// The default tile for every kernel.
    pub fn default_choice(&self) -> Choice {
        vec![0; self.kernels.len()]
    }

    /// The next round; none when every candidate has been tried.
    pub fn round(&mut self) -> Option<Choice> {
        let n = self.kernels.len();
        let mut choice = self.default_choice();
        let mut taken: Vec<usize> = Vec::new();
        for i in (0..n).map(|i| (i + self.turn) % n) {
            let k = &mut self.kernels[i];
            if k.next < k.tiles.len() && !k.dispatches.iter().any(|d| taken.contains(d)) {
                choice[i] = k.next;
                k.next += 1;
                taken.extend(&k.dispatches);
            }
        }
        self.turn += 1;
        (!taken.is_empty()).then_some(choice)
    }

    /// Candidates tried, and all there are.
    pub fn progress(&self) -> (usize, usize) {
        self.kernels.iter().fold((0, 0), |(a, b), k| (a + k.next - 1, b + k.tiles.len() - 1))
    }

    /// Takes what a bundle with these tiles showed, seconds per dispatch.
    pub fn record(&mut self, choice: &Choice, dispatches: &[f64]) {
        for i in 0..self.kernels.len() {
            // The default tile in a dispatch whose other kernel varies shows nothing about this one.
            let clean = choice[i] != 0 || self.others_default(i, choice);
            let seconds = self.seconds_in(i, dispatches);
            let slot = &mut self.kernels[i].seconds[choice[i]];
            if clean && seconds.is_finite() && seconds > 0.0 {
                *slot = slot.min(seconds);
            }
        }
    }

    fn others_default(&self, i: usize, choice: &Choice) -> bool {
        let mine = &self.kernels[i].dispatches;
        let shares = |j: usize| self.kernels[j].dispatches.iter().any(|d| mine.contains(d));
        (0..self.kernels.len()).all(|j| j == i || choice[j] == 0 || !shares(j))
    }

    /// Seconds of a kernel's dispatches.
    pub fn seconds_in(&self, i: usize, dispatches: &[f64]) -> f64 {
        self.kernels[i].dispatches.iter().map(|d| dispatches.get(*d).copied().unwrap_or(f64::NAN)).sum()
    }

    /// The fastest tile of every kernel; the default one unless another took less than `1 - margin` of its time.
    pub fn best(&self, margin: f64) -> Choice {
        let pick = |k: &Tunable| {
            let default = k.seconds[0] * (1.0 - margin);
            let fastest = k.seconds.iter().enumerate().skip(1).min_by(|a, b| a.1.total_cmp(b.1));
            fastest.filter(|(_, s)| k.seconds[0].is_finite() && **s < default).map_or(0, |(i, _)| i)
        };
        self.kernels.iter().map(pick).collect()
    }

    /// The part of a choice that also won side by side with the default tiles; `default` and `chosen` are seconds per dispatch.
    pub fn confirmed(&self, choice: &Choice, default: &[f64], chosen: &[f64]) -> Choice {
        (0..self.kernels.len()).map(|i| if self.seconds_in(i, chosen) < self.seconds_in(i, default) { choice[i] } else { 0 }).collect()
    }

    /// The plan with these tiles in place; its merging kernels and its memory are still those of the default plan.
    pub fn edit(&self, plan: &ModulePlan, choice: &Choice) -> ModulePlan {
        let mut made = plan.clone();
        for k in made.dispatches.iter_mut().flat_map(|d| &mut d.launches).map(|l| &mut l.kernel) {
            let key = shape(k);
            if let Some((t, c)) = self.kernels.iter().zip(choice).find(|(t, _)| t.shape == key) {
                k.clone_from(&t.tiles[*c]);
            }
        }
        made
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tuned::replan;
    use mnx_ir::Graph;
    use mnx_plan::target::TARGETS;
    use mnx_plan::vocabulary::Gelu;
    use mnx_plan::{PlanOptions, plan};

    fn graph(extra: &str) -> Graph {
        let text = format!(
            "in_channels = 1\nn_channels = 16\nn_classes = 2\nexp_r = 2\nkernel_size = 3\nblock_counts = [1,1,1,1,1,1,1,1,1]\n{extra}"
        );
        let config = mnx_model::Config::from_toml(&text, "t.toml").unwrap();
        let mut graph = mnx_model::build(&config, 1, &[32, 32, 16]).unwrap();
        mnx_passes::manager::run(&mnx_passes::infer(&mnx_passes::InferOptions::default()), &mut graph).unwrap();
        graph
    }

    /// A made-up machine: seconds of a dispatch follow from its kernels' knobs.
    fn pretend(plan: &ModulePlan) -> Vec<f64> {
        let cost = |k: &Kernel| {
            let word =
                k.knobs().iter().fold(17u64, |h, (n, v)| (h ^ (n.len() as u64 * 31 + *v as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            1e-3 * (1.0 + (word >> 40) as f64 / (1u64 << 24) as f64)
        };
        plan.dispatches.iter().map(|d| d.launches.iter().map(|l| cost(&l.kernel)).sum()).collect()
    }

    #[test]
    fn the_search_finds_every_kernels_fastest_tile() {
        for extra in ["do_res = true\n", "grn = true\n", "norm_type = \"layer\"\ngrn = true\n"] {
            let g = graph(extra);
            let default = plan(&g, &TARGETS[0], &PlanOptions::default()).unwrap();
            let mut s = Search::new(&default);
            s.record(&s.default_choice(), &pretend(&default));
            let mut rounds = 0;
            while let Some(choice) = s.round() {
                rounds += 1;
                let made = replan(&g, &s.edit(&default, &choice), Gelu::Accurate).unwrap();
                s.record(&choice, &pretend(&made));
            }
            let (tried, all) = s.progress();
            assert_eq!(tried, all);
            let longest = s.kernels.iter().map(|k| k.tiles.len() - 1).max().unwrap();
            assert!(rounds >= longest && rounds <= 3 * longest, "{rounds} rounds, {longest} candidates at most");
            let best = s.best(0.0);
            assert!(best.iter().any(|c| *c != 0));
            let chosen = pretend(&replan(&g, &s.edit(&default, &best), Gelu::Accurate).unwrap());
            let before = pretend(&default);
            for (i, k) in s.kernels.iter().enumerate() {
                assert!(k.seconds.iter().all(|t| t.is_finite()), "{} was not measured", k.shape);
                assert!(s.seconds_in(i, &chosen) <= s.seconds_in(i, &before));
            }
            assert_eq!(s.confirmed(&best, &before, &chosen), best);
            assert_eq!(s.confirmed(&best, &chosen, &before), s.default_choice());
            assert!(chosen.iter().sum::<f64>() < before.iter().sum::<f64>());
        }
    }

    #[test]
    fn only_one_kernel_of_a_dispatch_varies_at_a_time() {
        let mut default = plan(&graph("grn = true\n"), &TARGETS[1], &PlanOptions::default()).unwrap();
        // No box has two such kernels today: put neighbours together.
        let pairs = default.dispatches.chunks(2).map(|two| {
            let mut all = two[0].clone();
            two[1..].iter().for_each(|d| all.launches.extend(d.launches.iter().cloned()));
            all
        });
        default.dispatches = pairs.collect();
        let mut s = Search::new(&default);
        assert!(default.dispatches.iter().any(|d| d.launches.iter().filter(|l| !l.kernel.knobs().is_empty()).count() > 1));
        while let Some(choice) = s.round() {
            for d in 0..default.dispatches.len() {
                let varied = s.kernels.iter().zip(&choice).filter(|(k, c)| **c != 0 && k.dispatches.contains(&d)).count();
                assert!(varied <= 1, "dispatch {d} varies twice");
            }
        }
        let (tried, all) = s.progress();
        assert!(tried == all && all > 50);
    }
}
