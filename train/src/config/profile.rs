//! The two profiles. Every way in which `default` departs from the papers is a value that differs between these two functions.

use std::path::PathBuf;

use models::unet::UNetConfig;

use super::choice::choice;
use super::{
    BlockRule, ColourChange, ContrastTerm, Count, DataConfig, DeviceChoice, EmaStart, GeoJsonConfig, LabelMap, LabelSource, MaxPerClass,
    Method, MethodConfig, OptimizerConfig, PairRule, Reduction, RunConfig, RunSettings, Schedule, Scope, Validation,
};

choice! {
    /// A complete set of values to start from.
    Profile {
        /// What a user gets: the method with its known faults mended, sized for an afternoon on a workstation.
        Default = "default",
        /// What the authors ran.
        Paper = "paper",
    }
}

impl Profile {
    /// The profile's configuration.
    pub fn config(self) -> RunConfig {
        match self {
            Self::Default => default_profile(),
            Self::Paper => paper(),
        }
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        default_profile()
    }
}

fn default_profile() -> RunConfig {
    RunConfig {
        data: DataConfig {
            folder: PathBuf::from("data"),
            modality: None,
            microns_per_pixel: None,
            validation: Validation::Masks,
            validation_share: 0.2,
            augment: ColourChange::Brightness,
            label_map: LabelMap::default(),
            geojson: GeoJsonConfig::default(),
        },
        network: UNetConfig::default(),
        method: MethodConfig {
            name: Method::Both,
            warmup_iterations: 400,
            ema_period: 40,
            ema_alpha: 0.2,
            threshold: 0.8,
            ema_start: EmaStart::Corrected,
            pseudo_weight: 0.5,
            max_per_class: MaxPerClass::Limit(6000),
            pair_rule: PairRule::Same,
            self_pairs: false,
            reduction: Reduction::Sum3,
            scope: Scope::Batch,
            block_rule: BlockRule::All16,
            label_source: LabelSource::PseudoAndScribble,
            contrast: vec![ContrastTerm::r1(), ContrastTerm::r4()],
        },
        optimizer: OptimizerConfig { lr_encoder: 3e-4, lr_decoder: 3e-3, lr_head: 3e-4, weight_decay: 5e-5, schedule: Schedule::Cosine },
        run: RunSettings {
            seed: 0,
            count: Count::Iterations,
            iterations: 1000,
            minutes: None,
            batch: 4,
            crop: 256,
            threads: 0,
            device: DeviceChoice::Auto,
            validate_every: 100,
            recalibrate_batches: 20,
            overlays: 8,
            init: None,
        },
    }
}

/// Oh, Lee, Jeong, ISBI 2022, after its published code.
fn paper() -> RunConfig {
    let mut config = default_profile();
    config.method.warmup_iterations = 100;
    config.method.ema_period = 5;
    config.method.ema_start = EmaStart::Zero;
    config.optimizer.schedule = Schedule::Constant;
    config.run = RunSettings { count: Count::Epochs, iterations: 300, batch: 30, validate_every: 5, recalibrate_batches: 0, ..config.run };
    config
}
