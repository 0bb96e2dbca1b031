//! Which GPUs this machine has, and what the driver says about each.

use std::ffi::{CStr, c_char, c_int};

use cudarc::driver::sys::{CUdevice, CUdevice_attribute as Attribute};

use super::api::{Api, Fault, driver, failed};
use super::resource::Context;
use crate::error::RuntimeError;
use crate::pick::{GpuFacts, highest_ptx};

/// Number of GPUs that the driver shows this process.
///
/// # Errors
/// `Device` if there is no driver or no GPU.
pub fn count() -> Result<usize, RuntimeError> {
    let api = driver()?;
    let mut count: c_int = 0;
    // SAFETY: the place is ours.
    unsafe { api.device_count(&raw mut count) }?;
    match usize::try_from(count) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(failed("the NVIDIA driver finds no GPU".to_owned())),
    }
}

/// Facts about every GPU.
///
/// # Errors
/// As [`count`], and the driver's reason if a GPU cannot be used.
pub fn survey() -> Result<Vec<GpuFacts>, RuntimeError> {
    (0..count()?).map(facts).collect()
}

/// Facts about GPU `index`.
///
/// # Errors
/// As [`survey`]; `Device` if there are not that many.
pub fn facts(index: usize) -> Result<GpuFacts, RuntimeError> {
    let (api, device) = device(index)?;
    let context = Context::new(api, device)?;
    Ok(describe(&context, api, device, index)?)
}

/// The driver's handle of GPU `index`.
pub(super) fn device(index: usize) -> Result<(&'static Api, CUdevice), RuntimeError> {
    let count = count()?;
    let ordinal = c_int::try_from(index).ok().filter(|_| index < count).ok_or_else(|| {
        let last = count - 1;
        failed(format!("there is no GPU {index}: the driver shows {count} (cuda:0 to cuda:{last})"))
    })?;
    let api = driver()?;
    let mut device = 0;
    // SAFETY: the place is ours.
    unsafe { api.device_get(&raw mut device, ordinal) }?;
    Ok((api, device))
}

pub(super) fn describe(context: &Context, api: &Api, device: CUdevice, index: usize) -> Result<GpuFacts, Fault> {
    let attribute = |which: Attribute| -> Result<u64, Fault> {
        let mut value: c_int = 0;
        // SAFETY: the place is ours.
        unsafe { api.device_attribute(&raw mut value, which as u32, device) }?;
        Ok(u64::try_from(value).unwrap_or(0))
    };
    let mut name: [c_char; 256] = [0; 256];
    // SAFETY: the driver writes at most 255 characters and a zero.
    unsafe { api.device_name(name.as_mut_ptr(), 255, device) }?;
    // SAFETY: the last element is still zero.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    let mut version: c_int = 0;
    // SAFETY: the place is ours.
    unsafe { api.driver_version(&raw mut version) }?;
    let version = u32::try_from(version).unwrap_or(0);
    let driver = [version / 1000, version % 1000 / 10];
    let mut total = 0usize;
    // SAFETY: the place is ours.
    unsafe { api.device_memory(&raw mut total, device) }?;
    let (free_bytes, _) = context.memory()?;
    let small = |value: u64| u32::try_from(value).unwrap_or(0);
    Ok(GpuFacts {
        index,
        name,
        compute: [
            small(attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?),
            small(attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?),
        ],
        driver,
        ptx: highest_ptx(driver),
        total_bytes: total as u64,
        free_bytes,
        multiprocessors: small(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?),
        clock_hz: attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)? as f64 * 1e3,
        shared_block_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        l2_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
    })
}
