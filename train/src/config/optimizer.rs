//! The `[optimizer]` section: `RAdam` with decoupled weight decay, learning rates and their schedule.

use serde::{Deserialize, Serialize};

use super::choice::choice;

choice! {
    /// Learning-rate schedule, from the configured rate down to `lr_floor`.
    Schedule {
        /// Constant rate (the published code of the contrastive method).
        Constant = "constant",
        /// Half a cosine period over the run.
        Cosine = "cosine",
        /// Half cosine periods of `restart_first`, `restart_first * restart_factor`, ... iterations (SGDR: Loshchilov and Hutter, ICLR
        /// 2017; the published code of Scribble2Label).
        CosineRestarts = "cosine_restarts",
        /// Polynomial decay `(1 - done)^poly_power`, with `done` the completed fraction of the run.
        Poly = "poly",
    }
}

/// The `[optimizer]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Learning rate of the encoder.
    pub lr_encoder: f64,
    /// Learning rate of the decoder.
    pub lr_decoder: f64,
    /// Learning rate of the segmentation head and the projection heads.
    pub lr_head: f64,
    /// Decoupled weight decay of all parameters.
    pub weight_decay: f64,
    /// Learning-rate schedule.
    pub schedule: Schedule,
    /// Lowest learning rate of the schedules.
    pub lr_floor: f64,
    /// Exponent of the schedule `poly`.
    pub poly_power: f64,
    /// Length of the first cycle of `cosine_restarts`, in iterations.
    pub restart_first: u64,
    /// Ratio of the lengths of successive cycles of `cosine_restarts`.
    pub restart_factor: u64,
    /// Decay of the exponential moving average of the weights that is used for evaluation, such as .99; 0 evaluates the weights themselves.
    pub weight_average: f64,
    /// Parameter groups with their own learning rate or weight decay.
    pub groups: Vec<Group>,
}

/// Parameter group: all parameters whose names begin with a prefix, such as `encoder.layer1`. The longest matching prefix takes precedence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Prefix of the parameter names.
    pub prefix: String,
    /// Learning rate; 0 freezes the parameters; `None` keeps that of the section.
    pub lr: Option<f64>,
    /// Weight decay; `None` keeps that of the section.
    pub weight_decay: Option<f64>,
}

impl OptimizerConfig {
    /// Returns the learning rate and the weight decay of a parameter for the schedule's current `factor` (1 at the start, 0 at the floor).
    pub fn rate(&self, parameter: &str, factor: f64) -> (f64, f64) {
        let group = self.groups.iter().filter(|group| parameter.starts_with(&group.prefix)).max_by_key(|group| group.prefix.len());
        let section = match parameter.split('.').next() {
            Some("encoder") => self.lr_encoder,
            Some("decoder") => self.lr_decoder,
            _ => self.lr_head,
        };
        let lr = group.and_then(|group| group.lr).unwrap_or(section);
        let floor = self.lr_floor.min(lr);
        (floor + (lr - floor) * factor, group.and_then(|group| group.weight_decay).unwrap_or(self.weight_decay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_takes_precedence_and_no_rate_falls_below_the_floor() {
        let group = |prefix: &str, lr, weight_decay| Group { prefix: prefix.into(), lr, weight_decay };
        let config = OptimizerConfig {
            lr_floor: 1e-5,
            groups: vec![group("encoder", Some(0.0), None), group("encoder.layer4", Some(0.5), Some(0.25))],
            ..crate::config::Profile::Scratch.config().optimizer
        };
        assert_eq!(config.rate("encoder.conv1.weight", 1.0), (0.0, 5e-5));
        assert_eq!(config.rate("encoder.layer4.0.conv1.weight", 1.0), (0.5, 0.25));
        assert_eq!(config.rate("decoder.blocks.0.conv1.0.weight", 0.0), (1e-5, 5e-5));
        assert_eq!(config.rate("projection.r1.0.weight", 1.0).0, 3e-3);
        assert_eq!(config.rate("segmentation_head.0.weight", 0.5).0, 1e-5 + (3e-3 - 1e-5) * 0.5);
    }
}
