//! Tiles: whether one suits a target, and which is chosen when nobody says otherwise.

mod cut;
mod depthwise;
mod mlp;
