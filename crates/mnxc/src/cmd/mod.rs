//! One module per command.

pub mod bisect;
pub mod compile;
pub mod completions;
pub mod explain;
pub mod explain_error;
pub mod export_onnx;
pub mod import;
pub mod list;
pub mod model;
pub mod network;
pub mod opt;
pub mod reduce;
pub mod tune;
pub mod upkern;
pub mod view;
