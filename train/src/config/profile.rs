//! Configuration profiles. Each deviation of `default` from the papers is a value in which these functions differ.

use std::path::PathBuf;

use models::unet::{Encoder, UNetConfig};

use super::choice::choice;
use super::{
    BlockRule, ColourAugmentation, ContrastTerm, Count, DataConfig, DeviceChoice, EmaStart, EvaluationConfig, GeoJsonConfig, ImageJConfig,
    KernelChoice, LabelMap, LabelSource, MaxPerClass, Method, MethodConfig, OptimizerConfig, PairRule, Precision, Reduction, RunConfig,
    RunSettings, Schedule, Scope, Sides, Validation, Views,
};

/// Value of `run.init` that selects the encoder's `ImageNet` weights, fetched from a pinned package.
pub const IMAGENET: &str = "imagenet";

choice! {
    /// Named complete configuration.
    Profile {
        /// The recommended configuration: `MobileNetV2` with `ImageNet` weights, the method without its known faults, and only the loss
        /// terms that improved results.
        Default = "default",
        /// `default` with `ResNet-34` and random initial weights; needs no download.
        Scratch = "scratch",
        /// The authors' configuration for DSB2018.
        Paper = "paper",
        /// The authors' configuration for `MoNuSeg`.
        PaperMonuseg = "paper_monuseg",
    }
}

impl Profile {
    /// Returns the profile's configuration.
    pub fn config(self) -> RunConfig {
        match self {
            Self::Default => default_profile(),
            Self::Scratch => scratch(),
            Self::Paper => paper(),
            Self::PaperMonuseg => paper_monuseg(),
        }
    }
}

/// Returns the configuration for `ResNet-34` from random weights, from which the other profiles are derived.
fn scratch() -> RunConfig {
    RunConfig {
        data: scratch_data(),
        network: UNetConfig::default(),
        method: scratch_method(),
        optimizer: scratch_optimizer(),
        evaluation: scratch_evaluation(),
        run: scratch_run(),
    }
}

/// Returns the `[data]` section of `scratch`.
fn scratch_data() -> DataConfig {
    DataConfig {
        folder: PathBuf::from("data"),
        modality: None,
        channel: None,
        microns_per_pixel: None,
        validation: Validation::Masks,
        validation_share: 0.2,
        sides: Sides::Pad,
        folds: 5,
        fold: None,
        fold_seed: 0,
        augment: ColourAugmentation::Auto,
        gamma: 0.0,
        zoom: 0.1,
        label_map: LabelMap::default(),
        geojson: GeoJsonConfig::default(),
        imagej: ImageJConfig::default(),
    }
}

/// Returns the `[method]` section of `scratch`.
fn scratch_method() -> MethodConfig {
    MethodConfig {
        name: Method::S2l,
        warmup_iterations: 400,
        ema_period: 40,
        ema_alpha: 0.2,
        threshold: 0.8,
        ema_start: EmaStart::Corrected,
        pseudo_weight: 0.5,
        edge_alignment: true,
        max_per_class: MaxPerClass::Limit(6000),
        pair_rule: PairRule::Same,
        self_pairs: false,
        reduction: Reduction::Sum3,
        scope: Scope::Batch,
        block_rule: BlockRule::All16,
        label_source: LabelSource::PseudoAndScribble,
        contrast: vec![ContrastTerm { weight: 0.1, ..ContrastTerm::r1() }, ContrastTerm { weight: 0.2, ..ContrastTerm::r4() }],
    }
}

/// Returns the `[optimizer]` section of `scratch`.
fn scratch_optimizer() -> OptimizerConfig {
    OptimizerConfig {
        lr_encoder: 1e-3,
        lr_decoder: 3e-3,
        lr_head: 3e-3,
        weight_decay: 5e-5,
        schedule: Schedule::Cosine,
        lr_floor: 0.0,
        poly_power: 0.9,
        restart_first: 2,
        restart_factor: 2,
        weight_average: 0.0,
        groups: Vec::new(),
    }
}

/// Returns the `[evaluation]` section of `scratch`.
fn scratch_evaluation() -> EvaluationConfig {
    EvaluationConfig { views: Views::Flips, threshold: 0.5, calibrate: true, min_area_px: 64, split_touching: true, paper_clip: 0 }
}

/// Returns the `[run]` section of `scratch`.
fn scratch_run() -> RunSettings {
    RunSettings {
        seed: 0,
        count: Count::Iterations,
        iterations: 1000,
        minutes: None,
        batch: 4,
        crop: 256,
        threads: 0,
        device: DeviceChoice::Auto,
        devices: 1,
        precision: Precision::Auto,
        kernels: KernelChoice::Fast,
        deterministic: false,
        prefetch: 2,
        validate_every: 100,
        save_minutes: 5.0,
        recalibrate_batches: 20,
        overlays: 8,
        tensorboard: false,
        init: None,
    }
}

/// Returns [`scratch`] with a narrower network on `MobileNetV2`, its `ImageNet` weights, and a lower learning rate for the encoder.
fn default_profile() -> RunConfig {
    let mut config = scratch();
    config.network.encoder = Encoder::MobileNetV2;
    config.network.decoder_channels = [128, 64, 32, 32, 16];
    config.optimizer.lr_encoder = 3e-4;
    config.run.init = Some(PathBuf::from(IMAGENET));
    config
}

/// Returns the configuration of Oh, Lee, Jeong, ISBI 2022, with the values of the published code.
fn paper() -> RunConfig {
    let mut config = scratch();
    config.method.warmup_iterations = 100;
    config.method.ema_period = 5;
    config.method.ema_start = EmaStart::Zero;
    config.method.edge_alignment = false;
    config.method.name = Method::Both;
    config.method.contrast = vec![ContrastTerm::r1(), ContrastTerm { least_vectors: 3, ..ContrastTerm::r4() }];
    (config.optimizer.lr_encoder, config.optimizer.lr_head) = (3e-4, 3e-4);
    config.optimizer.schedule = Schedule::Constant;
    config.optimizer.lr_floor = 1e-6;
    config.data.sides = Sides::Crop;
    config.data.augment = ColourAugmentation::Brightness;
    config.evaluation.views = Views::One;
    config.evaluation.split_touching = false;
    config.evaluation.calibrate = false;
    config.evaluation.paper_clip = 255;
    config.run = RunSettings { count: Count::Epochs, iterations: 300, batch: 30, validate_every: 5, recalibrate_batches: 0, ..config.run };
    config
}

/// Returns [`paper`] with the values for `MoNuSeg`: slower and stricter pseudo-labels, and colour jitter.
fn paper_monuseg() -> RunConfig {
    let mut config = paper();
    config.method.ema_alpha = 0.1;
    config.method.threshold = 0.95;
    config.data.augment = ColourAugmentation::ColourJitter;
    config.evaluation.paper_clip = 0;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_profiles_have_the_values_of_the_papers_and_their_code() {
        let paper = paper();
        assert_eq!(paper.method.name, Method::Both);
        let (method, optimizer) = (&paper.method, &paper.optimizer);
        assert_eq!((method.ema_alpha, method.threshold, method.pseudo_weight), (0.2, 0.8, 0.5));
        assert_eq!((method.warmup_iterations, method.ema_period, method.ema_start), (100, 5, EmaStart::Zero));
        assert_eq!(method.max_per_class, MaxPerClass::Limit(6000));
        let terms: Vec<_> = method.contrast.iter().map(|t| (t.tap.as_str(), t.delta, t.tau, t.weight, t.least_vectors)).collect();
        assert_eq!(terms, [("block5", 1, 0.3, 0.5, 2), ("block3", 4, 0.1, 10.0, 3)]);
        assert_eq!((method.pair_rule, method.self_pairs, method.reduction), (PairRule::Same, false, Reduction::Sum3));
        assert_eq!(
            (method.scope, method.block_rule, method.label_source),
            (Scope::Batch, BlockRule::All16, LabelSource::PseudoAndScribble)
        );
        assert_eq!((optimizer.lr_encoder, optimizer.lr_decoder, optimizer.lr_head, optimizer.weight_decay), (3e-4, 3e-3, 3e-4, 5e-5));
        assert_eq!(optimizer.schedule, Schedule::Constant);
        assert_eq!((paper.run.count, paper.run.batch, paper.run.crop), (Count::Epochs, 30, 256));
        assert_eq!((paper.data.sides, paper.data.augment, paper.data.folds), (Sides::Crop, ColourAugmentation::Brightness, 5));
        assert_eq!((paper.data.validation, paper.run.recalibrate_batches, paper.evaluation.paper_clip), (Validation::Masks, 0, 255));
        let monuseg = paper_monuseg();
        assert_eq!(
            (monuseg.method.ema_alpha, monuseg.method.threshold, monuseg.data.augment),
            (0.1, 0.95, ColourAugmentation::ColourJitter)
        );
    }

    #[test]
    fn default_differs_from_scratch_only_in_the_network_and_its_initial_weights() {
        let changed = scratch().differences(&default_profile());
        let keys: Vec<&str> = changed.iter().map(|change| change.split(' ').next().unwrap()).collect();
        assert_eq!(keys, ["network.decoder_channels", "network.encoder", "optimizer.lr_encoder", "run.init"], "{changed:?}");
    }
}
