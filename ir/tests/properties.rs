//! Random graphs and modules with states, updates and boxes: the text form is exact, the verifier content, weights are told apart.
#![allow(clippy::unwrap_used)]

use mnx_ir::parse::{parse, parse_module};
use mnx_ir::print::print;
use mnx_ir::verify::verify;
use mnx_ir::*;
use proptest::prelude::*;

/// One step of building: what to add, and from which values.
type Choice = (u8, prop::sample::Index, prop::sample::Index, prop::sample::Index);

fn activation() -> TensorType {
    TensorType::f32(&[1, 4, 3, 5])
}

/// The type that a key has in every graph.
fn leaf_type(key: usize) -> TensorType {
    match key % 3 {
        0 => TensorType::f32(&[4, 4, 1, 1]),
        1 => TensorType::f32(&[4]),
        _ => activation(),
    }
}

struct Builder {
    g: Graph,
    values: Vec<ValueId>,
}

impl Builder {
    fn pick(&self, ty: &TensorType, at: prop::sample::Index) -> Option<ValueId> {
        let fitting: Vec<ValueId> = self.values.iter().copied().filter(|&v| self.g.ty(v).shape == ty.shape).collect();
        (!fitting.is_empty()).then(|| *at.get(&fitting))
    }

    fn add(&mut self, op: Op, operands: &[Option<ValueId>], loc: &str) {
        let Some(operands) = operands.iter().copied().collect::<Option<Vec<_>>>() else { return };
        let loc = if loc.is_empty() { Loc::default() } else { Loc::layer(loc) };
        // A weight's op on an activation is no derived weight: legal from stage train on alone.
        let gradient = op.info().class == ops::Class::Weight && !operands.iter().all(|&v| self.g.is_weight(v));
        if (!gradient || self.g.stage.trains())
            && let Ok(v) = self.g.push(op, &operands, &loc)
        {
            self.values.push(v);
        }
    }

    fn step(&mut self, (what, a, b, c): Choice) {
        let (x, w, v) = (activation(), leaf_type(0), leaf_type(1));
        let none = NoAttrs {};
        match what % 10 {
            0 => self.add(Op::Gelu(none), &[self.pick(&x, a)], "act"),
            1 => self.add(Op::Add(none), &[self.pick(&x, a), self.pick(&x, b)], ""),
            2 => self.add(
                Op::SumValues(none),
                &[self.pick(&x, a), self.pick(&x, b), self.pick(&x, c)][..1 + what as usize % 3],
                "sum \"of\"\n",
            ),
            3 => self.add(Op::SumValues(none), &[self.pick(&w, a), self.pick(&w, b)], "w"),
            4 => self.add(Op::AddBias(none), &[self.pick(&x, a), self.pick(&v, b)], "bias"),
            5 => self.add(Op::ConvPointwise(StrideAttrs { stride: 1 }), &[self.pick(&x, a), self.pick(&w, b), self.pick(&v, c)], "conv"),
            6 => self.add(Op::WeightScaleIn(none), &[self.pick(&w, a), self.pick(&v, b)], ""),
            7 => self.add(Op::WeightTransposeIo(none), &[self.pick(&w, a)], "t"),
            _ => {
                let key = a.index(9);
                // Keys from 6 on are states.
                let leaf = match (key < 6, self.g.stage.trains()) {
                    (true, _) => self.g.param(&format!("p{key} \"\\é"), leaf_type(key)),
                    (false, true) => self.g.state(&format!("m/{key}"), leaf_type(key)),
                    (false, false) => return,
                };
                self.values.push(leaf.unwrap());
            }
        }
    }

    /// Boxes around runs of ops that depend on an activation.
    fn boxes(&mut self) {
        let mut open = None;
        for (i, id) in self.g.order().to_vec().into_iter().enumerate() {
            if self.g.is_weight(self.g.result(id)) {
                open = None;
                continue;
            }
            let d = *open.get_or_insert_with(|| self.g.add_dispatch(&format!("box.{i}"), Pattern::Fragment));
            self.g.set_dispatch(id, Some((d, Part::Alone)));
            if i % 3 == 0 {
                open = None;
            }
        }
    }
}

fn graphs(name: &'static str) -> impl Strategy<Value = Graph> {
    let choice = (any::<u8>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let updates = prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..5);
    (0..4usize, prop::collection::vec(choice, 0..40), updates).prop_map(move |(stage, choices, updates)| {
        let mut b = Builder { g: Graph::new(name, Stage::ALL[stage]), values: Vec::new() };
        for (input, ty) in [("x", activation()), ("grad", leaf_type(0))] {
            let v = b.g.input(input, ty);
            b.values.push(v);
        }
        b.g.input("target", TensorType::new(DType::I32, &[1, 3, 5, 7]));
        choices.into_iter().for_each(|c| b.step(c));
        b.g.output("out_0", *b.values.last().unwrap());
        b.g.output("out_1", b.values[0]);
        if b.g.stage.trains() {
            let leaves: Vec<(String, TensorType)> =
                b.g.params().into_iter().chain(b.g.states()).map(|(k, v)| (k.to_string(), b.g.ty(v).clone())).collect();
            for (key, value) in updates.into_iter().filter(|_| !leaves.is_empty()) {
                let (key, ty) = key.get(&leaves);
                if !b.g.updates().iter().any(|(k, _)| k == key)
                    && let Some(v) = b.pick(ty, value)
                {
                    b.g.update(key, v);
                }
            }
        }
        if b.g.stage == Stage::Dispatch {
            b.boxes();
        }
        b.g
    })
}

/// Whether a value depends on params and states alone, by its definition.
fn is_weight(g: &Graph, v: ValueId) -> bool {
    g.def(v).is_some_and(|id| g.op(id).key().is_some() || g.operands(id).iter().all(|&x| is_weight(g, x)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_text_of_a_graph_is_exact(g in graphs("g")) {
        prop_assert!(verify(&g).is_ok(), "{:?}\n{g}", verify(&g));
        let text = print(&g);
        let again = parse(&text, "random.mnx").map_err(|e| TestCaseError::fail(format!("{e:?}\n{text}")))?;
        prop_assert_eq!(&print(&again), &text);
        prop_assert!(verify(&again).is_ok());
        prop_assert_eq!(again.updates().len(), g.updates().len());
        for (&a, &b) in g.order().iter().zip(again.order()) {
            prop_assert_eq!(g.op(a), again.op(b));
            prop_assert_eq!(g.is_weight(g.result(a)), is_weight(&again, again.result(b)));
            prop_assert_eq!(again.is_weight(again.result(b)), is_weight(&again, again.result(b)));
        }
    }

    #[test]
    fn the_text_of_a_module_is_exact((a, b, c) in (graphs("step"), graphs("infer"), graphs("eval"))) {
        let module = Module { graphs: vec![a, b, c] };
        prop_assert!(module.verify().is_ok(), "{:?}", module.verify());
        let text = module.to_string();
        let again = parse_module(&text, "random.mnx").map_err(|e| TestCaseError::fail(format!("{e:?}\n{text}")))?;
        prop_assert_eq!(&again.to_string(), &text);
        prop_assert_eq!(parse(&text, "random.mnx").unwrap_err()[0].code, "ir-0106");
        // Dropping any line is read or refused, never a panic.
        for skip in 0..text.lines().count() {
            let cut: String = text.lines().enumerate().filter(|(i, _)| *i != skip).map(|(_, l)| format!("{l}\n")).collect();
            if let Ok(module) = parse_module(&cut, "cut") {
                let _ = module.verify();
            }
        }
    }

    #[test]
    fn shunts_keep_the_classes(g in graphs("g"), at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut g = g;
        prop_assume!(!g.order().is_empty());
        let root = *at.get(g.order());
        let old = g.result(root);
        // Any value above of the same type.
        let above: Vec<ValueId> = g.order().iter().take_while(|&&id| id != root).map(|&id| g.result(id))
            .chain(g.inputs().iter().map(|(_, v)| *v)).filter(|&v| g.ty(v) == g.ty(old)).collect();
        prop_assume!(!above.is_empty());
        let mut patch = Patch::new("swap", &g, root);
        patch.shunt(old, *to.get(&above));
        g.apply(patch);
        for &id in g.order() {
            prop_assert_eq!(g.is_weight(g.result(id)), is_weight(&g, g.result(id)));
        }
    }
}
