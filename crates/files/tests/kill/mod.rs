//! A program that is sent signals while it works.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Every signal that ends a run, with its number.
pub const SIGNALS: [(Signal, i32); 4] = [(Signal::INT, 2), (Signal::TERM, 15), (Signal::HUP, 1), (Signal::KILL, 9)];

/// A program that hears signals, even where the tests were started without them (in the background, by nohup).
pub fn program(path: &str) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,TERM").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Sends a signal to a child that may have ended.
pub fn send(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal);
}

/// Waits, but not for ever.
pub fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "process {} does not end", child.id());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a command, sends a signal after that long, and answers how it ended.
pub fn interrupted(command: &mut Command, signal: Signal, after: Duration) -> ExitStatus {
    let mut child = command.spawn().unwrap();
    std::thread::sleep(after);
    send(&child, signal);
    wait(&mut child)
}

/// Hidden names of ours anywhere below a directory.
pub fn left(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(left(&entry.path()));
        }
        if name.starts_with(".mnx-") {
            found.push(name);
        }
    }
    found
}

/// Numbers from 0 to 1, the same in every run.
pub struct Draws(u64);

impl Draws {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Runs a command again and again, with a signal at a random moment of the time it takes, until each signal has hit it three times in the
/// middle. `prepare` runs before each, `check` after it; what is named `.mnx-*` in `places` is gone after every signal but SIGKILL, and
/// after the next whole run.
pub fn storm(seed: u64, places: &[&Path], command: &dyn Fn() -> Command, prepare: &dyn Fn(), check: &dyn Fn(bool)) {
    let whole = || {
        prepare();
        let status = wait(&mut command().spawn().unwrap());
        assert_eq!(status.code(), Some(0));
        check(true);
    };
    let remains = || places.iter().flat_map(|p| left(p)).collect::<Vec<_>>();
    let start = Instant::now();
    whole();
    let length = start.elapsed();
    let mut draws = Draws::new(seed);
    for (signal, number) in SIGNALS {
        let (mut hits, mut heard) = (0, 0);
        // A run of a few milliseconds spends most of them before there is a handler, and one in twenty signals is heard; longer runs need few.
        for _ in 0..1000 {
            prepare();
            let status = interrupted(&mut command(), signal, length.mul_f64(1.1 * draws.next()));
            use std::os::unix::process::ExitStatusExt;
            let by_hand = status.code() == Some(128 + number);
            // Before there is a handler the system itself ends the process.
            let by_system = status.signal() == Some(number);
            assert!(status.code() == Some(0) || by_hand && number != 9 || by_system, "signal {number}: {status}");
            check(status.code() == Some(0));
            if number != 9 {
                assert_eq!(remains(), Vec::<String>::new(), "signal {number}: {status}");
            }
            hits += usize::from(by_hand || by_system);
            heard += usize::from(by_hand || number == 9);
            if hits >= 3 && heard >= 2 {
                break;
            }
        }
        assert!(hits >= 3 && heard >= 2, "signal {number}: hit {hits} times, {heard} of them heard");
    }
    whole();
    assert_eq!(remains(), Vec::<String>::new());
}
