//! Control flow, memory spaces, barriers and warp instructions, against plain Rust.
#![allow(clippy::unwrap_used)]

mod rig;

use mnx_ptx_sim::{Launch, Memory, Module, Options, launch};
use rig::{Random, Rig, entry};

#[test]
fn vector_add_of_any_length() {
    let ptx = entry(
        "",
        "setp.ge.u32 %p1, %r5, %r1;\n@%p1 bra DONE;\nld.global.f32 %r6, [%rd5];\nld.global.nc.f32 %r7, [%rd6];\n\
         add.rn.f32 %r8, %r6, %r7;\nst.global.f32 [%rd7], %r8;\nDONE:",
    );
    let mut random = Random(1);
    for n in [1, 31, 32, 33, 255, 1000, 4097] {
        let mut rig = Rig::new(&ptx);
        let x: Vec<f32> = (0..n).map(|_| random.unit()).collect();
        let y: Vec<f32> = (0..n).map(|_| random.unit()).collect();
        let (a, b, c) = (rig.floats(&x), rig.floats(&y), rig.empty(n));
        let report = rig.clean((n as u32).div_ceil(128), 128, 0, &[a, b, c, n as u64]);
        let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
        assert_eq!(rig.read_floats(c, n), want);
        assert_eq!(report.counters.read.global, 8 * n as u64);
        assert_eq!(report.counters.written.global, 4 * n as u64);
        assert_eq!(report.counters.flops, n as u64);
        assert_eq!(report.counters.global_sectors, 3 * (4 * n as u64).div_ceil(32));
    }
}

/// Tree sum in shared memory; the block's sum goes out.
const REDUCTION: &str = "mov.u32 %r10, buf;\nshl.b32 %r11, %r2, 2;\nadd.u32 %r12, %r10, %r11;\nmov.b32 %r13, 0f00000000;\n\
    setp.lt.u32 %p1, %r5, %r1;\n@%p1 ld.global.f32 %r13, [%rd5];\nst.shared.f32 [%r12], %r13;\nbar.sync 0;\nshr.u32 %r14, %r4, 1;\n\
    LOOP:\nsetp.ge.u32 %p2, %r2, %r14;\n@%p2 bra SKIP;\nshl.b32 %r15, %r14, 2;\nadd.u32 %r16, %r12, %r15;\nld.shared.f32 %r17, [%r16];\n\
    ld.shared.f32 %r18, [%r12];\nadd.f32 %r18, %r18, %r17;\nst.shared.f32 [%r12], %r18;\nSKIP:\nbar.sync 0;\nshr.u32 %r14, %r14, 1;\n\
    setp.ne.u32 %p3, %r14, 0;\n@%p3 bra LOOP;\nsetp.ne.u32 %p4, %r2, 0;\n@%p4 bra END;\nld.shared.f32 %r19, [buf];\n\
    mul.wide.u32 %rd8, %r3, 4;\nadd.s64 %rd9, %rd3, %rd8;\nst.global.f32 [%rd9], %r19;\nEND:";

#[test]
fn reduction_through_shared_memory() {
    let ptx = entry(".extern .shared .align 4 .b8 buf[];", REDUCTION);
    let mut random = Random(2);
    for (n, block) in [(1usize, 32u32), (100, 64), (1000, 256), (5000, 128), (3000, 1024)] {
        for seed in 0..3 {
            let mut rig = Rig::new(&ptx);
            rig.options.seed = seed;
            let x: Vec<f32> = (0..n).map(|_| (random.next() % 256) as f32).collect();
            let blocks = (n as u32).div_ceil(block);
            let (a, c) = (rig.floats(&x), rig.empty(blocks as usize));
            let report = rig.clean(blocks, block, 4 * block, &[a, 0, c, n as u64]);
            let want: Vec<f32> = x.chunks(block as usize).map(|c| c.iter().sum()).collect();
            assert_eq!(rig.read_floats(c, blocks as usize), want);
            assert_eq!(report.counters.bank_conflicts, 0);
        }
    }
}

#[test]
fn lanes_diverge_in_loops_and_meet_again() {
    // Collatz steps of each thread's number; the odd branch stands after the loop's end, as LLVM likes to place cold blocks.
    let ptx = entry(
        "",
        "add.s32 %r6, %r5, 1;\nmov.u32 %r7, 0;\nHEAD:\nsetp.eq.u32 %p1, %r6, 1;\n@%p1 bra DONE;\nand.b32 %r8, %r6, 1;\nsetp.ne.u32 %p2, %r8, 0;\n\
         @%p2 bra ODD;\nshr.u32 %r6, %r6, 1;\nNEXT:\nadd.u32 %r7, %r7, 1;\nbra.uni HEAD;\nODD:\nmad.lo.u32 %r6, %r6, 3, 1;\nbra NEXT;\n\
         DONE:\nbar.sync 0;\nst.global.u32 [%rd5], %r7;",
    );
    let mut rig = Rig::new(&ptx);
    let a = rig.empty(300);
    rig.clean(3, 100, 0, &[a, 0, 0, 0]);
    let steps = |mut v: u64| {
        let mut n = 0;
        while v != 1 {
            v = if v % 2 == 1 { 3 * v + 1 } else { v / 2 };
            n += 1;
        }
        n
    };
    assert_eq!(rig.read(a, 300), (1..=300).map(steps).collect::<Vec<u32>>());
}

#[test]
fn branch_tables_and_calls() {
    let ptx = entry(
        ".func (.param .b32 out) triple(.param .b32 x)\n{\n.reg .b32 %r<4>;\n.reg .pred %p<2>;\nld.param.b32 %r1, [x];\n\
         setp.gt.u32 %p1, %r1, 50;\n@%p1 bra BIG;\nmul.lo.u32 %r2, %r1, 3;\nst.param.b32 [out], %r2;\nret;\nBIG:\n\
         st.param.b32 [out], %r1;\nret;\n}\n",
        "rem.u32 %r6, %r5, 3;\nT: .branchtargets ZERO, ONE, TWO;\nbrx.idx %r6, T;\nZERO:\nmov.u32 %r7, 100;\nbra OUT;\nONE:\nmov.u32 %r7, %r5;\n\
         bra OUT;\nTWO:\nneg.s32 %r7, %r5;\nOUT:\n{\n.param .b32 param0;\nst.param.b32 [param0], %r7;\n.param .b32 retval0;\n\
         call.uni (retval0), triple, (param0);\nld.param.b32 %r8, [retval0];\n}\nst.global.u32 [%rd5], %r8;",
    );
    let mut rig = Rig::new(&ptx);
    let a = rig.empty(64);
    rig.clean(1, 64, 0, &[a, 0, 0, 0]);
    let triple = |v: u32| if v > 50 { v } else { v * 3 };
    let want: Vec<u32> = (0..64u32).map(|t| triple([100, t, t.wrapping_neg()][t as usize % 3])).collect();
    assert_eq!(rig.read(a, 64), want);
}

#[test]
fn memory_spaces_meet_in_generic_addresses() {
    let ptx = entry(
        ".global .align 4 .u32 table[4] = {10, 20, 30, 40};\n.const .align 4 .f32 scale = 0f40000000;\n.global .align 8 .u64 counter;\n",
        ".local .align 4 .b8 frame[64];\n.shared .align 4 .b8 box[512];\nmov.u64 %rd10, table;\ncvta.global.u64 %rd10, %rd10;\nand.b32 %r6, %r2, 3;\n\
         mul.wide.u32 %rd11, %r6, 4;\nadd.s64 %rd12, %rd10, %rd11;\nld.u32 %r7, [%rd12];\nmov.u64 %rd13, frame;\ncvta.local.u64 %rd13, %rd13;\n\
         add.s64 %rd13, %rd13, %rd11;\nst.u32 [%rd13], %r7;\nmov.u64 %rd14, box;\ncvta.shared.u64 %rd14, %rd14;\nmul.wide.u32 %rd15, %r2, 4;\n\
         add.s64 %rd14, %rd14, %rd15;\nld.u32 %r8, [%rd13];\nst.u32 [%rd14], %r8;\nbar.sync 0;\nxor.b32 %r9, %r2, 1;\nshl.b32 %r9, %r9, 2;\n\
         mov.u32 %r10, box;\nadd.u32 %r10, %r10, %r9;\nld.shared.u32 %r11, [%r10];\ncvt.rn.f32.u32 %r12, %r11;\nld.const.f32 %r13, [scale];\n\
         mul.f32 %r14, %r12, %r13;\ncvt.rzi.u32.f32 %r15, %r14;\nst.global.u32 [%rd5], %r15;\natom.global.add.u64 %rd16, [counter], 1;\n\
         cvta.to.global.u64 %rd17, %rd6;\nst.global.u32 [%rd17], %rd16;\nisspacep.shared %p1, %rd14;\nselp.b32 %r16, 1, 0, %p1;\n\
         st.global.u32 [%rd7], %r16;",
    );
    let mut rig = Rig::new(&ptx);
    let (a, b, c) = (rig.empty(64), rig.empty(64), rig.empty(64));
    rig.clean(1, 64, 0, &[a, b, c, 0]);
    let want: Vec<u32> = (0..64u32).map(|t| 20 * ((t ^ 1) % 4 + 1)).collect();
    assert_eq!(rig.read(a, 64), want);
    let mut tickets = rig.read(b, 64);
    tickets.sort_unstable();
    assert_eq!(tickets, (0..64).collect::<Vec<u32>>());
    assert_eq!(rig.read(c, 64), vec![1; 64]);
    // Module variables live on: the second launch counts on.
    rig.clean(1, 64, 0, &[a, b, c, 0]);
    assert_eq!(rig.read(b, 64).into_iter().min(), Some(64));
}

#[test]
fn narrow_stores_of_many_ctas_share_words() {
    let ptx = entry("", "cvt.u16.u32 %rs1, %r5;\ncvt.u64.u32 %rd10, %r5;\nadd.s64 %rd10, %rd1, %rd10;\nst.global.u8 [%rd10], %rs1;");
    let mut rig = Rig::new(&ptx);
    rig.options.threads = 4;
    let a = rig.empty(35 * 7);
    rig.clean(35 * 4, 7, 0, &[a, 0, 0, 0]);
    let bytes: Vec<u8> = rig.read(a, 35 * 7).iter().flat_map(|w| w.to_le_bytes()).collect();
    assert_eq!(bytes, (0..35 * 28u32).map(|i| i as u8).collect::<Vec<u8>>());
}

#[test]
fn vectors_and_signs() {
    let ptx = entry(
        "",
        "mul.wide.u32 %rd10, %r5, 16;\nadd.s64 %rd11, %rd1, %rd10;\nadd.s64 %rd12, %rd2, %rd10;\nld.global.v4.u32 {%r6, %r7, %r8, %r9}, [%rd11];\n\
         ld.global.s8 %r10, [%rd11+5];\nld.global.s16 %rs1, [%rd11+2];\ncvt.s32.s16 %r11, %rs1;\nld.global.v2.b64 {%rd13, _}, [%rd11];\n\
         mov.b64 {%r12, %r13}, %rd13;\nadd.s32 %r14, %r10, %r11;\nst.global.v4.b32 [%rd12], {%r9, %r13, %r14, %r6};",
    );
    let mut rig = Rig::new(&ptx);
    let mut random = Random(3);
    let x: Vec<u32> = (0..4 * 40).map(|_| random.next()).collect();
    let (a, b) = (rig.words(&x), rig.empty(4 * 40));
    rig.clean(1, 40, 0, &[a, b, 0, 0]);
    let want: Vec<u32> = x
        .chunks(4)
        .flat_map(|v| {
            let sum = i32::from((v[1] >> 8) as u8 as i8) + i32::from((v[0] >> 16) as u16 as i16);
            [v[3], v[1], sum as u32, v[0]]
        })
        .collect();
    assert_eq!(rig.read(b, 4 * 40), want);
}

#[test]
fn named_barriers_pass_data_from_producer_to_consumer() {
    let ptx = entry(
        "",
        ".shared .align 4 .b8 box[128];\nmov.u32 %r10, box;\nand.b32 %r11, %r2, 31;\nshl.b32 %r12, %r11, 2;\nadd.u32 %r13, %r10, %r12;\n\
         setp.ge.u32 %p1, %r2, 32;\nmov.u32 %r14, 0;\n@%p1 bra CONSUME;\nPRODUCE:\nmul.lo.u32 %r15, %r14, 100;\nadd.u32 %r15, %r15, %r11;\n\
         st.shared.u32 [%r13], %r15;\nbar.arrive 1, 64;\nbar.sync 2, 64;\nadd.u32 %r14, %r14, 1;\nsetp.lt.u32 %p2, %r14, 5;\n@%p2 bra PRODUCE;\nret;\n\
         CONSUME:\nmov.u32 %r20, 0;\nNEXT:\nbar.sync 1, 64;\nxor.b32 %r16, %r12, 4;\nadd.u32 %r16, %r10, %r16;\nld.shared.u32 %r17, [%r16];\n\
         add.u32 %r20, %r20, %r17;\nbar.arrive 2, 64;\nadd.u32 %r14, %r14, 1;\nsetp.lt.u32 %p2, %r14, 5;\n@%p2 bra NEXT;\n\
         st.global.u32 [%rd5], %r20;",
    );
    for seed in 0..20 {
        let mut rig = Rig::new(&ptx);
        rig.options.seed = seed;
        let a = rig.empty(64);
        let report = rig.clean(1, 64, 0, &[a, 0, 0, 0]);
        assert_eq!(rig.read(a, 64)[32..], (0..32u32).map(|l| 1000 + 5 * (l ^ 1)).collect::<Vec<u32>>());
        assert_eq!(report.counters.barriers, 10);
    }
}

#[test]
fn warp_instructions() {
    let ptx = entry(
        "",
        "shfl.sync.bfly.b32 %r6|%p1, %r5, 3, 0x1f, -1;\nshfl.sync.up.b32 %r7|%p2, %r5, 2, 0, -1;\nshfl.sync.down.b32 %r8|%p3, %r5, 1, 0x181f, -1;\n\
         shfl.sync.idx.b32 %r9, %r5, 5, 0x1f, -1;\nselp.b32 %r10, 1, 0, %p2;\nselp.b32 %r11, 1, 0, %p3;\nsetp.gt.u32 %p4, %r2, 20;\n\
         vote.sync.ballot.b32 %r12, %p4, -1;\nvote.sync.any.pred %p5, %p4, -1;\nvote.sync.all.pred %p6, !%p4, -1;\nselp.b32 %r13, 1, 0, %p5;\n\
         selp.b32 %r14, 1, 0, %p6;\nredux.sync.add.s32 %r15, %r2, -1;\nand.b32 %r16, %r2, 1;\nmatch.any.sync.b32 %r17, %r16, -1;\n\
         activemask.b32 %r18;\nelect.sync %r19|%p7, -1;\nmul.lo.u32 %r20, %r5, 48;\ncvt.u64.u32 %rd10, %r20;\nadd.s64 %rd11, %rd1, %rd10;\n\
         st.global.v4.u32 [%rd11], {%r6, %r7, %r8, %r9};\nst.global.v4.u32 [%rd11+16], {%r10, %r11, %r12, %r13};\n\
         st.global.v4.u32 [%rd11+32], {%r14, %r15, %r17, %r18};",
    );
    let mut rig = Rig::new(&ptx);
    let a = rig.empty(12 * 32);
    rig.clean(1, 32, 0, &[a, 0, 0, 0]);
    for (lane, v) in rig.read(a, 12 * 32).chunks(12).enumerate() {
        let l = lane as u32;
        let up = if l >= 2 { l - 2 } else { l };
        // Width 8: segments of eight lanes.
        let down = if l % 8 < 7 { l + 1 } else { l };
        let parity = if l.is_multiple_of(2) { 0x5555_5555 } else { 0xaaaa_aaaa };
        let want = [l ^ 3, up, down, 5, u32::from(l >= 2), u32::from(l % 8 < 7), 0xffe0_0000, 1, 0, 496, parity, u32::MAX];
        assert_eq!(v, want, "lane {lane}");
    }
}

#[test]
fn a_lock_inside_one_warp_is_passed_on() {
    let ptx = entry(
        "",
        "mov.u32 %r10, 0;\nTRY:\natom.global.cas.b32 %r6, [%rd1], 0, 1;\nsetp.ne.u32 %p1, %r6, 0;\n@%p1 bra TRY;\nld.volatile.global.u32 %r7, [%rd1+4];\n\
         add.u32 %r7, %r7, 1;\nst.volatile.global.u32 [%rd1+4], %r7;\nmembar.gl;\natom.global.exch.b32 %r8, [%rd1], 0;",
    );
    let mut rig = Rig::new(&ptx);
    let a = rig.words(&[0, 0]);
    rig.clean(3, 64, 0, &[a, 0, 0, 0]);
    assert_eq!(rig.read(a, 2), [0, 192]);
}

#[test]
fn async_copies_land_group_by_group() {
    // Two groups in flight; the tail of the second copy is filled with zeros by its source size.
    let ptx = entry(
        "",
        ".shared .align 16 .b8 box[2048];\nmov.u32 %r10, box;\nshl.b32 %r11, %r2, 4;\nadd.u32 %r12, %r10, %r11;\nmul.wide.u32 %rd10, %r2, 16;\n\
         add.s64 %rd11, %rd1, %rd10;\ncp.async.cg.shared.global [%r12], [%rd11], 16;\ncp.async.commit_group;\n\
         cp.async.ca.shared.global [%r12+1024], [%rd11], 16, %r1;\ncp.async.commit_group;\ncp.async.wait_group 1;\nbar.sync 0;\n\
         xor.b32 %r13, %r11, 16;\nadd.u32 %r13, %r13, %r10;\nld.shared.v4.u32 {%r14, %r15, %r16, %r17}, [%r13];\ncp.async.wait_all;\nbar.sync 0;\n\
         ld.shared.v4.u32 {%r18, %r19, %r20, %r21}, [%r13+1024];\nadd.u32 %r14, %r14, %r17;\nadd.s64 %rd12, %rd2, %rd10;\n\
         st.global.v4.u32 [%rd12], {%r14, %r18, %r19, %r21};",
    );
    let mut rig = Rig::new(&ptx);
    let x: Vec<u32> = (1000..1256).collect();
    let (a, b) = (rig.words(&x), rig.empty(256));
    let report = rig.clean(1, 64, 0, &[a, b, 0, 8]);
    let row = |t: usize| {
        let v = &x[4 * (t ^ 1)..];
        [v[0] + v[3], v[0], v[1], 0]
    };
    let want: Vec<u32> = (0..64).flat_map(row).collect();
    assert_eq!(rig.read(b, 256), want);
    assert_eq!(report.counters.bank_conflicts, 0);
}

#[test]
fn bank_conflicts_and_sectors_are_counted() {
    for (stride, conflicts) in [(1u32, 0u64), (2, 2), (32, 62), (33, 0)] {
        let ptx = entry(
            "",
            &format!(
                ".shared .align 16 .b8 box[8192];\nmov.u32 %r10, box;\nmul.lo.u32 %r11, %r2, {};\nadd.u32 %r12, %r10, %r11;\n\
                 st.shared.u32 [%r12], %r2;\nld.shared.u32 %r13, [%r12];\nst.global.u32 [%rd5], %r13;",
                4 * stride
            ),
        );
        let mut rig = Rig::new(&ptx);
        let a = rig.empty(32);
        let c = rig.clean(1, 32, 0, &[a, 0, 0, 0]).counters;
        assert_eq!((c.shared_requests, c.bank_conflicts), (2, conflicts), "stride {stride}");
        assert_eq!((c.global_requests, c.global_sectors), (1, 4));
        assert_eq!((c.read.shared, c.written.shared), (128, 128));
    }
}

#[test]
fn results_and_counters_do_not_depend_on_threads_or_seed() {
    let ptx = entry(".extern .shared .align 4 .b8 buf[];", REDUCTION);
    let mut all = Vec::new();
    for (threads, seed) in [(1, 0), (4, 0), (3, 99)] {
        let mut rig = Rig::new(&ptx);
        rig.options = Options { threads, seed, ..rig.options };
        let x: Vec<f32> = (0..6400).map(|i| (i % 97) as f32).collect();
        let (a, c) = (rig.floats(&x), rig.empty(100));
        let report = rig.clean(100, 64, 256, &[a, 0, c, 6400]);
        all.push((rig.read(c, 100), report.counters));
    }
    assert!(all.windows(2).all(|w| w[0] == w[1]));
    assert!(all[0].1.instructions["bar.sync"] == 100 * 2 * 7);
}

#[test]
fn what_is_unknown_is_refused_with_its_line() {
    for (body, part) in [
        ("frobnicate.u32 %r6, %r7;", "frobnicate"),
        ("add.u32 %r6, %r7, %r99;", "%r99"),
        ("nop_label:\nbra nowhere;", "nowhere"),
        ("add.u64 %rd5, %r1, %rd2;", "%r1"),
        ("ld.global.v2.u32 {%r1, %r2, %r3}, [%rd1];", "expected 2"),
        ("mov.u32 %r6, %clock;", "%clock"),
        ("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1], 16, [%r2];", "cp.async.bulk"),
        ("add.f32 %r6, %r7, 1;", "integer literal"),
        ("ld.global.u32 %r6, [%r7];", "32-bit register"),
    ] {
        let ptx = entry("", body);
        let error = Module::parse(&ptx).unwrap_err();
        assert_eq!(ptx.lines().nth(error.line as usize - 1), body.lines().last(), "{body}: {error}");
        assert!(error.message.contains(part), "{body}: {error}");
    }
    assert!(Module::parse("int main() {}").is_err());
    assert!(Module::parse("").is_err());
}

#[test]
fn illegal_launches_are_refused() {
    let module = Module::parse(&entry("", "").replace("\n{\n", "\n.reqntid 64, 1, 1\n{\n")).unwrap();
    let good = Launch { kernel: "k", grid: [1; 3], block: [64, 1, 1], dynamic_shared: 0, params: vec![0, 0, 0, 7] };
    let run = |l: &Launch<'_>| launch(&module, &mut Memory::new(), l, &Options::default()).map_err(|e| e.message);
    assert!(run(&good).is_ok());
    for (bad, part) in [
        (Launch { kernel: "x", ..good.clone() }, "only k"),
        (Launch { grid: [0, 1, 1], ..good.clone() }, "at least 1"),
        (Launch { block: [32, 1, 1], ..good.clone() }, ".reqntid"),
        (Launch { dynamic_shared: 1 << 20, ..good.clone() }, "shared memory"),
        (Launch { params: vec![0, 0, 0], ..good.clone() }, "parameter words"),
        (Launch { params: vec![0, 0, 0, 1 << 40], ..good.clone() }, "does not hold"),
    ] {
        let message = run(&bad).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn packed_comparisons_give_a_predicate_per_half() {
    let ptx = entry(
        "",
        "ld.global.u32 %r6, [%rd5];\nld.global.u32 %r7, [%rd6];\nsetp.gt.bf16x2 %p1|%p2, %r6, %r7;\nsetp.leu.and.f16x2 %p3|%p4, %r6, %r7, !%p1;\n\
         selp.b32 %r8, 1, 0, %p1;\nselp.b32 %r9, 2, 0, %p2;\nselp.b32 %r10, 4, 0, %p3;\nselp.b32 %r11, 8, 0, %p4;\nadd.u32 %r8, %r8, %r9;\n\
         add.u32 %r8, %r8, %r10;\nadd.u32 %r8, %r8, %r11;\nst.global.u32 [%rd7], %r8;",
    );
    let mut rig = Rig::new(&ptx);
    let mut random = Random(5);
    let [x, y] = [0; 2].map(|_| (0..256).map(|_| random.next()).collect::<Vec<u32>>());
    let (a, b, c) = (rig.words(&x), rig.words(&y), rig.empty(256));
    rig.clean(2, 128, 0, &[a, b, c, 0]);
    for ((x, y), got) in x.iter().zip(&y).zip(rig.read(c, 256)) {
        let bf16 = |v: u32| mnx_ptx_sim::numeric::bf16_to_f32(v as u16);
        let f16 = |v: u32| mnx_ptx_sim::numeric::f16_to_f32(v as u16);
        let greater = [bf16(*x) > bf16(*y), bf16(x >> 16) > bf16(y >> 16)];
        // Unordered counts as true.
        let at_most = [f16(*x) > f16(*y), f16(x >> 16) > f16(y >> 16)].map(|g| !g && !greater[0]);
        let want = [greater[0], greater[1], at_most[0], at_most[1]].iter().enumerate().map(|(i, b)| u32::from(*b) << i).sum::<u32>();
        assert_eq!(got, want, "{x:#x} {y:#x}");
    }
}
