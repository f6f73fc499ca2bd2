//! Whole runs on several ranks: repetition, resume, and failure of one rank.

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
fn repeated_and_resumed_runs_of_two_ranks_give_the_same_bits() {
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

/// Communicator that fails in the third step.
struct FailingCommunicator {
    group: HostCommunicator,
    steps: AtomicUsize,
}

impl Communicator for FailingCommunicator {
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
            support::bail!("out of memory (simulated)");
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
fn a_run_ends_with_the_error_of_the_rank_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    for failing in [0, 1, 2] {
        let ranks = || {
            let rank = |group: HostCommunicator| {
                let group: Arc<dyn Communicator> = if group.rank() == failing {
                    Arc::new(FailingCommunicator { group, steps: AtomicUsize::new(0) })
                } else {
                    Arc::new(group)
                };
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
