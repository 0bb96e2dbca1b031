//! Plan texts: what is written is read back, what is edited is obeyed, what is damaged is refused.

use super::*;
use mnx_ir::Diagnostic;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

const RES: &str = "do_res = true\ndo_res_up_down = true\n";

/// One of each kind of block, or as few of them as there can be.
fn short(more: &str) -> String {
    format!("{}{more}", SMALL.replace("[1,1,1,1,1,1,1,1,1]", "[1,0,0,0,0,0,0,0,0]"))
}

/// A plan's text without the header, which names the storage type.
fn body(text: &str) -> &str {
    text.split_once('\n').unwrap().1
}

/// Every network on every target, with every storage type and either GELU: the text is read back to the plan, and says what sets the plans apart.
fn round_trips(networks: &[Network]) {
    for (config, patch) in networks {
        let g = dispatches(config, patch);
        for (target, storages) in storages() {
            let mut bodies = HashSet::new();
            for precision in storages {
                for gelu in [Gelu::Accurate, Gelu::Fast] {
                    let plan = planned(&g, target, precision, gelu);
                    let text = plan.to_string();
                    let what = format!("{config} on {} in {}", target.name, precision.as_str());
                    let read = ModulePlan::read(&text, "x").unwrap_or_else(|e| panic!("{what}: {e:#?}"));
                    assert!(read.len() == 1 && read[0] == plan, "{what} changed");
                    assert!(bodies.insert(body(&text).to_owned()), "{what}, {}: the text is that of another choice", gelu.as_str());
                }
            }
        }
    }
}

#[test]
fn published_networks_are_read_back() {
    round_trips(&published());
}

#[test]
fn every_option_is_read_back() {
    round_trips(&options());
}

#[test]
fn texts_of_several_plans_are_read_back_in_order() {
    let g = dispatches(&short(RES), &[32, 32, 32]);
    let all: Vec<ModulePlan> = storages().map(|(t, s)| planned(&g, t, s[0], Gelu::Accurate)).collect();
    let text: String = all.iter().map(|p| format!("{p}\n")).collect();
    assert_eq!(ModulePlan::read(&text, "x").unwrap(), all);
}

fn edit(g: &Graph, target: &'static Target, edited: &PlanText) -> Result<ModulePlan, Vec<Diagnostic>> {
    plan(g, target, &PlanOptions { edited: Some(edited), ..PlanOptions::default() })
}

#[test]
fn plan_text_is_read_back_and_obeyed() {
    let g = dispatches(&format!("{SMALL}do_res = true\n"), &[32, 32, 32]);
    let target = &TARGETS[0];
    let first = plan(&g, target, &PlanOptions::default()).unwrap();
    let text = first.to_string();
    let read = PlanText::parse(&text, "a.plan").unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].target, target.name);
    assert_eq!(edit(&g, target, &read[0]).unwrap().to_string(), text);

    let d = &first.dispatches[0];
    let Kernel::Host(HostKernel::Depthwise(k)) = &d.launches[0].kernel else { panic!() };
    assert_ne!(k.tile.depth, 3);
    let edited = format!("plan @x target({}) {{\n  dispatch @{} {{\n    launch depthwise.ring [depth=3]\n  }}\n}}\n", target.name, d.name);
    let read = PlanText::parse(&edited, "b.plan").unwrap();
    let changed = edit(&g, target, &read[0]).unwrap();
    let Kernel::Host(HostKernel::Depthwise(k)) = &changed.dispatches[0].launches[0].kernel else { panic!() };
    assert_eq!(k.tile.depth, 3);
    let Kernel::Host(HostKernel::MergeStats(m)) = &changed.dispatches[0].launches[1].kernel else { panic!() };
    assert_eq!(m.parts, k.spatial_parts(), "the merge follows the edited tile");

    for (from, to, want) in [
        ("depth=3", "depth=0", "depth"),
        ("depth=3", "deep=3", "has no knob `deep`"),
        ("depthwise.ring", "mlp.tile", "follows depthwise.ring, the plan says mlp.tile"),
    ] {
        let read = PlanText::parse(&edited.replace(from, to), "b.plan").unwrap();
        let e = edit(&g, target, &read[0]).unwrap_err();
        assert!(e.iter().any(|e| e.message.contains(want) && e.place.starts_with("b.plan:3")), "{to}: {e:?}");
    }
    let stray = PlanText::parse(&edited.replace(&d.name, "nowhere"), "b.plan").unwrap();
    assert!(edit(&g, target, &stray[0]).unwrap_err()[0].message.contains("no dispatch @nowhere"));
    for bad in
        ["", "plan @x target(v4", "plan @x target(v4) {\n launch a []\n}", "plan @x target(v4) {\n dispatch @a {\n launch b [c=-1]\n }\n}"]
    {
        assert!(PlanText::parse(bad, "c.plan").is_err(), "{bad}");
    }
}

/// Knobs may be edited; what a launch computes may not.
#[test]
fn an_edit_of_another_computation_is_refused() {
    let g = dispatches(&format!("{SMALL}{RES}grn = true\n"), &[32, 32, 32]);
    let refused = |text: &ModulePlan, target, precision, gelu| {
        let edited = &PlanText::parse(&text.to_string(), "e.plan").unwrap()[0];
        let errors = plan(&rounded(&g, precision), target, &PlanOptions { gelu, edited: Some(edited) }).unwrap_err();
        assert!(errors.iter().all(|e| e.code == "plan-0204" && e.place.starts_with("e.plan:")), "{errors:#?}");
        assert!(errors.iter().any(|e| e.message.contains("computes something else")), "{errors:#?}");
    };
    for (target, storages) in storages() {
        let of = |precision, gelu| planned(&g, target, precision, gelu);
        for &precision in &storages {
            refused(&of(precision, Gelu::Fast), target, precision, Gelu::Accurate);
            for &other in storages.iter().filter(|s| **s != precision) {
                refused(&of(other, Gelu::Accurate), target, precision, Gelu::Accurate);
            }
        }
    }
    let other = dispatches(&format!("{}{RES}grn = true\n", SMALL.replace("exp_r = 2", "exp_r = 3")), &[32, 32, 32]);
    refused(&planned(&other, &TARGETS[0], Storage::F32, Gelu::Accurate), &TARGETS[0], Storage::F32, Gelu::Accurate);
}

/// A text without its comments: what counts of it.
fn bare(text: &str) -> Vec<&str> {
    text.lines().map(|l| l.split(" //").next().unwrap().trim()).filter(|l| !l.is_empty()).collect()
}

/// Plans whose texts are damaged: a host's and a GPU's, of every family.
fn to_damage() -> Vec<ModulePlan> {
    let mut all = Vec::new();
    for extra in [format!("{RES}grn = true\n"), format!("{RES}norm_type = \"layer\"\n")] {
        let g = dispatches(&short(&extra), &[32, 32, 32]);
        all.push(planned(&g, &TARGETS[1], Storage::F32, Gelu::Accurate));
        all.push(planned(&g, &GPU_TARGETS[3], Storage::Bf16, Gelu::Accurate));
    }
    all
}

/// Reads a damaged text: an error, or the plan that it says, which is the first plan only if nothing but comments changed. True if it was refused.
fn read_damaged(first: &ModulePlan, whole: &str, damaged: &str, what: &str) -> bool {
    let read = catch_unwind(AssertUnwindSafe(|| ModulePlan::read(damaged, "x"))).unwrap_or_else(|_| panic!("{what} made the reader panic"));
    match read {
        Err(errors) => {
            assert!(!errors.is_empty() && errors.iter().all(|e| !e.message.is_empty()), "{what}");
            true
        }
        Ok(plans) => {
            let same = plans.len() == 1 && plans[0] == *first;
            assert_eq!(same, bare(damaged) == bare(whole), "{what}: another text, or another plan");
            false
        }
    }
}

#[test]
fn a_text_that_lacks_a_line_is_another_plan_or_none() {
    for first in to_damage() {
        let whole = first.to_string();
        let lines: Vec<&str> = whole.lines().collect();
        let mut refused = 0;
        for i in 0..lines.len() {
            let damaged = [&lines[..i], &lines[i + 1..]].concat().join("\n");
            refused += usize::from(read_damaged(&first, &whole, &damaged, &format!("line {} left out: {}", i + 1, lines[i])));
        }
        // Whole dispatches aside, only ports may go.
        assert!(refused + 4 >= lines.len(), "{refused} of {} refused", lines.len());
    }
}

/// Where the digits of every number of a line stand, comments aside.
fn numbers(line: &str) -> Vec<std::ops::Range<usize>> {
    let code = line.split(" //").next().unwrap();
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for (i, c) in code.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
        let word = code[..i].ends_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        match found.last_mut() {
            Some(last) if last.end == i => last.end = i + c.len_utf8(),
            _ if word => {}
            _ => found.push(i..i + 1),
        }
    }
    found
}

#[test]
fn a_text_with_another_number_is_another_plan_or_none() {
    let mut rng = Random::new(5);
    for first in to_damage() {
        let whole = first.to_string();
        let lines: Vec<&str> = whole.lines().collect();
        let (mut refused, mut tried) = (0, 0);
        for (i, line) in lines.iter().enumerate() {
            for range in numbers(line) {
                let old = &line[range.clone()];
                let near = old.parse::<u64>().map_or(7, |n| if rng.below(2) == 0 { n + 1 } else { n.saturating_sub(1) });
                let far = rng.pick(&[0, 3, 1 << 20, u64::from(u32::MAX), 1 << 40, u64::MAX]);
                for new in [near, far].map(|n| n.to_string()).iter().filter(|n| *n != old) {
                    let changed = format!("{}{new}{}", &line[..range.start], &line[range.end..]);
                    let damaged = [&lines[..i], &[changed.as_str()], &lines[i + 1..]].concat().join("\n");
                    refused += usize::from(read_damaged(&first, &whole, &damaged, &format!("line {}: {changed}", i + 1)));
                    tried += 1;
                }
            }
        }
        assert!(refused * 4 > tried * 3, "{refused} of {tried} refused");
    }
}

#[test]
fn truncated_texts_and_garbage_are_refused() {
    let mut rng = Random::new(6);
    let all = to_damage();
    for (n, first) in all.iter().enumerate() {
        let whole = first.to_string();
        for _ in 0..200 {
            let end = rng.below(whole.trim_end().len());
            assert!(read_damaged(first, &whole, &whole[..end], &format!("cut at byte {end}")), "plan {n} cut at byte {end} is a plan");
        }
        let bytes = b"{}[]=,:/\"\\ \n0129-+eE@.xplan\xc3\xa9";
        for round in 0..400 {
            let mut damaged = whole.clone().into_bytes();
            for _ in 0..=rng.below(4) {
                let at = rng.below(damaged.len());
                match rng.below(3) {
                    0 => damaged[at] = bytes[rng.below(bytes.len())],
                    1 => damaged.insert(at, bytes[rng.below(bytes.len())]),
                    _ => drop(damaged.drain(at..(at + 1 + rng.below(40)).min(damaged.len()))),
                }
            }
            if let Ok(damaged) = String::from_utf8(damaged)
                && damaged.trim().len() > 1
            {
                let read = catch_unwind(AssertUnwindSafe(|| ModulePlan::read(&damaged, "x")));
                assert!(read.is_ok(), "garbage {round} of plan {n} made the reader panic");
            }
        }
    }
    for garbage in
        ["", "\n", "{", "}", "}}}}", "plan", "plan @", "plan @x target(", "plan @x target(x) {\n}\n", "\u{0}\u{ffff}", "launch a []"]
    {
        assert!(ModulePlan::read(garbage, "x").is_err(), "{garbage}");
    }
}
