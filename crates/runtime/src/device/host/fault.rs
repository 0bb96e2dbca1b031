//! When compiled code crashes: say which kernel it was and how to replay, instead of dying without a word.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Name of the command being run. Who stores a name stores null when its launch has ended, so a name found here is alive.
static NAME: AtomicPtr<String> = AtomicPtr::new(std::ptr::null_mut());
static CLOSING: OnceLock<String> = OnceLock::new();

/// Marks the command that runs from now on; none when it has ended.
pub(super) fn running(name: Option<&String>) {
    let name = name.map_or(std::ptr::null(), std::ptr::from_ref);
    NAME.store(name.cast_mut(), Ordering::Release);
}

/// From now on a crash of compiled code (bad access, bad instruction, a mapped file cut short) writes the kernel's name and
/// `closing` to standard error and ends the process with exit code 101. Later calls change nothing.
#[cfg(unix)]
pub fn report_crashes(closing: String) {
    if CLOSING.set(closing).is_err() {
        return;
    }
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE] {
        // SAFETY: a zeroed `sigaction` is a valid one; the handler makes only async-signal-safe calls. SA_ONSTACK uses the stack
        // that Rust gives every thread for its own overflow handler, which this one replaces.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_ONSTACK | libc::SA_RESETHAND;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Nothing to install on this system.
#[cfg(not(unix))]
pub fn report_crashes(_closing: String) {}

#[cfg(unix)]
extern "C" fn handler(signal: libc::c_int) {
    let what: &[u8] = match signal {
        libc::SIGSEGV => b"bad memory access",
        libc::SIGBUS => b"memory that is not there (was the bundle's file changed or cut short while in use?)",
        libc::SIGILL => b"bad instruction",
        _ => b"arithmetic fault",
    };
    write(b"internal error: ");
    write(what);
    let name = NAME.load(Ordering::Acquire);
    // SAFETY: null, or the name of a launch that has not ended (see `NAME`).
    if let Some(name) = unsafe { name.as_ref() } {
        write(b" in kernel ");
        write(name.as_bytes());
    }
    write(b"\n");
    if let Some(closing) = CLOSING.get() {
        write(closing.as_bytes());
    }
    write(b"\n");
    // SAFETY: ends the process without running anything else.
    unsafe { libc::_exit(101) }
}

#[cfg(unix)]
fn write(bytes: &[u8]) {
    // SAFETY: the slice is valid; `write` is async-signal-safe. Nothing can be done if standard error is closed.
    unsafe {
        libc::write(2, bytes.as_ptr().cast(), bytes.len());
    }
}
