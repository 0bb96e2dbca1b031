//! Pickles read as data. The machine knows the instructions of protocols 0 to 5 and a closed list of names (`globals.rs`); what a
//! pickle would call is either one of a few constructors, done here, or refused by name and place.

mod globals;
mod heap;
mod json;
mod machine;
mod numpy;
mod source;
mod text;

pub use globals::{Element, Global};
pub use heap::{Heap, Node, NodeId, Storage, TensorView, Value};
pub use json::to_json;
pub use machine::{Loaded, load};
pub use numpy::{Array, Dtype, Kind};
pub use source::{PickleError, Source};
