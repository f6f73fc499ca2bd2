//! Where ranks wait for each other: everyone brings numbers, and everyone gets those of all.

use std::sync::{Arc, Condvar, Mutex};

use support::{Result, bail};

/// What each rank brought, in their order.
type Offers = Arc<Vec<Vec<f64>>>;

/// A place for so many ranks, used again and again.
pub struct Rendezvous {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    offers: Vec<Option<Vec<f64>>>,
    /// Of the last round that all came to.
    last: Offers,
    rounds: u64,
    /// The first that left.
    left: Option<usize>,
}

/// A rank's seat at a meeting. To drop it is to leave.
pub struct Participant {
    meeting: Arc<Rendezvous>,
    rank: usize,
    size: usize,
}

impl Rendezvous {
    /// Seats for `size` ranks, in their order.
    pub fn seats(size: usize) -> Vec<Participant> {
        let state = State { offers: vec![None; size], last: Arc::default(), rounds: 0, left: None };
        let meeting = Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() });
        (0..size).map(|rank| Participant { meeting: meeting.clone(), rank, size }).collect()
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
    pub fn exchange(&self, offer: Vec<f64>) -> Result<Offers> {
        let mut state = self.meeting.state.lock().expect("nothing panics while it is held");
        let round = state.rounds;
        state.offers[self.rank] = Some(offer);
        if state.left.is_none() && state.offers.iter().all(Option::is_some) {
            state.last = Arc::new(state.offers.iter_mut().filter_map(Option::take).collect());
            state.rounds += 1;
            self.meeting.changed.notify_all();
        }
        while state.rounds == round {
            if let Some(left) = state.left {
                bail!("the training on device {left} has ended before its time");
            }
            state = self.meeting.changed.wait(state).expect("nothing panics while it is held");
        }
        Ok(state.last.clone())
    }

    /// Each number's mean over the ranks, summed in their order.
    pub fn mean(&self, numbers: &mut [f64]) -> Result<()> {
        let offers = self.exchange(numbers.to_vec())?;
        for (i, number) in numbers.iter_mut().enumerate() {
            *number = offers.iter().map(|offer| offer[i]).sum::<f64>() / self.size as f64;
        }
        Ok(())
    }

    /// Comes to no meeting any more: who waits gets an error.
    pub fn leave(&self) {
        let mut state = self.meeting.state.lock().expect("nothing panics while it is held");
        state.left.get_or_insert(self.rank);
        self.meeting.changed.notify_all();
    }

    /// The rank that left first, if one did.
    pub fn first_to_leave(&self) -> Option<usize> {
        self.meeting.state.lock().expect("nothing panics while it is held").left
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
        let handles: Vec<_> = Rendezvous::seats(3)
            .into_iter()
            .map(|seat| {
                std::thread::spawn(move || {
                    let round = |k: u32| {
                        let mut numbers = [f64::from(k) + seat.rank() as f64, 0.1 * f64::from(k)];
                        seat.mean(&mut numbers).map(|()| numbers)
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
        let mut seats = Rendezvous::seats(2);
        let (second, first) = (seats.pop().unwrap(), seats.pop().unwrap());
        let waits = std::thread::spawn(move || first.exchange(vec![1.0]).map(|_| ()));
        drop(second);
        let error = waits.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("device 1"), "{error}");
    }
}
