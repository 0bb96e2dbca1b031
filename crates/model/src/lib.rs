//! (room card)
