//! Tensor-core instructions through shared memory, as a GEMM uses them: `ldmatrix`, `mma.sync`, `stmatrix`, `movmatrix`.

use crate::rig::{Draw, Sim, accepted_by_ptxas, module, seed};

/// One warp: copies `words` 32-bit words of input to shared memory, runs `body`, and stores `%w20` and on (as many as `results`) per lane.
/// `%w1` holds the lane, `%w2` the shared address of the copy.
fn kernel(name: &str, words: usize, results: usize, body: &str) -> String {
    let stores: String = (0..results).map(|r| format!(" st.global.b32 [%x11+{}], %w{};\n", 4 * r, 20 + r)).collect();
    format!(
        ".visible .entry {name}(.param .u64 input, .param .u64 output)
{{
 .reg .b64 %x<20>; .reg .b32 %w<60>; .reg .pred %p<4>;
 .shared .align 16 .b8 tile[{bytes}];
 ld.param.u64 %x10, [input];
 ld.param.u64 %x11, [output];
 mov.u32 %w1, %tid.x;
 mov.u32 %w2, tile;
 mov.b32 %w3, %w1;
COPY_{name}:
 mul.wide.u32 %x12, %w3, 4;
 add.s64 %x12, %x12, %x10;
 ld.global.b32 %w4, [%x12];
 shl.b32 %w5, %w3, 2;
 add.s32 %w5, %w5, %w2;
 st.shared.b32 [%w5], %w4;
 add.s32 %w3, %w3, 32;
 setp.lt.u32 %p1, %w3, {words};
 @%p1 bra COPY_{name};
 bar.sync 0;
{body}
 mul.wide.u32 %x12, %w1, {out_bytes};
 add.s64 %x11, %x11, %x12;
{stores} ret;
}}
",
        bytes = 4 * words,
        out_bytes = 4 * results
    )
}

/// Runs on 32-bit words.
fn run(sim: &mut Sim, name: &str, input: &[u32], results: usize) -> Vec<u32> {
    let words: Vec<u64> = input.chunks(2).map(|c| u64::from(c[0]) | u64::from(c[1]) << 32).collect();
    let out = sim.run_sized(name, &words, 32, 32 * results / 2);
    out.iter().flat_map(|v| [*v as u32, (*v >> 32) as u32]).collect()
}

#[test]
fn loads_and_stores_of_matrices() {
    let mut text = String::new();
    let mut names = Vec::new();
    for count in [1usize, 2, 4] {
        for trans in ["", ".trans"] {
            let suffix = if trans.is_empty() { "n" } else { "t" };
            let list = |first: usize| format!("{{{}}}", (0..count).map(|r| format!("%w{}", first + r)).collect::<Vec<_>>().join(", "));
            // Lane L points to row L mod (8 count); lanes beyond are ignored.
            let address = format!(" and.b32 %w6, %w1, {}; shl.b32 %w6, %w6, 4; add.s32 %w6, %w6, %w2;\n", 8 * count - 1);
            let load = format!("ld{count}{suffix}");
            text += &kernel(
                &load,
                32 * count,
                count,
                &format!("{address} ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {}, [%w6];", list(20)),
            );
            names.push((load, count, !trans.is_empty(), false));
            // Store what the lanes hold (words L + 32 r of the input), then read the tile back word by word.
            let store = format!("st{count}{suffix}");
            let body = format!(
                "{address}{}{}\n bar.sync 0;\n stmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 [%w6], {};\n bar.sync 0;\n{}",
                " shl.b32 %w7, %w1, 2; add.s32 %w7, %w7, %w2;\n",
                (0..count).map(|r| format!(" ld.shared.b32 %w{}, [%w7+{}];\n", 30 + r, 128 * r)).collect::<String>(),
                list(30),
                (0..count).map(|r| format!(" ld.shared.b32 %w{}, [%w7+{}];\n", 20 + r, 128 * r)).collect::<String>(),
            );
            text += &kernel(&store, 32 * count, count, &body);
            names.push((store, count, !trans.is_empty(), true));
        }
    }
    text += &kernel(
        "transpose",
        32,
        1,
        " shl.b32 %w7, %w1, 2; add.s32 %w7, %w7, %w2;\n ld.shared.b32 %w8, [%w7];\n movmatrix.sync.aligned.m8n8.trans.b16 %w20, %w8;",
    );
    let text = module("8.0", &text);
    let seed = seed();
    let mut draw = Draw::new(seed);
    let mut sim = Sim::new(&text);
    let half = |words: &[u32], i: usize| words[i / 2] >> (16 * (i % 2)) & 0xffff;
    for (name, count, trans, store) in names {
        let input: Vec<u32> = (0..32 * count).map(|_| draw.bits() as u32).collect();
        let got = run(&mut sim, &name, &input, count);
        for j in 0..count {
            for row in 0..8 {
                for column in 0..8 {
                    // Element (row, column) of matrix j: in memory, and in the fragment of a lane.
                    let memory = 64 * j + 8 * row + column;
                    let (r, c) = if trans { (column, row) } else { (row, column) };
                    let (lane, e) = (4 * r + c / 2, c % 2);
                    let (in_memory, in_lane) = if store {
                        // The result word r of lane L is word L + 32 r of the tile; the fragment came from the same words of the input.
                        let at = |i: usize| got[(i / 2 % 32) * count + i / 64] >> (16 * (i % 2)) & 0xffff;
                        (at(memory), input[32 * j + lane] >> (16 * e) & 0xffff)
                    } else {
                        (half(&input, memory), got[lane * count + j] >> (16 * e) & 0xffff)
                    };
                    assert_eq!(in_memory, in_lane, "{name}: matrix {j} row {row} column {column} (MNX_TEST_SEED={seed})");
                }
            }
        }
    }
    let input: Vec<u32> = (0..32).map(|_| draw.bits() as u32).collect();
    let got = run(&mut sim, "transpose", &input, 1);
    for row in 0..8 {
        for column in 0..8 {
            assert_eq!(half(&got, 8 * row + column), half(&input, 8 * column + row));
        }
    }
    accepted_by_ptxas("matrix-moves", &text);
}

/// D = A B + C of one tile whose A (row-major, 16 x 16) and B (row-major, 16 x 8) lie in shared memory, as kernels load them: A by
/// `ldmatrix.x4`, B by `ldmatrix.x2.trans`, C from registers.
#[test]
fn tile_products() {
    let product = |ty: &str, acc: &str| {
        let (registers, zero) = if acc == "f32" { (4, "0f3F800000") } else { (2, "0x3C003C00") };
        let list = |first: usize, n: usize| format!("{{{}}}", (0..n).map(|r| format!("%w{}", first + r)).collect::<Vec<_>>().join(", "));
        let ones: String = (0..registers).map(|r| format!(" mov.b32 %w{}, {zero};\n", 40 + r)).collect();
        format!(
            " and.b32 %w6, %w1, 15; shl.b32 %w6, %w6, 5; shr.u32 %w7, %w1, 4; shl.b32 %w7, %w7, 4; add.s32 %w6, %w6, %w7; add.s32 %w6, %w6, %w2;
 ldmatrix.sync.aligned.m8n8.x4.shared.b16 {a}, [%w6];
 and.b32 %w8, %w1, 15; shl.b32 %w8, %w8, 4; add.s32 %w8, %w8, %w2;
 ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {b}, [%w8+512];
{ones} mma.sync.aligned.m16n8k16.row.col.{acc}.{ty}.{ty}.{acc}
   {d}, {a},
   {b}, {c};",
            a = list(30, 4),
            b = list(34, 2),
            c = list(40, registers),
            d = list(20, registers),
        )
    };
    let text = module(
        "8.0",
        &[("bf16", "f32"), ("f16", "f32"), ("f16", "f16")]
            .map(|(ty, acc)| kernel(&format!("{ty}_{acc}"), 16 * 8 + 8 * 8, if acc == "f32" { 4 } else { 2 }, &product(ty, acc)))
            .concat(),
    );
    let seed = seed();
    let mut draw = Draw::new(seed);
    let mut sim = Sim::new(&text);
    for (name, bf16, acc_f32) in [("bf16_f32", true, true), ("f16_f32", false, true), ("f16_f16", false, false)] {
        // Few enough bits that every product and sum is exact, in f16 too.
        let mut number = || if acc_f32 { (draw.below(65) as f32 - 32.0) / 4.0 } else { (draw.below(9) as f32 - 4.0) / 2.0 };
        let a: Vec<f32> = (0..256).map(|_| number()).collect();
        let b: Vec<f32> = (0..128).map(|_| number()).collect();
        let encode = |x: f32| if bf16 { half::bf16::from_f32(x).to_bits() } else { half::f16::from_f32(x).to_bits() };
        let input: Vec<u32> = a
            .iter()
            .chain(&b)
            .map(|&x| encode(x))
            .collect::<Vec<u16>>()
            .chunks(2)
            .map(|c| u32::from(c[0]) | u32::from(c[1]) << 16)
            .collect();
        let registers = if acc_f32 { 4 } else { 2 };
        let got = run(&mut sim, name, &input, registers);
        for row in 0..16 {
            for column in 0..8 {
                let want = (0..16).fold(1.0, |s, k| s + a[16 * row + k] * b[8 * k + column]);
                let lane = row % 8 * 4 + column / 2;
                let value = if acc_f32 {
                    f32::from_bits(got[lane * 4 + 2 * (row / 8) + column % 2])
                } else {
                    half::f16::from_bits((got[lane * 2 + row / 8] >> (16 * (column % 2))) as u16).to_f32()
                };
                assert_eq!(value, want, "{name}: row {row} column {column} (MNX_TEST_SEED={seed})");
            }
        }
    }
    accepted_by_ptxas("tile-products", &text);
}

/// tf32 and the shallow shapes, fragments straight from memory.
#[test]
fn other_shapes() {
    // (name, operands' registers of A, B, C, mnemonic)
    let shapes = [
        ("tf32k8", 4, 2, 4, "m16n8k8.row.col.f32.tf32.tf32.f32"),
        ("tf32k4", 2, 1, 4, "m16n8k4.row.col.f32.tf32.tf32.f32"),
        ("bf16k8", 2, 1, 4, "m16n8k8.row.col.f32.bf16.bf16.f32"),
        ("f16k8", 2, 1, 2, "m16n8k8.row.col.f16.f16.f16.f16"),
    ];
    let text: String = shapes
        .iter()
        .map(|&(name, a, b, c, mnemonic)| {
            let total = a + b + c;
            let loads: String = (0..total).map(|r| format!(" ld.shared.b32 %w{}, [%w7+{}];\n", 30 + r, 128 * r)).collect();
            let list =
                |first: usize, n: usize| format!("{{{}}}", (0..n).map(|r| format!("%w{}", first + r)).collect::<Vec<_>>().join(", "));
            let body = format!(
                " shl.b32 %w7, %w1, 2; add.s32 %w7, %w7, %w2;\n{loads} mma.sync.aligned.{mnemonic} {}, {}, {}, {};",
                list(20, c),
                list(30, a),
                list(30 + a, b),
                list(30 + a + b, c)
            );
            kernel(name, 32 * total, c, &body)
        })
        .collect();
    let text = module("8.0", &text);
    let seed = seed();
    let mut draw = Draw::new(seed);
    let mut sim = Sim::new(&text);
    use mnx_ptx_sim::tensor::{MmaModel, MmaShape, MmaType, mma};
    for (name, a, b, c, shape, ab, acc_f32) in [
        ("tf32k8", 4, 2, 4, MmaShape::M16N8K8, MmaType::Tf32, true),
        ("tf32k4", 2, 1, 4, MmaShape::M16N8K4, MmaType::Tf32, true),
        ("bf16k8", 2, 1, 4, MmaShape::M16N8K8, MmaType::Bf16, true),
        ("f16k8", 2, 1, 2, MmaShape::M16N8K8, MmaType::F16, false),
    ] {
        let rows: Vec<[u32; 32]> = (0..a + b + c).map(|_| std::array::from_fn(|_| draw.bits() as u32)).collect();
        for model in [MmaModel::Exact, MmaModel::Ampere, MmaModel::Hopper] {
            sim.model = model;
            let got = run(&mut sim, name, &rows.concat(), c);
            let want = mma(shape, ab, acc_f32, [&rows[..a], &rows[a..a + b], &rows[a + b..]], model).unwrap();
            for lane in 0..32 {
                for r in 0..c {
                    assert_eq!(got[lane * c + r], want[r][lane], "{name}, {model:?}: lane {lane} register {r} (MNX_TEST_SEED={seed})");
                }
            }
        }
    }
    accepted_by_ptxas("other-shapes", &text);
}
