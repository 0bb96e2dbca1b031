//! The op table: every row has what it must, and the builder's methods make the ops of their rows.
#![allow(clippy::unwrap_used)]

use mnx_ir::ops::{Class, Differentiable, Macs, OPS, Role};
use mnx_ir::*;

#[test]
fn rows_hold_together() {
    for (i, row) in OPS.iter().enumerate() {
        let name = row.mnemonic;
        assert_eq!(row.code.info().mnemonic, name);
        assert!(OPS[..i].iter().all(|other| other.mnemonic != name), "{name} stands twice");
        assert!(row.about.trim().len() > 5, "{name} says nothing about itself");
        let operands = row.operands.list;
        let first_optional = operands.iter().position(|o| o.optional).unwrap_or(operands.len());
        assert!(operands[first_optional..].iter().all(|o| o.optional), "{name}: optional operands stand last");
        assert!(operands.iter().rev().skip(1).all(|o| !o.variadic), "{name}: only the last operand stands for many");
        assert!(operands.iter().all(|o| !(o.variadic && o.optional)), "{name}: a variadic operand stands for one or more");
        assert!(operands.iter().enumerate().all(|(i, o)| operands[..i].iter().all(|p| p.name != o.name)), "{name}: a name twice");
        assert!(!row.stages.is_empty() && row.stages.is_sorted(), "{name}: legal at no stage");
        assert!(Stage::ALL.iter().all(|s| row.legal_at(*s) == row.stages.contains(s)));
        assert!(row.operands.admits(row.operands.min()) && !row.operands.admits(operands.len() + 1) || row.operands.is_variadic());
        if let Differentiable::No(why) = row.differentiable {
            assert!(why.len() > 5, "{name}: no reason");
        }
        // Sugar has no derivative of its own: its decomposition has.
        if row.stages == [Stage::Model] {
            assert_eq!(row.differentiable, Differentiable::No("decompose first"), "{name}");
        }
        let roles: Vec<Role> = operands.iter().map(|o| o.role).collect();
        if row.macs != Macs::Zero {
            assert_eq!(roles[..2], [Role::Activation, Role::Weight], "{name}: multiply-accumulates are counted on these");
        }
        match row.class {
            Class::Weight => assert!(roles.iter().all(|r| *r == Role::Weight), "{name} makes a weight of something else"),
            Class::Activation => assert_eq!(roles[0], Role::Activation, "{name}"),
            Class::Gradient | Class::Update | Class::Loss => assert!(!row.legal_at(Stage::Graph), "{name} is of training"),
        }
    }
    assert_eq!(OpCode::ConvPointwise.info().operands.names(), "input, weight, bias?");
    assert_eq!(OpCode::ConvPointwise.info().operands.arity(), "2 to 3 operands");
    assert_eq!(OpCode::SumValues.info().operands.names(), "values...");
    assert_eq!(OpCode::SumValues.info().operands.arity(), "1 or more operands");
    assert_eq!(OpCode::NormGroup.info().stages, [Stage::Model]);
    assert_eq!(OpCode::State.info().stages, [Stage::Train, Stage::Dispatch]);
}

/// A builder that writes down what it is asked for.
#[derive(Default)]
struct Recorder(Vec<(Op, Vec<ValueId>)>);

impl Builder for Recorder {
    fn push(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, Diagnostic> {
        self.0.push((op, operands.to_vec()));
        Ok(ValueId::from_index(100 + self.0.len()))
    }
}

type Case = (fn(&mut Recorder, &[ValueId; 4]) -> Result<ValueId, Diagnostic>, Op, usize);

const CONV: ConvAttrs = ConvAttrs { stride: 2, pad: 1 };
const STEP: StrideAttrs = StrideAttrs { stride: 2 };
const NORM: NormAttrs = NormAttrs { groups: 3, eps: 1e-5 };
const LAYER: LayerAttrs = LayerAttrs { eps: 1e-5 };
const APPLY: ApplyAttrs = ApplyAttrs { groups: 3 };
const GRN: GrnAttrs = GrnAttrs { eps: 1e-6, reduce: GrnReduce::Sum };
const NONE: NoAttrs = NoAttrs {};

/// A call of each method, the op it must make, and how many of the four values the op takes, in order.
const CASES: &[Case] = &[
    (|b, v| b.conv_depthwise(v[0], v[1], Some(v[2]), CONV), Op::ConvDepthwise(CONV), 3),
    (|b, v| b.conv_depthwise(v[0], v[1], None, CONV), Op::ConvDepthwise(CONV), 2),
    (|b, v| b.conv_depthwise_transposed(v[0], v[1], Some(v[2]), CONV), Op::ConvDepthwiseTransposed(CONV), 3),
    (|b, v| b.conv_pointwise(v[0], v[1], Some(v[2]), STEP), Op::ConvPointwise(STEP), 3),
    (|b, v| b.conv_pointwise_transposed(v[0], v[1], None, STEP), Op::ConvPointwiseTransposed(STEP), 2),
    (|b, v| b.norm_group(v[0], v[1], v[2], NORM), Op::NormGroup(NORM), 3),
    (|b, v| b.norm_layer(v[0], Some(v[1]), Some(v[2]), LAYER), Op::NormLayer(LAYER), 3),
    (|b, v| b.norm_layer(v[0], None, None, LAYER), Op::NormLayer(LAYER), 1),
    (|b, v| b.norm_stats(v[0], NORM), Op::NormStats(NORM), 1),
    (|b, v| b.norm_apply(v[0], v[1], Some(v[2]), Some(v[3]), APPLY), Op::NormApply(APPLY), 4),
    (|b, v| b.grn(v[0], v[1], v[2], GRN), Op::Grn(GRN), 3),
    (|b, v| b.grn_stats(v[0], GRN), Op::GrnStats(GRN), 1),
    (|b, v| b.grn_apply(v[0], v[1], v[2], v[3]), Op::GrnApply(NONE), 4),
    (|b, v| b.gelu(v[0]), Op::Gelu(NONE), 1),
    (|b, v| b.add(v[0], v[1]), Op::Add(NONE), 2),
    (|b, v| b.sum_values(v), Op::SumValues(NONE), 4),
    (|b, v| b.sum_values(&v[..1]), Op::SumValues(NONE), 1),
    (|b, v| b.cast(v[0], CastAttrs { to: DType::F16 }), Op::Cast(CastAttrs { to: DType::F16 }), 1),
    (|b, v| b.add_bias(v[0], v[1]), Op::AddBias(NONE), 2),
    (|b, v| b.pad_front(v[0]), Op::PadFront(NONE), 1),
    (|b, v| b.scatter(v[0], STEP), Op::Scatter(STEP), 1),
    (|b, v| b.softmax(v[0]), Op::Softmax(NONE), 1),
    (|b, v| b.argmax(v[0]), Op::Argmax(NONE), 1),
    (|b, v| b.weight_scale_in(v[0], v[1]), Op::WeightScaleIn(NONE), 2),
    (|b, v| b.weight_fold_bias(v[0], v[1], v[2]), Op::WeightFoldBias(NONE), 3),
    (|b, v| b.weight_transpose_io(v[0]), Op::WeightTransposeIo(NONE), 1),
    (|b, v| b.weight_add(v[0], v[1]), Op::WeightAdd(NONE), 2),
];

#[test]
fn methods_make_the_ops_of_their_rows() {
    let values: [ValueId; 4] = std::array::from_fn(|i| ValueId::from_index(7 * i + 3));
    for (call, op, takes) in CASES {
        let mut b = Recorder::default();
        call(&mut b, &values).unwrap();
        assert_eq!(b.0, [(op.clone(), values[..*takes].to_vec())]);
        assert!(op.info().operands.admits(*takes), "{}", op.info().mnemonic);
    }
    // One macro makes all methods: every form of a row has a case, not every row.
    let form = |row: &OpInfo| {
        let operands = row.operands.list;
        (Op::from_fields(row.code, &[]).is_ok(), operands.iter().filter(|o| o.optional).count(), row.operands.is_variadic())
    };
    for row in OPS.iter().filter(|row| !row.operands.list.is_empty()) {
        assert!(CASES.iter().any(|(_, op, _)| form(op.info()) == form(row)), "no case has a row like that of {}", row.mnemonic);
    }
}

#[test]
fn a_graph_and_a_patch_build_alike() {
    let build = |b: &mut dyn Builder, x: ValueId, w: ValueId| -> Result<ValueId, Diagnostic> {
        let y = b.conv_pointwise(x, w, None, StrideAttrs { stride: 1 })?;
        let y = b.gelu(y)?;
        b.add(x, y)
    };
    let start = || {
        let mut g = Graph::new("g", Stage::Graph);
        let x = g.input("x", TensorType::f32(&[1, 4, 3, 3]));
        let w = g.param("w", TensorType::f32(&[4, 4, 1, 1])).unwrap();
        (g, x, w)
    };
    let (mut whole, x, w) = start();
    let y = build(&mut whole.at("layer"), x, w).unwrap();
    whole.output("y", y);

    let (mut patched, x, w) = start();
    let y = patched.at("layer").softmax(x).unwrap();
    patched.output("y", y);
    let root = patched.def(y).unwrap();
    let mut draft = builder::Draft::new("rule", &patched, root);
    let new = build(&mut draft, x, w).unwrap();
    assert_eq!(draft.ty(new), patched.ty(x));
    let patch = draft.replace_root(new);
    patched.apply(patch);
    assert_eq!(whole.to_string(), patched.to_string());

    // What does not fit is an error of the graph with its location, of a patch with its rule.
    let error = whole.at("layer").add(x, w).unwrap_err();
    assert!(error.code == "ir-0107" && error.place == "layer" && error.message.contains("cannot add"), "{error}");
    let error = builder::Draft::new("rule", &patched, patched.order()[1]).add(x, w).unwrap_err();
    assert!(error.code == "ir-0108" && error.message.starts_with("rule: add: cannot add"), "{error}");
}
