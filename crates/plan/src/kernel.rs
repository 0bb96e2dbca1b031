//! One kernel launch, described: what is computed, exactly, and how it is tiled. Equal descriptions are compiled once.

use mnx_artifact::{Cost, Geometry};

use crate::family::{Arithmetic, Strategy};
use crate::gpu::GpuKernel;
use crate::host::HostKernel;
use crate::slot::{Arg, Slot};
use crate::target::{Machine, Target};

/// A kernel of a host or of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Kernel of a CPU target.
    Host(HostKernel),
    /// Kernel of an NVIDIA target.
    Gpu(GpuKernel),
}

impl From<HostKernel> for Kernel {
    fn from(k: HostKernel) -> Self {
        Self::Host(k)
    }
}

impl From<GpuKernel> for Kernel {
    fn from(k: GpuKernel) -> Self {
        Self::Gpu(k)
    }
}

/// A kernel of a family is a kernel.
macro_rules! into_kernel {
    ($room:ident $Enum:ident; $( $(#[doc = $about:literal])+ $Name:ident in $module:ident; )+) => {
        $( impl From<crate::$room::$Name> for Kernel {
            fn from(k: crate::$room::$Name) -> Self {
                crate::$room::$Enum::from(k).into()
            }
        } )+
    };
}

crate::host_kernels!(into_kernel!(host HostKernel;));
crate::gpu_kernels!(into_kernel!(gpu GpuKernel;));

/// Asks the family of either target.
macro_rules! ask {
    ($self:ident, $k:ident => $answer:expr) => {
        match $self {
            Kernel::Host(h) => {
                let $k = h.family();
                $answer
            }
            Kernel::Gpu(g) => {
                let $k = g.family();
                $answer
            }
        }
    };
}

/// Tells the family of either target.
macro_rules! tell {
    ($self:ident, $k:ident => $order:expr) => {
        match $self {
            Kernel::Host(h) => {
                let $k = h.family_mut();
                $order
            }
            Kernel::Gpu(g) => {
                let $k = g.family_mut();
                $order
            }
        }
    };
}

impl Kernel {
    /// Every strategy, hosts' first.
    pub fn strategies() -> impl Iterator<Item = &'static Strategy> {
        HostKernel::STRATEGIES.iter().chain(GpuKernel::STRATEGIES)
    }

    /// The buffers, in the order of the kernel ABI.
    pub fn args(&self) -> Vec<Arg> {
        ask!(self, k => k.args())
    }

    /// Workgroups of the launch.
    pub fn workgroups(&self) -> usize {
        ask!(self, k => k.workgroups())
    }

    /// Grid, block and shared memory, where the launch has them.
    pub fn geometry(&self) -> Option<Geometry> {
        ask!(self, k => k.geometry())
    }

    /// Bytes of scratch that a thread running this kernel needs.
    pub fn scratch_bytes(&self) -> usize {
        ask!(self, k => k.scratch_bytes())
    }

    /// Floating-point operations and GELUs of the launch.
    pub fn arithmetic(&self) -> Arithmetic {
        ask!(self, k => k.arithmetic())
    }

    /// Arithmetic, and the bytes that must pass between the launch and memory at least once (each buffer once per direction).
    pub fn cost(&self) -> Cost {
        let passes = |a: &Arg| usize::from(a.access.reads()) + usize::from(a.access.writes());
        let bytes = self.args().iter().map(|a| (a.bytes() * passes(a)) as u64).sum();
        let Arithmetic { flops, gelus } = self.arithmetic();
        Cost { flops, bytes, gelus }
    }

    /// The strategy that this kernel follows, as `mnxc list strategies` prints it.
    pub fn strategy(&self) -> &'static Strategy {
        match self {
            Self::Host(k) => k.strategy(),
            Self::Gpu(k) => k.strategy(),
        }
    }

    /// Knobs and values, as plans print them.
    pub fn knobs(&self) -> Vec<(&'static str, usize)> {
        ask!(self, k => k.knobs())
    }

    /// Sets a knob.
    ///
    /// # Errors
    /// If the kernel has no such knob, or the value is 0.
    pub fn set_knob(&mut self, name: &str, value: usize) -> Result<(), String> {
        let strategy = self.strategy();
        if value == 0 {
            return Err(format!("knob {name} of {} must be at least 1", strategy.name));
        }
        match tell!(self, k => k.knob(name)) {
            Some(place) => *place = value,
            None => {
                let known = if strategy.knobs.is_empty() { "none".to_string() } else { mnx_words::commas(strategy.knobs) };
                return Err(format!("{} has no knob `{name}`; its knobs: {known}", strategy.name));
            }
        }
        Ok(())
    }

    /// Gives the kernel the default tile for a target.
    ///
    /// # Errors
    /// If it is another kind of target's kernel.
    pub fn choose(&mut self, target: &Target) -> Result<(), String> {
        match (self, &target.machine) {
            (Self::Host(k), Machine::Cpu(cpu)) => k.family_mut().choose(cpu),
            (Self::Gpu(k), Machine::Nvptx(gpu)) => k.family_mut().choose(gpu),
            (k @ (Self::Host(_) | Self::Gpu(_)), _) => return Err(k.foreign(target)),
        }
        Ok(())
    }

    /// Whether code can be made for the kernel with its tile.
    ///
    /// # Errors
    /// What is wrong.
    pub fn legal(&self, target: &Target) -> Result<(), String> {
        match (self, &target.machine) {
            (Self::Host(k), Machine::Cpu(cpu)) => k.family().legal(cpu),
            (Self::Gpu(k), Machine::Nvptx(gpu)) => {
                k.family().legal(gpu)?;
                k.launchable(target.name, gpu)
            }
            (Self::Host(_) | Self::Gpu(_), _) => Err(self.foreign(target)),
        }
    }

    fn foreign(&self, target: &Target) -> String {
        let kind = match self {
            Self::Host(_) => "a CPU's",
            Self::Gpu(_) => "an NVIDIA GPU's",
        };
        format!("{} is {kind} kernel, {} is another kind of target", self.strategy().name, target.name)
    }

    /// Rows of partial results per sample that the launch writes, where it does.
    pub fn parts(&self) -> Option<usize> {
        ask!(self, k => k.parts())
    }

    pub(crate) fn take_parts(&mut self, parts: usize) {
        tell!(self, k => k.take_parts(parts));
    }

    pub(crate) fn overwritable(&self) -> Option<Slot> {
        ask!(self, k => k.overwritable())
    }

    pub(crate) fn overwrite(&mut self) {
        tell!(self, k => k.overwrite());
    }

    /// What the kernel computes, in plan texts: JSON, all of the description but the tile. Kernels of equal strategy and description have the same schedules.
    pub fn description(&self) -> String {
        let text = match self {
            Self::Host(k) => k.description(),
            Self::Gpu(k) => k.description(),
        };
        // Descriptions are structs of numbers, flags and words.
        text.unwrap_or_else(|e| unreachable!("a kernel's description: {e}"))
    }

    /// The kernel of a strategy and its description, its tile all zeros.
    ///
    /// # Errors
    /// An unknown strategy, or what the description lacks.
    pub fn read(strategy: &str, description: &str) -> Result<Self, String> {
        let host = HostKernel::read(strategy, description).map(|k| k.map(Self::Host));
        let kernel = host.or_else(|| GpuKernel::read(strategy, description).map(|k| k.map(Self::Gpu)));
        match kernel {
            Some(Ok(kernel)) => Ok(kernel),
            Some(Err(e)) => Err(format!("the description of {strategy}: {e}")),
            None => Err(format!("there is no strategy {strategy}; `mnxc list strategies` names them")),
        }
    }
}
