//! (room card)
fn main() {}
