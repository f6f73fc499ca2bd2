//! The `[optimizer]` section: `RAdam` with decoupled decay, its learning rates and how they move.

use serde::{Deserialize, Serialize};

use super::choice::choice;

choice! {
    /// How the learning rate moves between its value and `lr_floor`.
    Schedule {
        /// It does not (the published code of the contrastive method).
        Constant = "constant",
        /// Half a cosine over the run.
        Cosine = "cosine",
        /// Half cosines of `restart_first`, `restart_first * restart_factor`, ... iterations (Loshchilov and Hutter, ICLR 2017; the code of Scribble2Label).
        CosineRestarts = "cosine_restarts",
        /// `(1 - done)^poly_power`.
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
    /// Decoupled weight decay, on every parameter.
    pub weight_decay: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Where schedules end: the lowest learning rate.
    pub lr_floor: f64,
    /// Exponent of the schedule `poly`.
    pub poly_power: f64,
    /// Iterations before the first restart of `cosine_restarts`.
    pub restart_first: u64,
    /// Each cycle of `cosine_restarts` is this many times as long as the one before.
    pub restart_factor: u64,
    /// Evaluate with averaged weights: the share of the old average that stays in each step (.99); 0 evaluates the weights themselves.
    pub weight_average: f64,
    /// Parameters with a learning rate or decay of their own.
    pub groups: Vec<Group>,
}

/// Parameters that share the beginning of their names, as `encoder.layer1`. Of several groups the longest prefix counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The beginning of the names.
    pub prefix: String,
    /// Learning rate; 0 keeps the parameters as they are.
    pub lr: Option<f64>,
    /// Weight decay.
    pub weight_decay: Option<f64>,
}

impl OptimizerConfig {
    /// Learning rate and weight decay of a parameter when the schedule stands at `factor` (1 to 0).
    pub fn rate(&self, parameter: &str, factor: f64) -> (f64, f64) {
        let own = self.groups.iter().filter(|group| parameter.starts_with(&group.prefix)).max_by_key(|group| group.prefix.len());
        let section = match parameter.split('.').next() {
            Some("encoder") => self.lr_encoder,
            Some("decoder") => self.lr_decoder,
            _ => self.lr_head,
        };
        let lr = own.and_then(|group| group.lr).unwrap_or(section);
        let floor = self.lr_floor.min(lr);
        (floor + (lr - floor) * factor, own.and_then(|group| group.weight_decay).unwrap_or(self.weight_decay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides_and_no_rate_falls_below_its_floor() {
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
