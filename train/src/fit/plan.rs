//! Schedule of a run: stages, learning rate, updates of the averaged predictions, validations. All are functions of the iteration, and of
//! the training time if `run.minutes` limits it.

use crate::config::{Count, OptimizerConfig, RunConfig, Schedule};

/// Schedule of a run in iterations.
pub struct Plan {
    /// Length of the run.
    pub iterations: u64,
    warmup: u64,
    /// Period of the updates of the averaged predictions; 0 for none.
    ema_period: u64,
    /// Period of the validations; 0 for one at the end.
    validate_every: u64,
    /// Limit of the training time in seconds.
    max_seconds: Option<f64>,
    optimizer: OptimizerConfig,
}

impl Plan {
    /// Derives the schedule for a training set of `images` images.
    pub fn of(config: &RunConfig, images: usize) -> Self {
        let resolved = config.clone().in_iterations(images);
        debug_assert_eq!(resolved.run.count, Count::Iterations);
        Self {
            iterations: resolved.run.iterations,
            warmup: if resolved.method.uses_pseudo_labels() { resolved.method.warmup_iterations } else { resolved.run.iterations },
            ema_period: if resolved.method.uses_pseudo_labels() { resolved.method.ema_period } else { 0 },
            validate_every: resolved.run.validate_every,
            max_seconds: config.run.minutes.map(|minutes| 60.0 * minutes),
            optimizer: config.optimizer.clone(),
        }
    }

    /// Returns the fraction of the run that is done, by iterations or by time, whichever is greater.
    fn fraction_done(&self, iteration: u64, seconds: f64) -> f64 {
        let by_time = self.max_seconds.map_or(0.0, |limit| seconds / limit);
        (iteration as f64 / self.iterations as f64).max(by_time)
    }

    /// Returns true at the end of the run.
    pub fn is_over(&self, iteration: u64, seconds: f64) -> bool {
        iteration >= self.iterations || self.max_seconds.is_some_and(|limit| seconds >= limit)
    }

    /// Returns true if the iteration trains on scribbles alone. A time limit shortens the warm-up in proportion to the run.
    pub fn is_warm_up(&self, iteration: u64, seconds: f64) -> bool {
        let by_time = self.max_seconds.map_or(0.0, |limit| seconds / limit);
        iteration < self.warmup && by_time < self.warmup as f64 / self.iterations as f64
    }

    /// Returns the position of the learning rates between the floor (0) and their configured values (1).
    pub fn learning_rate_factor(&self, iteration: u64, seconds: f64) -> f64 {
        let done = self.fraction_done(iteration, seconds).clamp(0.0, 1.0);
        match self.optimizer.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => half_cosine(done),
            Schedule::CosineRestarts => half_cosine(self.fraction_of_cycle(iteration)),
            Schedule::Poly => (1.0 - done).powf(self.optimizer.poly_power),
        }
    }

    /// Returns the fraction of the current cycle that is done before the iteration; cycles have T, T f, T f^2, ... iterations.
    fn fraction_of_cycle(&self, iteration: u64) -> f64 {
        let (mut start, mut length) = (0, self.optimizer.restart_first);
        while iteration - start >= length {
            start += length;
            length = length.saturating_mul(self.optimizer.restart_factor);
        }
        (iteration - start) as f64 / length as f64
    }

    /// Returns true if the averaged predictions are updated after `iterations` iterations.
    pub fn updates_averages(&self, iterations: u64) -> bool {
        self.ema_period > 0 && iterations > 0 && iterations.is_multiple_of(self.ema_period)
    }

    /// Returns true if a validation follows `iterations` iterations, besides the one at the end of the run.
    pub fn validates(&self, iterations: u64) -> bool {
        self.validate_every > 0 && iterations > 0 && iterations.is_multiple_of(self.validate_every)
    }
}

/// Falls from 1 to 0 as `done` rises from 0 to 1.
fn half_cosine(done: f64) -> f64 {
    0.5 + 0.5 * (std::f64::consts::PI * done).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    #[test]
    fn cosine_cycles_restart_after_2_then_4_then_8_iterations() {
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
    fn the_polynomial_schedule_applies_its_power() {
        let mut config = Profile::Scratch.config();
        (config.optimizer.schedule, config.optimizer.poly_power, config.run.iterations) = (Schedule::Poly, 2.0, 10);
        assert_eq!(Plan::of(&config, 10).learning_rate_factor(5, 0.0), 0.25);
    }

    #[test]
    fn time_or_iterations_end_the_warm_up_and_the_run() {
        let mut config = Profile::Scratch.config();
        config.run.iterations = 100;
        config.run.minutes = Some(1.0);
        config.method.warmup_iterations = 40;
        let plan = Plan::of(&config, 10);
        assert!(plan.is_warm_up(39, 0.0) && !plan.is_warm_up(40, 0.0) && !plan.is_warm_up(10, 24.0));
        assert!(plan.is_over(100, 0.0) && plan.is_over(1, 60.0) && !plan.is_over(99, 59.0));
        assert!((plan.learning_rate_factor(0, 30.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn epochs_are_converted_to_iterations() {
        let mut config = crate::config::Profile::Paper.config();
        config.run.batch = 4;
        config.run.iterations = 3;
        assert_eq!(Plan::of(&config, 10).iterations, 9);
    }
}
