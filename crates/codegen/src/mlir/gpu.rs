//! What only a GPU has: thread numbers, shared memory, barriers, asynchronous copies, warp shuffles, tensor-core steps.

use super::{Buffer, Builder, Scalar, Ty, Val};
use melior::ir::Type;
use melior::ir::Value;
use melior::ir::attribute::IntegerAttribute;
use melior::ir::r#type::{IntegerType, MemRefType};

/// Which lane a shuffle reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shuffle {
    /// Lane `own xor n`.
    Xor,
    /// Lane `n`.
    Index,
}

/// Element type of a tensor-core step's factors; it sums in float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Multiplicand {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
}

/// An asynchronous copy of `bytes` bytes (4, 8 or 16), from element `at` of `from` in global memory to element `slot` of `to` in shared memory; both addresses are
/// multiples of `bytes`.
#[derive(Clone, Copy)]
pub struct Transfer<'c> {
    /// Global memory.
    pub from: Buffer<'c>,
    /// Element of `from`.
    pub at: Val<'c>,
    /// Shared memory.
    pub to: Buffer<'c>,
    /// Element of `to`.
    pub slot: Val<'c>,
    /// How many bytes.
    pub bytes: usize,
}

impl<'c> Builder<'c> {
    /// Number of the thread in its block, along x.
    pub fn thread(&self) -> Val<'c> {
        self.coordinate("gpu.thread_id", "x")
    }

    /// Number of the block along `axis` (0 = x, 1 = y, 2 = z).
    pub fn block(&self, axis: usize) -> Val<'c> {
        self.coordinate("gpu.block_id", ["x", "y", "z"][axis])
    }

    fn coordinate(&self, name: &str, axis: &str) -> Val<'c> {
        let dimension = self.parsed_attribute(&format!("#gpu<dim {axis}>"));
        self.one(name, &[], Ty::INDEX, &[("dimension", dimension)])
    }

    /// All threads of the block have come here, and see what each wrote to memory before.
    pub fn barrier(&self) {
        self.append("gpu.barrier", &[], &[], &[]);
    }

    /// All lanes of the warp have come here, and see what each wrote to memory before.
    pub fn warp_barrier(&self) {
        let all = self.int(Ty::I32, -1);
        self.append("nvvm.bar.warp.sync", &[self.raw(all)], &[], &[]);
    }

    /// The block's dynamic shared memory, as `bytes` bytes.
    pub fn shared_memory(&self, bytes: usize) -> Buffer<'c> {
        let ty = self.parsed_type("memref<?xi8, #gpu.address_space<workgroup>>");
        let memref = self.append("gpu.dynamic_shared_memory", &[], &[ty], &[])[0];
        Buffer::in_shared(memref, Scalar::I8, bytes)
    }

    pub(super) fn shared_type(&self, scalar: Scalar, len: usize) -> Type<'c> {
        let space = self.parsed_attribute("#gpu.address_space<workgroup>");
        MemRefType::new(self.scalar_type(scalar), &[len as i64], None, Some(space)).into()
    }

    /// The address of an element, in its memory.
    fn pointer(&self, buffer: Buffer<'c>, index: Val<'c>) -> Value<'c, 'c> {
        let [memref, index] = self.address(buffer, index);
        let base = self.append("memref.extract_aligned_pointer_as_index", &[memref], &[self.ty(Ty::INDEX)], &[])[0];
        let (base, index) = (self.val(base, Ty::INDEX), self.val(index, Ty::INDEX));
        let address = self.at(base, index, buffer.scalar.bytes());
        let word = self.index_cast(address, Scalar::I64);
        let ty = self.parsed_type(if buffer.shared { "!llvm.ptr<3>" } else { "!llvm.ptr<1>" });
        self.append("llvm.inttoptr", &[self.raw(word)], &[ty], &[])[0]
    }

    /// Starts a copy from global to shared memory; where `valid` is false, zeros are written and nothing is read (the source address may then be
    /// anything). Nothing may be presumed of the target before [`Builder::copies_done`] and a barrier.
    pub fn copy_async(&self, transfer: Transfer<'c>, valid: Option<Val<'c>>) {
        let Transfer { from, mut at, to, slot, bytes } = transfer;
        debug_assert!(to.shared && !from.shared && matches!(bytes, 4 | 8 | 16));
        let mut operands = Vec::new();
        let mut read = None;
        match valid {
            None => {}
            Some(v) if v.constant == Some(1) => {}
            Some(v) => {
                // An address outside the buffer is never formed.
                at = self.select(v, at, 0usize.into());
                let (all, none) = (self.int(Ty::I32, bytes as i64), self.int(Ty::I32, 0));
                read = Some(self.select(v, all, none));
            }
        }
        operands.push(self.pointer(to, slot));
        operands.push(self.pointer(from, at));
        operands.extend(read.map(|r| self.raw(r)));
        let modifier = self.parsed_attribute(if bytes == 16 { "#nvvm<load_cache_modifier cg>" } else { "#nvvm<load_cache_modifier ca>" });
        self.append("nvvm.cp.async.shared.global", &operands, &[], &[("modifier", modifier), ("size", self.small(bytes as i64))]);
    }

    fn small(&self, value: i64) -> melior::ir::Attribute<'c> {
        IntegerAttribute::new(IntegerType::new(self.context, 32).into(), value).into()
    }

    /// The copies started since the last call are one group.
    pub fn commit_copies(&self) {
        self.append("nvvm.cp.async.commit.group", &[], &[], &[]);
    }

    /// Waits until at most `pending` of the youngest groups of this thread are on their way.
    pub fn copies_done(&self, pending: usize) {
        self.append("nvvm.cp.async.wait.group", &[], &[], &[("n", self.small(pending as i64))]);
    }

    /// `value` (32 bits) of another lane; all 32 lanes take part.
    pub fn shuffle_lanes(&self, mode: Shuffle, value: Val<'c>, lane: Val<'c>) -> Val<'c> {
        let (all, clamp) = (self.int(Ty::I32, -1), self.int(Ty::I32, 31));
        let kind = self.parsed_attribute(match mode {
            Shuffle::Xor => "#nvvm<shfl_kind bfly>",
            Shuffle::Index => "#nvvm<shfl_kind idx>",
        });
        self.one("nvvm.shfl.sync", &[all, value, lane, clamp], value.ty(), &[("kind", kind)])
    }

    /// Sum over the lanes whose numbers differ in the bits of `mask` only, in a fixed order; all get it. `mask` is below 32.
    pub fn sum_lanes(&self, value: Val<'c>, mask: usize) -> Val<'c> {
        let mut sum = value;
        for bit in (0..5).map(|i| 1 << i).filter(|bit| mask & bit != 0) {
            let other = self.shuffle_lanes(Shuffle::Xor, sum, self.int(Ty::I32, bit as i64));
            sum = self.add(sum, other);
        }
        sum
    }

    /// `count` (1, 2 or 4) blocks of 8 by 8 16-bit elements from shared memory: lane `l` names row `l % 8` of block `l / 8` by the element at `index`, whose address is a
    /// multiple of 16. Register `r` of lane `l` holds elements `2 (l % 4)` and the next of row `l / 4` of block `r` (with `transposed`: of column `l / 4`).
    pub fn load_matrix(&self, buffer: Buffer<'c>, index: Val<'c>, count: usize, transposed: bool) -> Vec<Val<'c>> {
        debug_assert!(buffer.shared && buffer.scalar.bytes() == 2);
        let pointer = self.pointer(buffer, index);
        let words = vec!["i32"; count].join(", ");
        let ty = if count == 1 { self.ty(Ty::I32) } else { self.parsed_type(&format!("!llvm.struct<({words})>")) };
        let layout = self.parsed_attribute(if transposed { "#nvvm.mma_layout<col>" } else { "#nvvm.mma_layout<row>" });
        let attributes = [
            ("num", self.small(count as i64)),
            ("layout", layout),
            ("shape", self.parsed_attribute("#nvvm.ld_st_matrix_shape<m = 8, n = 8>")),
            ("eltType", self.parsed_attribute("#nvvm.ld_st_matrix_elt_type<b16>")),
        ];
        let result = self.append("nvvm.ldmatrix", &[pointer], &[ty], &attributes)[0];
        if count == 1 { vec![self.val(result, Ty::I32)] } else { self.fields(result, Ty::I32, count) }
    }

    /// One tensor-core step `c + a b` of 16 by 8 by 16: `a` four registers (rows g and g + 8 of columns 2t, then of columns 2t + 8; g = lane / 4, t = lane % 4), `b`
    /// two (rows 2t, 2t + 8 of column g), `c` four float32 (columns 2t, 2t + 1 of row g, then of row g + 8).
    pub fn multiply(&self, kind: Multiplicand, a: &[Val<'c>], b: &[Val<'c>], c: &[Val<'c>]) -> Vec<Val<'c>> {
        debug_assert_eq!((a.len(), b.len(), c.len()), (4, 2, 4));
        let (name, packed) = match kind {
            Multiplicand::Bf16 => ("bf16", None),
            Multiplicand::F16 => ("f16", Some(self.parsed_type("vector<2xf16>"))),
        };
        let mut operands: Vec<Value<'c, 'c>> = Vec::with_capacity(10);
        for &v in a.iter().chain(b) {
            let raw = self.raw(v);
            operands.push(match packed {
                None => raw,
                Some(ty) => self.append("llvm.bitcast", &[raw], &[ty], &[])[0],
            });
        }
        operands.extend(c.iter().map(|&v| self.raw(v)));
        let factor = self.parsed_attribute(&format!("#nvvm.mma_type<{name}>"));
        let attributes = [
            ("layoutA", self.parsed_attribute("#nvvm.mma_layout<row>")),
            ("layoutB", self.parsed_attribute("#nvvm.mma_layout<col>")),
            ("multiplicandAPtxType", factor),
            ("multiplicandBPtxType", factor),
            ("operandSegmentSizes", self.parsed_attribute("array<i32: 4, 2, 4>")),
            ("shape", self.parsed_attribute("#nvvm.shape<m = 16, n = 8, k = 16>")),
        ];
        let ty = self.parsed_type("!llvm.struct<(f32, f32, f32, f32)>");
        let result = self.append("nvvm.mma.sync", &operands, &[ty], &attributes)[0];
        self.fields(result, Ty::F32, 4)
    }

    /// An index of which the compiler knows nothing: sums with constants stay sums, and become offsets of an instruction's address instead
    /// of registers of their own.
    pub fn opaque(&self, index: Val<'c>) -> Val<'c> {
        let word = self.index_cast(index, Scalar::I64);
        let text = |t: &str| melior::ir::attribute::StringAttribute::new(self.context, t).into();
        let attributes = [("asm_string", text("mov.b64 $0, $1;")), ("constraints", text("=l,l"))];
        let same = self.append("llvm.inline_asm", &[self.raw(word)], &[self.ty(Ty::I64)], &attributes)[0];
        self.index_cast(self.val(same, Ty::I64), Scalar::Index)
    }

    fn fields(&self, aggregate: Value<'c, 'c>, ty: Ty, count: usize) -> Vec<Val<'c>> {
        (0..count)
            .map(|i| {
                let position = self.parsed_attribute(&format!("array<i64: {i}>"));
                let value = self.append("llvm.extractvalue", &[aggregate], &[self.ty(ty)], &[("position", position)])[0];
                self.val(value, ty)
            })
            .collect()
    }

    /// A vector of scalars.
    pub fn pack(&self, scalars: &[Val<'c>]) -> Val<'c> {
        let ty = Ty::vec(scalars[0].ty().scalar, scalars.len());
        self.one("vector.from_elements", scalars, ty, &[])
    }

    /// The lanes of a vector.
    pub fn unpack(&self, vector: Val<'c>) -> Vec<Val<'c>> {
        (0..vector.lanes()).map(|lane| self.extract(vector, lane)).collect()
    }

    /// To float32, exactly, from a 16-bit float (float32 stays as it is).
    pub fn widen(&self, value: Val<'c>) -> Val<'c> {
        if value.ty().scalar == Scalar::F32 { value } else { self.one("arith.extf", &[value], value.ty().with(Scalar::F32), &[]) }
    }

    /// From float32 to a storage type, rounded to nearest even.
    pub fn narrow(&self, value: Val<'c>, scalar: Scalar) -> Val<'c> {
        if scalar == Scalar::F32 { value } else { self.one("arith.truncf", &[value], value.ty().with(scalar), &[]) }
    }

    /// Two 16-bit floats as one 32-bit register, the first in the low half.
    pub fn pair_bits(&self, pair: Val<'c>) -> Val<'c> {
        debug_assert_eq!((pair.lanes(), pair.ty().scalar.bytes()), (2, 2));
        self.words(pair)[0]
    }

    /// A vector of 16-bit floats as 32-bit registers of two, the first in the low half.
    pub fn words(&self, vector: Val<'c>) -> Vec<Val<'c>> {
        debug_assert_eq!((vector.lanes() % 2, vector.ty().scalar.bytes()), (0, 2));
        self.unpack(self.one("vector.bitcast", &[vector], Ty::vec(Scalar::I32, vector.lanes() / 2), &[]))
    }
}
