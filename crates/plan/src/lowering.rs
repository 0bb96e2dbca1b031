//! From tasks to launches: what families of kernels are handed when they take a task.

use mnx_weights::{Half, Recipe};

use crate::slot::Slot;
use crate::vocabulary::{Gelu, Storage};
use crate::work::{Operand, Operands, Task};

/// A kernel with an operand for each of its slots.
#[derive(Debug, Clone)]
pub struct Step<K> {
    /// What is launched; its tile is chosen later.
    pub kernel: K,
    /// Operands by slot.
    pub operands: Vec<(Slot, Operand)>,
}

/// What holds for all launches of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choices {
    /// How closely GELU is computed.
    pub gelu: Gelu,
}

/// The launches of one box as they are gathered.
#[derive(Debug)]
pub(crate) struct Lowering<K> {
    pub choices: Choices,
    pub out: Vec<Step<K>>,
    temps: usize,
    partials: usize,
}

impl<K> Lowering<K> {
    /// None yet, for a box whose tasks pass on `partials` partial results.
    pub fn new(choices: Choices, partials: usize) -> Self {
        Self { choices, out: Vec::new(), temps: 0, partials }
    }

    /// Adds a launch.
    pub fn push(&mut self, kernel: impl Into<K>, operands: Operands) {
        self.out.push(Step { kernel: kernel.into(), operands });
    }

    /// A new tensor between launches of this box.
    pub fn temp(&mut self) -> Operand {
        self.temps += 1;
        Operand::Temp(self.temps - 1)
    }

    /// New partial results between launches of this box.
    pub fn partial(&mut self) -> Operand {
        self.partials += 1;
        Operand::Partial(self.partials - 1)
    }
}

impl Task {
    /// The operand of a slot.
    pub(crate) fn operand(&self, slot: Slot) -> Result<Operand, String> {
        self.operands.iter().find(|(s, _)| *s == slot).map(|(_, o)| o.clone()).ok_or_else(|| format!("operand {slot} is missing"))
    }

    /// Operands of some slots, as they are.
    pub(crate) fn take(&self, slots: &[Slot]) -> Result<Operands, String> {
        slots.iter().map(|&s| Ok((s, self.operand(s)?))).collect()
    }

    /// The weight of a slot, as the network has it before any rounding.
    pub(crate) fn weight(&self, slot: Slot) -> Result<Recipe, String> {
        Ok(self.rounded_weight(slot)?.0)
    }

    /// The weight of a slot before rounding, and the type that the graph rounds it to.
    pub(crate) fn rounded_weight(&self, slot: Slot) -> Result<(Recipe, Storage), String> {
        match self.operand(slot)? {
            Operand::Weight(Recipe::Cast { weight, to: Half::Bf16 }) => Ok((*weight, Storage::Bf16)),
            Operand::Weight(Recipe::Cast { weight, to: Half::F16 }) => Ok((*weight, Storage::F16)),
            Operand::Weight(recipe) => Ok((recipe, Storage::F32)),
            Operand::Value(_) | Operand::Partial(_) | Operand::Temp(_) => Err(format!("operand {slot} is no weight")),
        }
    }
}
