//! A whole graph, op by op in program order.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use mnx_ir::infer::infer;
use mnx_ir::{Diagnostic, Graph, OpId, TensorType, ValueId};
use mnx_weights::{Checkpoint, WeightsError};

use crate::array::Array;
use crate::eval::eval;
use crate::real::Real;

/// Where params and states come from.
pub trait WeightSource<T: Real> {
    /// The tensor of a key, which must have this shape.
    ///
    /// # Errors
    /// It is missing or has another shape.
    fn weight(&self, key: &str, shape: &[usize]) -> Result<Array<T>, WeightsError>;
}

impl<T: Real> WeightSource<T> for Checkpoint {
    fn weight(&self, key: &str, shape: &[usize]) -> Result<Array<T>, WeightsError> {
        self.require(key, shape).map(Array::from_tensor)
    }
}

impl<T: Real> WeightSource<T> for BTreeMap<String, Array<T>> {
    fn weight(&self, key: &str, shape: &[usize]) -> Result<Array<T>, WeightsError> {
        let array = self.get(key).ok_or_else(|| WeightsError::Missing(key.to_string()))?;
        if array.shape == shape {
            Ok(array.clone())
        } else {
            Err(WeightsError::Shape { name: key.to_string(), got: array.shape.clone(), want: shape.to_vec() })
        }
    }
}

/// Why a graph could not be run.
#[derive(Debug, thiserror::Error)]
pub enum InterpError {
    /// A param is missing or has another shape.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// An input of the graph was not given.
    #[error("input \"{0}\" is missing")]
    MissingInput(String),
    /// An input was given that the graph does not have.
    #[error("the graph has no input \"{given}\"; it has {known}")]
    UnknownInput {
        /// The name given.
        given: String,
        /// The graph's inputs.
        known: String,
    },
    /// An input has another shape than the graph's.
    #[error("input \"{name}\" has shape {got}, the graph needs {want}", got = mnx_words::list(.got), want = mnx_words::list(.want))]
    InputShape {
        /// Name of the port.
        name: String,
        /// Shape given.
        got: Vec<usize>,
        /// Shape of the graph.
        want: Vec<usize>,
    },
    /// The graph itself is not sound.
    #[error(transparent)]
    Graph(#[from] Diagnostic),
}

/// What a run gives: the outputs, and what it leaves in named memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Results<T> {
    /// The outputs by name, in the graph's order.
    pub outputs: Vec<(String, Array<T>)>,
    /// The new values of params and states by key, in the order of the updates; nothing else changes.
    pub updates: Vec<(String, Array<T>)>,
}

/// Runs graphs in one number type. Dispatch boxes and layouts make no difference here.
///
/// Every float type of the graph is computed in `T`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interpreter<T>(PhantomData<T>);

impl<T: Real> Interpreter<T> {
    /// An interpreter.
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// The outputs and updates of a graph. `weights` holds its params and its states, as they are before the run.
    ///
    /// # Errors
    /// Inputs, params or states that do not fit, or a graph that is not sound.
    pub fn run(&self, graph: &Graph, weights: &dyn WeightSource<T>, inputs: &[(&str, &Array<T>)]) -> Result<Results<T>, InterpError> {
        self.run_observed(graph, weights, inputs, &mut |_, _| {})
    }

    /// A run that shows `observe` the result of every op as it is made.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_observed(
        &self,
        graph: &Graph,
        weights: &dyn WeightSource<T>,
        inputs: &[(&str, &Array<T>)],
        observe: &mut dyn FnMut(OpId, &Array<T>),
    ) -> Result<Results<T>, InterpError> {
        let mut values: Vec<Option<Array<T>>> = vec![None; graph.value_count()];
        for (name, value) in bind(graph, inputs)? {
            values[value.index()] = Some(name.clone());
        }
        let mut readers_left = readers(graph);
        for &id in graph.order() {
            let node = graph.node(id);
            let ty = graph.ty(node.result);
            let result = {
                let mut operands = Vec::with_capacity(node.operands.len());
                for v in &node.operands {
                    operands.push(values[v.index()].as_ref().ok_or_else(|| undefined(graph, id, *v))?);
                }
                match node.op.key() {
                    Some(key) => weights.weight(key, &ty.shape)?,
                    None => {
                        check(graph, id)?;
                        eval(&node.op, &operands, ty).expect("only params and states have no value of their own")
                    }
                }
            };
            observe(id, &result);
            for v in &node.operands {
                readers_left[v.index()] -= 1;
                if readers_left[v.index()] == 0 {
                    values[v.index()] = None;
                }
            }
            if readers_left[node.result.index()] > 0 {
                values[node.result.index()] = Some(result);
            }
        }
        let kept = |what: &str, list: &[(String, ValueId)]| {
            let value = |(name, v): &(String, ValueId)| {
                let value = values[v.index()].clone();
                let value =
                    value.ok_or_else(|| Diagnostic::new("interp-0101", name, format!("{what} \"{name}\" is {v}, which no op defines")));
                Ok((name.clone(), value?))
            };
            list.iter().map(value).collect::<Result<_, InterpError>>()
        };
        Ok(Results { outputs: kept("output", graph.outputs())?, updates: updates(graph, kept("update", graph.updates())?)? })
    }
}

/// The updates, if each has the shape of the param or state that it changes.
fn updates<T: Real>(graph: &Graph, made: Vec<(String, Array<T>)>) -> Result<Vec<(String, Array<T>)>, Diagnostic> {
    for (key, value) in &made {
        let want = graph.leaf(key).map(|id| &graph.ty(graph.result(id)).shape[..]);
        if want != Some(&value.shape[..]) {
            let message = format!(
                "update \"{key}\" has shape {}, expected that of a param or state: {}",
                mnx_words::list(&value.shape),
                want.map_or_else(|| "there is none of this key".to_string(), mnx_words::list)
            );
            return Err(Diagnostic::new("interp-0102", key, message));
        }
    }
    Ok(made)
}

/// Reads of each value: by ops, and one by each output and update.
fn readers(graph: &Graph) -> Vec<usize> {
    let mut count = vec![0; graph.value_count()];
    for &id in graph.order() {
        for v in graph.operands(id) {
            count[v.index()] += 1;
        }
    }
    for (_, v) in graph.outputs().iter().chain(graph.updates()) {
        count[v.index()] += 1;
    }
    count
}

/// Pairs given arrays with the graph's inputs.
fn bind<'a, T: Real>(graph: &Graph, inputs: &[(&str, &'a Array<T>)]) -> Result<Vec<(&'a Array<T>, ValueId)>, InterpError> {
    for (given, _) in inputs {
        if !graph.inputs().iter().any(|(name, _)| name == given) {
            return Err(InterpError::UnknownInput {
                given: (*given).to_string(),
                known: graph.inputs().iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", "),
            });
        }
    }
    let mut bound = Vec::new();
    for (name, value) in graph.inputs() {
        let (_, array) = inputs.iter().find(|(given, _)| given == name).ok_or_else(|| InterpError::MissingInput(name.clone()))?;
        let want = &graph.ty(*value).shape[..];
        if array.shape != want {
            return Err(InterpError::InputShape { name: name.clone(), got: array.shape.clone(), want: want.to_vec() });
        }
        bound.push((*array, *value));
    }
    Ok(bound)
}

/// Checks an op against inference, so that its loops stay inside their arrays.
fn check(graph: &Graph, id: OpId) -> Result<(), Diagnostic> {
    let node = graph.node(id);
    let types: Vec<&TensorType> = node.operands.iter().map(|v| graph.ty(*v)).collect();
    let declared = graph.ty(node.result);
    let mnemonic = node.op.info().mnemonic;
    let inferred = infer(&node.op, &types).map_err(|why| Diagnostic::new("interp-0102", &node.loc, format!("{mnemonic}: {why}")))?;
    if inferred.shape == declared.shape {
        Ok(())
    } else {
        Err(Diagnostic::new("interp-0102", &node.loc, format!("{mnemonic} gives {inferred}, the graph declares {declared}")))
    }
}

fn undefined(graph: &Graph, id: OpId, v: ValueId) -> Diagnostic {
    let node = graph.node(id);
    Diagnostic::new("interp-0101", &node.loc, format!("{} reads {v} before it is defined", node.op.info().mnemonic))
}
