//! The dispatches of a GPU's plan in the PTX interpreter, one by one or in a row, beside what the interpreter of graphs says they yield.

use std::collections::{BTreeSet, HashMap};

use mnx_artifact::BufferRef;
use mnx_interp::{Array, Interpreter};
use mnx_ir::{DType, DispatchId, Graph, Op, OpId, ValueId};
use mnx_plan::slot::Slot;
use mnx_plan::work::{Operand, tasks};
use mnx_plan::{Kernel, LaunchArg, ModulePlan};
use mnx_ptx_sim::{Launch, Memory, Module, Options, launch};
use mnx_weights::Checkpoint;

use crate::stored::{Laid, decode, encode};

/// What the interpreter of graphs says of every value that is no weight, in float64 with the roundings of the graph's casts.
#[derive(Debug)]
pub struct Definition(HashMap<ValueId, Array<f64>>);

impl Definition {
    /// The values of a graph on these weights and inputs.
    ///
    /// # Panics
    /// If the interpreter refuses.
    pub fn of(g: &Graph, weights: &Checkpoint, inputs: &[(&str, &Array<f64>)]) -> Self {
        let mut values = HashMap::new();
        for (name, v) in g.inputs() {
            let (_, given) = inputs.iter().find(|(n, _)| n == name).expect("every input is given");
            values.insert(*v, (*given).clone());
        }
        let mut keep = |id: OpId, value: &Array<f64>| {
            if !g.is_weight(g.result(id)) {
                values.insert(g.result(id), value.clone());
            }
        };
        Interpreter::<f64>::new().run_observed(g, weights, inputs, &mut keep).expect("the graph runs");
        Self(values)
    }

    /// A value as it crosses the border of a box.
    pub fn value(&self, v: ValueId) -> &Array<f64> {
        &self.0[&v]
    }

    /// A value as it was before the cast that makes it, if one does.
    pub fn unrounded(&self, g: &Graph, v: ValueId) -> &Array<f64> {
        match g.def(v) {
            Some(id) if matches!(g.op(id), Op::Cast(_)) => &self.0[&g.operands(id)[0]],
            _ => &self.0[&v],
        }
    }
}

/// A network planned and compiled for a GPU.
#[derive(Debug)]
pub struct Network {
    /// The graph that was planned, with its casts.
    pub graph: Graph,
    plan: ModulePlan,
    symbols: Vec<(String, Kernel)>,
    module: Module,
}

/// What stands in the arena: the bytes of buffers by place, first byte and length.
type Arena = HashMap<(u64, u64), Vec<u8>>;

/// How far a value that a dispatch yields is from its definition.
#[derive(Debug)]
pub struct Yield {
    /// The dispatch.
    pub dispatch: String,
    /// What the kernel has the value for.
    pub slot: Slot,
    /// Element type in which it is stored.
    pub dtype: DType,
    /// Distance beyond the rounding to that type, of the largest value; infinite where something is not finite.
    pub error: f64,
}

fn place(b: &BufferRef) -> (u64, u64) {
    (b.offset, b.bytes)
}

fn overlap(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.0 + b.1 && b.0 < a.0 + a.1
}

/// The distinct kernels of a plan, named.
pub fn symbols(plan: &ModulePlan) -> Vec<(String, Kernel)> {
    let mut out: Vec<(String, Kernel)> = Vec::new();
    for launch in plan.dispatches.iter().flat_map(|d| &d.launches) {
        if !out.iter().any(|(_, k)| *k == launch.kernel) {
            out.push((format!("kernel_{}", out.len()), launch.kernel.clone()));
        }
    }
    out
}

impl Network {
    /// A network from its plan and the PTX of its kernels by their [`symbols`].
    ///
    /// # Panics
    /// If the text is not PTX.
    pub fn new(graph: Graph, plan: ModulePlan, symbols: Vec<(String, Kernel)>, ptx: &str) -> Self {
        let module = Module::parse(ptx).unwrap_or_else(|e| panic!("{e}"));
        Self { graph, plan, symbols, module }
    }

    /// Runs every dispatch on the definition's values of what it reads, and compares what it yields.
    ///
    /// # Panics
    /// On any finding of the PTX interpreter, an unwritten result, or padding that does not hold what it must.
    pub fn each(&self, weights: &Checkpoint, definition: &Definition) -> Vec<Yield> {
        let g = &self.graph;
        let mut holds: HashMap<(u64, u64), ValueId> = self.plan.inputs.iter().map(place).zip(g.inputs().iter().map(|(_, v)| *v)).collect();
        let mut out = Vec::new();
        for (index, (d, ops)) in g.boxes().into_iter().enumerate() {
            let planned = &self.plan.dispatches[index];
            assert_eq!(planned.name, g.dispatch(d).name);
            let known = slots(g, d);
            let mut arena = Arena::new();
            for at in self.read_first(index) {
                let v = *holds.get(&at).unwrap_or_else(|| panic!("@{} reads byte {}, where no value begins", planned.name, at.0));
                assert!(known.iter().any(|(_, k)| *k == v), "@{} reads {v}, which is none of its box's operands", planned.name);
                let values = Laid::out(g, v, definition.value(v)).values;
                arena.insert(at, encode(&values, g.ty(v).dtype));
            }
            self.run(index, weights, &mut arena);
            for place in self.written(index) {
                holds.retain(|other, _| !overlap(*other, place));
            }
            for v in yields(g, d, &ops) {
                let (slot, place) = self.result(index, &known, v);
                holds.insert(place, v);
                let dtype = g.ty(v).dtype;
                let got = decode(&arena[&place], dtype);
                let want = Laid::out(g, v, definition.unrounded(g, v));
                want.check_padding(&got).unwrap_or_else(|why| panic!("@{} {slot}: {why}", planned.name));
                out.push(Yield { dispatch: planned.name.clone(), slot, dtype, error: want.error(&got, dtype) });
            }
        }
        out
    }

    /// The outputs of a whole run, in the order of the graph's.
    ///
    /// # Panics
    /// On any finding of the PTX interpreter.
    pub fn whole(&self, weights: &Checkpoint, definition: &Definition) -> Vec<Vec<f64>> {
        let g = &self.graph;
        let mut arena = Arena::new();
        for ((_, v), at) in g.inputs().iter().zip(&self.plan.inputs) {
            arena.insert(place(at), encode(&definition.value(*v).data, g.ty(*v).dtype));
        }
        for index in 0..self.plan.dispatches.len() {
            self.run(index, weights, &mut arena);
        }
        g.outputs().iter().zip(&self.plan.outputs).map(|((_, v), at)| decode(&arena[&place(at)], g.ty(*v).dtype)).collect()
    }

    /// The arena's buffers that a dispatch reads before any of its launches writes them.
    fn read_first(&self, index: usize) -> BTreeSet<(u64, u64)> {
        let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
        for launch in &self.plan.dispatches[index].launches {
            let args = launch.kernel.args();
            for (arg, at) in args.iter().zip(&launch.args) {
                if let LaunchArg::Arena(at) = at
                    && arg.access.reads()
                    && !written.contains(&place(at))
                {
                    read.insert(place(at));
                }
            }
            for (arg, at) in args.iter().zip(&launch.args) {
                if let LaunchArg::Arena(at) = at
                    && arg.access.writes()
                {
                    written.insert(place(at));
                }
            }
        }
        read
    }

    /// The arena's buffers that a dispatch writes.
    fn written(&self, index: usize) -> Vec<(u64, u64)> {
        let launches = &self.plan.dispatches[index].launches;
        let args = launches.iter().flat_map(|l| l.kernel.args().into_iter().zip(&l.args));
        args.filter_map(|(arg, at)| match at {
            LaunchArg::Arena(at) if arg.access.writes() => Some(place(at)),
            LaunchArg::Arena(_) | LaunchArg::Weight(_) => None,
        })
        .collect()
    }

    /// The slot and place of a value that a dispatch yields: of the last launch that writes the slot. Earlier ones write what passes between
    /// launches.
    fn result(&self, index: usize, known: &[(Slot, ValueId)], v: ValueId) -> (Slot, (u64, u64)) {
        let dispatch = &self.plan.dispatches[index];
        let slot = known.iter().find(|(_, k)| *k == v).unwrap_or_else(|| panic!("no task of @{} writes {v}", dispatch.name)).0;
        let writes = |slot: Slot| {
            let writes = dispatch.launches.iter().rev().flat_map(|l| l.kernel.args().into_iter().zip(&l.args));
            writes.filter(move |(arg, _)| arg.slot == slot && arg.access.writes()).find_map(|(_, at)| match at {
                LaunchArg::Arena(at) => Some(place(at)),
                LaunchArg::Weight(_) => None,
            })
        };
        // A pointwise convolution between inner tensors is a product, whose result is a block's.
        let found = writes(slot).or_else(|| writes(Slot::Out).filter(|_| slot == Slot::Y));
        (slot, found.unwrap_or_else(|| panic!("no launch of @{} writes {slot}", dispatch.name)))
    }

    /// Runs the launches of a dispatch, every buffer in an allocation of its own.
    fn run(&self, index: usize, weights: &Checkpoint, arena: &mut Arena) {
        let dispatch = &self.plan.dispatches[index];
        for (number, step) in dispatch.launches.iter().enumerate() {
            let what = format!("launch {number} of @{}", dispatch.name);
            let mut memory = Memory::new();
            let mut params = Vec::new();
            let args = step.kernel.args();
            for (arg, at) in args.iter().zip(&step.args) {
                let address = memory.alloc(arg.bytes() as u64, mnx_artifact::ALIGNMENT);
                let stands = match at {
                    LaunchArg::Weight(recipe) => Some(recipe.bytes_of(&recipe.eval(weights).unwrap_or_else(|e| panic!("{what}: {e}")))),
                    LaunchArg::Arena(at) if arg.access.reads() => {
                        Some(arena.get(&place(at)).unwrap_or_else(|| panic!("{what}: nothing stands where {} is read", arg.slot)).clone())
                    }
                    LaunchArg::Arena(_) => None,
                };
                if let Some(bytes) = stands {
                    assert_eq!(bytes.len(), arg.bytes(), "{what}: {}", arg.slot);
                    memory.write(address, &bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
                }
                if !arg.access.writes() {
                    memory.protect(address).unwrap_or_else(|e| panic!("{what}: {e}"));
                }
                params.push(address);
            }
            let geometry = step.kernel.geometry().expect("a GPU's kernel");
            let (kernel, _) = self.symbols.iter().find(|(_, k)| *k == step.kernel).expect("every kernel has a symbol");
            let go = Launch { kernel, grid: geometry.grid, block: geometry.block, dynamic_shared: geometry.shared_bytes, params };
            let report = launch(&self.module, &mut memory, &go, &Options { threads: 1, ..Options::default() });
            let report = report.unwrap_or_else(|e| panic!("{what}: {e}"));
            if let Some(first) = report.findings.first() {
                panic!("{what}: {}, the first: {first}", mnx_words::count(report.total_findings as u64, "finding"));
            }
            for ((arg, at), &address) in args.iter().zip(&step.args).zip(&go.params) {
                let LaunchArg::Arena(at) = at else { continue };
                if !arg.access.writes() {
                    continue;
                }
                let (mut bytes, mut known) = (vec![0; arg.bytes()], vec![false; arg.bytes()]);
                memory.read(address, &mut bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
                memory.written(address, &mut known).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(known.iter().all(|k| *k), "{what}: {} is not written whole", arg.slot);
                arena.retain(|other, _| !overlap(*other, place(at)));
                arena.insert(place(at), bytes);
            }
        }
    }
}

/// The values that a box's tasks read and write, by slot.
fn slots(g: &Graph, d: DispatchId) -> Vec<(Slot, ValueId)> {
    let tasks = tasks(g, d).unwrap_or_else(|e| panic!("{e}"));
    let operands = tasks.into_iter().flat_map(|t| t.operands);
    operands
        .filter_map(|(slot, operand)| match operand {
            Operand::Value(v) => Some((slot, v)),
            Operand::Partial(_) | Operand::Temp(_) | Operand::Weight(_) => None,
        })
        .collect()
}

/// The values that leave a box.
fn yields(g: &Graph, d: DispatchId, ops: &[OpId]) -> Vec<ValueId> {
    let users = g.users();
    let leaves = |v: &ValueId| g.is_kept(*v) || users[v.index()].iter().any(|&r| g.node(r).dispatch != Some(d));
    ops.iter().map(|&id| g.result(id)).filter(leaves).collect()
}
