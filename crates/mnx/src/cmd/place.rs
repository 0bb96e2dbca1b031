//! Where a bundle runs: the arguments that every running command takes.

use mnx_runtime::DeviceChoice;
use mnx_runtime::session::{default_threads, most_threads};

/// Where and how a bundle runs.
#[derive(Debug, clap::Args)]
pub struct Where {
    /// Device: auto (the first GPU that runs the bundle, else the host), host (this CPU), cuda or cuda:N (an NVIDIA GPU, see mnx devices), cuda:all (predict:
    /// all of them share the patches), ptx-sim (GPU code interpreted on the CPU, very slow) or null (computes nothing).
    #[arg(long, env = "MNX_DEVICE", default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: DeviceChoice,
    /// Threads of the host, at most four times its cores [default: the cores this process may use].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Code target to use, for example x86-64-v3 or sm_80 [default: the best that the device runs].
    #[arg(long, value_name = "TARGET")]
    pub isa: Option<String>,
}

fn device(text: &str) -> Result<DeviceChoice, String> {
    text.parse()
}

/// A number of threads on the command line. Absurd ones are refused before any thread starts: tens of thousands would take minutes to start and
/// never end their work.
///
/// # Errors
/// The numbers that are allowed.
pub fn threads(text: &str) -> Result<usize, String> {
    let most = most_threads();
    match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!(
            "a number of threads from 1 to {most} expected: four times the cores that this process may use, {}",
            default_threads()
        )),
    }
}
