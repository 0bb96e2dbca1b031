//! Shrinking a graph while it keeps a property: fewer outputs, earlier outputs, later inputs.

use std::collections::HashSet;

use mnx_ir::{Graph, Pattern, ValueId, pattern};

/// Whether a candidate still has the property. An error stops the search.
pub type Test<'a, E> = dyn FnMut(&Graph) -> Result<bool, E> + 'a;

/// The part of a graph between some values: `cuts` become inputs, `outputs` are what is computed, everything else goes.
pub fn part(g: &Graph, outputs: &[(String, ValueId)], cuts: &HashSet<ValueId>) -> Graph {
    let mut live = vec![false; g.value_count()];
    let mut stack: Vec<ValueId> = outputs.iter().map(|(_, v)| *v).collect();
    while let Some(v) = stack.pop() {
        if !std::mem::replace(&mut live[v.index()], true)
            && !cuts.contains(&v)
            && let Some(id) = g.def(v)
        {
            stack.extend_from_slice(g.operands(id));
        }
    }
    let mut out = Graph::new(&g.name, g.stage);
    let mut map: Vec<Option<ValueId>> = vec![None; g.value_count()];
    for (name, v) in g.inputs().iter().filter(|(_, v)| live[v.index()]) {
        map[v.index()] = Some(out.input(name, g.ty(*v).clone()));
    }
    let mut boxes = vec![None; g.dispatches().len()];
    for &id in g.order() {
        let (node, v) = (g.node(id), g.result(id));
        if !live[v.index()] {
            continue;
        }
        if cuts.contains(&v) {
            // Printed values are numbered: a cut's name must not be a number.
            let fresh = format!("cut_{}", out.inputs().len());
            map[v.index()] = Some(out.input(&fresh, g.ty(v).clone()));
            continue;
        }
        let operands: Vec<ValueId> = node.operands.iter().filter_map(|x| map[x.index()]).collect();
        let made = out.push_typed(node.op.clone(), &operands, g.ty(v).clone(), node.loc.clone());
        map[v.index()] = Some(made);
        if let (Some(d), Some(new)) = (node.dispatch, out.def(made)) {
            let old = g.dispatch(d);
            let d = *boxes[d.index()].get_or_insert_with(|| out.add_dispatch(&old.name, old.pattern));
            out.set_dispatch(new, node.part.map(|part| (d, part)));
        }
    }
    for (name, v) in outputs {
        if let Some(new) = map[v.index()] {
            out.output(name, new);
        }
    }
    // A box that lost a part it needs is a fragment.
    for d in boxes.into_iter().flatten() {
        if !pattern::check(&out, d).is_empty() {
            out.set_pattern(d, Pattern::Fragment);
        }
    }
    out
}

/// Activations that ops define, in program order.
fn activations(g: &Graph) -> Vec<ValueId> {
    g.order().iter().map(|&id| g.result(id)).filter(|&v| !g.is_weight(v)).collect()
}

/// Makes a graph with the property as small as single steps can.
///
/// # Errors
/// Those of the test.
pub fn reduce<E>(graph: &Graph, test: &mut Test<'_, E>) -> Result<Graph, E> {
    let mut best = graph.clone();
    loop {
        let before = best.order().len() + best.outputs().len();
        fewer_outputs(&mut best, test)?;
        earlier_output(&mut best, test)?;
        later_inputs(&mut best, test)?;
        if best.order().len() + best.outputs().len() >= before {
            return Ok(best);
        }
    }
}

/// Takes a candidate that is valid, smaller and still has the property.
fn accept<E>(best: &mut Graph, candidate: Graph, test: &mut Test<'_, E>) -> Result<bool, E> {
    let smaller = candidate.order().len() + candidate.outputs().len() < best.order().len() + best.outputs().len();
    let good = smaller && mnx_ir::verify::verify(&candidate).is_ok() && test(&candidate)?;
    if good {
        *best = candidate;
    }
    Ok(good)
}

fn fewer_outputs<E>(best: &mut Graph, test: &mut Test<'_, E>) -> Result<(), E> {
    let all = best.outputs().to_vec();
    if all.len() > 1 {
        for one in &all {
            let candidate = part(best, std::slice::from_ref(one), &HashSet::new());
            if accept(best, candidate, test)? {
                break;
            }
        }
    }
    Ok(())
}

/// Halves towards the earliest value that can stand as the one output.
fn earlier_output<E>(best: &mut Graph, test: &mut Test<'_, E>) -> Result<(), E> {
    let [(name, _)] = best.outputs() else { return Ok(()) };
    let name = name.clone();
    let (mut low, mut step) = (0, activations(best).len() / 2);
    while step > 0 {
        let values = activations(best);
        match values.get(low + step - 1) {
            Some(v) if accept(best, part(best, &[(name.clone(), *v)], &HashSet::new()), test)? => {}
            _ => low += step,
        }
        step /= 2;
    }
    Ok(())
}

/// Cuts as near to the outputs as possible, then each value that still can be cut.
fn later_inputs<E>(best: &mut Graph, test: &mut Test<'_, E>) -> Result<(), E> {
    let outputs = best.outputs().to_vec();
    let mut frontier: HashSet<ValueId> = outputs.iter().map(|(_, v)| *v).collect();
    for _ in 0..best.order().len() {
        let next: HashSet<ValueId> = frontier
            .iter()
            .filter_map(|v| best.def(*v))
            .flat_map(|id| best.operands(id).to_vec())
            .filter(|v| !best.is_weight(*v) && best.def(*v).is_some())
            .collect();
        if next.is_empty() {
            break;
        }
        if accept(best, part(best, &outputs, &next), test)? {
            return Ok(());
        }
        frontier = next;
    }
    let mut at = activations(best).len();
    while at > 0 {
        at -= 1;
        let (values, outputs) = (activations(best), best.outputs().to_vec());
        let Some(v) = values.get(at).copied() else { continue };
        if !outputs.iter().any(|(_, o)| *o == v) {
            accept(best, part(best, &outputs, &HashSet::from([v])), test)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use mnx_ir::OpCode;
    use std::convert::Infallible;

    fn model() -> Graph {
        let text = "in_channels = 1\nn_channels = 4\nn_classes = 2\ndo_res = true\ndo_res_up_down = true\ndeep_supervision = true\n";
        let config = mnx_model::Config::from_toml(text, "m.toml").unwrap();
        mnx_model::build(&config, 1, &[32, 32, 32]).unwrap()
    }

    fn shrink(test: impl Fn(&Graph) -> bool) -> Graph {
        let graph = model();
        assert!(test(&graph));
        let small = reduce(&graph, &mut |g| Ok::<bool, Infallible>(test(g))).unwrap_or_else(|e| match e {});
        assert!(test(&small) && mnx_ir::verify::verify(&small).is_ok());
        small
    }

    #[test]
    fn the_whole_is_a_part_of_itself() {
        let g = model();
        assert_eq!(part(&g, g.outputs(), &HashSet::new()).to_string(), g.to_string());
    }

    #[test]
    fn one_op_is_left_of_a_network_that_needs_one_op() {
        let has = |g: &Graph, code| g.order().iter().any(|&id| g.op(id).code() == code);
        let small = shrink(|g| has(g, OpCode::ConvDepthwiseTransposed));
        let core = activations(&small);
        assert_eq!(core.len(), 1, "{small}");
        let text = small.to_string();
        assert_eq!(mnx_ir::parse::parse(&text, "small.mnx").unwrap().to_string(), text);
    }

    #[test]
    fn a_property_of_two_ops_keeps_the_way_between_them() {
        // A gelu behind the second down block's convolution: both must stay, with what lies between.
        let keeps = |g: &Graph| {
            let at = |name: &str| g.order().iter().position(|&id| g.node(id).loc.to_string() == name);
            matches!((at("down_1.conv1"), at("down_1.act")), (Some(a), Some(b)) if a < b)
        };
        let small = shrink(keeps);
        assert!(activations(&small).len() <= 4, "{small}");
    }
}
