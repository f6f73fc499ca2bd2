//! Where ranks wait for each other: everyone brings numbers, and everyone gets those of all.

use std::sync::{Arc, Condvar, Mutex};

use support::{Result, bail};

/// What each rank brought, in their order.
type Contributions = Arc<Vec<Vec<f64>>>;

/// A place for so many ranks, used again and again.
pub struct Rendezvous {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    contributions: Vec<Option<Vec<f64>>>,
    /// Of the last round that all came to.
    last: Contributions,
    rounds: u64,
    /// The first that left.
    left: Option<usize>,
}

/// A rank's participant at a rendezvous. To drop it is to leave.
pub struct Participant {
    rendezvous: Arc<Rendezvous>,
    rank: usize,
    size: usize,
}

impl Rendezvous {
    /// Seats for `size` ranks, in their order.
    pub fn participants(size: usize) -> Vec<Participant> {
        let state = State { contributions: vec![None; size], last: Arc::default(), rounds: 0, left: None };
        let rendezvous = Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() });
        (0..size).map(|rank| Participant { rendezvous: rendezvous.clone(), rank, size }).collect()
    }
}

impl Participant {
    /// Which rank sits here.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Waits until every rank has come; what they brought. An error if one has left.
    pub fn exchange(&self, contribution: Vec<f64>) -> Result<Contributions> {
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

    /// Each number's mean over the ranks, summed in their order.
    pub fn mean(&self, numbers: &mut [f64]) -> Result<()> {
        let contributions = self.exchange(numbers.to_vec())?;
        for (i, number) in numbers.iter_mut().enumerate() {
            *number = contributions.iter().map(|contribution| contribution[i]).sum::<f64>() / self.size as f64;
        }
        Ok(())
    }

    /// Comes to no rendezvous any more: who waits gets an error.
    pub fn leave(&self) {
        let mut state = self.rendezvous.state.lock().expect("nothing panics while it is held");
        state.left.get_or_insert(self.rank);
        self.rendezvous.changed.notify_all();
    }

    /// The rank that left first, if one did.
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
    fn everyone_gets_the_same_mean_in_every_round() {
        let handles: Vec<_> = Rendezvous::participants(3)
            .into_iter()
            .map(|participant| {
                std::thread::spawn(move || {
                    let round = |k: u32| {
                        let mut numbers = [f64::from(k) + participant.rank() as f64, 0.1 * f64::from(k)];
                        participant.mean(&mut numbers).map(|()| numbers)
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
    fn who_waits_for_one_that_has_left_gets_an_error() {
        let mut participants = Rendezvous::participants(2);
        let (second, first) = (participants.pop().unwrap(), participants.pop().unwrap());
        let waits = std::thread::spawn(move || first.exchange(vec![1.0]).map(|_| ()));
        drop(second);
        let error = waits.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("device 1"), "{error}");
    }
}
