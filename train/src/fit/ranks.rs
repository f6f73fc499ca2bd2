//! Data parallelism: ranks 1 and above of a run. Each is a thread that makes the same steps on its own device with its part of the batch,
//! and predicts its part of the images whose predictions are averaged into pseudo-labels.
//!
//! Rank 0 alone writes files, validates, and does all other work between steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use models::plane::Plane;
use models::weights::Weights;
use support::{Context, Result, bail, threads};

use super::batches::Batches;
use super::plan::Plan;
use super::prefetch::Prefetch;
use crate::config::RunConfig;
use crate::data::Dataset;
use crate::network::Network;
use crate::network::device::Rank;
use crate::parallel::Communicator;
use crate::predict::Predictor;
use crate::rng::CounterRng;
use crate::step::{Stage, Trainer};

/// Context that all ranks of a run share.
#[derive(Clone, Copy)]
pub struct RunContext<'a> {
    pub config: &'a RunConfig,
    pub plan: &'a Plan,
    pub dataset: &'a Dataset,
    pub stop: &'a AtomicBool,
}

/// Task that rank 0 sends to the other ranks.
#[derive(Clone)]
enum Task {
    Step(StepTask),
    Predict(PredictTask),
}

/// Optimiser step that all ranks make together.
#[derive(Clone)]
pub struct StepTask {
    /// Iteration, from 0.
    pub iteration: u64,
    /// Loss terms in use.
    pub stage: Stage,
    /// Factor of the learning rates.
    pub factor: f64,
    /// Averaged predictions of all training images.
    pub averages: Arc<Vec<Plane<f32>>>,
    /// Number of updates of the averaged predictions.
    pub updates: u32,
}

/// Prediction of images with given weights; of n ranks, rank r takes the images r, r + n, r + 2 n, ...
#[derive(Clone)]
struct PredictTask {
    weights: Arc<Weights>,
    /// Indices of the images in the data set.
    images: Arc<Vec<usize>>,
    /// Receives pairs of a position in `images` and its prediction.
    results: Sender<Result<(usize, Vec<f32>)>>,
}

/// Handle of rank 0 on the threads of the other ranks, which end when the handle is dropped.
pub struct OtherRanks<'scope> {
    group: Arc<dyn Communicator>,
    threads: Vec<(Sender<Task>, ScopedJoinHandle<'scope, Result<()>>)>,
}

impl<'scope> OtherRanks<'scope> {
    /// Starts a thread for each of `ranks`, with its part of the batches in the same order. Each begins with a replica of the trainer of
    /// rank 0, `root`, whose group is given beside it.
    pub fn start<'a>(
        scope: &'scope Scope<'scope, 'a>,
        run: RunContext<'a>,
        root: (&Trainer, Arc<dyn Communicator>),
        ranks: Vec<Rank>,
        batches_by_rank: &'a [Batches<'a>],
    ) -> Result<Self> {
        let mut others = Self { group: root.1, threads: Vec::new() };
        for (rank, batches) in ranks.into_iter().zip(batches_by_rank) {
            let threads = threads_per_rank(run.config.run.threads, others.group.size());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let number = rank.communicator.rank();
            let mut trainer = root.0.replica(&rank.kernels).doing(|| format!("setting up device {number}"))?;
            let prefetch = Prefetch::new(scope, batches, rank.kernels, run.config.run.prefetch, threads)?;
            let (task_sender, tasks) = channel();
            let handle = threads::start(scope, move || {
                let _leave_on_end = LeaveOnDrop(rank.communicator.clone());
                trainer.join(rank.communicator);
                pool.install(move || run_tasks(run, tasks, trainer, prefetch)).doing(|| format!("training on device {number}"))
            })?;
            others.threads.push((task_sender, handle));
        }
        Ok(others)
    }

    /// Starts a step on the other ranks; rank 0 must make the same step.
    pub fn start_step(&self, step: &StepTask) {
        self.send(&Task::Step(step.clone()));
    }

    fn send(&self, task: &Task) {
        // A rank that has ended receives nothing; the next meeting of its group reports the end.
        self.threads.iter().for_each(|(tasks, _)| drop(tasks.send(task.clone())));
    }

    /// Predicts these images of the data set with a network of rank 0, on all ranks; returns the predictions in the order of the images,
    /// or `None` if the stop flag became true before the end.
    pub fn predictions(&self, run: RunContext, network: &Network, images: &[usize]) -> Result<Option<Vec<Vec<f32>>>> {
        let (results, received) = channel();
        if !self.threads.is_empty() {
            let weights = Arc::new(network.weights()?);
            self.send(&Task::Predict(PredictTask { weights, images: Arc::new(images.to_vec()), results: results.clone() }));
        }
        let mut predictions = vec![Vec::new(); images.len()];
        predict(run, network, images, (0, self.group.size()), &results);
        drop(results);
        for result in received {
            let (position, prediction) = result?;
            predictions[position] = prediction;
        }
        match predictions.iter().any(Vec::is_empty) {
            false => Ok(Some(predictions)),
            true if run.stop.load(Ordering::Relaxed) => Ok(None),
            true => bail!("the training on another device has ended unexpectedly"),
        }
    }

    /// Ends the other ranks and joins their threads. If several ranks failed, the error of the first to leave the group is returned.
    pub fn end<T>(mut self, own: Result<T>) -> Result<T> {
        if own.is_err() {
            self.group.leave();
        }
        let first = self.group.first_to_leave();
        let mut results = Vec::new();
        for (tasks, handle) in self.threads.drain(..) {
            drop(tasks);
            results.push(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        match first {
            Some(rank) if rank > 0 => results.swap_remove(rank - 1).and(own),
            _ => own,
        }
    }
}

impl Drop for OtherRanks<'_> {
    fn drop(&mut self) {
        self.group.leave();
    }
}

/// Guard that makes a rank leave its group at the end of its thread, by return, error or panic, so that no other rank waits for it.
struct LeaveOnDrop(Arc<dyn Communicator>);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Runs the tasks of a rank until rank 0 drops their sender.
fn run_tasks(run: RunContext, tasks: Receiver<Task>, mut trainer: Trainer, mut prefetch: Prefetch) -> Result<()> {
    let (rank, ranks) = trainer.rank_and_size();
    for task in tasks {
        match task {
            Task::Step(StepTask { iteration, stage, factor, averages, updates }) => {
                let batch = prefetch.get(iteration, run.plan, &averages, updates)?;
                drop(averages);
                trainer.step(&batch, stage, factor, &mut contrast_rng(run.config, iteration, rank))?;
            }
            Task::Predict(task) => {
                if let Err(error) = predict_part(run, &trainer.network, (rank, ranks), &task) {
                    // Sending fails if rank 0 has ended.
                    let _ = task.results.send(Err(error.during(format!("predictions on device {rank}"))));
                }
            }
        }
    }
    Ok(())
}

/// Predicts the images of a rank with the weights of rank 0, from which the rank's own must not have diverged.
fn predict_part(
    run: RunContext,
    own: &Network,
    rank: (usize, usize),
    PredictTask { weights, images, results }: &PredictTask,
) -> Result<()> {
    let averaged = run.config.optimizer.weight_average > 0.0;
    if !averaged && !has_weights(own, weights)? {
        bail!("the weights differ from those of device 0"; hint: "please report this; --set run.devices=1 trains without averaging");
    }
    let network = Network::new(own.graph().clone(), weights, own.kernels().clone())?;
    predict(run, &network, images, rank, results);
    Ok(())
}

/// Returns true if all learned parameters equal those in `weights` bit for bit.
fn has_weights(network: &Network, weights: &Weights) -> Result<bool> {
    for name in network.learned() {
        if network.export(name, &network.parameters()[name])?.data != weights[name].data {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Predicts the images of one of `ranks` ranks, until the stop flag is set or an error occurs.
fn predict(
    run: RunContext,
    network: &Network,
    images: &[usize],
    (rank, ranks): (usize, usize),
    results: &Sender<Result<(usize, Vec<f32>)>>,
) {
    let mut predictor = match Predictor::new(network) {
        Ok(predictor) => predictor,
        // Sending fails if rank 0 has ended.
        Err(error) => return drop(results.send(Err(error))),
    };
    for position in (rank..images.len()).step_by(ranks) {
        if run.stop.load(Ordering::Relaxed) {
            return;
        }
        let result = predictor.probabilities(&run.dataset.samples[images[position]].image).map(|prediction| (position, prediction.data));
        let failed = result.is_err();
        // Sending fails if rank 0 has ended.
        if results.send(result).is_err() || failed {
            return;
        }
    }
}

/// Returns the random numbers of the contrastive terms of a rank in a step.
pub fn contrast_rng(config: &RunConfig, iteration: u64, rank: usize) -> CounterRng {
    CounterRng::new(config.run.seed, "contrast", 0, iteration, rank as u64)
}

/// Divides `threads` threads (0 for one per core) among `ranks` ranks; each gets at least one.
fn threads_per_rank(threads: usize, ranks: usize) -> usize {
    let all = if threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { threads };
    (all / ranks).max(1)
}
