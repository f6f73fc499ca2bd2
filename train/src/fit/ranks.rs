//! The other ranks of a run: threads that do the same steps on devices of their own, each with its share of the batch, and that take
//! their share of the predictions that become pseudo-labels.
//!
//! Files, scores and everything else that is due between steps are the first rank's alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use models::plane::Plane;
use models::weights::Weights;
use support::{Context, Result, bail};

use super::batches::Batches;
use super::plan::Plan;
use super::prefetch::Prefetch;
use crate::config::RunConfig;
use crate::data::Dataset;
use crate::evaluate::probabilities;
use crate::network::Network;
use crate::network::device::Rank;
use crate::parallel::Communicator;
use crate::rng::CounterRng;
use crate::step::{Stage, Trainer};

/// What every rank of a run knows.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    pub config: &'a RunConfig,
    pub plan: &'a Plan,
    pub dataset: &'a Dataset,
    pub stop: &'a AtomicBool,
}

/// What the first rank has the others do.
#[derive(Clone)]
enum Order {
    Step(Step),
    Predict(Predict),
}

/// A step that all ranks make.
#[derive(Clone)]
pub struct Step {
    /// The iteration.
    pub iteration: u64,
    /// Which losses are on.
    pub stage: Stage,
    /// Where the learning rates stand.
    pub factor: f64,
    /// The averaged predictions, and how many updates they have had.
    pub averages: Arc<Vec<Plane<f32>>>,
    pub updates: u32,
}

/// Images of the data set that are to be predicted with these weights; of n ranks each takes every n-th.
#[derive(Clone)]
struct Predict {
    weights: Arc<Weights>,
    images: Arc<Vec<usize>>,
    answers: Sender<Result<(usize, Vec<f32>)>>,
}

/// The first rank's hold on the others. When it is dropped, they end.
pub struct Others<'scope> {
    group: Arc<dyn Communicator>,
    threads: Vec<(Sender<Order>, ScopedJoinHandle<'scope, Result<()>>)>,
}

impl<'scope> Others<'scope> {
    /// Starts `ranks`, with shares of the batch in the same order, as they are before the next step of `first`, whose group is `group`.
    pub fn start<'a>(
        scope: &'scope Scope<'scope, 'a>,
        run: Shared<'a>,
        first: (&Trainer, Arc<dyn Communicator>),
        ranks: Vec<Rank>,
        shares: &'a [Batches<'a>],
    ) -> Result<Self> {
        let mut others = Self { group: first.1, threads: Vec::new() };
        for (rank, batches) in ranks.into_iter().zip(shares) {
            let threads = threads_of_a_rank(run.config.run.threads, others.group.size());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let number = rank.communicator.rank();
            let mut trainer = first.0.replica(&rank.kernels).doing(|| format!("setting up device {number}"))?;
            let ahead = Prefetch::new(scope, batches, rank.kernels, run.config.run.prefetch, threads)?;
            let (orders, to_do) = channel();
            let handle = scope.spawn(move || {
                let _leaves = Leaves(rank.communicator.clone());
                trainer.join(rank.communicator);
                pool.install(move || work(run, to_do, trainer, ahead)).doing(|| format!("training on device {number}"))
            });
            others.threads.push((orders, handle));
        }
        Ok(others)
    }

    /// Has the others make a step; the first rank must make it, too.
    pub fn step(&self, step: &Step) {
        self.order(&Order::Step(step.clone()));
    }

    fn order(&self, order: &Order) {
        // One that has ended is met with no more, which says so.
        self.threads.iter().for_each(|(orders, _)| drop(orders.send(order.clone())));
    }

    /// Predictions of a network of the first rank for these images of the data set, in their order, made by all ranks; none if a stop
    /// came before the end.
    pub fn predictions(&self, run: Shared, network: &Network, images: &[usize]) -> Result<Option<Vec<Vec<f32>>>> {
        let (answers, found) = channel();
        if !self.threads.is_empty() {
            let weights = Arc::new(network.weights()?);
            self.order(&Order::Predict(Predict { weights, images: Arc::new(images.to_vec()), answers: answers.clone() }));
        }
        let mut predictions = vec![Vec::new(); images.len()];
        predict(run, network, images, (0, self.group.size()), &answers);
        drop(answers);
        for answer in found {
            let (place, prediction) = answer?;
            predictions[place] = prediction;
        }
        match predictions.iter().any(Vec::is_empty) {
            false => Ok(Some(predictions)),
            true if run.stop.load(Ordering::Relaxed) => Ok(None),
            true => bail!("the training on another device has ended before its time"),
        }
    }

    /// Ends the others. What went wrong is told by the one that it happened to first.
    pub fn end<T>(mut self, own: Result<T>) -> Result<T> {
        if own.is_err() {
            self.group.leave();
        }
        let first = self.group.first_to_leave();
        let mut results = Vec::new();
        for (orders, handle) in self.threads.drain(..) {
            drop(orders);
            results.push(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        match first {
            Some(rank) if rank > 0 => results.swap_remove(rank - 1).and(own),
            _ => own,
        }
    }
}

impl Drop for Others<'_> {
    fn drop(&mut self) {
        self.group.leave();
    }
}

/// Tells the others when the rank ends, however it does.
struct Leaves(Arc<dyn Communicator>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Everything that is ordered, until no more can come.
fn work(run: Shared, orders: Receiver<Order>, mut trainer: Trainer, mut ahead: Prefetch) -> Result<()> {
    let (rank, ranks) = trainer.rank_and_size();
    for order in orders {
        match order {
            Order::Step(Step { iteration, stage, factor, averages, updates }) => {
                let batch = ahead.get(iteration, run.plan, &averages, updates)?;
                drop(averages);
                trainer.step(&batch, stage, factor, &mut contrast_draw(run.config, iteration, rank))?;
            }
            Order::Predict(order) => {
                if let Err(error) = answer(run, &trainer.network, (rank, ranks), &order) {
                    // The first rank may have ended.
                    let _ = order.answers.send(Err(error.during(format!("predictions on device {rank}"))));
                }
            }
        }
    }
    Ok(())
}

/// A rank's share of what the first rank wants to have predicted.
fn answer(run: Shared, own: &Network, place: (usize, usize), Predict { weights, images, answers }: &Predict) -> Result<()> {
    let averaged = run.config.optimizer.weight_average > 0.0;
    if !averaged && !has_weights(own, weights)? {
        bail!("its weights are no longer those of device 0"; hint: "please report this; --set run.devices=1 trains without averaging");
    }
    let network = Network::new(own.graph().clone(), weights, own.kernels().clone())?;
    predict(run, &network, images, place, answers);
    Ok(())
}

/// Whether what the optimiser changes is bit for bit what stands in `weights`.
fn has_weights(network: &Network, weights: &Weights) -> Result<bool> {
    for name in network.learned() {
        if network.export(name, &network.parameters()[name])?.data != weights[name].data {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Predicts a rank's share of the images, until a stop comes or something goes wrong.
fn predict(run: Shared, network: &Network, images: &[usize], (rank, ranks): (usize, usize), answers: &Sender<Result<(usize, Vec<f32>)>>) {
    for place in (rank..images.len()).step_by(ranks) {
        if run.stop.load(Ordering::Relaxed) {
            return;
        }
        let answer = probabilities(network, &run.dataset.samples[images[place]].image).map(|prediction| (place, prediction.data));
        let failed = answer.is_err();
        // The first rank may have ended.
        if answers.send(answer).is_err() || failed {
            return;
        }
    }
}

/// What the contrastive terms of a rank draw in a step.
pub fn contrast_draw(config: &RunConfig, iteration: u64, rank: usize) -> CounterRng {
    CounterRng::new(config.run.seed, "contrast", 0, iteration, rank as u64)
}

/// Threads of each of `ranks` ranks, where all together may have `threads` (0 for one per core).
fn threads_of_a_rank(threads: usize, ranks: usize) -> usize {
    let all = if threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { threads };
    (all / ranks).max(1)
}
