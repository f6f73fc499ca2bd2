//! Prefetching of batches in a separate thread.
//!
//! A batch is a function of its iteration and of the averaged predictions. Prefetching leaves the results unchanged, because no batch is
//! requested across an update of the averages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use models::plane::Plane;
use support::{Result, bail, threads};

use super::batches::Batches;
use super::plan::Plan;
use crate::network::kernels::Kernels;
use crate::step::Batch;

/// Request for a batch.
struct Request {
    iteration: u64,
    averages: Arc<Vec<Plane<f32>>>,
    updates: u32,
}

/// Queue of batches.
pub struct Prefetch<'a> {
    batches: &'a Batches<'a>,
    kernels: Arc<dyn Kernels>,
    depth: usize,
    thread: Option<(Sender<Request>, Receiver<Result<Batch>>)>,
    /// Iterations whose batches have been requested but not received, in order.
    pending: VecDeque<u64>,
    wait_time: Duration,
    step_time: Duration,
}

impl<'a> Prefetch<'a> {
    /// Creates a queue of `depth` batches beyond that of the current step, made on `threads` threads (0 for one per core). With depth 0
    /// each batch is made by the call of [`Self::get`].
    pub fn new<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        batches: &'a Batches<'a>,
        kernels: Arc<dyn Kernels>,
        depth: usize,
        threads: usize,
    ) -> Result<Self> {
        let thread = if depth == 0 { None } else { Some(start(scope, batches, kernels.clone(), threads)?) };
        Ok(Self { batches, kernels, depth, thread, pending: VecDeque::new(), wait_time: Duration::ZERO, step_time: Duration::ZERO })
    }

    /// Returns the batch of an iteration. The following batches are requested before this call waits.
    pub fn get(&mut self, iteration: u64, plan: &Plan, averages: &Arc<Vec<Plane<f32>>>, updates: u32) -> Result<Batch> {
        let start = Instant::now();
        let batch = self.request_and_receive(iteration, plan, averages, updates);
        self.wait_time += start.elapsed();
        batch
    }

    fn request_and_receive(&mut self, iteration: u64, plan: &Plan, averages: &Arc<Vec<Plane<f32>>>, updates: u32) -> Result<Batch> {
        let Some((requests, batches)) = &self.thread else { return make(self.batches, &*self.kernels, iteration, averages, updates) };
        let mut next = self.pending.back().map_or(iteration, |last| last + 1);
        while self.pending.len() <= self.depth && (next == iteration || can_prefetch(plan, iteration, next)) {
            // The receiver lives as long as `self`; if its thread has panicked, `recv` below reports the error.
            let _ = requests.send(Request { iteration: next, averages: averages.clone(), updates });
            self.pending.push_back(next);
            next += 1;
        }
        assert_eq!(self.pending.pop_front(), Some(iteration), "steps are consecutive");
        match batches.recv() {
            Ok(batch) => batch,
            Err(_) => bail!("the prefetch thread has ended unexpectedly"),
        }
    }

    /// Adds the duration of a step, including its wait.
    pub fn add_step_time(&mut self, time: Duration) {
        self.step_time += time;
    }

    /// Returns the fraction of the steps' time spent waiting for batches.
    pub fn wait_fraction(&self) -> f64 {
        self.wait_time.as_secs_f64() / self.step_time.as_secs_f64().max(1e-9)
    }
}

/// Returns true if the batch of `later` can be made during the step of `now`: `later` is in the run, and no update of the averages is in
/// between.
fn can_prefetch(plan: &Plan, now: u64, later: u64) -> bool {
    later < plan.iterations && (now + 1..=later).all(|iteration| !plan.updates_averages(iteration))
}

/// Starts the prefetch thread.
fn start<'scope, 'a>(
    scope: &'scope Scope<'scope, 'a>,
    batches: &'a Batches<'a>,
    kernels: Arc<dyn Kernels>,
    threads: usize,
) -> Result<(Sender<Request>, Receiver<Result<Batch>>)> {
    // A separate pool, so that no task of a step waits behind a task that makes a batch.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (request_sender, requests) = channel::<Request>();
    let (batch_sender, made) = channel();
    threads::start(scope, move || {
        for Request { iteration, averages, updates } in requests {
            let batch = pool.install(|| make(batches, &*kernels, iteration, &averages, updates));
            // The averages are released before the batch is sent, so that an update after the step finds them unshared.
            drop(averages);
            if batch_sender.send(batch).is_err() {
                break;
            }
        }
    })?;
    Ok((request_sender, made))
}

/// Makes a batch and moves its images to the memory from which the kernels read.
fn make(batches: &Batches, kernels: &dyn Kernels, iteration: u64, averages: &[Plane<f32>], updates: u32) -> Result<Batch> {
    let mut batch = batches.get(iteration, averages, updates)?;
    if let Some(fused) = kernels.fused() {
        batch.image = fused.stage(&batch.image)?;
    }
    Ok(batch)
}
