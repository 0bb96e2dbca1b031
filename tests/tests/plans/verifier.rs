//! The plan's verifier: plans edited by hand are refused, each for what is wrong with it.

use super::*;
use mnx_artifact::{ALIGNMENT, BufferRef};
use mnx_plan::slot::Arg;
use mnx_plan::verify::verify;

/// One buffer of the arena that a launch uses.
#[derive(Debug, Clone, Copy)]
struct Use {
    /// Dispatch, launch within it, argument.
    at: [usize; 3],
    /// Launch over all dispatches.
    launch: usize,
    arg: Arg,
    buffer: BufferRef,
}

/// Every use of the arena, in order.
fn uses(plan: &ModulePlan) -> Vec<Use> {
    let mut all = Vec::new();
    let mut launch = 0;
    for (d, dispatch) in plan.dispatches.iter().enumerate() {
        for (l, launched) in dispatch.launches.iter().enumerate() {
            for (a, (arg, place)) in launched.kernel.args().into_iter().zip(&launched.args).enumerate() {
                if let LaunchArg::Arena(buffer) = place {
                    all.push(Use { at: [d, l, a], launch, arg, buffer: *buffer });
                }
            }
            launch += 1;
        }
    }
    all
}

fn place<'a>(plan: &'a mut ModulePlan, of: &Use) -> &'a mut LaunchArg {
    let [d, l, a] = of.at;
    &mut plan.dispatches[d].launches[l].args[a]
}

fn set(plan: &mut ModulePlan, of: &Use, buffer: BufferRef) {
    *place(plan, of) = LaunchArg::Arena(buffer);
}

/// A buffer's places in the slow run: two bytes each, the least that an element has.
fn places(r: &BufferRef) -> std::ops::Range<usize> {
    (r.offset / 2) as usize..((r.offset + r.bytes) / 2) as usize
}

fn overlap(a: &BufferRef, b: &BufferRef) -> bool {
    a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
}

/// Whether every value that a launch reads still stands where it was written, whatever ran in between, and none goes unread: the plan is run on labels instead of numbers, one for each
/// two bytes of the arena. Slower than the verifier, and written apart from it.
fn sound(plan: &ModulePlan) -> bool {
    let nobody = u32::MAX;
    let mut writers = vec![nobody; plan.memory.arena_bytes.div_ceil(2) as usize];
    let whole = |writers: &[u32], r: &BufferRef| {
        let own = &writers[places(r)];
        own[0] != nobody && own.iter().all(|w| *w == own[0])
    };
    // Whether anybody has read what stands there.
    let mut read = vec![true; writers.len()];
    for (i, r) in plan.inputs.iter().enumerate() {
        writers[places(r)].fill(1_000_000 + i as u32);
        read[places(r)].fill(false);
    }
    let all = uses(plan);
    for now in all.chunk_by(|a, b| a.launch == b.launch) {
        for (i, a) in now.iter().enumerate() {
            if a.arg.access.reads() && !whole(&writers, &a.buffer) {
                return false;
            }
            let written = |b: &Use| a.arg.access.writes() || b.arg.access.writes();
            if now[i + 1..].iter().any(|b| written(b) && overlap(&a.buffer, &b.buffer)) {
                return false;
            }
        }
        now.iter().filter(|a| a.arg.access.reads()).for_each(|a| read[places(&a.buffer)].fill(true));
        for a in now.iter().filter(|a| a.arg.access.writes()) {
            if read[places(&a.buffer)].contains(&false) {
                return false;
            }
            writers[places(&a.buffer)].fill(a.launch as u32);
            read[places(&a.buffer)].fill(false);
        }
    }
    plan.outputs.iter().all(|r| whole(&writers, r))
}

/// What the verifier says, all of it in one text.
fn refusal(plan: &ModulePlan) -> Option<String> {
    let errors = verify(plan).err()?;
    assert!(!errors.is_empty() && errors.iter().all(|e| e.code == "plan-0208"), "{errors:#?}");
    Some(errors.iter().map(|e| e.message.clone()).collect::<Vec<_>>().join("\n"))
}

fn refused(plan: &ModulePlan, want: &str, what: &str) {
    let said = refusal(plan).unwrap_or_else(|| panic!("accepted: {what}\n{plan}"));
    assert!(said.contains(want), "{what}: `{want}` expected, got: {said}");
}

const OVERWRITTEN: &str = "reads what has been overwritten, or never written";
const UNREAD: &str = "overwrites what nobody has read yet";
const SHARED: &str = "share bytes, and one of them is written";

/// Random plans: networks with every option, on every target in turn.
fn random_plans(rng: &mut Random, count: usize) -> Vec<ModulePlan> {
    let networks = options();
    let targets: Vec<_> = storages().collect();
    (0..count)
        .map(|i| {
            let (config, patch) = &networks[rng.below(networks.len())];
            let (target, storages) = &targets[i % targets.len()];
            let supervised =
                if config.contains("deep_supervision") { config.clone() } else { format!("{config}deep_supervision = true\n") };
            let plan = planned(&dispatches(&supervised, patch), target, rng.pick(storages), Gelu::Accurate);
            assert!(sound(&plan) && verify(&plan).is_ok(), "{plan}");
            plan
        })
        .collect()
}

/// Edits every plan at several places; `edit` gives the edited plan, what it did and what must be said of it, or nothing where the place it drew does not suit.
fn each(seed: u64, edit: impl Fn(&mut Random, &ModulePlan, &[Use]) -> Option<(ModulePlan, String, String)>) {
    let mut rng = Random::new(seed);
    for plan in random_plans(&mut rng, 16) {
        let all = uses(&plan);
        let mut edits = 0;
        for _ in 0..100_000 {
            if let Some((edited, what, want)) = edit(&mut rng, &plan, &all) {
                refused(&edited, &want, &what);
                edits += 1;
            }
            if edits == 6 {
                break;
            }
        }
        assert_eq!(edits, 6, "too few places to edit in\n{plan}");
    }
}

/// The verifier agrees with the slow run on whatever becomes of swapping two offsets of one launch.
#[test]
fn swapped_offsets_are_judged_as_the_slow_run_judges_them() {
    let mut rng = Random::new(31);
    let (mut unsound, mut tried) = (0, 0);
    for plan in random_plans(&mut rng, 24) {
        let all = uses(&plan);
        for _ in 0..40 {
            let a = rng.pick(&all);
            let near: Vec<Use> = all.iter().filter(|b| a.launch.abs_diff(b.launch) <= 1).copied().collect();
            let b = rng.pick(&near);
            let other = a.buffer.offset != b.buffer.offset && (a.arg.access.writes() || b.arg.access.writes());
            let inside = |x: &Use, y: &Use| x.buffer.offset + y.buffer.bytes <= plan.memory.arena_bytes;
            if !other || !inside(&a, &b) || !inside(&b, &a) {
                continue;
            }
            let mut edited = plan.clone();
            set(&mut edited, &a, BufferRef { offset: b.buffer.offset, ..a.buffer });
            set(&mut edited, &b, BufferRef { offset: a.buffer.offset, ..b.buffer });
            let said = refusal(&edited);
            assert_eq!(said.is_none(), sound(&edited), "{a:?} and {b:?} swapped: {said:?}\n{edited}");
            if let Some(said) = said {
                let known = [OVERWRITTEN, UNREAD, SHARED, "has been overwritten at the end"];
                assert!(known.iter().any(|k| said.contains(k)), "{said}");
                unsound += 1;
            }
            tried += 1;
        }
    }
    assert!(tried >= 40 && unsound * 2 > tried, "{unsound} of {tried} swaps are unsound");
}

#[test]
fn a_buffer_over_a_live_one_is_refused() {
    each(32, |rng, plan, all| {
        // A value that is read later than a launch in between writes something else: that is moved over the value, or over a part of it where the launch does not
        // use it (all of it by one writer would be another tensor, whole).
        let (reader, between) = (rng.pick(all), rng.pick(all));
        if !reader.arg.access.reads() || !between.arg.access.writes() || between.launch >= reader.launch {
            return None;
        }
        let writes = |u: &Use, launches: std::ops::Range<usize>| launches.contains(&u.launch) && u.arg.access.writes();
        all.iter().find(|u| writes(u, 0..between.launch) && u.buffer == reader.buffer)?;
        let moved = BufferRef { offset: reader.buffer.offset, ..between.buffer };
        let besides = all.iter().any(|u| u.launch == between.launch && u.at != between.at && overlap(&u.buffer, &moved));
        let rewritten = all.iter().any(|u| writes(u, between.launch..reader.launch) && overlap(&u.buffer, &reader.buffer));
        let fits = moved.offset + moved.bytes <= plan.memory.arena_bytes;
        if rewritten || !fits || (!besides && moved.bytes >= reader.buffer.bytes) {
            return None;
        }
        let mut edited = plan.clone();
        set(&mut edited, &between, moved);
        Some((edited, format!("{between:?} over {reader:?}"), if besides { SHARED.to_owned() } else { OVERWRITTEN.to_owned() }))
    });
}

/// A value that another replaces whole, before its first reader: all that is read is one tensor by one writer, only not the right one.
#[test]
fn a_value_replaced_whole_is_refused() {
    let mut rng = Random::new(41);
    let mut tried = 0;
    for plan in random_plans(&mut rng, 16) {
        let all = uses(&plan);
        for value in all.iter().filter(|u| u.arg.access.writes()) {
            let first = all.iter().find(|u| u.launch > value.launch && overlap(&u.buffer, &value.buffer));
            let between = |u: &&Use| u.arg.access.writes() && first.is_some_and(|f| (value.launch + 1..f.launch).contains(&u.launch));
            for other in all.iter().filter(between) {
                let moved = BufferRef { offset: value.buffer.offset, ..other.buffer };
                let besides = all.iter().any(|u| u.launch == other.launch && u.at != other.at && overlap(&u.buffer, &moved));
                if besides || moved.bytes < value.buffer.bytes || moved.offset + moved.bytes > plan.memory.arena_bytes {
                    continue;
                }
                let mut edited = plan.clone();
                set(&mut edited, other, moved);
                refused(&edited, UNREAD, &format!("{other:?} in place of {value:?}"));
                tried += 1;
            }
        }
    }
    assert!(tried >= 10, "{tried} places to edit");
}

#[test]
fn a_written_weight_is_refused() {
    each(33, |rng, plan, all| {
        let written = Some(rng.pick(all)).filter(|u| u.arg.access.writes())?;
        let weight =
            plan.dispatches.iter().flat_map(|d| &d.launches).flat_map(|l| &l.args).find(|a| matches!(a, LaunchArg::Weight(_)))?.clone();
        let mut edited = plan.clone();
        *place(&mut edited, &written) = weight;
        Some((edited, format!("{written:?} bound to a weight"), "is written, and bound to a weight".to_owned()))
    });
}

#[test]
fn a_weight_of_another_length_is_refused() {
    each(34, |rng, plan, _| {
        let weights: Vec<(Arg, LaunchArg)> = plan
            .dispatches
            .iter()
            .flat_map(|d| &d.launches)
            .flat_map(|l| l.kernel.args().into_iter().zip(&l.args))
            .filter(|(_, place)| matches!(place, LaunchArg::Weight(_)))
            .map(|(arg, place)| (arg, place.clone()))
            .collect();
        let (other, weight) = &weights[rng.below(weights.len())];
        let d = rng.below(plan.dispatches.len());
        let l = rng.below(plan.dispatches[d].launches.len());
        let mut edited = plan.clone();
        let launch = &mut edited.dispatches[d].launches[l];
        let args = launch.kernel.args();
        let a = rng.below(args.len());
        if !matches!(launch.args[a], LaunchArg::Weight(_)) || args[a].bytes() == other.bytes() {
            return None;
        }
        launch.args[a] = weight.clone();
        Some((edited, format!("{} for {}", other.slot, args[a].slot), "bytes, ".to_owned()))
    });
}

#[test]
fn a_buffer_of_another_length_is_refused() {
    each(35, |rng, plan, all| {
        let (short, by) = (rng.pick(all), 1 + rng.below(64) as u64);
        let bytes = if rng.below(2) == 0 { short.buffer.bytes.saturating_sub(by) } else { short.buffer.bytes + by };
        let mut edited = plan.clone();
        set(&mut edited, &short, BufferRef { bytes, ..short.buffer });
        Some((edited, format!("{bytes} bytes for {short:?}"), "are wanted".to_owned()))
    });
}

#[test]
fn a_buffer_behind_the_arena_is_refused() {
    each(36, |rng, plan, all| {
        let moved = rng.pick(all);
        let end = plan.memory.arena_bytes.next_multiple_of(ALIGNMENT);
        let offset = rng.pick(&[
            end,
            end + ALIGNMENT,
            u64::MAX / ALIGNMENT * ALIGNMENT,
            (end - moved.buffer.bytes).next_multiple_of(ALIGNMENT) + ALIGNMENT,
        ]);
        let mut edited = plan.clone();
        set(&mut edited, &moved, BufferRef { offset, ..moved.buffer });
        Some((edited, format!("{moved:?} at {offset}"), "ends behind the arena".to_owned()))
    });
    each(37, |rng, plan, _| {
        let mut edited = plan.clone();
        let less = 1 + rng.below(plan.memory.arena_bytes as usize) as u64;
        edited.memory.arena_bytes -= less;
        Some((edited, format!("{less} bytes less of arena"), "ends behind the arena".to_owned()))
    });
    each(38, |rng, plan, _| {
        let end = plan.memory.arena_bytes.next_multiple_of(ALIGNMENT);
        let mut edited = plan.clone();
        let (ports, what) = if rng.below(2) == 0 { (&mut edited.inputs, "input 0: ") } else { (&mut edited.outputs, "output 0: ") };
        ports[0].offset = end;
        let what = what.to_owned();
        Some((edited, format!("{what}at {end}"), what))
    });
}

#[test]
fn a_misaligned_buffer_is_refused() {
    each(39, |rng, plan, all| {
        let (moved, by) = (rng.pick(all), 1 + rng.below(ALIGNMENT as usize - 1) as u64);
        let offset = if moved.buffer.offset >= by && rng.below(2) == 0 { moved.buffer.offset - by } else { moved.buffer.offset + by };
        let mut edited = plan.clone();
        set(&mut edited, &moved, BufferRef { offset, ..moved.buffer });
        Some((edited, format!("{moved:?} at {offset}"), "is no multiple of 64".to_owned()))
    });
}

#[test]
fn an_output_overwritten_before_the_end_is_refused() {
    each(40, |rng, plan, all| {
        let (output, later) = (rng.below(plan.outputs.len()), rng.pick(all));
        let port = plan.outputs[output];
        let writer = all.iter().rfind(|u| u.arg.access.writes() && u.buffer == port)?;
        // A later result moved over a part of the output: all of it by one writer would be another tensor, whole.
        let places = (plan.memory.arena_bytes - later.buffer.bytes) / ALIGNMENT + 1;
        let moved = BufferRef { offset: rng.below(places as usize) as u64 * ALIGNMENT, ..later.buffer };
        let partly = overlap(&moved, &port) && (moved.offset > port.offset || moved.offset + moved.bytes < port.offset + port.bytes);
        let apart = !all.iter().any(|u| u.launch == later.launch && u.at != later.at && overlap(&u.buffer, &moved));
        if later.launch <= writer.launch || !later.arg.access.writes() || !apart || !partly {
            return None;
        }
        let mut edited = plan.clone();
        set(&mut edited, &later, moved);
        Some((edited, format!("{later:?} over output {output}"), format!("output {output} has been overwritten at the end")))
    });
}

#[test]
fn a_launch_with_too_few_buffers_or_an_illegal_tile_is_refused() {
    each(41, |rng, plan, _| {
        let d = rng.below(plan.dispatches.len());
        let l = rng.below(plan.dispatches[d].launches.len());
        let mut edited = plan.clone();
        let launch = &mut edited.dispatches[d].launches[l];
        launch.args.pop();
        Some((edited, format!("launch {l} of dispatch {d} without its last buffer"), "buffers are bound".to_owned()))
    });
    each(42, |rng, plan, _| {
        let d = rng.below(plan.dispatches.len());
        let mut edited = plan.clone();
        let launch = edited.dispatches[d].launches.first_mut()?;
        let (knob, _) = *launch.kernel.knobs().first()?;
        launch.kernel.set_knob(knob, 4097).unwrap();
        let why = launch.kernel.legal(plan.target).err()?;
        let what = format!("{knob} = 4097");
        Some((edited, what, why))
    });
}
