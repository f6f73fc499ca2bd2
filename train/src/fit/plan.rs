//! What happens when: stages, learning rate, averages, validation. All functions of the iteration (and of the time, where that ends the run).

use crate::config::{Count, OptimizerConfig, RunConfig, Schedule};

/// The run's timetable in iterations.
pub struct Plan {
    /// Length of the run.
    pub iterations: u64,
    warmup: u64,
    ema_period: u64,
    validate_every: u64,
    seconds: Option<f64>,
    rates: OptimizerConfig,
}

impl Plan {
    /// The timetable for a training set of `images` images.
    pub fn of(config: &RunConfig, images: usize) -> Self {
        let resolved = config.clone().in_iterations(images);
        debug_assert_eq!(resolved.run.count, Count::Iterations);
        Self {
            iterations: resolved.run.iterations,
            warmup: if resolved.method.uses_pseudo_labels() { resolved.method.warmup_iterations } else { resolved.run.iterations },
            ema_period: if resolved.method.uses_pseudo_labels() { resolved.method.ema_period } else { 0 },
            validate_every: resolved.run.validate_every,
            seconds: config.run.minutes.map(|minutes| 60.0 * minutes),
            rates: config.optimizer.clone(),
        }
    }

    /// The share of the run that is done: by iterations or by time, whichever is further.
    fn done(&self, iteration: u64, seconds: f64) -> f64 {
        let by_time = self.seconds.map_or(0.0, |limit| seconds / limit);
        (iteration as f64 / self.iterations as f64).max(by_time)
    }

    /// Whether the run has ended.
    pub fn is_over(&self, iteration: u64, seconds: f64) -> bool {
        iteration >= self.iterations || self.seconds.is_some_and(|limit| seconds >= limit)
    }

    /// Whether this iteration uses scribbles alone; a run that is cut short by time has a warm-up cut short in proportion.
    pub fn warms_up(&self, iteration: u64, seconds: f64) -> bool {
        let by_time = self.seconds.map_or(0.0, |limit| seconds / limit);
        iteration < self.warmup && by_time < self.warmup as f64 / self.iterations as f64
    }

    /// Where the learning rates stand between their values (1) and the floor (0).
    pub fn learning_rate_factor(&self, iteration: u64, seconds: f64) -> f64 {
        let done = self.done(iteration, seconds).clamp(0.0, 1.0);
        match self.rates.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => half_cosine(done),
            Schedule::CosineRestarts => half_cosine(self.done_of_cycle(iteration)),
            Schedule::Poly => (1.0 - done).powf(self.rates.poly_power),
        }
    }

    /// The share of its cycle that is done before this iteration: cycles of T, T f, T f^2, ... iterations.
    fn done_of_cycle(&self, iteration: u64) -> f64 {
        let (mut start, mut length) = (0, self.rates.restart_first);
        while iteration - start >= length {
            start += length;
            length = length.saturating_mul(self.rates.restart_factor);
        }
        (iteration - start) as f64 / length as f64
    }

    /// Whether the averaged predictions are updated after this many iterations.
    pub fn updates_averages(&self, iterations: u64) -> bool {
        self.ema_period > 0 && iterations > 0 && iterations.is_multiple_of(self.ema_period)
    }

    /// Whether a validation is due after this many iterations; the end is always one.
    pub fn validates(&self, iterations: u64) -> bool {
        self.validate_every > 0 && iterations > 0 && iterations.is_multiple_of(self.validate_every)
    }
}

/// From 1 to 0 as `done` goes from 0 to 1.
fn half_cosine(done: f64) -> f64 {
    0.5 + 0.5 * (std::f64::consts::PI * done).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    #[test]
    fn cosines_start_anew_after_2_then_4_then_8_iterations() {
        let mut config = Profile::Scratch.config();
        config.optimizer.schedule = Schedule::CosineRestarts;
        let plan = Plan::of(&config, 10);
        // T_0 = 2, T_mult = 2: 0.5 + 0.5 cos(pi t / T).
        let expected = [1.0, 0.5, 1.0, 0.5 + 0.125f64.sqrt(), 0.5, 0.5 - 0.125f64.sqrt(), 1.0];
        for (iteration, expected) in expected.into_iter().enumerate() {
            let found = plan.learning_rate_factor(iteration as u64, 0.0);
            assert!((found - expected).abs() < 1e-12, "{iteration}: {found}, expected {expected}");
        }
        assert_eq!((plan.learning_rate_factor(14, 0.0), plan.learning_rate_factor(30, 0.0)), (1.0, 1.0));
        config.optimizer.restart_factor = 1;
        assert_eq!(Plan::of(&config, 10).learning_rate_factor(1001, 0.0), 0.5);
    }

    #[test]
    fn polynomials_fall_with_their_power() {
        let mut config = Profile::Scratch.config();
        (config.optimizer.schedule, config.optimizer.poly_power, config.run.iterations) = (Schedule::Poly, 2.0, 10);
        assert_eq!(Plan::of(&config, 10).learning_rate_factor(5, 0.0), 0.25);
    }

    #[test]
    fn time_and_iterations_end_stages_and_the_run() {
        let mut config = Profile::Scratch.config();
        config.run.iterations = 100;
        config.run.minutes = Some(1.0);
        config.method.warmup_iterations = 40;
        let plan = Plan::of(&config, 10);
        assert!(plan.warms_up(39, 0.0) && !plan.warms_up(40, 0.0) && !plan.warms_up(10, 24.0));
        assert!(plan.is_over(100, 0.0) && plan.is_over(1, 60.0) && !plan.is_over(99, 59.0));
        assert!((plan.learning_rate_factor(0, 30.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn epochs_become_iterations() {
        let mut config = crate::config::Profile::Paper.config();
        config.run.batch = 4;
        config.run.iterations = 3;
        assert_eq!(Plan::of(&config, 10).iterations, 9);
    }
}
