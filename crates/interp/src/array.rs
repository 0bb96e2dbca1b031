//! Dense values of the interpreter.

use mnx_weights::Tensor;

use crate::real::Real;

/// Dense, row-major, channels-first. Class labels (`argmax`) are stored as whole numbers of the type.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// `shape.product()` values.
    pub data: Vec<T>,
}

impl<T: Real> Array<T> {
    /// An array from its parts.
    ///
    /// # Panics
    /// If `data.len()` is not the product of `shape`: the caller built it wrongly.
    pub fn new(shape: &[usize], data: Vec<T>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "array of shape {shape:?} given {} values", data.len());
        Self { shape: shape.to_vec(), data }
    }

    /// All zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::new(shape, vec![T::ZERO; shape.iter().product()])
    }

    /// From a checkpoint's tensor; exact.
    pub fn from_tensor(t: &Tensor) -> Self {
        let data = t.data.iter().map(|&x| T::from_f64(f64::from(x))).collect();
        Self::new(&t.shape, data)
    }

    /// To a float32 tensor; rounds.
    pub fn to_tensor(&self) -> Tensor {
        let data = self.data.iter().map(|x| x.to_f64() as f32).collect();
        Tensor::new(self.shape.clone(), data)
    }
}
