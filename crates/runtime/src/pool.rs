//! The thread pool: the caller and N-1 parked workers share a launch's workgroups through one atomic counter.
//!
//! Workgroups are independent and each computes the same whichever thread takes it, so the sharing does not change results.
//! A launch costs a store, a few atomic updates and, if workers sleep, their wake-up; nothing is allocated.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks for the next launch before it parks. Launches of one run follow each other within microseconds.
const SPIN: Duration = Duration::from_micros(50);

/// What a pool runs: numbered jobs made of numbered workgroups.
pub trait Work: Send + Sync {
    /// Runs one workgroup of a job on the thread numbered `thread` (0 is the caller's).
    fn run(&self, job: usize, workgroup: u64, thread: usize);
}

#[derive(Default)]
struct Shared {
    work: RwLock<Option<Arc<dyn Work>>>,
    job: AtomicUsize,
    /// Workgroups of the job.
    total: AtomicU64,
    /// Workgroups taken at once.
    chunk: AtomicU64,
    /// Workgroups that nobody has taken yet. Who lowers it owns those workgroups of the current job, and the job cannot
    /// end before they are `done`: that is why `job`, `total` and `work` may be read after lowering it.
    left: AtomicU64,
    /// Workgroups that ended.
    done: AtomicU64,
    panicked: AtomicBool,
    closing: AtomicBool,
    asleep: Vec<AtomicBool>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("left", &self.left).field("done", &self.done).finish_non_exhaustive()
    }
}

/// A pool of a fixed number of threads, the caller included.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
}

impl Pool {
    /// Starts `threads - 1` workers.
    ///
    /// # Errors
    /// The system's reason if a thread cannot be started.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let asleep = (1..threads).map(|_| AtomicBool::new(false)).collect();
        let shared = Arc::new(Shared { asleep, ..Shared::default() });
        let mut pool = Self { shared, workers: Vec::new(), handles: Vec::new() };
        for thread in 1..threads {
            let shared = Arc::clone(&pool.shared);
            // An error drops `pool`, which ends the workers started so far.
            let worker = thread::Builder::new().name(format!("mnx-{thread}")).spawn(move || shared.serve(thread))?;
            pool.handles.push(worker.thread().clone());
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads that run workgroups, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// The work that later calls of [`Self::run`] mean.
    pub fn install(&mut self, work: Arc<dyn Work>) {
        if let Ok(mut slot) = self.shared.work.write() {
            *slot = Some(work);
        }
    }

    /// Runs workgroups `0..count` of a job of the installed work and returns when all ended; `false` if one panicked.
    /// `&mut` keeps a second launch out.
    pub fn run(&mut self, job: usize, count: u64) -> bool {
        let shared = &*self.shared;
        if count == 0 {
            return true;
        }
        shared.job.store(job, Ordering::Relaxed);
        shared.total.store(count, Ordering::Relaxed);
        // Several chunks per thread even out uneven workgroups; single ones where there are few.
        let chunk = (count / (16 * self.threads() as u64)).max(1);
        shared.chunk.store(chunk, Ordering::Relaxed);
        shared.done.store(0, Ordering::Relaxed);
        // SeqCst against `asleep`: either the worker sees `left`, or we see that it sleeps.
        shared.left.store(count, Ordering::SeqCst);
        if count > 1 {
            for (asleep, handle) in shared.asleep.iter().zip(&self.handles) {
                if asleep.swap(false, Ordering::SeqCst) {
                    handle.unpark();
                }
            }
        }
        while shared.take(0) {}
        let mut rounds = 0u32;
        while shared.done.load(Ordering::Acquire) < count {
            // A worker is inside its last workgroups. Where threads outnumber cores it needs our core.
            rounds += 1;
            if rounds.is_multiple_of(1024) {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        !shared.panicked.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        for handle in &self.handles {
            handle.unpark();
        }
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its work, so there is nothing to report.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Takes a chunk of the current job and runs it; `false` if nothing is left.
    fn take(&self, thread: usize) -> bool {
        let left = self.left.load(Ordering::Acquire);
        if left == 0 {
            return false;
        }
        let taken = self.chunk.load(Ordering::Relaxed).clamp(1, left);
        if self.left.compare_exchange_weak(left, left - taken, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return true;
        }
        let job = self.job.load(Ordering::Relaxed);
        let first = self.total.load(Ordering::Relaxed) - left;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if let Ok(slot) = self.work.read()
                && let Some(work) = slot.as_ref()
            {
                for workgroup in first..first + taken {
                    work.run(job, workgroup, thread);
                }
            }
        }));
        if outcome.is_err() {
            self.panicked.store(true, Ordering::Release);
        }
        self.done.fetch_add(taken, Ordering::AcqRel);
        true
    }

    /// A worker's life: take work, spin briefly, park.
    fn serve(&self, thread: usize) {
        let asleep = &self.asleep[thread - 1];
        while !self.closing.load(Ordering::SeqCst) {
            if self.take(thread) {
                continue;
            }
            let since = Instant::now();
            while self.left.load(Ordering::Relaxed) == 0 && since.elapsed() < SPIN {
                std::hint::spin_loop();
            }
            if self.left.load(Ordering::Relaxed) != 0 {
                continue;
            }
            asleep.store(true, Ordering::SeqCst);
            while asleep.load(Ordering::SeqCst) && self.left.load(Ordering::SeqCst) == 0 && !self.closing.load(Ordering::SeqCst) {
                thread::park();
            }
            asleep.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Counts how often each workgroup of each job ran.
    struct Tally(Vec<Vec<AtomicUsize>>);

    impl Work for Tally {
        fn run(&self, job: usize, workgroup: u64, _thread: usize) {
            self.0[job][workgroup as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_workgroup_runs_exactly_once() {
        for threads in [1, 2, 3, 8] {
            let mut pool = Pool::new(threads).unwrap();
            let sizes = [1usize, 2, 7, 100, 1000, 4097, 0];
            let tally = Arc::new(Tally(sizes.iter().map(|&n| (0..n).map(|_| AtomicUsize::new(0)).collect()).collect()));
            pool.install(Arc::clone(&tally) as Arc<dyn Work>);
            let rounds = 300;
            for round in 0..rounds {
                for (job, &n) in sizes.iter().enumerate() {
                    assert!(pool.run(job, n as u64));
                    for count in &tally.0[job] {
                        assert_eq!(count.load(Ordering::Relaxed), round + 1);
                    }
                }
                if round % 100 == 0 {
                    // Long enough for the workers to park.
                    thread::sleep(4 * SPIN);
                }
            }
        }
    }

    struct Faulty;

    impl Work for Faulty {
        fn run(&self, job: usize, workgroup: u64, _thread: usize) {
            assert!(job == 0 || workgroup != 5, "workgroup five");
        }
    }

    #[test]
    fn a_panic_is_reported_and_the_pool_lives_on() {
        for threads in [1, 3] {
            let mut pool = Pool::new(threads).unwrap();
            pool.install(Arc::new(Faulty));
            assert!(pool.run(0, 64));
            assert!(!pool.run(1, 64));
            assert!(pool.run(0, 64));
        }
    }
}
