//! Arithmetic: one method per idea, whatever the type.

use super::{Builder, Scalar, Ty, Val};
use melior::ir::Attribute;
use melior::ir::attribute::IntegerAttribute;
use melior::ir::r#type::IntegerType;

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl<'c> Builder<'c> {
    /// `a + b`.
    pub fn add(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        let (a, b) = (a.into(), b.into());
        match (a.constant, b.constant) {
            (Some(x), Some(y)) => (x + y).into(),
            (Some(0), None) => b,
            (None, Some(0)) => a,
            _ => self.binary("arith.addi", "arith.addf", a, b),
        }
    }

    /// `a - b`.
    pub fn sub(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        let (a, b) = (a.into(), b.into());
        match (a.constant, b.constant) {
            (Some(x), Some(y)) => (x - y).into(),
            (None, Some(0)) => a,
            _ => self.binary("arith.subi", "arith.subf", a, b),
        }
    }

    /// `a * b`.
    pub fn mul(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        let (a, b) = (a.into(), b.into());
        match (a.constant, b.constant) {
            (Some(x), Some(y)) => (x * y).into(),
            (Some(0), None) | (None, Some(0)) => 0usize.into(),
            (Some(1), None) => b,
            (None, Some(1)) => a,
            _ => self.binary("arith.muli", "arith.mulf", a, b),
        }
    }

    /// `a / b`: of floats, or of indices that are not negative (rounded down).
    pub fn div(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        let (a, b) = (a.into(), b.into());
        match (a.constant, b.constant) {
            (Some(x), Some(y)) => (x / y).into(),
            (None, Some(1)) => a,
            _ => self.binary("arith.divui", "arith.divf", a, b),
        }
    }

    /// `a mod b` of indices that are not negative.
    pub fn rem(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        let (a, b) = (a.into(), b.into());
        match (a.constant, b.constant) {
            (Some(x), Some(y)) => (x % y).into(),
            (None, Some(1)) => 0usize.into(),
            _ => self.one("arith.remui", &[a, b], a.ty, &[]),
        }
    }

    /// `base + index * stride`, the step of every flat address.
    pub fn at(&self, base: impl Into<Val<'c>>, index: impl Into<Val<'c>>, stride: usize) -> Val<'c> {
        let scaled = self.mul(index, stride);
        self.add(base, scaled)
    }

    /// `a * b + c` of floats, rounded once.
    pub fn fma(&self, a: Val<'c>, b: Val<'c>, c: Val<'c>) -> Val<'c> {
        self.one("math.fma", &[a, b, c], a.ty, &[])
    }

    /// `-a` of floats.
    pub fn neg(&self, a: Val<'c>) -> Val<'c> {
        self.one("arith.negf", &[a], a.ty, &[])
    }

    /// The greater; of floats `a > b ? a : b`, so a NaN in either gives `b`.
    pub fn max(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        let (a, b) = (a.into(), b.into());
        match (a.constant, b.constant) {
            (Some(x), Some(y)) => x.max(y).into(),
            _ if a.ty.scalar.is_float() => {
                let greater = self.gt(a, b);
                self.select(greater, a, b)
            }
            _ => self.one("arith.maxsi", &[a, b], a.ty, &[]),
        }
    }

    /// The lesser; of floats `a < b ? a : b`, so a NaN in either gives `b`.
    pub fn min(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        let (a, b) = (a.into(), b.into());
        match (a.constant, b.constant) {
            (Some(x), Some(y)) => x.min(y).into(),
            _ if a.ty.scalar.is_float() => {
                let less = self.lt(a, b);
                self.select(less, a, b)
            }
            _ => self.one("arith.minsi", &[a, b], a.ty, &[]),
        }
    }

    /// `max(x, 0)` of floats; NaN stays NaN. One instruction everywhere.
    pub fn positive(&self, x: Val<'c>) -> Val<'c> {
        let zero = self.zero(x.ty);
        if self.on_a_gpu() {
            return self.one("arith.maximumf", &[x, zero], x.ty, &[]);
        }
        // `max` gives its second operand where either is NaN.
        self.max(zero, x)
    }

    /// Square root.
    pub fn sqrt(&self, a: Val<'c>) -> Val<'c> {
        self.elementary("math.sqrt", "llvm.sqrt", a)
    }

    /// Magnitude of a float.
    pub fn abs(&self, a: Val<'c>) -> Val<'c> {
        self.elementary("math.absf", "llvm.fabs", a)
    }

    /// Nearest integer, ties to even, as a float.
    pub fn round_even(&self, a: Val<'c>) -> Val<'c> {
        self.elementary("math.roundeven", "llvm.roundeven", a)
    }

    /// `condition ? a : b`; the condition is a boolean or a vector of them.
    pub fn select(&self, condition: Val<'c>, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        match condition.constant {
            Some(0) => b,
            Some(_) => a,
            None => self.one("arith.select", &[condition, a, b], a.ty, &[]),
        }
    }

    /// `a == b` (ordered for floats, as are all comparisons).
    pub fn eq(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        self.compare(Relation::Eq, a.into(), b.into())
    }

    /// `a != b`.
    pub fn ne(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        self.compare(Relation::Ne, a.into(), b.into())
    }

    /// `a < b`, signed.
    pub fn lt(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        self.compare(Relation::Lt, a.into(), b.into())
    }

    /// `a <= b`, signed.
    pub fn le(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        self.compare(Relation::Le, a.into(), b.into())
    }

    /// `a > b`, signed.
    pub fn gt(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        self.compare(Relation::Gt, a.into(), b.into())
    }

    /// `a >= b`, signed.
    pub fn ge(&self, a: impl Into<Val<'c>>, b: impl Into<Val<'c>>) -> Val<'c> {
        self.compare(Relation::Ge, a.into(), b.into())
    }

    /// `0 <= a < bound` of an index.
    pub fn within(&self, a: Val<'c>, bound: usize) -> Val<'c> {
        let low = self.ge(a, 0usize);
        let high = self.lt(a, bound);
        self.and(low, high)
    }

    /// Both, bitwise.
    pub fn and(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        match (a.constant, b.constant) {
            (Some(0), _) => a,
            (_, Some(0)) => b,
            (Some(_), None) if a.ty == Ty::I1 => b,
            (None, Some(_)) if a.ty == Ty::I1 => a,
            (Some(x), Some(y)) => Val::known(a.ty, x & y),
            _ => self.one("arith.andi", &[a, b], a.ty, &[]),
        }
    }

    /// Either, bitwise.
    pub fn or(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        match (a.constant, b.constant) {
            (Some(0), _) => b,
            (_, Some(0)) => a,
            (Some(x), Some(y)) => Val::known(a.ty, x | y),
            _ => self.one("arith.ori", &[a, b], a.ty, &[]),
        }
    }

    /// Exclusive or, bitwise.
    pub fn xor(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.one("arith.xori", &[a, b], a.ty, &[])
    }

    /// `a << b` of integers.
    pub fn shl(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.one("arith.shli", &[a, b], a.ty, &[])
    }

    /// `a >> b` of integers, zeros shifted in.
    pub fn shr(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.one("arith.shrui", &[a, b], a.ty, &[])
    }

    /// f32 to f64, exactly.
    pub fn extend(&self, a: Val<'c>) -> Val<'c> {
        self.one("arith.extf", &[a], a.ty.with(Scalar::F64), &[])
    }

    /// f64 to f32, rounded to nearest.
    pub fn truncate(&self, a: Val<'c>) -> Val<'c> {
        self.one("arith.truncf", &[a], a.ty.with(Scalar::F32), &[])
    }

    /// Bits of a value as another type of equal width.
    pub fn bitcast(&self, a: Val<'c>, scalar: Scalar) -> Val<'c> {
        self.one("arith.bitcast", &[a], a.ty.with(scalar), &[])
    }

    /// A float towards zero to a signed integer.
    pub fn to_int(&self, a: Val<'c>, scalar: Scalar) -> Val<'c> {
        self.one("arith.fptosi", &[a], a.ty.with(scalar), &[])
    }

    /// A signed integer to a float.
    pub fn to_float(&self, a: Val<'c>, scalar: Scalar) -> Val<'c> {
        self.one("arith.sitofp", &[a], a.ty.with(scalar), &[])
    }

    /// An index to an integer of another width, or back.
    pub fn index_cast(&self, a: Val<'c>, scalar: Scalar) -> Val<'c> {
        self.one("arith.index_cast", &[a], a.ty.with(scalar), &[])
    }

    fn binary(&self, int: &str, float: &str, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        debug_assert_eq!(a.ty, b.ty, "{int}");
        let name = if a.ty.scalar.is_float() { float } else { int };
        self.one(name, &[a, b], a.ty, &[])
    }

    fn compare(&self, relation: Relation, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        if let (Some(x), Some(y)) = (a.constant, b.constant) {
            let truth = match relation {
                Relation::Eq => x == y,
                Relation::Ne => x != y,
                Relation::Lt => x < y,
                Relation::Le => x <= y,
                Relation::Gt => x > y,
                Relation::Ge => x >= y,
            };
            return Val::known(Ty::I1, i64::from(truth));
        }
        // The numbers of MLIR's `CmpFPredicate` (ordered) and `CmpIPredicate` (signed).
        let (name, predicate) = if a.ty.scalar.is_float() {
            let predicate = match relation {
                Relation::Eq => 1,
                Relation::Gt => 2,
                Relation::Ge => 3,
                Relation::Lt => 4,
                Relation::Le => 5,
                Relation::Ne => 6,
            };
            ("arith.cmpf", predicate)
        } else {
            let predicate = match relation {
                Relation::Eq => 0,
                Relation::Ne => 1,
                Relation::Lt => 2,
                Relation::Le => 3,
                Relation::Gt => 4,
                Relation::Ge => 5,
            };
            ("arith.cmpi", predicate)
        };
        let predicate: Attribute<'c> = IntegerAttribute::new(IntegerType::new(self.context, 64).into(), predicate).into();
        self.one(name, &[a, b], a.ty.with(Scalar::I1), &[("predicate", predicate)])
    }
}
