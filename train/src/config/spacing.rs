//! Distances of updates and validations where images are many or large: predictions of whole images must not take most of a run's time.

use super::{Count, RunConfig};

/// A step is worth this many forward passes over its pixels: forward, gradients of the inputs, gradients of the weights.
const PASSES_OF_A_STEP: f64 = 3.0;

/// What a data set asks the network to predict.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Predicted {
    /// Training images.
    pub images: usize,
    /// Their pixels: predicted at every update of the pseudo-labels.
    pub training_px: u64,
    /// Pixels of the validation images.
    pub validation_px: u64,
}

impl RunConfig {
    /// The configuration with `method.ema_period` and `run.validate_every` as long as `method.ema_share` and `run.validate_share` ask
    /// for on this data, and `method.ema_alpha` with the period, so that averages forget as fast as before: `1 - (1 - alpha)^(new / old)`.
    /// At least two updates fall into the warm-up, and one validation into the run. To space what was spaced changes nothing.
    #[must_use]
    pub fn spaced(&self, data: Predicted) -> Self {
        let mut config = self.clone();
        let unit = match self.run.count {
            Count::Iterations => 1,
            Count::Epochs => data.images.div_ceil(self.run.batch).max(1) as u64,
        };
        let batch_px = (self.run.batch * self.run.crop * self.run.crop) as u64;
        let statistics = self.run.recalibrate_batches as u64 * batch_px;
        // Periods, in the unit of run.count, over which predictions take a share of the steps' time.
        let period = |predicted: u64, share: f64| {
            let steps = predicted as f64 / (share * PASSES_OF_A_STEP * batch_px as f64);
            (steps / unit as f64).ceil() as u64
        };
        let method = &mut config.method;
        if method.ema_share > 0.0 {
            let needed = period(data.training_px + statistics, method.ema_share).min(method.warmup_iterations / 2);
            if needed > method.ema_period {
                method.ema_alpha = 1.0 - (1.0 - method.ema_alpha).powf(needed as f64 / method.ema_period as f64);
                method.ema_period = needed;
            }
        }
        if config.run.validate_share > 0.0 && config.run.validate_every > 0 {
            let views = self.evaluation.views.count() as u64;
            let needed = period(views * data.validation_px + statistics, config.run.validate_share).min(config.run.iterations);
            config.run.validate_every = config.run.validate_every.max(needed);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    /// 22 and 3 images of 1000 x 1000 px.
    const LARGE: Predicted = Predicted { images: 22, training_px: 22_000_000, validation_px: 3_000_000 };

    fn bounded() -> RunConfig {
        let mut config = Profile::Default.config();
        (config.method.ema_share, config.run.validate_share) = (0.3, 0.1);
        config
    }

    #[test]
    fn large_images_are_predicted_less_often_and_averages_forget_as_fast() {
        let config = bounded();
        let spaced = config.spaced(LARGE);
        // (22 Mpx + 20 batches) / (.3 of 3 passes over 4 crops of 256 x 256); (4 views of 3 Mpx + 20 batches) / (.1 of the same).
        assert_eq!((spaced.method.ema_period, spaced.run.validate_every), (116, 220));
        let kept = |config: &RunConfig| (1.0 - config.method.ema_alpha).powf(1.0 / config.method.ema_period as f64);
        assert!((kept(&config) - kept(&spaced)).abs() < 1e-12);
        assert_eq!(spaced.spaced(LARGE), spaced);
    }

    #[test]
    fn few_small_images_and_shares_of_0_change_nothing() {
        let config = bounded();
        assert_eq!(config.spaced(Predicted { images: 12, training_px: 12 << 16, validation_px: 3 << 16 }), config);
        assert_eq!(Profile::Default.config().spaced(LARGE), Profile::Default.config());
    }

    #[test]
    fn two_updates_fall_into_the_warm_up_and_a_validation_into_the_run() {
        let huge = Predicted { images: 100, training_px: 1 << 34, validation_px: 1 << 34 };
        let config = bounded();
        let spaced = config.spaced(huge);
        assert_eq!((spaced.method.ema_period, spaced.run.validate_every), (config.method.warmup_iterations / 2, config.run.iterations));
        let mut epochs = config;
        epochs.run.count = Count::Epochs;
        (epochs.run.iterations, epochs.method.warmup_iterations, epochs.method.ema_period, epochs.run.validate_every) = (40, 16, 2, 5);
        // 22 images are 6 steps to an epoch.
        let spaced = epochs.spaced(LARGE);
        assert_eq!((spaced.method.ema_period, spaced.run.validate_every), (8, 37));
    }
}
