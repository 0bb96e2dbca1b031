//! Typed indices. `Display` equals the text form.

use std::fmt;

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);
        impl $name {
            /// Position in the graph's arena.
            pub fn index(self) -> usize {
                self.0 as usize
            }
            /// From a position in the arena.
            pub fn from_index(i: usize) -> Self {
                Self(u32::try_from(i).expect("a graph has fewer than 2^32 entities"))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

entity!(
    /// An op of a graph.
    OpId, "op"
);
entity!(
    /// A value: a graph input or the result of an op.
    ValueId, "%"
);
entity!(
    /// A dispatch box.
    DispatchId, "@"
);
