//! Tiles: whether one suits a target, and which is chosen when nobody says otherwise.

mod depthwise;
mod mlp;
