//! Whole runs on several ranks: repetition, resume, failure of one rank, and NCCL against ranks in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::Tensor;
use support::console::Silent;
use train::fit::fit_on;
use train::network::device::Rank;
use train::network::kernels::Cpu;
use train::parallel::{Communicator, HostCommunicator};

use crate::support::pictures::{self, arrays, data_folder};
use crate::support::stop_at::StopAt;

fn host_ranks(count: usize) -> Vec<Rank> {
    let rank = |group| Rank { kernels: Arc::new(Cpu::default()), communicator: Arc::new(group) };
    HostCommunicator::ranks(count).into_iter().map(rank).collect()
}

#[test]
fn runs_of_two_ranks_repeat_and_go_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    let never = AtomicBool::new(false);
    for (name, sets) in [("weights", &[][..]), ("averaged weights", &["optimizer.weight_average=0.9"][..])] {
        let config = |threads: &str| pictures::config(&data, &[sets, &["run.devices=2", threads]].concat());
        let whole = folder.path().join(format!("{name}, whole"));
        let outcome = fit_on(&config("run.threads=2"), &whole, false, &Silent, &never, || Ok(host_ranks(2))).unwrap();
        assert_eq!((outcome.iterations, outcome.stopped), (12, false));
        let again = folder.path().join(format!("{name}, again"));
        fit_on(&config("run.threads=3"), &again, false, &Silent, &never, || Ok(host_ranks(2))).unwrap();
        assert!(arrays(&again, "last.safetensors") == arrays(&whole, "last.safetensors"), "{name}, again");
        for at in [1, 4, 6, 11] {
            let parts = folder.path().join(format!("{name}, stopped at {at}"));
            let stop = AtomicBool::new(false);
            let first = fit_on(&config("run.threads=2"), &parts, false, &StopAt { at, stop: &stop }, &stop, || Ok(host_ranks(2))).unwrap();
            assert_eq!((first.iterations, first.stopped), (at, true), "{name}");
            fit_on(&config("run.threads=2"), &parts, true, &Silent, &never, || Ok(host_ranks(2))).unwrap();
            assert!(arrays(&parts, "last.safetensors") == arrays(&whole, "last.safetensors"), "{name}, stopped at {at}");
        }
    }
}

/// What NCCL computes is what ranks in memory compute.
#[cfg(feature = "nccl")]
#[test]
fn gpus_average_as_ranks_in_memory_do() {
    use train::network::device::ranks;
    use train::network::kernels::cuda::Gpu;
    if Gpu::count().unwrap_or(0) < 2 {
        eprintln!("SKIPPED: several GPUs are not tried: there are not two");
        return;
    }
    let config = config(&["run.device=cuda", "run.devices=2", "run.precision=f32", "run.deterministic=true"]);
    let exact = together(&config, cpus(), 2, |rank, step| half(2 * step + rank as u64, 20));
    let ranks = ranks(&config.run).unwrap();
    let (first, _) = Trainer::new(&config, &Weights::new(), &ranks[0].kernels).unwrap();
    let found: Vec<(Vec<Losses>, Weights)> = std::thread::scope(|scope| {
        let start = |rank: Rank| {
            let mut trainer = first.replica(&rank.kernels).unwrap();
            scope.spawn(move || {
                let number = rank.communicator.rank() as u64;
                trainer.join(rank.communicator);
                let step = |step| {
                    trainer.step(&half(2 * step + number, 20), Stage::Full, 1.0, &mut CounterRng::new(0, "test", 0, step, 0)).unwrap()
                };
                let losses = (0..2).map(step).collect();
                (losses, weights(&trainer))
            })
        };
        let threads: Vec<_> = ranks.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found[0] == found[1], "ranks end alike");
    for (found, exact) in found[0].0.iter().zip(&exact[0].0) {
        assert!((found.total - exact.total).abs() <= 2e-4 * exact.total, "{found:?} instead of {exact:?}");
    }
}

/// Fails in the third of its steps.
struct Fails {
    group: HostCommunicator,
    steps: AtomicUsize,
}

impl Communicator for Fails {
    fn rank(&self) -> usize {
        self.group.rank()
    }

    fn size(&self) -> usize {
        self.group.size()
    }

    fn all_reduce_mean_scalars(&self, numbers: &mut [f64]) -> support::Result<()> {
        self.group.all_reduce_mean_scalars(numbers)
    }

    fn all_reduce_mean(&self, tensors: &[&Tensor]) -> support::Result<()> {
        if self.steps.fetch_add(1, Ordering::Relaxed) == 2 {
            support::bail!("out of memory, let us say");
        }
        self.group.all_reduce_mean(tensors)
    }

    fn leave(&self) {
        self.group.leave();
    }

    fn first_to_leave(&self) -> Option<usize> {
        self.group.first_to_leave()
    }
}

#[test]
fn when_a_rank_fails_the_run_ends_with_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    for failing in [0, 1, 2] {
        let ranks = || {
            let rank = |group: HostCommunicator| {
                let group: Arc<dyn Communicator> =
                    if group.rank() == failing { Arc::new(Fails { group, steps: AtomicUsize::new(0) }) } else { Arc::new(group) };
                Rank { kernels: Arc::new(Cpu::default()), communicator: group }
            };
            Ok(HostCommunicator::ranks(3).into_iter().map(rank).collect())
        };
        let config = pictures::config(&data, &["run.devices=3", "run.batch=3"]);
        let out = folder.path().join(failing.to_string());
        let error = fit_on(&config, &out, false, &Silent, &AtomicBool::new(false), ranks).unwrap_err();
        assert!(format!("{error:?}").contains("out of memory"), "device {failing}: {error:?}");
    }
}
