//! Vectors: broadcast, pick, shuffle, reduce in a fixed order.

use super::{Builder, Ty, Val};
use melior::ir::attribute::DenseI64ArrayAttribute;

impl<'c> Builder<'c> {
    /// A scalar in every lane; with `lanes` 1 the scalar as a vector of one.
    pub fn broadcast(&self, scalar: Val<'c>, lanes: usize) -> Val<'c> {
        let ty = Ty::vec(scalar.ty.scalar, lanes);
        self.one("vector.broadcast", &[scalar], ty, &[])
    }

    /// The scalar in lane `lane`.
    pub fn extract(&self, vector: Val<'c>, lane: usize) -> Val<'c> {
        let position = DenseI64ArrayAttribute::new(self.context, &[lane as i64]).into();
        self.one("vector.extract", &[vector], Ty::of(vector.ty.scalar), &[("static_position", position)])
    }

    /// `vector` with `scalar` in lane `lane`.
    pub fn insert(&self, scalar: Val<'c>, vector: Val<'c>, lane: usize) -> Val<'c> {
        let position = DenseI64ArrayAttribute::new(self.context, &[lane as i64]).into();
        self.one("vector.insert", &[scalar, vector], vector.ty, &[("static_position", position)])
    }

    /// Lanes of `a` followed by `b`, picked by `mask`.
    pub fn shuffle(&self, a: Val<'c>, b: Val<'c>, mask: &[i64]) -> Val<'c> {
        let ty = Ty::vec(a.ty.scalar, mask.len());
        let mask = DenseI64ArrayAttribute::new(self.context, mask).into();
        self.one("vector.shuffle", &[a, b], ty, &[("mask", mask)])
    }

    /// Sum of all lanes, by halves: lane `i` with lane `i + n/2`, and so on. The lane count is a power of two.
    pub fn reduce_add(&self, vector: Val<'c>) -> Val<'c> {
        self.reduce(vector, |a, b| self.add(a, b))
    }

    /// Greatest lane. The lane count is a power of two.
    pub fn reduce_max(&self, vector: Val<'c>) -> Val<'c> {
        self.reduce(vector, |a, b| self.max(a, b))
    }

    fn reduce(&self, vector: Val<'c>, join: impl Fn(Val<'c>, Val<'c>) -> Val<'c>) -> Val<'c> {
        let mut value = vector;
        let mut lanes = value.lanes();
        debug_assert!(lanes.is_power_of_two());
        while lanes > 1 {
            lanes /= 2;
            let low: Vec<i64> = (0..lanes as i64).collect();
            let high: Vec<i64> = (lanes as i64..2 * lanes as i64).collect();
            let (low, high) = (self.shuffle(value, value, &low), self.shuffle(value, value, &high));
            value = join(low, high);
        }
        self.extract(value, 0)
    }
}
