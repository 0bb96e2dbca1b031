//! Which device to open, by the names that `--device` takes.

use std::fmt;
use std::str::FromStr;

use mnx_artifact::Bundle;

use crate::device::{Device, cuda, host, null, ptx_sim};
use crate::error::RuntimeError;
use crate::pick::any_gpu_program;

/// Which device to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first GPU that runs the bundle, else the host.
    #[default]
    Auto,
    /// This machine's CPU.
    Host,
    /// One NVIDIA GPU, by the driver's number.
    Cuda(usize),
    /// Every NVIDIA GPU that the driver shows.
    CudaAll,
    /// GPU programs in the PTX interpreter on this machine's CPU.
    PtxSim,
    /// Accepts everything, computes nothing.
    Null,
}

/// Opened devices, and what the user should know of the choice.
pub type Opened = (Vec<Box<dyn Device>>, Option<String>);

impl DeviceChoice {
    /// Every form that `--device` takes.
    pub const NAMES: [&'static str; 7] = ["auto", "host", "cuda", "cuda:N", "cuda:all", "ptx-sim", "null"];

    /// Opens the devices for a bundle: one, or every GPU for `cuda:all`. `threads` is for the host. `isa` is the target that the user wants.
    ///
    /// `Auto` looks for a GPU only where the bundle has code for one, and says in the note why it takes the host where it does.
    ///
    /// # Errors
    /// `Device` if threads cannot be started, or if the GPU asked for is not there.
    pub fn open(self, bundle: &Bundle, threads: usize, isa: Option<&str>) -> Result<Opened, RuntimeError> {
        let one = |device: Box<dyn Device>| Ok((vec![device], None));
        match self {
            Self::Auto => auto(bundle, threads, isa),
            Self::Host => one(Box::new(host::Host::new(threads)?)),
            Self::PtxSim => one(Box::new(ptx_sim::PtxSim::new(threads))),
            Self::Null => one(Box::<null::Null>::default()),
            Self::Cuda(index) => one(Box::new(cuda::Cuda::new(index)?)),
            Self::CudaAll => {
                let gpus: Result<Vec<_>, _> = (0..cuda::count()?).map(|i| Ok(Box::new(cuda::Cuda::new(i)?) as Box<dyn Device>)).collect();
                gpus.map(|all| (all, None))
            }
        }
    }
}

fn auto(bundle: &Bundle, threads: usize, isa: Option<&str>) -> Result<Opened, RuntimeError> {
    let programs = &bundle.manifest().programs;
    let wanted = programs.iter().filter(|p| isa.is_none_or(|isa| p.target == isa));
    let gpu = wanted.clone().any(|p| p.gpu.is_some());
    let host = || -> Result<Box<dyn Device>, RuntimeError> { Ok(Box::new(host::Host::new(threads)?)) };
    if !gpu || !any_gpu_program(programs) {
        return Ok((vec![host()?], None));
    }
    let mut reasons = Vec::new();
    match cuda::count() {
        Err(error) => reasons.push(error.to_string()),
        Ok(count) => {
            for index in 0..count {
                let fits = cuda::Cuda::new(index).and_then(|device| device.pick(bundle, isa).map(|_| device));
                match fits {
                    Ok(device) => return Ok((vec![Box::new(device)], None)),
                    Err(error) => reasons.push(error.to_string()),
                }
            }
        }
    }
    let why = reasons.join("; ");
    if wanted.clone().all(|p| p.gpu.is_some()) {
        let message = match isa {
            Some(isa) => format!("{isa} was asked for (--isa), which needs a GPU: {why}"),
            None => format!("the bundle has code for GPUs alone, and {why}"),
        };
        return Err(RuntimeError::NoProgram(message));
    }
    Ok((vec![host()?], Some(format!("running on the host: {why}"))))
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Host => f.write_str("host"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::CudaAll => f.write_str("cuda:all"),
            Self::PtxSim => f.write_str(ptx_sim::NAME),
            Self::Null => f.write_str("null"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Self::Auto),
            "host" => Ok(Self::Host),
            "cuda" => Ok(Self::Cuda(0)),
            "cuda:all" => Ok(Self::CudaAll),
            ptx_sim::NAME => Ok(Self::PtxSim),
            "null" => Ok(Self::Null),
            _ => {
                let number = s.strip_prefix("cuda:").and_then(|n| n.parse().ok());
                number.map(Self::Cuda).ok_or_else(|| format!("unknown device \"{s}\", expected one of {}", Self::NAMES.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_read_and_printed() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("host", DeviceChoice::Host),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:13", DeviceChoice::Cuda(13)),
            ("cuda:all", DeviceChoice::CudaAll),
            ("ptx-sim", DeviceChoice::PtxSim),
            ("null", DeviceChoice::Null),
        ] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap(), choice);
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
        for text in ["", "cuda:", "cuda:x", "cuda:-1", "CUDA", "gpu", "cuda:99999999999999999999"] {
            assert!(text.parse::<DeviceChoice>().unwrap_err().contains("cuda:all"), "{text}");
        }
    }
}
