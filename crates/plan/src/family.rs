//! What every family of kernels answers, and how a target's table of families is made into an enum.
//!
//! A family is one file: description, tile and knobs, arguments, scratch, cost, legality, and which work it takes. Its row in `host_kernels!` or `gpu_kernels!` is all that
//! the rest of this room, code generation, plan texts and `mnxc list strategies` need to know of it.

use mnx_artifact::Geometry;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lowering::Lowering;
use crate::slot::{Arg, Slot};
use crate::work::Task;

/// One row of the strategy table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strategy {
    /// Name, as plans print it.
    pub name: &'static str,
    /// Names of the knobs.
    pub knobs: &'static [&'static str],
    /// Whether its products of 16-bit factors run on tensor cores.
    pub tensor: bool,
    /// One line.
    pub about: &'static str,
}

/// Arithmetic of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arithmetic {
    /// Floating-point operations; a multiply-add counts two. GELU (counted apart) and normalisation are left out, as the published figures do.
    pub flops: u64,
    /// GELUs evaluated: one per hidden value, in each launch that makes the hidden values.
    pub gelus: u64,
}

impl Arithmetic {
    /// Floating-point operations and no GELU.
    pub fn flops(flops: u64) -> Self {
        Self { flops, gelus: 0 }
    }
}

/// A kernel with its tile.
pub trait Family {
    /// What tiles are chosen for and judged on: the target's CPU or GPU.
    type Machine;
    /// The buffers, in the order of the kernel ABI.
    fn args(&self) -> Vec<Arg>;
    /// Workgroups of the launch.
    fn workgroups(&self) -> usize {
        self.geometry().map_or(0, |g| g.workgroups() as usize)
    }
    /// Floating-point operations and GELUs of the launch.
    fn arithmetic(&self) -> Arithmetic;
    /// Grid, block and dynamic shared memory, where the launch has them.
    fn geometry(&self) -> Option<Geometry> {
        None
    }
    /// Bytes of scratch that a thread running this kernel needs.
    fn scratch_bytes(&self) -> usize {
        0
    }
    /// Knobs and values, as plans print them.
    fn knobs(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }
    /// The place of a knob's value.
    fn knob(&mut self, _name: &str) -> Option<&mut usize> {
        None
    }
    /// Takes the default tile.
    fn choose(&mut self, _machine: &Self::Machine) {}
    /// Whether code can be made with this tile; what is wrong if not.
    fn legal(&self, _machine: &Self::Machine) -> Result<(), String> {
        Ok(())
    }
    /// Rows of partial results per sample that the launch writes, where it does.
    fn parts(&self) -> Option<usize> {
        None
    }
    /// Told how many rows of partial results per sample there are to read.
    fn take_parts(&mut self, _parts: usize) {}
    /// The slot of a tensor whose place the result may take.
    fn overwritable(&self) -> Option<Slot> {
        None
    }
    /// Has the result take that place.
    fn overwrite(&mut self) {}
    /// Blocks that the plan counts on having side by side on a multiprocessor, where it does. The assembler is told: left to itself, it spills a few registers for more blocks.
    fn side_by_side(&self, _machine: &Self::Machine) -> Option<usize> {
        None
    }
    /// Offers a tuner tiles worth measuring besides the one there is, the likeliest first.
    fn neighbours(&self, _near: &mut Neighbours, _machine: &Self::Machine) {}
}

/// Tiles near the one that a kernel has, as a family offers them to a tuner: each as the knobs that differ.
#[derive(Debug)]
pub struct Neighbours {
    knobs: Vec<(&'static str, usize)>,
    offers: Vec<Vec<(&'static str, usize)>>,
}

impl Neighbours {
    /// None yet, of a kernel with these knobs.
    pub(crate) fn of(knobs: Vec<(&'static str, usize)>) -> Self {
        Self { knobs, offers: Vec::new() }
    }

    /// The offers, the likeliest first; not all need be legal or new.
    pub(crate) fn offers(&self) -> &[Vec<(&'static str, usize)>] {
        &self.offers
    }

    fn now(&self, name: &str) -> usize {
        self.knobs.iter().find(|(n, _)| *n == name).map_or(1, |(_, v)| *v)
    }

    /// Offers the tile with these knobs.
    pub(crate) fn offer(&mut self, edits: &[(&'static str, usize)]) {
        self.offers.push(edits.to_vec());
    }

    /// Depth, height and width of a convolution's tile.
    pub(crate) fn sizes(&mut self, output: [usize; 3], step: usize) {
        let (depth, height, width) = (self.now("depth"), self.now("height"), self.now("width"));
        for w in [width + step, width.saturating_sub(step), width / 2, 8, 12, 16, 6, 4] {
            self.offer(&[("width", w)]);
        }
        for h in [height * 2, height / 2, output[1], output[1].div_ceil(3)] {
            self.offer(&[("height", h.min(output[1]))]);
        }
        for d in [depth * 2, depth / 2, output[0], output[0].div_ceil(3)] {
            self.offer(&[("depth", d.min(output[0]))]);
        }
        self.offer(&[("depth", (depth * 2).min(output[0])), ("height", height / 2)]);
        self.offer(&[("depth", depth / 2), ("height", (height * 2).min(output[1]))]);
    }

    /// Rows per tile and voxels per workgroup; the latter stay near what they were, in whole tiles.
    pub(crate) fn rows(&mut self, all: usize, block: usize) {
        let (rows, per_workgroup) = (self.now("rows"), self.now("voxels"));
        let near = |voxels: usize, rows: usize| ((voxels + rows / 2) / rows.max(1)).max(1).saturating_mul(rows).min(all);
        for r in [rows * 2, rows / 2, rows + block, rows.saturating_sub(block), 2 * block, 4 * block, 8 * block, block] {
            if r > 0 {
                self.offer(&[("rows", r), ("voxels", near(per_workgroup, r))]);
            }
        }
        for v in [per_workgroup * 2, per_workgroup / 2, per_workgroup / 4] {
            self.offer(&[("voxels", near(v, rows))]);
        }
    }
}

/// What the table of a target knows of a family beyond [`Family`].
pub(crate) trait Row: Family + Serialize + DeserializeOwned {
    /// All kernels of its target.
    type Kernel;
    /// The family's row of the strategy table.
    const STRATEGY: Strategy;
    /// Turns a task into launches if it is this family's; families are asked in the order of the table. What only other families launch is nobody's.
    fn take(_task: &Task, _to: &mut Lowering<Self::Kernel>) -> Result<bool, String> {
        Ok(false)
    }
}

/// A tile: a struct of counts whose fields are the knobs.
macro_rules! tile {
    ($(#[$doc:meta])* pub struct $Tile:ident { $( $(#[$field_doc:meta])* $field:ident, )+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $Tile { $( $(#[$field_doc])* pub $field: usize, )+ }

        impl $Tile {
            /// Names of the knobs.
            pub const KNOBS: &'static [&'static str] = &[$( stringify!($field), )+];

            /// Names and values, as plans print them.
            pub fn knobs(&self) -> Vec<(&'static str, usize)> {
                vec![$( (stringify!($field), self.$field), )+]
            }

            /// The place of a knob's value.
            pub fn knob(&mut self, name: &str) -> Option<&mut usize> {
                match name {
                    $( stringify!($field) => Some(&mut self.$field), )+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use tile;

/// The knobs of a family whose tile is the field `tile`.
macro_rules! tiled {
    () => {
        fn knobs(&self) -> Vec<(&'static str, usize)> {
            self.tile.knobs()
        }
        fn knob(&mut self, name: &str) -> Option<&mut usize> {
            self.tile.knob(name)
        }
    };
}
pub(crate) use tiled;

/// Knobs for a message: `warps=4, stages=2`.
pub(crate) fn named(knobs: &[(&'static str, usize)]) -> String {
    mnx_words::commas(&knobs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
}

/// Makes a target's table of families into its enum of kernels.
macro_rules! kernel_enum {
    ($(#[$doc:meta])* $Enum:ident on $Machine:ty; $( $(#[doc = $about:literal])+ $Name:ident in $module:ident; )+) => {
        $( pub mod $module; )+
        $( pub use $module::$Name; )+

        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum $Enum { $( $(#[doc = $about])+ $Name($Name), )+ }

        impl $Enum {
            /// The strategies of this target's families.
            pub const STRATEGIES: &'static [$crate::family::Strategy] = &[$( <$Name as $crate::family::Row>::STRATEGY, )+];

            /// What its family answers.
            pub fn family(&self) -> &dyn $crate::family::Family<Machine = $Machine> {
                match self { $( Self::$Name(k) => k, )+ }
            }

            /// What its family answers, to be changed.
            pub fn family_mut(&mut self) -> &mut dyn $crate::family::Family<Machine = $Machine> {
                match self { $( Self::$Name(k) => k, )+ }
            }

            /// The family's row of the strategy table.
            pub fn strategy(&self) -> &'static $crate::family::Strategy {
                match self { $( Self::$Name(_) => &<$Name as $crate::family::Row>::STRATEGY, )+ }
            }

            /// The description as plan texts have it: JSON without the tile, whose knobs stand apart.
            pub(crate) fn description(&self) -> serde_json::Result<String> {
                match self { $( Self::$Name(k) => serde_json::to_string(k), )+ }
            }

            /// The kernel of a strategy with this description; none if no family has the strategy.
            pub(crate) fn read(strategy: &str, description: &str) -> Option<serde_json::Result<Self>> {
                $( if strategy == <$Name as $crate::family::Row>::STRATEGY.name {
                    return Some(serde_json::from_str(description).map(Self::$Name));
                } )+
                None
            }

            /// Has the first family that takes a task turn it into launches; false if none does.
            pub(crate) fn take(task: &$crate::work::Task, to: &mut $crate::lowering::Lowering<Self>) -> Result<bool, String> {
                $( if <$Name as $crate::family::Row>::take(task, to)? {
                    return Ok(true);
                } )+
                Ok(false)
            }
        }

        $( impl From<$Name> for $Enum {
            fn from(k: $Name) -> Self {
                Self::$Name(k)
            }
        } )+
    };
}
pub(crate) use kernel_enum;
