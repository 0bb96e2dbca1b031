//! The builder: where operations go, how types and constants are made.

use super::{Scalar, Ty, Val};
use melior::Context;
use melior::ir::attribute::{DenseElementsAttribute, FloatAttribute, IntegerAttribute, StringAttribute};
use melior::ir::operation::{OperationBuilder, OperationLike};
use melior::ir::r#type::IntegerType;
use melior::ir::{Attribute, Block, BlockLike, BlockRef, Identifier, Location, Region, Type, Value, ValueLike};
use std::cell::Cell;

/// Appends operations to the current block of one kernel's body.
///
/// Methods take `&self`, so that loop bodies are plain closures that capture the builder.
pub struct Builder<'c> {
    pub(super) context: &'c Context,
    block: Cell<BlockRef<'c, 'c>>,
    location: Cell<Location<'c>>,
    /// Writing a GPU kernel, where MLIR would make calls of NVIDIA's library out of elementary functions.
    gpu: bool,
}

impl<'c> Builder<'c> {
    pub(super) fn new(context: &'c Context, block: &Block<'c>, location: Location<'c>) -> Self {
        Self { context, block: Cell::new(borrow(block)), location: Cell::new(location), gpu: false }
    }

    pub(super) fn on_gpu(self) -> Self {
        Self { gpu: true, ..self }
    }

    pub(super) fn on_a_gpu(&self) -> bool {
        self.gpu
    }

    /// An elementary function of one operand, by its name in MLIR and in LLVM.
    pub(super) fn elementary(&self, math: &str, llvm: &str, a: Val<'c>) -> Val<'c> {
        if !self.gpu {
            return self.one(math, &[a], a.ty, &[]);
        }
        let name = StringAttribute::new(self.context, llvm).into();
        let segments = self.parsed_attribute("array<i32: 1, 0>");
        let sizes = self.parsed_attribute("array<i32>");
        self.one("llvm.call_intrinsic", &[a], a.ty, &[("intrin", name), ("operandSegmentSizes", segments), ("op_bundle_sizes", sizes)])
    }

    /// Names the phase that the following operations belong to (MLIR locations).
    pub fn phase(&self, name: &str) {
        let outer = Location::unknown(self.context);
        self.location.set(Location::name(self.context, name, outer));
    }

    pub(super) fn location(&self) -> Location<'c> {
        self.location.get()
    }

    pub(super) fn scalar_type(&self, scalar: Scalar) -> Type<'c> {
        match scalar {
            Scalar::I1 => IntegerType::new(self.context, 1).into(),
            Scalar::I8 => IntegerType::new(self.context, 8).into(),
            Scalar::I32 => IntegerType::new(self.context, 32).into(),
            Scalar::I64 => IntegerType::new(self.context, 64).into(),
            Scalar::Index => Type::index(self.context),
            Scalar::F32 => Type::float32(self.context),
            Scalar::F64 => Type::float64(self.context),
            Scalar::Bf16 => self.parsed_type("bf16"),
            Scalar::F16 => self.parsed_type("f16"),
        }
    }

    pub(super) fn parsed_type(&self, text: &str) -> Type<'c> {
        Type::parse(self.context, text).unwrap_or_else(|| unreachable!("type {text}"))
    }

    pub(super) fn parsed_attribute(&self, text: &str) -> Attribute<'c> {
        Attribute::parse(self.context, text).unwrap_or_else(|| unreachable!("attribute {text}"))
    }

    pub(super) fn ty(&self, ty: Ty) -> Type<'c> {
        let element = self.scalar_type(ty.scalar);
        match ty.lanes {
            None => element,
            Some(lanes) => Type::vector(&[lanes as u64], element),
        }
    }

    pub(super) fn identifier(&self, name: &str) -> Identifier<'c> {
        Identifier::new(self.context, name)
    }

    /// The SSA value, made on the spot for a constant.
    pub(super) fn raw(&self, v: Val<'c>) -> Value<'c, 'c> {
        match (v.raw, v.constant) {
            (Some(raw), _) => raw,
            (None, Some(n)) => {
                let ty = self.ty(v.ty);
                self.constant(ty, IntegerAttribute::new(ty, n).into())
            }
            (None, None) => unreachable!("a value is either an SSA value or a constant"),
        }
    }

    fn constant(&self, ty: Type<'c>, value: Attribute<'c>) -> Value<'c, 'c> {
        self.append("arith.constant", &[], &[ty], &[("value", value)])[0]
    }

    /// Builds one operation at the insertion point.
    pub(super) fn append(
        &self,
        name: &str,
        operands: &[Value<'c, 'c>],
        results: &[Type<'c>],
        attributes: &[(&str, Attribute<'c>)],
    ) -> Vec<Value<'c, 'c>> {
        let attributes: Vec<_> = attributes.iter().map(|&(name, value)| (self.identifier(name), value)).collect();
        let operation = OperationBuilder::new(name, self.location.get());
        self.put(name, operation.add_operands(operands).add_results(results).add_attributes(&attributes))
    }

    /// Builds an operation around regions at the insertion point.
    pub(super) fn append_around(
        &self,
        name: &str,
        operands: &[Value<'c, 'c>],
        results: &[Type<'c>],
        regions: Vec<Region<'c>>,
    ) -> Vec<Value<'c, 'c>> {
        let operation = OperationBuilder::new(name, self.location.get());
        self.put(name, operation.add_operands(operands).add_results(results).add_regions_vec(regions))
    }

    /// Puts an operation at the insertion point and hands back its results.
    fn put(&self, name: &str, operation: OperationBuilder<'c>) -> Vec<Value<'c, 'c>> {
        let operation = operation.build().unwrap_or_else(|e| unreachable!("operation {name}: {e}"));
        let operation = self.block.get().append_operation(operation);
        (0..operation.result_count())
            .map(|i| {
                let result = operation.result(i).unwrap_or_else(|e| unreachable!("result {i} of {name}: {e}"));
                extend(result.into())
            })
            .collect()
    }

    /// Builds an operation with one result.
    pub(super) fn one(&self, name: &str, operands: &[Val<'c>], result: Ty, attributes: &[(&str, Attribute<'c>)]) -> Val<'c> {
        let operands: Vec<_> = operands.iter().map(|&v| self.raw(v)).collect();
        let values = self.append(name, &operands, &[self.ty(result)], attributes);
        self.val(values[0], result)
    }

    pub(super) fn val(&self, raw: Value<'c, 'c>, ty: Ty) -> Val<'c> {
        Val { raw: Some(raw), ty, constant: None }
    }

    /// Runs `body` with `block` as the insertion point.
    pub(super) fn inside<R>(&self, block: &Block<'c>, body: impl FnOnce() -> R) -> R {
        let outer = self.block.replace(borrow(block));
        let result = body();
        self.block.set(outer);
        result
    }

    /// A constant index.
    pub fn index(&self, value: usize) -> Val<'c> {
        value.into()
    }

    /// A constant index as an SSA value, to be carried by a loop that changes it.
    pub fn index_value(&self, value: usize) -> Val<'c> {
        self.val(self.raw(value.into()), Ty::INDEX)
    }

    /// A float constant of type `f32` or `f64`, splat over lanes if `ty` is a vector.
    pub fn float(&self, ty: Ty, value: f64) -> Val<'c> {
        let element = FloatAttribute::new(self.context, self.scalar_type(ty.scalar), value).into();
        self.splat_constant(ty, element)
    }

    /// An integer constant, splat over lanes if `ty` is a vector.
    pub fn int(&self, ty: Ty, value: i64) -> Val<'c> {
        let element = IntegerAttribute::new(self.scalar_type(ty.scalar), value).into();
        self.splat_constant(ty, element)
    }

    /// A scalar `f32` constant.
    pub fn f32(&self, value: f32) -> Val<'c> {
        self.float(Ty::F32, f64::from(value))
    }

    /// A scalar `f64` constant.
    pub fn f64(&self, value: f64) -> Val<'c> {
        self.float(Ty::F64, value)
    }

    /// Zero of a float type.
    pub fn zero(&self, ty: Ty) -> Val<'c> {
        self.float(ty, 0.0)
    }

    fn splat_constant(&self, ty: Ty, element: Attribute<'c>) -> Val<'c> {
        let value = match ty.lanes {
            None => element,
            Some(_) => DenseElementsAttribute::new(self.ty(ty), &[element]).unwrap_or_else(|e| unreachable!("splat constant: {e}")).into(),
        };
        self.val(self.constant(self.ty(ty), value), ty)
    }
}

/// Drops the borrow of a value: it lives as long as the operation or block that defines it, which its context owns in the end.
pub(super) fn extend<'c>(value: Value<'c, '_>) -> Value<'c, 'c> {
    // SAFETY: a value is a bare pointer into the IR; every block built here is moved into a region of the same module,
    // which outlives the builder, and moving a block does not move its values.
    unsafe { Value::from_raw(value.to_raw()) }
}

fn borrow<'c>(block: &Block<'c>) -> BlockRef<'c, 'c> {
    // SAFETY: as for `extend`: the block is owned by the caller of `inside`/`new` for as long as it is the insertion point.
    unsafe { BlockRef::from_raw(block.to_raw()) }
}
