//! Rendezvous of threads: all-gather and all-reduce of numbers in host memory, with a barrier that fails when a rank leaves.

use std::sync::{Arc, Condvar, Mutex};

use support::{Result, bail};

/// Contributions of all ranks, in rank order.
type Contributions = Arc<Vec<Vec<f64>>>;

/// Reusable barrier of a fixed number of ranks, with their contributions.
pub struct Rendezvous {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    contributions: Vec<Option<Vec<f64>>>,
    /// Contributions of the last complete round.
    last: Contributions,
    rounds: u64,
    /// Rank that left first.
    left: Option<usize>,
}

/// Handle of one rank. The rank leaves when its handle is dropped.
pub struct Participant {
    rendezvous: Arc<Rendezvous>,
    rank: usize,
    size: usize,
}

impl Rendezvous {
    /// Creates the handles of `size` ranks, in rank order.
    pub fn participants(size: usize) -> Vec<Participant> {
        let state = State { contributions: vec![None; size], last: Arc::default(), rounds: 0, left: None };
        let rendezvous = Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() });
        (0..size).map(|rank| Participant { rendezvous: rendezvous.clone(), rank, size }).collect()
    }
}

impl Participant {
    /// Returns the number of this rank, from 0 on.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the number of ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Waits until every rank has contributed, and returns all contributions. Fails if a rank has left.
    pub fn all_gather(&self, contribution: Vec<f64>) -> Result<Contributions> {
        let mut state = self.rendezvous.state.lock().expect("nothing panics while it is held");
        let round = state.rounds;
        state.contributions[self.rank] = Some(contribution);
        if state.left.is_none() && state.contributions.iter().all(Option::is_some) {
            state.last = Arc::new(state.contributions.iter_mut().filter_map(Option::take).collect());
            state.rounds += 1;
            self.rendezvous.changed.notify_all();
        }
        while state.rounds == round {
            if let Some(left) = state.left {
                bail!("the training on device {left} has ended before its time");
            }
            state = self.rendezvous.changed.wait(state).expect("nothing panics while it is held");
        }
        Ok(state.last.clone())
    }

    /// Replaces each number by its mean over the ranks, summed in rank order.
    pub fn all_reduce_mean(&self, numbers: &mut [f64]) -> Result<()> {
        let contributions = self.all_gather(numbers.to_vec())?;
        for (i, number) in numbers.iter_mut().enumerate() {
            *number = contributions.iter().map(|contribution| contribution[i]).sum::<f64>() / self.size as f64;
        }
        Ok(())
    }

    /// Leaves the rendezvous: ranks that wait for this one get an error.
    pub fn leave(&self) {
        let mut state = self.rendezvous.state.lock().expect("nothing panics while it is held");
        state.left.get_or_insert(self.rank);
        self.rendezvous.changed.notify_all();
    }

    /// Returns the rank that left first, if one has left.
    pub fn first_to_leave(&self) -> Option<usize> {
        self.rendezvous.state.lock().expect("nothing panics while it is held").left
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ranks_get_the_same_mean_in_every_round() {
        let handles: Vec<_> = Rendezvous::participants(3)
            .into_iter()
            .map(|participant| {
                std::thread::spawn(move || {
                    let round = |k: u32| {
                        let mut numbers = [f64::from(k) + participant.rank() as f64, 0.1 * f64::from(k)];
                        participant.all_reduce_mean(&mut numbers).map(|()| numbers)
                    };
                    (0..200).map(round).collect::<Result<Vec<_>>>().unwrap()
                })
            })
            .collect();
        let found: Vec<_> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        assert!(found[0] == found[1] && found[1] == found[2]);
        assert!(found[0].iter().enumerate().all(|(k, numbers)| numbers[0] == k as f64 + 1.0));
    }

    #[test]
    fn a_rank_that_waits_for_one_that_has_left_gets_an_error() {
        let mut participants = Rendezvous::participants(2);
        let (second, first) = (participants.pop().unwrap(), participants.pop().unwrap());
        let waits = std::thread::spawn(move || first.all_gather(vec![1.0]).map(|_| ()));
        drop(second);
        let error = waits.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("device 1"), "{error}");
    }
}
