//! Element types: what `cast` gives, what every other op gives, how rounded values pass through the text.
#![allow(clippy::unwrap_used)]

use mnx_ir::infer::infer;
use mnx_ir::*;

fn cast(to: DType) -> Op {
    Op::Cast(CastAttrs { to })
}

#[test]
fn cast_alone_makes_16_bit_values() {
    let x = TensorType { layout: Layout::ChannelsLast, ..TensorType::f32(&[1, 4, 3, 3]) };
    let vector = TensorType::f32(&[4]);
    let narrow = |ty: &TensorType, to| TensorType { dtype: to, ..ty.clone() };
    for to in [DType::Bf16, DType::F16, DType::F32, DType::F64] {
        for from in [DType::Bf16, DType::F16, DType::F32, DType::F64] {
            assert_eq!(infer(&cast(to), &[&narrow(&x, from)]), Ok(narrow(&x, to)), "shape and layout stay");
        }
        assert!(infer(&cast(to), &[&narrow(&x, DType::I32)]).unwrap_err().contains("labels"));
    }
    assert!(infer(&cast(DType::I32), &[&x]).unwrap_err().contains("i32"));
    for from in [DType::Bf16, DType::F16] {
        let (x16, v16) = (narrow(&x, from), narrow(&vector, from));
        let none = NoAttrs {};
        let stats = TensorType::f32(&[1, 2, 4]);
        let weight = TensorType::new(from, &[5, 4, 1, 1]);
        let ops: &[(Op, Vec<&TensorType>, Op, Vec<&TensorType>)] = &[
            (Op::Gelu(none.clone()), vec![&x16], Op::Gelu(none.clone()), vec![&x]),
            (Op::Add(none.clone()), vec![&x16, &x], Op::Add(none.clone()), vec![&x, &x]),
            (Op::SumValues(none.clone()), vec![&x, &x16, &x16], Op::SumValues(none.clone()), vec![&x]),
            (Op::AddBias(none.clone()), vec![&x, &v16], Op::AddBias(none.clone()), vec![&x, &vector]),
            (Op::PadFront(none.clone()), vec![&x16], Op::PadFront(none.clone()), vec![&x]),
            (Op::NormApply(ApplyAttrs { groups: 4 }), vec![&x16, &stats], Op::NormApply(ApplyAttrs { groups: 4 }), vec![&x, &stats]),
            (Op::NormStats(NormAttrs { groups: 4, eps: 1e-5 }), vec![&x16], Op::NormStats(NormAttrs { groups: 4, eps: 1e-5 }), vec![&x]),
            (Op::WeightAdd(none.clone()), vec![&v16, &vector], Op::WeightAdd(none.clone()), vec![&vector, &vector]),
            (Op::Argmax(none.clone()), vec![&x16], Op::Argmax(none), vec![&x]),
        ];
        for (op, narrow, wide_op, wide) in ops {
            assert_eq!(infer(op, narrow), infer(wide_op, wide), "{}", op.info().mnemonic);
        }
        let y = infer(&Op::ConvPointwise(StrideAttrs { stride: 1 }), &[&x16, &weight, &TensorType::f32(&[5])]).unwrap();
        assert_eq!((y.dtype, y.layout, &y.shape[..]), (DType::F32, Layout::ChannelsLast, &[1, 5, 3, 3][..]));
    }
    let double = TensorType::new(DType::F64, &[1, 4, 3, 3]);
    assert_eq!(infer(&Op::Gelu(NoAttrs {}), &[&double]).unwrap().dtype, DType::F64);
    assert!(infer(&Op::Add(NoAttrs {}), &[&double, &narrow(&x, DType::F16)]).is_err());
}

#[test]
fn patches_round_for_some_readers_and_behind_the_root() {
    let mut g = Graph::new("g", Stage::Graph);
    let ty = TensorType::f32(&[1, 4, 3, 3]);
    let x = g.input("x", ty);
    let push = |g: &mut Graph, op: Op, x: &[ValueId]| g.push(op, x, &Loc::default()).unwrap();
    let a = push(&mut g, Op::Gelu(NoAttrs {}), &[x]);
    let b = push(&mut g, Op::Softmax(NoAttrs {}), &[a]);
    let c = push(&mut g, Op::Add(NoAttrs {}), &[a, a]);
    g.output("a", a);
    g.output("b", b);
    g.output("c", c);
    let mut patch = Patch::new("round", &g, g.def(a).unwrap());
    patch.stand_behind();
    let rounded = patch.push(&g, cast(DType::F16), &[a]).unwrap();
    patch.shunt_for(a, rounded, &[g.def(c).unwrap()]);
    g.apply(patch);
    verify::verify(&g).unwrap();
    let want = "  %0 = gelu %x : f32[1,4,3,3]\n  %1 = cast %0 {to=f16} : f16[1,4,3,3]\n  %2 = softmax %0 : f32[1,4,3,3]\n  %3 = add %1, %1 : f32[1,4,3,3]\n  return %0, %2, %3\n";
    assert!(g.to_string().contains(want), "{g}");
    assert_eq!(parse::parse(&g.to_string(), "again").unwrap().to_string(), g.to_string());
}
