//! Instructions across the lanes of a warp, from the ISA's pseudo-code.

use crate::rig::Kind::Bits;
use crate::rig::{Draw, Sim, THREADS, accepted_by_ptxas, module, seed};

/// One kernel: `body` reads `%w0`, `%w1` (per lane) and leaves `%w9` and `%p9` (as bit 32 of the result).
fn kernel(index: usize, body: &str) -> String {
    format!(
        ".visible .entry k{index}(.param .u64 input, .param .u64 output)
{{
 .reg .b64 %x<20>; .reg .b32 %w<20>; .reg .pred %p<20>;
 ld.param.u64 %x10, [input];
 ld.param.u64 %x11, [output];
 mov.u32 %w10, %tid.x;
 mul.wide.u32 %x12, %w10, 8;
 add.s64 %x10, %x10, %x12;
 add.s64 %x11, %x11, %x12;
 ld.global.v2.b32 {{%w0, %w1}}, [%x10];
 mov.b32 %w9, 0;
 setp.ne.u32 %p9, %w9, 0;
 {body}
 selp.b32 %w8, 1, 0, %p9;
 mov.b64 %x9, {{%w9, %w8}};
 st.global.b64 [%x11], %x9;
 ret;
}}
"
    )
}

/// A warp's answer: for each lane the word and the predicate.
type Answer = Vec<(u32, bool)>;
type Model = Box<dyn Fn(&[(u32, u32)]) -> Answer>;

fn check_warps(family: &str, cases: &[(String, Model)]) {
    let text = module("8.0", &cases.iter().enumerate().map(|(i, c)| kernel(i, &c.0)).collect::<String>());
    let seed = seed();
    let mut draw = Draw::new(seed);
    let mut sim = Sim::new(&text);
    for (i, (body, model)) in cases.iter().enumerate() {
        for _ in 0..8 {
            let inputs: Vec<u64> = (0..THREADS).map(|_| draw.of(Bits)).collect();
            let output = sim.run(&format!("k{i}"), &inputs, THREADS);
            for (warp, got) in output.chunks(32).enumerate() {
                let lanes: Vec<(u32, u32)> = inputs[32 * warp..32 * warp + 32].iter().map(|&v| (v as u32, (v >> 32) as u32)).collect();
                let want: Vec<u64> = model(&lanes).into_iter().map(|(w, p)| u64::from(w) | u64::from(p) << 32).collect();
                assert_eq!(got, want, "{family}: `{body}` on {lanes:x?} (MNX_TEST_SEED={seed})");
            }
        }
    }
    accepted_by_ptxas(family, &text);
}

/// The ISA's pseudo-code of `shfl.sync`: `b` and `c` are the operands of that name, all lanes take part.
fn shfl(mode: &'static str, b: impl Fn(u32) -> u32 + 'static, c: u32) -> Model {
    Box::new(move |lanes| {
        (0..32u32)
            .map(|lane| {
                let (bval, cval, mask) = (b(lanes[lane as usize].1) & 0x1f, c & 0x1f, c >> 8 & 0x1f);
                let max_lane = (lane & mask) | (cval & !mask);
                let min_lane = lane & mask;
                let (j, valid) = match mode {
                    "up" => (lane.wrapping_sub(bval), i64::from(lane) - i64::from(bval) >= i64::from(max_lane)),
                    "down" => (lane + bval, lane + bval <= max_lane),
                    "bfly" => (lane ^ bval, lane ^ bval <= max_lane),
                    _ => (min_lane | (bval & !mask), (min_lane | (bval & !mask)) <= max_lane),
                };
                let from = if valid { j } else { lane };
                (lanes[from as usize].0, valid)
            })
            .collect()
    })
}

#[test]
fn shuffles() {
    let mut cases: Vec<(String, Model)> = Vec::new();
    for mode in ["up", "down", "bfly", "idx"] {
        for distance in [0, 1, 3, 16, 31] {
            // Whole warps, and segments of 8: the mask of 24 in bits 8 to 12.
            for c in if mode == "up" { [0, 0x1800] } else { [31, 0x1800 | 31] } {
                cases.push((format!("shfl.sync.{mode}.b32 %w9|%p9, %w0, {distance}, {c}, -1;"), shfl(mode, move |_| distance, c)));
            }
        }
        let c = if mode == "up" { 0 } else { 31 };
        cases.push((format!("shfl.sync.{mode}.b32 %w9|%p9, %w0, %w1, {c}, 0xffffffff;"), shfl(mode, |w| w, c)));
    }
    check_warps("shuffles", &cases);
}

#[test]
fn votes_matches_reductions() {
    let negative = |lanes: &[(u32, u32)]| lanes.iter().map(|l| (l.0 as i32) < 0).collect::<Vec<bool>>();
    let all = |v: u32, p: bool| vec![(v, p); 32];
    let set = "setp.lt.s32 %p1, %w0, 0;";
    let ballot = |lanes: &[bool]| lanes.iter().enumerate().fold(0u32, |m, (i, &b)| m | u32::from(b) << i);
    let fold = |f: fn(u32, u32) -> u32| -> Model { Box::new(move |lanes| vec![(lanes.iter().map(|l| l.0).reduce(f).unwrap(), false); 32]) };
    let texts: Vec<(String, Model)> = vec![
        (format!("{set} vote.sync.all.pred %p9, %p1, -1;"), Box::new(move |l| all(0, negative(l).iter().all(|&b| b)))),
        (format!("{set} vote.sync.any.pred %p9, %p1, -1;"), Box::new(move |l| all(0, negative(l).iter().any(|&b| b)))),
        (format!("{set} vote.sync.any.pred %p9, !%p1, -1;"), Box::new(move |l| all(0, negative(l).iter().any(|&b| !b)))),
        ("and.b32 %w5, %w0, 0; setp.eq.u32 %p1, %w5, 0; vote.sync.uni.pred %p9, %p1, -1;".into(), Box::new(move |_| all(0, true))),
        (format!("{set} vote.sync.uni.pred %p9, %p1, -1;"), Box::new(move |l| all(0, negative(l).windows(2).all(|w| w[0] == w[1])))),
        (format!("{set} vote.sync.ballot.b32 %w9, %p1, -1;"), Box::new(move |l| all(ballot(&negative(l)), false))),
        (
            "and.b32 %w5, %w0, 3; match.any.sync.b32 %w9, %w5, -1;".into(),
            Box::new(move |l| l.iter().map(|a| (ballot(&l.iter().map(|b| a.0 & 3 == b.0 & 3).collect::<Vec<bool>>()), false)).collect()),
        ),
        ("and.b32 %w5, %w0, 0; match.all.sync.b32 %w9|%p9, %w5, -1;".into(), Box::new(move |_| all(u32::MAX, true))),
        ("mov.u32 %w5, %laneid; match.all.sync.b32 %w9|%p9, %w5, -1;".into(), Box::new(move |_| all(0, false))),
        ("redux.sync.add.u32 %w9, %w0, -1;".into(), fold(u32::wrapping_add)),
        ("redux.sync.min.u32 %w9, %w0, -1;".into(), fold(u32::min)),
        ("redux.sync.max.s32 %w9, %w0, -1;".into(), fold(|a, b| (a as i32).max(b as i32) as u32)),
        ("redux.sync.and.b32 %w9, %w0, -1;".into(), fold(|a, b| a & b)),
        ("redux.sync.or.b32 %w9, %w0, -1;".into(), fold(|a, b| a | b)),
        ("redux.sync.xor.b32 %w9, %w0, -1;".into(), fold(|a, b| a ^ b)),
        ("activemask.b32 %w9;".into(), Box::new(move |_| all(u32::MAX, false))),
        ("elect.sync %w9|%p9, -1;".into(), Box::new(|_| (0..32).map(|i| (0, i == 0)).collect())),
        ("mov.u32 %w9, %laneid;".into(), Box::new(|_| (0..32).map(|i| (i, false)).collect())),
        ("mov.u32 %w9, %lanemask_lt;".into(), Box::new(|_| (0..32).map(|i| ((1 << i) - 1, false)).collect())),
        // Half the warp, by its own mask: lanes above 15 keep the zero that they have.
        (
            "mov.u32 %w5, %laneid; setp.lt.u32 %p1, %w5, 16; @%p1 shfl.sync.bfly.b32 %w9, %w0, 1, 31, 0xffff;".into(),
            Box::new(|l| (0..32).map(|i| (if i < 16 { l[i ^ 1].0 } else { 0 }, false)).collect()),
        ),
    ];
    check_warps("votes", &texts);
}
