//! Many patches through one network: several in flight, whole batches, several GPUs, and results in the order in which the patches came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::error::RuntimeError;
use crate::session::{PortData, Session};

/// One run's inputs, whole batch, with its place in the order.
struct Job {
    number: u64,
    input: Vec<f32>,
}

/// One run's outcome.
type Done = (u64, Result<Vec<f32>, RuntimeError>);

/// A network of one input and a float32 first output, as a queue: patches in, first outputs out, first come first served. A bundle of several folds gives
/// the results of all of them, one after the other.
///
/// On the host a run is computed when its batch is full, by the caller. On GPUs each session has a thread that keeps its slots full, so that the input of the next
/// run goes up and the output of the last comes down while one computes; with several GPUs, each takes the next batch when it has room. Which GPU computes a
/// patch does not change its result, and results come out in the order of the patches.
pub struct Patches {
    kind: Kind,
    batch: usize,
    folds: usize,
    /// Values of one patch, and of its result by one fold.
    patch: usize,
    result: usize,
    /// The batch being filled.
    filling: Vec<f32>,
    /// Patches in `filling`.
    filled: usize,
    /// Patches of each run started and not yet wholly handed out, oldest first.
    started: VecDeque<usize>,
    /// The oldest run's results, and how many of its patches are handed out.
    open: Option<(Vec<f32>, usize)>,
    check: bool,
    /// Why a device was lost; nothing works after that.
    broken: Option<String>,
}

enum Kind {
    Direct {
        session: Box<Session>,
        outputs: Vec<PortData>,
        ready: VecDeque<Vec<f32>>,
    },
    Threads {
        jobs: Option<SyncSender<Job>>,
        done: Receiver<Done>,
        early: BTreeMap<u64, Result<Vec<f32>, RuntimeError>>,
        next: u64,
        given: u64,
        room: usize,
        threads: Vec<JoinHandle<()>>,
    },
}

impl std::fmt::Debug for Patches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patches").field("batch", &self.batch).field("started", &self.started).finish_non_exhaustive()
    }
}

fn wrong(reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Port(reason.into())
}

impl Patches {
    /// A queue over sessions of one bundle, one per device. With `check`, every run is looked through for results that are not finite, dispatch by dispatch,
    /// which takes long.
    ///
    /// # Errors
    /// `Port` if there is no session, or the network is not one of one input and a float32 first output with samples along their first axes.
    pub fn new(mut sessions: Vec<Session>, check: bool) -> Result<Self, RuntimeError> {
        for session in &mut sessions {
            // Every fold is loaded here, so that a damaged one shows before the first patch.
            (0..session.folds()).rev().try_for_each(|fold| session.select_fold(fold))?;
        }
        let Some(first) = sessions.first() else { return Err(wrong("no session to compute patches with")) };
        let ([input], Some(output)) = (first.inputs(), first.outputs().first()) else {
            return Err(wrong(format!(
                "patches need a network of one input and an output, this has {} and {}",
                first.inputs().len(),
                first.outputs().len()
            )));
        };
        let batch = input.shape.first().copied().unwrap_or(1).max(1);
        if output.dtype != "f32" || output.shape.first() != Some(&batch) {
            return Err(wrong(format!(
                "output \"{}\" is {} {}, f32 with {batch} samples needed",
                output.name,
                output.dtype,
                mnx_words::list(&output.shape)
            )));
        }
        let patch = input.shape.iter().product::<usize>() / batch;
        let result = output.shape.iter().product::<usize>() / batch;
        let folds = first.folds();
        let kind = if sessions.len() == 1 && (check || sessions.iter().all(|s| s.depth() == 1)) {
            let outputs = first.new_outputs();
            let session = Box::new(sessions.into_iter().next().ok_or_else(|| wrong("no session"))?);
            Kind::Direct { session, outputs, ready: VecDeque::new() }
        } else {
            threads(sessions, check)?
        };
        let filling = Vec::with_capacity(batch * patch);
        Ok(Self { kind, batch, folds, patch, result, filling, filled: 0, started: VecDeque::new(), open: None, check, broken: None })
    }

    /// Folds whose results a patch gets.
    pub fn folds(&self) -> usize {
        self.folds
    }

    /// Patches that may be in the queue at once with everything busy; more only wait.
    pub fn depth(&self) -> usize {
        match &self.kind {
            Kind::Direct { .. } => self.batch,
            Kind::Threads { room, .. } => self.batch * room,
        }
    }

    /// Patches put in and not taken out.
    pub fn waiting(&self) -> usize {
        let handed = self.open.as_ref().map_or(0, |(_, handed)| *handed);
        self.started.iter().sum::<usize>() + self.filled - handed
    }

    /// Puts in the next patch. Blocks while every device has all it can hold.
    ///
    /// # Errors
    /// `Port` for a patch of another size; what a run failed with, where runs are computed here.
    pub fn push(&mut self, patch: &[f32]) -> Result<(), RuntimeError> {
        if patch.len() != self.patch {
            return Err(wrong(format!("a patch of {} values, {} needed", patch.len(), self.patch)));
        }
        self.filling.extend_from_slice(patch);
        self.filled += 1;
        if self.filled == self.batch { self.launch() } else { Ok(()) }
    }

    /// Values of one patch's result, over all folds.
    pub fn result_len(&self) -> usize {
        self.folds * self.result
    }

    /// Takes out the oldest patch's result, `[fold, ...]`. If its batch is not full, it is computed with the rest left zero.
    ///
    /// # Errors
    /// `Port` if no patch is in the queue or `result` has another size; what its run failed with.
    pub fn pop(&mut self, result: &mut [f32]) -> Result<(), RuntimeError> {
        if result.len() != self.result_len() {
            return Err(wrong(format!("room for {} values, a patch's result has {}", result.len(), self.result_len())));
        }
        if self.open.is_none() {
            if self.started.is_empty() {
                if self.filled == 0 {
                    return Err(wrong("no patch is in the queue"));
                }
                self.launch()?;
            }
            let values = match self.oldest() {
                Ok(values) => values,
                Err(error) => {
                    // Its patches are lost with it.
                    self.started.pop_front();
                    return Err(error);
                }
            };
            self.open = Some((values, 0));
        }
        if let (Some((values, handed)), Some(&patches)) = (&mut self.open, self.started.front()) {
            // A run's values are [fold, sample, ...].
            for (part, fold) in result.chunks_exact_mut(self.result).zip(values.chunks_exact(self.batch * self.result)) {
                part.copy_from_slice(&fold[*handed * self.result..][..self.result]);
            }
            *handed += 1;
            if *handed == patches {
                self.open = None;
                self.started.pop_front();
            }
        }
        Ok(())
    }

    /// Throws away what is in the queue, so that it can be used anew after an error elsewhere.
    ///
    /// # Errors
    /// What the runs thrown away failed with, if a device failed.
    pub fn clear(&mut self) -> Result<(), RuntimeError> {
        if self.open.take().is_some() {
            self.started.pop_front();
        }
        self.filled = 0;
        self.filling.clear();
        while self.started.pop_front().is_some() {
            match self.oldest() {
                Ok(_) | Err(RuntimeError::NotFinite(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Starts the batch as far as it is filled.
    fn launch(&mut self) -> Result<(), RuntimeError> {
        let patches = std::mem::take(&mut self.filled);
        self.filling.resize(self.batch * self.patch, 0.0);
        match &mut self.kind {
            Kind::Direct { session, outputs, ready } => {
                let values = run(session, &self.filling, outputs, self.check);
                self.filling.clear();
                ready.push_back(values?);
            }
            Kind::Threads { jobs, given, .. } => {
                let input = std::mem::replace(&mut self.filling, Vec::with_capacity(self.batch * self.patch));
                let sent = jobs.as_ref().map(|jobs| jobs.send(Job { number: *given, input }));
                if !matches!(sent, Some(Ok(()))) {
                    return Err(self.lost());
                }
                *given += 1;
            }
        }
        self.started.push_back(patches);
        Ok(())
    }

    /// The results of the oldest run.
    fn oldest(&mut self) -> Result<Vec<f32>, RuntimeError> {
        let outcome = match &mut self.kind {
            Kind::Direct { ready, .. } => return ready.pop_front().ok_or_else(|| wrong("no run has ended")),
            Kind::Threads { done, early, next, .. } => loop {
                if let Some(outcome) = early.remove(next) {
                    *next += 1;
                    break Some(outcome);
                }
                match done.recv() {
                    Ok((number, outcome)) => early.insert(number, outcome),
                    Err(_) => break None,
                };
            },
        };
        match outcome {
            Some(Err(error)) if !matches!(error, RuntimeError::NotFinite(_)) => {
                self.broken.get_or_insert_with(|| error.to_string());
                Err(error)
            }
            Some(outcome) => outcome,
            None => Err(self.lost()),
        }
    }

    /// Why the threads take no more jobs: the first error that any of them left, else a panic.
    fn lost(&mut self) -> RuntimeError {
        if let Kind::Threads { done, early, .. } = &mut self.kind {
            early.extend(done.try_iter());
            if self.broken.is_none() {
                let mut errors = early.values().filter_map(|outcome| outcome.as_ref().err());
                self.broken = errors.find(|e| !matches!(e, RuntimeError::NotFinite(_))).map(ToString::to_string);
            }
        }
        match &self.broken {
            Some(reason) => RuntimeError::Device { device: "cuda", reason: format!("no more runs after a failure: {reason}") },
            None => RuntimeError::Worker("a batch of patches".to_owned()),
        }
    }
}

impl Drop for Patches {
    fn drop(&mut self) {
        if let Kind::Threads { jobs, threads, .. } = &mut self.kind {
            // Without a sender the threads finish what they have and end.
            *jobs = None;
            for thread in threads.drain(..) {
                // A panic in it has shown as `Worker` already, or concerns results that nobody wants.
                let _ = thread.join();
            }
        }
    }
}

fn first_output(outputs: &[PortData]) -> Result<&[f32], RuntimeError> {
    match outputs.first() {
        Some(PortData::F32(values)) => Ok(values),
        _ => Err(wrong("the first output is not float32")),
    }
}

/// One run by each fold, awaited: the first outputs, one after the other.
fn run(session: &mut Session, input: &[f32], outputs: &mut [PortData], check: bool) -> Result<Vec<f32>, RuntimeError> {
    let mut values = Vec::new();
    for fold in 0..session.folds() {
        session.select_fold(fold)?;
        if check {
            if let Some(found) = session.run_checked(&[input], outputs)? {
                return Err(RuntimeError::NotFinite(found));
            }
        } else {
            session.run_into(&[input], outputs)?;
        }
        values.extend_from_slice(first_output(outputs)?);
    }
    Ok(values)
}

/// One thread per session, all fed from one queue of jobs.
fn threads(sessions: Vec<Session>, check: bool) -> Result<Kind, RuntimeError> {
    let slots: usize = sessions.iter().map(Session::depth).sum();
    // As many jobs wait as are in flight at most, so that no device waits for the caller.
    let (jobs, queue) = sync_channel::<Job>(slots);
    let (report, done) = channel::<Done>();
    let queue = Arc::new(Mutex::new(queue));
    let mut threads = Vec::new();
    for mut session in sessions {
        let (queue, report) = (Arc::clone(&queue), report.clone());
        let name = format!("mnx-{}", session.device_name());
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || serve(&mut session, &queue, &report, check))
            .map_err(|e| RuntimeError::Device { device: "cuda", reason: format!("cannot start a thread for a GPU: {e}") })?;
        threads.push(thread);
    }
    Ok(Kind::Threads { jobs: Some(jobs), done, early: BTreeMap::new(), next: 0, given: 0, room: 2 * slots, threads })
}

/// A session's life: take a job whenever there is room, hand over the oldest otherwise.
fn serve(session: &mut Session, queue: &Mutex<Receiver<Job>>, report: &Sender<Done>, check: bool) {
    let mut crew = Crew { outputs: session.new_outputs(), flying: VecDeque::new(), partial: Vec::new() };
    loop {
        let job = if crew.flying.is_empty() {
            // Nothing to do but wait. A poisoned lock means that a sister thread died; its error is on its way.
            match queue.lock().ok().and_then(|queue| queue.recv().ok()) {
                Some(job) => Some(job),
                None => return,
            }
        } else if crew.flying.len() < session.depth() {
            // `try_lock`: a sister may sleep in `recv` with the lock held.
            queue.try_lock().ok().and_then(|queue| queue.try_recv().ok())
        } else {
            None
        };
        let done = match job {
            Some(Job { number, input }) if check => vec![(number, run(session, &input, &mut crew.outputs, true))],
            Some(job) => crew.start(session, &job),
            None => crew.land(session).into_iter().collect(),
        };
        for (number, outcome) in done {
            // After results that are not finite the device is as good as before.
            let failed = !matches!(outcome, Ok(_) | Err(RuntimeError::NotFinite(_)));
            if report.send((number, outcome)).is_err() || failed {
                return;
            }
        }
    }
}

/// What a session's thread has in the air.
struct Crew {
    outputs: Vec<PortData>,
    /// Job and fold of each run, oldest first.
    flying: VecDeque<(u64, usize)>,
    /// What the folds of the oldest job have given so far.
    partial: Vec<f32>,
}

impl Crew {
    /// Starts a job's runs, one for each fold; where there is no room, older runs land first. Returns the jobs that were done meanwhile.
    fn start(&mut self, session: &mut Session, job: &Job) -> Vec<Done> {
        let mut done = Vec::new();
        for fold in 0..session.folds() {
            while self.flying.len() >= session.depth() {
                done.extend(self.land(session));
            }
            if let Err(error) = session.select_fold(fold).and_then(|()| session.enqueue(&[&job.input])) {
                done.push((job.number, Err(error)));
                break;
            }
            self.flying.push_back((job.number, fold));
        }
        done
    }

    /// Waits for the oldest run; gives its job if that was the last fold.
    fn land(&mut self, session: &mut Session) -> Option<Done> {
        let (number, fold) = self.flying.pop_front()?;
        let landed = session.collect(&mut self.outputs).and_then(|()| first_output(&self.outputs));
        match landed {
            Ok(values) => self.partial.extend_from_slice(values),
            Err(error) => return Some((number, Err(error))),
        }
        (fold + 1 == session.folds()).then(|| (number, Ok(std::mem::take(&mut self.partial))))
    }
}
