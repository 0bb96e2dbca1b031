//! Matrix instructions: fragment layouts as the ISA spells them (element by element), an independent matrix product, and the rounding models
//! against hand-derived sums and against a float formulation of the same model.
#![allow(clippy::unwrap_used)]

use mnx_ptx_sim::Row;
use mnx_ptx_sim::numeric::{Rounding, f16_to_f32, f32_to_bf16_rn, f32_to_f16_rn, f32_to_tf32};
use mnx_ptx_sim::tensor::{MmaModel, MmaShape, MmaType, ldmatrix_source, mma, movmatrix};
use proptest::prelude::*;

const NAN32: u32 = 0x7fff_ffff;
const KINDS: [(MmaShape, MmaType, bool); 8] = [
    (MmaShape::M16N8K16, MmaType::Bf16, true),
    (MmaShape::M16N8K8, MmaType::Bf16, true),
    (MmaShape::M16N8K16, MmaType::F16, true),
    (MmaShape::M16N8K8, MmaType::F16, true),
    (MmaShape::M16N8K16, MmaType::F16, false),
    (MmaShape::M16N8K8, MmaType::F16, false),
    (MmaShape::M16N8K8, MmaType::Tf32, true),
    (MmaShape::M16N8K4, MmaType::Tf32, true),
];
const MODELS: [MmaModel; 3] = [MmaModel::Exact, MmaModel::Ampere, MmaModel::Hopper];

/// Row and column of element `i` of a lane's A fragment, as the ISA's list of figures has it.
fn a_element(shape: MmaShape, ab: MmaType, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    match (shape, ab) {
        (MmaShape::M16N8K16, _) => {
            let row = if i < 2 || (4..6).contains(&i) { group } else { group + 8 };
            (row, if i < 4 { thread * 2 + (i & 1) } else { thread * 2 + (i & 1) + 8 })
        }
        (MmaShape::M16N8K8, MmaType::Tf32) => (if i == 0 || i == 2 { group } else { group + 8 }, if i < 2 { thread } else { thread + 4 }),
        (MmaShape::M16N8K8, _) => (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1)),
        (MmaShape::M16N8K4, _) => (if i == 0 { group } else { group + 8 }, thread),
    }
}

fn b_element(shape: MmaShape, ab: MmaType, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    let row = match (shape, ab) {
        (MmaShape::M16N8K16, _) => thread * 2 + (i & 1) + if i < 2 { 0 } else { 8 },
        (MmaShape::M16N8K8, MmaType::Tf32) => {
            if i == 0 {
                thread
            } else {
                thread + 4
            }
        }
        (MmaShape::M16N8K8, _) => thread * 2 + i,
        (MmaShape::M16N8K4, _) => thread,
    };
    (row, group)
}

fn c_element(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1))
}

fn encode(ab: MmaType, x: f32) -> u32 {
    match ab {
        MmaType::Bf16 => f32_to_bf16_rn(x).into(),
        MmaType::F16 => f32_to_f16_rn(x).into(),
        MmaType::Tf32 => f32_to_tf32(x, Rounding::Rn),
    }
}

fn decode(ab: MmaType, x: f32) -> f32 {
    match ab {
        MmaType::Bf16 => f32::from_bits(encode(ab, x) << 16),
        MmaType::F16 => f16_to_f32(encode(ab, x) as u16),
        MmaType::Tf32 => f32::from_bits(encode(ab, x)),
    }
}

/// Elements per lane into registers: one or two to a register, the first in the low half.
fn registers(elements: impl Fn(usize, usize) -> u32, count: usize, per_register: usize) -> Vec<Row> {
    (0..count / per_register)
        .map(|r| {
            std::array::from_fn(|lane| {
                (0..per_register)
                    .fold(0, |word, e| word | elements(lane, r * per_register + e) << (if per_register == 2 { 16 * e } else { 0 }))
            })
        })
        .collect()
}

/// Runs `mma` on dense matrices: `a[16][k]`, `b[k][8]`, `c[16][8]`.
fn dense(kind: (MmaShape, MmaType, bool), a: &[Vec<f32>], b: &[Vec<f32>], c: &[Vec<f32>], model: MmaModel) -> Vec<Vec<f32>> {
    let (shape, ab, acc_f32) = kind;
    let halves = if ab == MmaType::Tf32 { 1 } else { 2 };
    let k = shape.k();
    let at = |m: &[Vec<f32>], (i, j): (usize, usize)| m[i][j];
    let ra = registers(|lane, i| encode(ab, at(a, a_element(shape, ab, lane, i))), k / 2, halves);
    let rb = registers(|lane, i| encode(ab, at(b, b_element(shape, ab, lane, i))), k / 4, halves);
    let rc = if acc_f32 {
        registers(|lane, i| at(c, c_element(lane, i)).to_bits(), 4, 1)
    } else {
        registers(|lane, i| f32_to_f16_rn(at(c, c_element(lane, i))).into(), 4, 2)
    };
    let rd = mma(shape, ab, acc_f32, [&ra, &rb, &rc], model).unwrap();
    assert_eq!(rd.len(), rc.len());
    let mut d = vec![vec![0.0; 8]; 16];
    for i in 0..4 {
        let register = &rd[if acc_f32 { i } else { i / 2 }];
        for (lane, &word) in register.iter().enumerate() {
            let (row, column) = c_element(lane, i);
            d[row][column] = if acc_f32 { f32::from_bits(word) } else { f16_to_f32((word >> (16 * (i % 2))) as u16) };
        }
    }
    d
}

fn matrix(rows: usize, columns: usize, f: impl Fn(usize, usize) -> f32) -> Vec<Vec<f32>> {
    (0..rows).map(|i| (0..columns).map(|j| f(i, j)).collect()).collect()
}

/// One dot product in row 0, column 0: `pairs` of factors, the others zero.
fn dot(kind: (MmaShape, MmaType, bool), pairs: &[(f32, f32)], c: f32, model: MmaModel) -> f32 {
    let k = kind.0.k();
    let a = matrix(16, k, |i, l| if i == 0 { pairs.get(l).map_or(0.0, |p| p.0) } else { 0.0 });
    let b = matrix(k, 8, |l, j| if j == 0 { pairs.get(l).map_or(0.0, |p| p.1) } else { 0.0 });
    let c = matrix(16, 8, |i, j| if (i, j) == (0, 0) { c } else { 0.0 });
    let d = dense(kind, &a, &b, &c, model);
    assert!(d.iter().flatten().skip(1).all(|&x| x == 0.0 || x.is_nan()));
    d[0][0]
}

#[test]
fn every_element_stands_where_the_isa_says() {
    // Whole numbers, so that every model is exact: a wrong place shows as a wrong sum.
    for kind in KINDS {
        let k = kind.0.k();
        for model in MODELS {
            let a = matrix(16, k, |i, l| ((7 * i + 3 * l) % 11) as f32 - 5.0);
            let b = matrix(k, 8, |l, j| ((5 * l + 2 * j) % 7) as f32 - 3.0);
            let c = matrix(16, 8, |i, j| (i * 8 + j) as f32);
            let d = dense(kind, &a, &b, &c, model);
            for i in 0..16 {
                for j in 0..8 {
                    let want = (0..k).fold(c[i][j], |s, l| s + a[i][l] * b[l][j]);
                    assert_eq!(d[i][j], want, "{kind:?} {model:?} row {i} column {j}");
                }
            }
        }
    }
}

#[test]
fn what_ptx_lacks_is_refused() {
    let rows = |n| vec![[0; 32]; n];
    for (shape, ab, acc_f32, needle) in [
        (MmaShape::M16N8K16, MmaType::Tf32, true, "m16n8k16 of tf32"),
        (MmaShape::M16N8K4, MmaType::Bf16, true, "m16n8k4 of bf16"),
        (MmaShape::M16N8K16, MmaType::Bf16, false, "accumulates in f32"),
    ] {
        let error = mma(shape, ab, acc_f32, [&rows(4), &rows(2), &rows(4)], MmaModel::Exact).unwrap_err();
        assert!(error.contains(needle), "{error}");
    }
    let error = mma(MmaShape::M16N8K8, MmaType::Bf16, true, [&rows(4), &rows(1), &rows(4)], MmaModel::Exact).unwrap_err();
    assert!(error.contains("2 registers of A, not 4"), "{error}");
}

#[test]
fn exact_sums_round_once() {
    let p = |e: i32| 2f32.powi(e);
    let bf16 = (MmaShape::M16N8K16, MmaType::Bf16, true);
    // 1 + 2^-24 is a tie; 2^-80 more decides it, though no f64 holds the sum.
    assert_eq!(dot(bf16, &[(p(-12), p(-12))], 1.0, MmaModel::Exact), 1.0);
    assert_eq!(dot(bf16, &[(p(-12), p(-12)), (p(-40), p(-40))], 1.0, MmaModel::Exact), 1.0 + f32::EPSILON);
    assert_eq!(dot(bf16, &[(p(-12), p(-12)), (p(-40), -p(-40))], 1.0, MmaModel::Exact), 1.0);
    // Cancellation leaves what is far below.
    assert_eq!(dot(bf16, &[(p(60), p(60)), (p(-70), p(-70)), (-p(60), p(60))], 0.0, MmaModel::Exact), p(-140));
    // The smallest subnormal, a tie with zero, and just above it.
    assert_eq!(dot(bf16, &[(p(-75), p(-75))], 0.0, MmaModel::Exact), 0.0);
    assert_eq!(dot(bf16, &[(p(-75), 1.5 * p(-75))], 0.0, MmaModel::Exact), p(-149));
    // Beyond f32 and back inside one instruction.
    assert_eq!(dot(bf16, &[(p(100), p(100)), (-p(100), p(100))], 3.0, MmaModel::Exact), 3.0);
    assert_eq!(dot(bf16, &[(p(64), p(64))], 0.0, MmaModel::Exact), f32::INFINITY);
    // f16 result: 2048 + 1 is a tie to even, a further 2^-20 decides it.
    let f16 = (MmaShape::M16N8K16, MmaType::F16, false);
    assert_eq!(dot(f16, &[(1.0, 1.0)], 2048.0, MmaModel::Exact), 2048.0);
    assert_eq!(dot(f16, &[(1.0, 1.0), (p(-10), p(-10))], 2048.0, MmaModel::Exact), 2050.0);
    assert_eq!(dot(f16, &[(255.0, 257.0)], 0.0, MmaModel::Exact), f32::INFINITY);
}

#[test]
fn truncating_models_by_hand() {
    use MmaModel::{Ampere, Exact, Hopper};
    let p = |e: i32| 2f32.powi(e);
    let ulp = f32::EPSILON;
    for kind in [(MmaShape::M16N8K16, MmaType::Bf16, true), (MmaShape::M16N8K16, MmaType::F16, true)] {
        // 1 + 3/4 ulp: nearest goes up, truncation down.
        let near = [(3.0 * p(-12), p(-13))];
        assert_eq!(dot(kind, &near, 1.0, Exact), 1.0 + ulp);
        assert_eq!(dot(kind, &near, 1.0, Hopper), 1.0);
        assert_eq!(dot(kind, &near, -1.0, Hopper), -(1.0 - ulp), "1 - 3 * 2^-25 lies between 1 - 2^-23 and 1 - 2^-24");
        // 1 - 2^-25 is kept with 25 fractional bits (and truncated to 1 - 2^-24), lost with 24.
        let below = [(-p(-12), p(-13))];
        assert_eq!(dot(kind, &below, 1.0, Exact), 1.0);
        assert_eq!(dot(kind, &below, 1.0, Hopper), 1.0 - ulp / 2.0);
        assert_eq!(dot(kind, &below, 1.0, Ampere), 1.0);
        // Sixteen times 2^-25 beside 1: 2^-21 on Hopper, nothing on Ampere.
        let many = [(p(-12), p(-13)); 16];
        assert_eq!(dot(kind, &many, 1.0, Exact), 1.0 + p(-21));
        assert_eq!(dot(kind, &many, 1.0, Hopper), 1.0 + p(-21));
        assert_eq!(dot(kind, &many, 1.0, Ampere), 1.0);
        // 2^12 - 2^12 + 2^-14: Hopper keeps 25 bits below 2^12, so 2^-14 is lost; Exact has it.
        let mut two = [(0.0, 0.0); 16];
        two[0] = (p(6), p(6));
        two[8] = (-p(6), p(6));
        two[9] = (p(-7), p(-7));
        assert_eq!(dot(kind, &two, 0.0, Exact), p(-14));
        assert_eq!(dot(kind, &two, 0.0, Hopper), 0.0);
        // With 2^-12 in the first eight: inside Hopper's bits; Ampere truncates 2^12 + 2^-12 to f32 between its steps.
        two[1] = (p(-6), p(-6));
        assert_eq!(dot(kind, &two, 0.0, Hopper), p(-12));
        assert_eq!(dot(kind, &two, 0.0, Ampere), 0.0);
    }
    // tf32 in two steps of four on Ampere.
    let tf32 = (MmaShape::M16N8K8, MmaType::Tf32, true);
    let mut split = [(0.0, 0.0); 8];
    split[0] = (1.0, 1.0);
    split[1] = (p(-12), p(-12));
    split[4] = (-1.0, 1.0);
    assert_eq!(dot(tf32, &split, 0.0, Ampere), 0.0, "the first step is truncated to f32");
    assert_eq!(dot(tf32, &split, 0.0, Hopper), p(-24));
    // The low 13 bits of a tf32 register are ignored.
    let ones = vec![[1.0f32.to_bits() | 0x1fff; 32]; 2];
    let d = mma(MmaShape::M16N8K4, MmaType::Tf32, true, [&ones, &ones[..1], &[[0; 32]; 4]], Hopper).unwrap();
    assert!(d.iter().flatten().all(|&x| x == 4.0f32.to_bits()));
    // f16 accumulators round to nearest even, also between Ampere's steps.
    let f16 = (MmaShape::M16N8K16, MmaType::F16, false);
    let mut steps = [(0.0, 0.0); 16];
    steps[0] = (1.0, 1.0);
    steps[8] = (1.0, 1.0);
    assert_eq!(dot(f16, &steps, 2048.0, Hopper), 2050.0);
    assert_eq!(dot(f16, &steps, 2048.0, Ampere), 2048.0);
    assert_eq!(dot(f16, &[(255.0, 257.0)], 0.0, Hopper), f32::INFINITY);
    // Past the largest f32 is infinity, truncation or not.
    let bf16 = (MmaShape::M16N8K16, MmaType::Bf16, true);
    assert_eq!(dot(bf16, &[(p(64), p(64))], 0.0, Hopper), f32::INFINITY);
    assert_eq!(dot(bf16, &[(-p(64), p(64))], f32::MIN, Ampere), f32::NEG_INFINITY);
    // Subnormals are kept.
    assert_eq!(dot(bf16, &[(p(-70), p(-70))], 0.0, Hopper), p(-140));
}

#[test]
fn special_values() {
    for kind in KINDS {
        for model in MODELS {
            let nan = dot_bits(kind, (f32::INFINITY, 0.0), 1.0, model);
            let canonical = if kind.2 { NAN32 } else { f16_to_f32(0x7fff).to_bits() };
            assert_eq!(nan, canonical, "{kind:?} {model:?}");
            assert_eq!(dot_bits(kind, (f32::NAN, 1.0), 1.0, model), canonical);
            assert_eq!(dot_bits(kind, (1.0, 1.0), f32::NAN, model), canonical);
            assert_eq!(dot_bits(kind, (f32::INFINITY, 1.0), f32::NEG_INFINITY, model), canonical);
            assert_eq!(dot_bits(kind, (f32::INFINITY, -2.0), 1.0, model), f32::NEG_INFINITY.to_bits());
            assert_eq!(dot_bits(kind, (1.0, 2.0), f32::INFINITY, model), f32::INFINITY.to_bits());
        }
    }
}

fn dot_bits(kind: (MmaShape, MmaType, bool), pair: (f32, f32), c: f32, model: MmaModel) -> u32 {
    dot(kind, &[pair], c, model).to_bits()
}

/// The truncating models said in floats: significand and exponent of each term, scaled, cut, added.
fn aligned_in_floats(kind: (MmaShape, MmaType, bool), pairs: &[(f32, f32)], c: f32, model: MmaModel) -> f32 {
    let (_, ab, acc_f32) = kind;
    let lowest = if ab == MmaType::F16 { -14 } else { -126 };
    let lowest_c = if acc_f32 { -126 } else { -14 };
    let parts = |x: f64, lowest: i32| {
        if x == 0.0 {
            return (0.0, -126);
        }
        let e = (x.abs().log2().floor() as i32).max(lowest);
        (x * 2f64.powi(-e), e)
    };
    let (kept, step) = match (model, ab) {
        (MmaModel::Hopper, _) => (25, pairs.len()),
        (_, MmaType::Tf32) => (24, 4),
        _ => (24, 8),
    };
    let mut acc = f64::from(c);
    for chunk in pairs.chunks(step) {
        let mut terms = vec![parts(acc, lowest_c)];
        for &(a, b) in chunk {
            let ((sa, ea), (sb, eb)) = (parts(decode(ab, a).into(), lowest), parts(decode(ab, b).into(), lowest));
            terms.push((sa * sb, ea + eb));
        }
        let largest = terms.iter().map(|t| t.1).max().unwrap();
        let sum: f64 = terms.iter().map(|&(s, e)| (s * 2f64.powi(kept + e - largest)).trunc()).sum();
        let exact = sum * 2f64.powi(largest - kept);
        acc = if acc_f32 {
            let near = exact as f32;
            let cut = if f64::from(near).abs() > exact.abs() { if near > 0.0 { near.next_down() } else { near.next_up() } } else { near };
            if exact.abs() >= 2f64.powi(128) { exact.signum() * f64::INFINITY } else { cut.into() }
        } else {
            let mut wide = Wide::default();
            wide.add(exact);
            wide.rounded(false).into()
        };
    }
    acc as f32
}

fn numbers(ab: MmaType, spread: i32) -> impl Strategy<Value = f32> {
    let limit = if ab == MmaType::F16 { spread.min(12) } else { spread };
    (any::<i16>(), -limit..=limit, 0..10).prop_map(|(s, e, zero)| if zero == 0 { 0.0 } else { f32::from(s) * 2f32.powi(e - 14) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Random matrices in every shape, type and model.
    #[test]
    fn models_agree_with_their_float_form(
        which in 0..KINDS.len(),
        seed in any::<u64>(),
        spread in 0i32..30,
    ) {
        let kind = KINDS[which];
        let (shape, ab, acc_f32) = kind;
        let k = shape.k();
        let mut state = seed | 1;
        let mut draw = |limit: i32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let s = f32::from((state >> 48) as i16) / 32768.0;
            let e = if limit == 0 { 0 } else { ((state >> 32) % (2 * limit as u64 + 1)) as i32 - limit };
            if state >> 20 & 15 == 0 { 0.0 } else { s * 2f32.powi(e) }
        };
        let limit = if ab == MmaType::F16 { spread.min(if acc_f32 { 12 } else { 6 }) } else { spread };
        let a: Vec<Vec<f32>> = (0..16).map(|_| (0..k).map(|_| decode(ab, draw(limit))).collect()).collect();
        let b: Vec<Vec<f32>> = (0..k).map(|_| (0..8).map(|_| decode(ab, draw(limit))).collect()).collect();
        let c: Vec<Vec<f32>> = (0..16).map(|_| (0..8).map(|_| {
            let x = draw(limit);
            if acc_f32 { x } else { f16_to_f32(f32_to_f16_rn(x)) }
        }).collect()).collect();
        for model in MODELS {
            let d = dense(kind, &a, &b, &c, model);
            for i in 0..16 {
                for j in 0..8 {
                    let pairs: Vec<(f32, f32)> = (0..k).map(|l| (a[i][l], b[l][j])).collect();
                    let want = if model == MmaModel::Exact { exactly(&pairs, c[i][j], acc_f32) } else { aligned_in_floats(kind, &pairs, c[i][j], model) };
                    prop_assert!(d[i][j] == want, "{:?} {:?} row {} column {}: got {:e}, want {:e}", kind, model, i, j, d[i][j], want);
                }
            }
        }
    }

    /// ldmatrix against the plain picture: matrices in shared memory, lane L pointing to row L mod 8 of matrix L / 8.
    #[test]
    fn ldmatrix_gives_mma_fragments(elements in prop::collection::vec(any::<u16>(), 256), trans in any::<bool>(), count in prop::sample::select(vec![1usize, 2, 4])) {
        for lane in 0..32 {
            for reg in 0..count {
                let got = ldmatrix_source(count, trans, lane, reg).map(|(row_lane, byte)| elements[8 * row_lane + byte / 2]);
                // Matrix `reg`: thread T holds row T / 4, columns 2 (T mod 4) and the next; transposed, column and row change places.
                let (row, column) = (lane / 4, 2 * (lane % 4));
                let matrix = &elements[64 * reg..64 * reg + 64];
                let want = if trans { [matrix[8 * column + row], matrix[8 * (column + 1) + row]] } else { [matrix[8 * row + column], matrix[8 * row + column + 1]] };
                prop_assert_eq!(got, want);
            }
        }
    }

    #[test]
    fn movmatrix_transposes(words in any::<[u32; 32]>()) {
        let element = |w: &Row, i: usize, j: usize| w[4 * i + j / 2] >> (16 * (j % 2)) & 0xffff;
        let out = movmatrix(&words);
        for i in 0..8 {
            for j in 0..8 {
                prop_assert_eq!(element(&out, i, j), element(&words, j, i));
            }
        }
        prop_assert_eq!(movmatrix(&out), words);
    }

    #[test]
    fn order_does_not_matter(pairs in prop::collection::vec((numbers(MmaType::Bf16, 30), numbers(MmaType::Bf16, 30)), 16), c in numbers(MmaType::Tf32, 40)) {
        let kind = (MmaShape::M16N8K16, MmaType::Bf16, true);
        let mut reversed = pairs.clone();
        reversed.reverse();
        for model in [MmaModel::Exact, MmaModel::Hopper] {
            prop_assert_eq!(dot(kind, &pairs, c, model), dot(kind, &reversed, c, model));
        }
    }
}

/// The sum kept bit by bit, rounded once.
fn exactly(pairs: &[(f32, f32)], c: f32, acc_f32: bool) -> f32 {
    let mut total = Wide::default();
    for &(a, b) in pairs {
        total.add(f64::from(a) * f64::from(b));
    }
    total.add(c.into());
    total.rounded(acc_f32)
}

/// Sum of f64 values by their bits: a counter for every power of two.
struct Wide {
    bits: Vec<i64>,
}

impl Default for Wide {
    fn default() -> Self {
        Self { bits: vec![0; 700] }
    }
}

impl Wide {
    const ZERO: i32 = 320;

    fn add(&mut self, x: f64) {
        let mut rest = x.abs();
        while rest > 0.0 {
            let e = (rest.to_bits() >> 52) as i32 - 1023;
            self.bits[(e + Self::ZERO) as usize] += if x < 0.0 { -1 } else { 1 };
            rest -= 2f64.powi(e);
        }
    }

    /// To f32 or f16, nearest even.
    fn rounded(mut self, to_f32: bool) -> f32 {
        let (digits, lowest, end) = if to_f32 { (24, -149, 2f64.powi(128)) } else { (11, -24, 2f64.powi(16)) };
        let carry = |bits: &mut Vec<i64>| {
            let mut c = 0;
            for b in bits.iter_mut() {
                let s = *b + c;
                *b = s.rem_euclid(2);
                c = s.div_euclid(2);
            }
            c
        };
        let negative = carry(&mut self.bits) < 0;
        if negative {
            for b in &mut self.bits {
                *b = 1 - *b;
            }
            self.bits[0] += 1;
            carry(&mut self.bits);
        }
        let Some(top) = self.bits.iter().rposition(|&b| b == 1) else { return 0.0 };
        let last = (top as i32 - digits + 1).max(lowest + Self::ZERO) as usize;
        let mut units: u64 = self.bits[last..=top.max(last)].iter().rev().fold(0, |u, &b| 2 * u + b as u64);
        let (half, more) = (self.bits[last - 1] == 1, self.bits[..last - 1].contains(&1));
        units += u64::from(half && (more || units % 2 == 1));
        let magnitude = units as f64 * 2f64.powi(last as i32 - Self::ZERO);
        let magnitude = if magnitude >= end { f64::INFINITY } else { magnitude };
        (if negative { -magnitude } else { magnitude }) as f32
    }
}
