//! Buffers: flat memory of one element type, addressed by a flat index.

use super::{Builder, Scalar, Ty, Val};
use melior::ir::attribute::{BoolAttribute, IntegerAttribute};
use melior::ir::r#type::{IntegerType, MemRefType};
use melior::ir::{Attribute, Type, Value};

/// A flat buffer (`memref<len x scalar>`), seen from a flat offset.
#[derive(Clone, Copy)]
pub struct Buffer<'c> {
    pub(super) memref: Value<'c, 'c>,
    pub(super) scalar: Scalar,
    pub(super) len: usize,
    offset: Val<'c>,
    /// In the shared memory of a GPU's workgroup.
    pub(super) shared: bool,
}

impl<'c> Buffer<'c> {
    pub(super) fn whole(memref: Value<'c, 'c>, scalar: Scalar, len: usize) -> Self {
        Self { memref, scalar, len, offset: 0usize.into(), shared: false }
    }

    pub(super) fn in_shared(memref: Value<'c, 'c>, scalar: Scalar, len: usize) -> Self {
        Self { shared: true, ..Self::whole(memref, scalar, len) }
    }

    /// Element type.
    pub fn scalar(&self) -> Scalar {
        self.scalar
    }

    /// Elements of the whole buffer.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the buffer has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<'c> Builder<'c> {
    pub(super) fn memref_type(&self, scalar: Scalar, len: usize) -> Type<'c> {
        MemRefType::new(self.scalar_type(scalar), &[len as i64], None, None).into()
    }

    /// Memory of a buffer with indices counted from `offset` on.
    pub fn shifted(&self, buffer: Buffer<'c>, offset: impl Into<Val<'c>>) -> Buffer<'c> {
        Buffer { offset: self.add(buffer.offset, offset), ..buffer }
    }

    /// Part of a byte buffer, from byte `byte` on, as `len` elements of `scalar`.
    pub fn view(&self, bytes: Buffer<'c>, byte: impl Into<Val<'c>>, scalar: Scalar, len: usize) -> Buffer<'c> {
        debug_assert_eq!(bytes.scalar, Scalar::I8);
        let byte = self.raw(self.add(bytes.offset, byte));
        let ty = if bytes.shared { self.shared_type(scalar, len) } else { self.memref_type(scalar, len) };
        let memref = self.append("memref.view", &[bytes.memref, byte], &[ty], &[])[0];
        Buffer { shared: bytes.shared, ..Buffer::whole(memref, scalar, len) }
    }

    /// The element at `index`.
    pub fn load(&self, buffer: Buffer<'c>, index: impl Into<Val<'c>>) -> Val<'c> {
        let ty = Ty::of(buffer.scalar);
        let value = self.append("memref.load", &self.address(buffer, index.into()), &[self.ty(ty)], &[])[0];
        self.val(value, ty)
    }

    /// `lanes` consecutive elements from `index` on; no alignment is presumed.
    pub fn load_vec(&self, buffer: Buffer<'c>, index: impl Into<Val<'c>>, lanes: usize) -> Val<'c> {
        let ty = Ty::vec(buffer.scalar, lanes);
        let value = self.append("vector.load", &self.address(buffer, index.into()), &[self.ty(ty)], &[])[0];
        self.val(value, ty)
    }

    /// `lanes` consecutive elements from `index` on, whose address is a multiple of their size together (a power of two up to 16 bytes).
    pub fn load_whole(&self, buffer: Buffer<'c>, index: impl Into<Val<'c>>, lanes: usize) -> Val<'c> {
        let ty = Ty::vec(buffer.scalar, lanes);
        let align = self.alignment(buffer.scalar.bytes() * lanes);
        let value = self.append("vector.load", &self.address(buffer, index.into()), &[self.ty(ty)], &[("alignment", align)])[0];
        self.val(value, ty)
    }

    /// Writes a vector to an address that is a multiple of its size (a power of two up to 16 bytes).
    pub fn store_whole(&self, value: Val<'c>, buffer: Buffer<'c>, index: impl Into<Val<'c>>) {
        debug_assert_eq!(value.ty.scalar, buffer.scalar);
        let mut operands = vec![self.raw(value)];
        operands.extend(self.address(buffer, index.into()));
        let align = self.alignment(buffer.scalar.bytes() * value.lanes());
        self.append("vector.store", &operands, &[], &[("alignment", align)]);
    }

    fn alignment(&self, bytes: usize) -> Attribute<'c> {
        IntegerAttribute::new(IntegerType::new(self.context, 64).into(), bytes.min(16) as i64).into()
    }

    /// Writes a scalar, or a vector to consecutive elements, at `index`.
    pub fn store(&self, value: Val<'c>, buffer: Buffer<'c>, index: impl Into<Val<'c>>) {
        debug_assert_eq!(value.ty.scalar, buffer.scalar);
        let name = if value.ty.lanes.is_some() { "vector.store" } else { "memref.store" };
        let mut operands = vec![self.raw(value)];
        operands.extend(self.address(buffer, index.into()));
        self.append(name, &operands, &[], &[]);
    }

    /// Writes a whole cache line, aligned to 64 bytes, past the caches; [`Builder::fence`] before anybody else may read it.
    pub fn store_past_caches(&self, value: Val<'c>, buffer: Buffer<'c>, index: impl Into<Val<'c>>) {
        debug_assert_eq!((value.ty.scalar, value.lanes()), (buffer.scalar, 16));
        let mut operands = vec![self.raw(value)];
        operands.extend(self.address(buffer, index.into()));
        let yes = BoolAttribute::new(self.context, true).into();
        let line = IntegerAttribute::new(IntegerType::new(self.context, 64).into(), 64).into();
        self.append("vector.store", &operands, &[], &[("nontemporal", yes), ("alignment", line)]);
    }

    /// Everything written before is seen by all before anything after.
    pub fn fence(&self) {
        // the number of `seq_cst` in LLVM's orderings
        let ordering = IntegerAttribute::new(IntegerType::new(self.context, 64).into(), 7).into();
        self.append("llvm.fence", &[], &[], &[("ordering", ordering)]);
    }

    /// Asks for the cache line of an element; `locality` 3 keeps it in every level, 0 in none.
    pub fn prefetch(&self, buffer: Buffer<'c>, index: impl Into<Val<'c>>, locality: i64) {
        let hint: Attribute<'c> = IntegerAttribute::new(IntegerType::new(self.context, 32).into(), locality).into();
        let no = BoolAttribute::new(self.context, false).into();
        let yes = BoolAttribute::new(self.context, true).into();
        self.append(
            "memref.prefetch",
            &self.address(buffer, index.into()),
            &[],
            &[("isWrite", no), ("localityHint", hint), ("isDataCache", yes)],
        );
    }

    pub(super) fn address(&self, buffer: Buffer<'c>, index: Val<'c>) -> [Value<'c, 'c>; 2] {
        let index = self.add(buffer.offset, index);
        [buffer.memref, self.raw(index)]
    }
}
