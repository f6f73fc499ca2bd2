//! Batches made ahead of the steps that need them, in a thread of their own.
//!
//! What a batch holds is a function of its iteration and of the averaged predictions, so making it early changes nothing: no
//! batch is asked for across an update of the averages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use models::plane::Plane;
use support::{Result, bail};

use super::batches::Batches;
use super::plan::Plan;
use crate::network::kernels::Kernels;
use crate::step::Batch;

/// A batch to be made.
struct Request {
    iteration: u64,
    averages: Arc<Vec<Plane<f32>>>,
    updates: u32,
}

/// The queue of batches.
pub struct Prefetch<'a> {
    batches: &'a Batches<'a>,
    kernels: Arc<dyn Kernels>,
    depth: usize,
    thread: Option<(Sender<Request>, Receiver<Result<Batch>>)>,
    /// Iterations whose batches have been asked for, in this order.
    asked: VecDeque<u64>,
    waited: Duration,
    steps: Duration,
}

impl<'a> Prefetch<'a> {
    /// A queue of `depth` batches beyond the one that a step is at, made on `threads` threads (0 for one per core); with depth 0
    /// each is made when it is asked for.
    pub fn new<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        batches: &'a Batches<'a>,
        kernels: Arc<dyn Kernels>,
        depth: usize,
        threads: usize,
    ) -> Result<Self> {
        let thread = if depth == 0 { None } else { Some(start(scope, batches, kernels.clone(), threads)?) };
        Ok(Self { batches, kernels, depth, thread, asked: VecDeque::new(), waited: Duration::ZERO, steps: Duration::ZERO })
    }

    /// The batch of this iteration. Those that follow are asked for before it is waited for.
    pub fn get(&mut self, iteration: u64, plan: &Plan, averages: &Arc<Vec<Plane<f32>>>, updates: u32) -> Result<Batch> {
        let start = Instant::now();
        let batch = self.made(iteration, plan, averages, updates);
        self.waited += start.elapsed();
        batch
    }

    fn made(&mut self, iteration: u64, plan: &Plan, averages: &Arc<Vec<Plane<f32>>>, updates: u32) -> Result<Batch> {
        let Some((requests, made)) = &self.thread else { return make(self.batches, &*self.kernels, iteration, averages, updates) };
        let mut next = self.asked.back().map_or(iteration, |last| last + 1);
        while self.asked.len() <= self.depth && (next == iteration || can_be_early(plan, iteration, next)) {
            // The other end is there as long as this one; should its thread have panicked, receiving says so.
            let _ = requests.send(Request { iteration: next, averages: averages.clone(), updates });
            self.asked.push_back(next);
            next += 1;
        }
        assert_eq!(self.asked.pop_front(), Some(iteration), "steps follow each other");
        match made.recv() {
            Ok(batch) => batch,
            Err(_) => bail!("the thread that makes batches has ended before its time"),
        }
    }

    /// Told how long a step took, waiting included.
    pub fn step_took(&mut self, time: Duration) {
        self.steps += time;
    }

    /// Share of the steps' time in which they waited for their batch.
    pub fn waited_share(&self) -> f64 {
        self.waited.as_secs_f64() / self.steps.as_secs_f64().max(1e-9)
    }
}

/// Whether the batch of `later` can be made while the step of `now` runs: it is one of the run, and the averages stay as they are.
fn can_be_early(plan: &Plan, now: u64, later: u64) -> bool {
    later < plan.iterations && (now + 1..=later).all(|iteration| !plan.updates_averages(iteration))
}

fn start<'scope, 'a>(
    scope: &'scope Scope<'scope, 'a>,
    batches: &'a Batches<'a>,
    kernels: Arc<dyn Kernels>,
    threads: usize,
) -> Result<(Sender<Request>, Receiver<Result<Batch>>)> {
    // Threads of its own: a task of the step must never have to wait for the end of a task that makes batches.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (requests, to_do) = channel::<Request>();
    let (done, made) = channel();
    scope.spawn(move || {
        for Request { iteration, averages, updates } in to_do {
            let batch = pool.install(|| make(batches, &*kernels, iteration, &averages, updates));
            // The averages are let go before the step can change them.
            drop(averages);
            if done.send(batch).is_err() {
                break;
            }
        }
    });
    Ok((requests, made))
}

/// A batch, its images where the kernels want them.
fn make(batches: &Batches, kernels: &dyn Kernels, iteration: u64, averages: &[Plane<f32>], updates: u32) -> Result<Batch> {
    let mut batch = batches.get(iteration, averages, updates)?;
    if let Some(fused) = kernels.fused() {
        batch.image = fused.stage(&batch.image)?;
    }
    Ok(batch)
}
