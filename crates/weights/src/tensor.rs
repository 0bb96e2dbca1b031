//! A dense row-major float32 tensor and the errors of this room.

/// Dense, row-major, float32.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// `shape.product()` values.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor from its parts.
    ///
    /// # Panics
    /// If `data.len()` is not the product of `shape`: the caller built it wrongly.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "tensor of shape {shape:?} given {} values", data.len());
        Self { shape, data }
    }

    /// All zeros.
    pub fn zeros(shape: Vec<usize>) -> Self {
        let n = shape.iter().product();
        Self { shape, data: vec![0.0; n] }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// What can go wrong with weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be opened, read or written.
    #[error("{path}: {}", mnx_words::reason(source))]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a checkpoint that we can read.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A tensor that a network needs is not there.
    #[error("tensor \"{0}\" is missing from the checkpoint")]
    Missing(String),
    /// A tensor has another shape than the network's.
    #[error("tensor \"{name}\" has shape {got}, the network needs {want}", got = mnx_words::list(.got), want = mnx_words::list(.want))]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape in the checkpoint.
        got: Vec<usize>,
        /// Shape in the network.
        want: Vec<usize>,
    },
    /// A recipe whose parts do not fit together (shapes, ranks, sizes).
    #[error("recipe: {0}")]
    Recipe(String),
    /// Many tensors do not fit, one line each.
    #[error("{} tensors do not fit the network:\n{}", .0.len(), .0.join("\n"))]
    Mismatch(Vec<String>),
}
