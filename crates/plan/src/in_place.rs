//! Results that take the place of a dying tensor: less memory, and one stream of stores less to fetch lines for.

use std::collections::HashMap;

use mnx_ir::{Graph, ValueId};

use crate::kernel::Kernel;
use crate::lowering::Step;
use crate::slot::Slot;
use crate::work::Operand;

/// Which values share whose buffer: from a result to the value whose bytes it overwrites.
#[derive(Debug, Default)]
pub(crate) struct Places(HashMap<ValueId, ValueId>);

impl Places {
    /// The value whose buffer `v` stands in.
    pub(crate) fn of(&self, v: ValueId) -> ValueId {
        self.0.get(&v).copied().unwrap_or(v)
    }
}

/// Has every kernel whose summand dies with it overwrite that, and says which values share a buffer.
///
/// The summand must be read by nothing later, by no other argument of the launch (a fused convolution reads its neighbours), and be
/// neither input nor output of the graph.
pub(crate) fn settle<'a>(g: &Graph, steps: impl IntoIterator<Item = &'a mut Step<Kernel>>) -> Places {
    let mut steps: Vec<&mut Step<Kernel>> = steps.into_iter().collect();
    let mut last: HashMap<ValueId, usize> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        last.extend(values(step).map(|(_, v)| (v, at)));
    }
    let mut places = Places::default();
    for (at, step) in steps.iter_mut().enumerate() {
        let Some(slot) = step.kernel.overwritable() else { continue };
        let find = |wanted: Slot| values(step).find(|(s, _)| *s == wanted).map(|(_, v)| v);
        let (Some(over), Some(out)) = (find(slot), find(Slot::Out)) else { continue };
        let port = g.is_output(over) || g.inputs().iter().any(|(_, v)| *v == over);
        let once = values(step).filter(|(_, v)| *v == over).count() == 1;
        if port || !once || last.get(&over) != Some(&at) || g.ty(over).bytes() != g.ty(out).bytes() {
            continue;
        }
        let place = places.of(over);
        places.0.insert(out, place);
        step.kernel.overwrite();
    }
    places
}

fn values(step: &Step<Kernel>) -> impl Iterator<Item = (Slot, ValueId)> + '_ {
    step.operands.iter().filter_map(|(slot, operand)| match operand {
        Operand::Value(v) => Some((*slot, *v)),
        Operand::Partial(_) | Operand::Temp(_) | Operand::Weight(_) => None,
    })
}
