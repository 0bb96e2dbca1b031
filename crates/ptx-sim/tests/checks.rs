//! One planted bug per check, and beside each the repaired kernel, which must be clean.
#![allow(clippy::unwrap_used)]

mod rig;

use mnx_ptx_sim::{Checks, FindingKind, Options};
use rig::{Rig, entry, kinds};

const BOX: &str = ".shared .align 16 .b8 box[1024];\nmov.u32 %r10, box;\nshl.b32 %r11, %r2, 2;\nadd.u32 %r12, %r10, %r11;\n";

struct Case {
    kind: FindingKind,
    /// Text that the faulty line must contain.
    at: &'static str,
    bug: String,
    fixed: String,
}

/// A bug and its repair that differ in one place.
fn case(kind: FindingKind, at: &'static str, body: &str, from: &str, to: &str) -> Case {
    assert!(body.contains(from), "{from}");
    Case { kind, at, bug: body.to_string(), fixed: body.replacen(from, to, 1) }
}

#[expect(clippy::too_many_lines, reason = "a table: one row per bug that the checks find")]
fn cases() -> Vec<Case> {
    use FindingKind::*;
    let boxed = |s: &str| format!("{BOX}{s}");
    let neighbour = "xor.b32 %r13, %r11, 4;\nadd.u32 %r13, %r13, %r10;\nld.shared.u32 %r14, [%r13];\nst.global.u32 [%rd5], %r14;";
    let other_warp = "xor.b32 %r13, %r11, 128;\nadd.u32 %r13, %r13, %r10;\nld.shared.u32 %r14, [%r13];\nst.global.u32 [%rd5], %r14;";
    vec![
        case(OutOfBounds, "st.global", "st.global.u32 [%rd5+256], %r2;", "+256", ""),
        case(OutOfBounds, "ld.shared", &boxed("st.shared.u32 [%r12], %r2;\nld.shared.u32 %r13, [%r12+1024];"), "+1024", ""),
        case(OutOfBounds, "st.local", ".local .align 4 .b8 f[16];\nst.local.u32 [f+16], %r2;", "[f+16]", "[f+12]"),
        case(
            OutOfBounds,
            "ld.global",
            "cvt.u32.u64 %r6, %rd1;\ncvt.u64.u32 %rd8, %r6;\nld.global.nc.u32 %r7, [%rd8];",
            "cvt.u64.u32 %rd8, %r6;",
            "mov.u64 %rd8, %rd2;",
        ),
        case(ReadOnly, "st.global", "st.global.u32 [%rd6], %r2;", "%rd6", "%rd5"),
        case(Misaligned, "ld.global.v2", "ld.global.v2.u32 {%r6, %r7}, [%rd2+4];", "+4", "+8"),
        case(Misaligned, "st.shared", &boxed("st.shared.u16 [%r12+1], %r2;"), "+1]", "+2]"),
        case(UninitialisedRegister, "add.u32", "add.u32 %r7, %r6, 1;\nst.global.u32 [%rd5], %r7;", "add.u32 %r7, %r6", "add.u32 %r7, %r5"),
        case(
            UninitialisedRegister,
            "st.global.u32 [%rd5], %r6",
            "setp.lt.u32 %p1, %r2, 40;\n@%p1 mov.u32 %r6, 7;\nst.global.u32 [%rd5], %r6;",
            "st.global",
            "@!%p1 mov.u32 %r6, 8;\nst.global",
        ),
        case(UninitialisedMemory, "ld.shared", &boxed("ld.shared.u32 %r13, [%r12];"), "ld.shared", "st.shared.u32 [%r12], %r2;\nld.shared"),
        case(
            UninitialisedMemory,
            "ld.shared",
            &boxed("st.shared.u8 [%r12], %r2;\nld.shared.u16 %r13, [%r12];"),
            "ld.shared.u16",
            "ld.shared.u8",
        ),
        case(UninitialisedMemory, "ld.global", "ld.global.u32 %r6, [%rd7];", "%rd7", "%rd6"),
        case(
            UninitialisedMemory,
            "ld.local",
            ".local .align 4 .b8 f[16];\nst.local.u32 [f], %r2;\nld.local.u32 %r6, [f+4];",
            "[f+4]",
            "[f]",
        ),
        // A race is told where its second access stands, which depends on the order of the warps: between two warps, between two lanes of one warp, and a write after a read.
        case(
            SharedRace,
            "shared",
            &boxed(&format!("st.shared.u32 [%r12], %r2;\nbar.warp.sync -1;\n{other_warp}")),
            "bar.warp.sync -1;",
            "bar.sync 0;",
        ),
        case(SharedRace, "shared", &boxed(&format!("st.shared.u32 [%r12], %r2;\n{neighbour}")), "xor", "bar.warp.sync -1;\nxor"),
        case(
            SharedRace,
            "shared",
            &boxed(&format!("st.shared.u32 [%r12], %r2;\nbar.sync 0;\n{other_warp}\nst.shared.u32 [%r12], %r5;")),
            "st.shared.u32 [%r12], %r5;",
            "bar.sync 0;\nst.shared.u32 [%r12], %r5;",
        ),
        case(SharedRace, "st.shared", &boxed("st.shared.u32 [%r10], %r2;"), "[%r10], %r2", "[%r10], %r1"),
        // Half-words of one word belong to different threads: only the overlapping version is a race.
        case(
            SharedRace,
            "st.shared.u16",
            &boxed("shl.b32 %r13, %r2, 1;\nadd.u32 %r13, %r13, %r10;\nand.b32 %r13, %r13, 1020;\nst.shared.u16 [%r13], %r2;\nbar.sync 0;"),
            "1020",
            "1022",
        ),
        case(
            SharedRace,
            "shared",
            &boxed(&format!(
                "mul.wide.u32 %rd8, %r2, 4;\nadd.s64 %rd9, %rd2, %rd8;\ncp.async.ca.shared.global [%r12], [%rd9], 4;\ncp.async.wait_all;\n{other_warp}"
            )),
            "cp.async.wait_all;",
            "cp.async.wait_all;\nbar.sync 0;",
        ),
        case(
            MissingAsyncWait,
            "ld.shared",
            &boxed(
                "mul.wide.u32 %rd8, %r2, 4;\nadd.s64 %rd9, %rd2, %rd8;\ncp.async.ca.shared.global [%r12], [%rd9], 4;\ncp.async.commit_group;\n\
                 cp.async.wait_group 1;\nbar.sync 0;\nld.shared.u32 %r13, [%r12];",
            ),
            "wait_group 1",
            "wait_group 0",
        ),
        case(GlobalRace, "st.global", "st.global.u32 [%rd1], %r3;", "[%rd1]", "[%rd5]"),
        case(
            GlobalRace,
            "global",
            "st.global.u32 [%rd5], %r3;\nxor.b32 %r6, %r5, 64;\nmul.wide.u32 %rd8, %r6, 4;\nadd.s64 %rd8, %rd1, %rd8;\nld.volatile.global.u32 %r7, [%rd8];\nld.global.u32 %r8, [%rd8];",
            "xor.b32 %r6, %r5, 64",
            "xor.b32 %r6, %r5, 0",
        ),
        case(GlobalRace, "st.global", "st.global.u32 [%rd3], %r3;", "st.global.u32 [%rd3]", "red.global.add.u32 [%rd2]"),
        case(
            Divergence,
            "shfl",
            "setp.lt.u32 %p1, %r2, 40;\n@%p1 bra IN;\nbra OUT;\nIN:\nshfl.sync.bfly.b32 %r6, %r2, 1, 31, -1;\nOUT:\nbar.warp.sync -1;",
            "shfl.sync.bfly.b32 %r6, %r2, 1, 31, -1;",
            "mov.u32 %r6, 1;",
        ),
        case(
            Divergence,
            "bar.sync",
            "setp.lt.u32 %p1, %r2, 40;\n@%p1 bra IN;\nbar.sync 0;\nbra OUT;\nIN:\nbar.sync 0;\nOUT:",
            "%r2, 40",
            "%r2, 32",
        ),
        case(Divergence, "shfl", "shfl.sync.bfly.b32 %r6, %r2, 1, 31, 0xffff;", "0xffff;", "0xffffffff;"),
        case(
            Divergence,
            "ldmatrix",
            &boxed(
                "st.shared.u32 [%r12], %r2;\nst.shared.u32 [%r12+256], %r2;\nbar.sync 0;\nand.b32 %r13, %r2, 7;\nshl.b32 %r13, %r13, 4;\nadd.u32 %r13, %r13, %r10;\nsetp.lt.u32 %p1, %r2, 40;\n@%p1 ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r14}, [%r13];",
            ),
            "@%p1 ldmatrix",
            "ldmatrix",
        ),
        case(Deadlock, "bar.sync 1, 128", "bar.sync 1, 128;", "128", "64"),
        case(
            Deadlock,
            "bar.sync",
            "setp.lt.u32 %p1, %r2, 32;\n@%p1 bra A;\nbar.sync 1;\nbra B;\nA:\nbar.sync 2;\nB:",
            "bar.sync 2",
            "bar.sync 1",
        ),
        case(EndlessLoop, "", "mov.u32 %r6, 0;\nL:\nadd.u32 %r6, %r6, 2;\nsetp.ne.u32 %p1, %r6, 1001;\n@%p1 bra L;", "1001", "1000"),
        case(Trap, "trap", "setp.eq.u32 %p1, %r2, 5;\n@%p1 trap;", "%r2, 5", "%r2, 500"),
        case(BadOperand, "bar.sync", "bar.sync 16;", "16", "15"),
        case(
            BadOperand,
            "cp.async",
            &boxed(
                "mul.wide.u32 %rd8, %r2, 4;\nadd.s64 %rd9, %rd2, %rd8;\nmov.u32 %r13, 5;\ncp.async.ca.shared.global [%r12], [%rd9], 4, %r13;\ncp.async.wait_all;",
            ),
            "%r13, 5",
            "%r13, 3",
        ),
    ]
}

/// Two CTAs of 64 threads on: `a`, never written; `b`, written and (from the device) read-only except for atomics; `c`, never written.
fn run(body: &str, options: Options, protect: bool) -> mnx_ptx_sim::Report {
    let mut rig = Rig::new(&entry("", body));
    rig.options = options;
    let (a, b, c) = (rig.empty(128), rig.words(&[3; 128]), rig.empty(128));
    if protect {
        rig.memory.protect(b).unwrap();
    }
    rig.launch(2, 64, 0, &[a, b, c, 9])
}

fn options() -> Options {
    Options { checks: Checks { instruction_budget: 100_000, ..Checks::default() }, ..Options::default() }
}

#[test]
fn every_planted_bug_is_found_and_its_repair_is_clean() {
    for Case { kind, at, bug, fixed } in cases() {
        let protect = !fixed.contains("red.global");
        for seed in 0..4 {
            let options = Options { seed, ..options() };
            let report = run(&bug, options, protect);
            assert!(kinds(&report).contains(&kind), "{kind} not found in\n{bug}\nbut {:?}", report.findings);
            let f = report.findings.iter().find(|f| f.kind == kind).unwrap();
            assert!(f.source_text.contains(at), "{f}");
            let ptx = entry("", &bug);
            assert_eq!(ptx.lines().nth(f.line as usize - 1).unwrap().trim(), f.source_text);
            assert!(f.thread[0] < 64 && f.cta[0] < 2 && !f.message.is_empty());
            let report = run(&fixed, options, protect);
            assert!(report.is_clean(), "{}\nin the repair\n{fixed}", report.findings[0]);
        }
    }
}

#[test]
fn each_check_can_be_switched_off() {
    for Case { kind, bug, fixed, .. } in cases() {
        let mut checks = options().checks;
        match kind {
            FindingKind::OutOfBounds | FindingKind::ReadOnly | FindingKind::UseAfterFree => checks.bounds = false,
            FindingKind::Misaligned => checks.alignment = false,
            FindingKind::UninitialisedRegister | FindingKind::UninitialisedMemory => checks.uninitialised = false,
            FindingKind::SharedRace => checks.shared_races = false,
            FindingKind::GlobalRace => checks.global_races = false,
            FindingKind::MissingAsyncWait => checks.async_copies = false,
            FindingKind::Divergence => checks.divergence = false,
            // What no run survives is always told.
            FindingKind::Deadlock | FindingKind::EndlessLoop | FindingKind::Trap | FindingKind::BadOperand => continue,
        }
        let report = run(&bug, Options { checks, ..options() }, !fixed.contains("red.global"));
        assert!(!kinds(&report).contains(&kind), "{kind} in\n{bug}");
    }
}

#[test]
fn a_missing_wait_also_shows_in_the_data() {
    let body = format!(
        "{BOX}st.shared.u32 [%r12], 77;\nmul.wide.u32 %rd8, %r2, 4;\nadd.s64 %rd9, %rd2, %rd8;\ncp.async.ca.shared.global [%r12], [%rd9], 4;\n\
         ld.shared.u32 %r13, [%r12];\nst.global.u32 [%rd5], %r13;"
    );
    let mut rig = Rig::new(&entry("", &body));
    let (a, b) = (rig.empty(64), rig.words(&[5; 64]));
    let report = rig.launch(1, 64, 0, &[a, b, 0, 0]);
    assert_eq!(kinds(&report), [FindingKind::MissingAsyncWait]);
    assert_eq!(rig.read(a, 64), [77; 64]);
}

#[test]
fn a_missing_barrier_shows_in_the_data_under_some_seed() {
    let body = format!(
        "{BOX}st.shared.u32 [%r12], 0;\nbar.sync 0;\nst.shared.u32 [%r12], 1;\nxor.b32 %r13, %r11, 128;\nadd.u32 %r13, %r13, %r10;\nld.shared.u32 %r14, [%r13];\nst.global.u32 [%rd5], %r14;"
    );
    let stale = (0..20).filter(|&seed| {
        let mut rig = Rig::new(&entry("", &body));
        rig.options.seed = seed;
        let a = rig.empty(64);
        rig.launch(1, 64, 0, &[a, 0, 0, 0]);
        rig.read(a, 64).contains(&0)
    });
    assert!(stale.count() > 0);
}

#[test]
fn freed_memory_is_not_touched() {
    let mut rig = Rig::new(&entry("", "ld.global.u32 %r6, [%rd5];"));
    let a = rig.words(&[1; 32]);
    rig.clean(1, 32, 0, &[a, 0, 0, 0]);
    rig.memory.free(a).unwrap();
    assert_eq!(kinds(&rig.launch(1, 32, 0, &[a, 0, 0, 0])), [FindingKind::UseAfterFree]);
    assert!(rig.memory.free(a).is_err() && rig.memory.write(a, &[0]).is_err());
}

#[test]
fn findings_are_counted_beyond_those_kept() {
    let mut rig = Rig::new(&entry("", "ld.global.u32 %r6, [%rd1+4096];"));
    let a = rig.words(&[1; 8]);
    let report = rig.launch(500, 64, 0, &[a, 0, 0, 0]);
    assert_eq!(report.total_findings, 500 * 64);
    assert_eq!(report.findings.len(), 200);
    assert!(report.findings.windows(2).all(|f| f[0].cta[0] < f[1].cta[0]));
}

#[test]
fn the_host_cannot_leave_an_allocation() {
    let mut memory = mnx_ptx_sim::Memory::new();
    let a = memory.alloc(10, 4);
    let b = memory.alloc(100, 1 << 18);
    assert!(b.is_multiple_of(1 << 18) && b > a);
    assert!(memory.write(a, &[0; 10]).is_ok() && memory.write(a, &[0; 11]).is_err() && memory.write(a + 7, &[1; 4]).is_err());
    assert!(memory.read(a - 1, &mut [0; 1]).is_err() && memory.read(0, &mut [0; 1]).is_err());
    let mut back = [9; 10];
    memory.read(a, &mut back).unwrap();
    assert_eq!(back, [0; 10]);
    assert!(memory.protect(b + 200_000).is_err());
}
