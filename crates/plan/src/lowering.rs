//! From tasks to launches: what families of kernels are handed when they take a task.

use std::collections::HashSet;

use mnx_ir::ValueId;
use mnx_weights::Recipe;

use crate::kernel::Kernel;
use crate::slot::Slot;
use crate::vocabulary::{Gelu, Storage};
use crate::work::{Operand, Operands, Task};

/// A kernel with an operand for each of its slots.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is launched; its tile is chosen later.
    pub kernel: Kernel,
    /// Operands by slot.
    pub operands: Vec<(Slot, Operand)>,
}

/// What holds for all launches of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choices<'a> {
    /// Element type of what flows from block to block.
    pub storage: Storage,
    /// How closely GELU is computed.
    pub gelu: Gelu,
    /// Values that never leave a block.
    pub within: &'a HashSet<ValueId>,
}

/// The launches of one box as they are gathered.
#[derive(Debug)]
pub(crate) struct Lowering<'a> {
    pub choices: Choices<'a>,
    pub out: Vec<Step>,
    temps: usize,
    partials: usize,
}

impl<'a> Lowering<'a> {
    /// None yet, for a box whose tasks pass on `partials` partial results.
    pub fn new(choices: Choices<'a>, partials: usize) -> Self {
        Self { choices, out: Vec::new(), temps: 0, partials }
    }

    /// Adds a launch.
    pub fn push(&mut self, kernel: impl Into<Kernel>, operands: Operands) {
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

    /// Element type of an operand that is no port.
    pub fn element(&self, operand: &Operand) -> Storage {
        match operand {
            Operand::Value(v) if self.choices.within.contains(v) => self.choices.storage.within_block(),
            Operand::Value(_) | Operand::Partial(_) | Operand::Temp(_) | Operand::Weight(_) => self.choices.storage,
        }
    }
}

impl Task {
    /// The operand of a slot.
    pub(crate) fn operand(&self, slot: Slot) -> Result<Operand, String> {
        self.operands.iter().find(|(s, _)| *s == slot).map(|(_, o)| o.clone()).ok_or_else(|| format!("operand {slot} is missing"))
    }

    /// These operands, as they are.
    pub(crate) fn take(&self, slots: &[Slot]) -> Result<Operands, String> {
        slots.iter().map(|&s| Ok((s, self.operand(s)?))).collect()
    }

    /// The weight of a slot, as the network has it.
    pub(crate) fn weight(&self, slot: Slot) -> Result<Recipe, String> {
        match self.operand(slot)? {
            Operand::Weight(recipe) => Ok(recipe),
            Operand::Value(_) | Operand::Partial(_) | Operand::Temp(_) => Err(format!("operand {slot} is no weight")),
        }
    }
}
