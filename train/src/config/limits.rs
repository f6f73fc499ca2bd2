//! Range checks of configuration values.

use std::collections::BTreeSet;

use models::unet::{BLOCK_TAPS, unet};
use support::{Error, Result, bail};

use super::choice::unknown;
use super::{ContrastTerm, Count, DataConfig, MaxPerClass, Method, MethodConfig, OptimizerConfig, RunConfig, RunSettings};
use crate::scribble_values::UNLABELLED;

impl RunConfig {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// The first value out of range, with its key, the allowed range and the value found.
    pub fn check(&self) -> Result<()> {
        self.data.check()?;
        self.check_network()?;
        self.method.check()?;
        self.optimizer.check()?;
        within("evaluation.threshold", self.evaluation.threshold, 0.0, 1.0)?;
        if self.optimizer.weight_average > 0.0 && self.run.recalibrate_batches == 0 {
            bail!("optimizer.weight_average: averaged weights have no running statistics of their own"; hint: "set run.recalibrate_batches = 20, or optimizer.weight_average = 0");
        }
        self.run.check(unet(&self.network).stride())
    }

    fn check_network(&self) -> Result<()> {
        let network = &self.network;
        if network.encoder_width == 0 || network.encoder_width % 2 == 1 || network.encoder_width > 1024 {
            bail!("network.encoder_width: expected an even number from 2 to 1024, found {}", network.encoder_width; hint: "64 is the published width of both encoders");
        }
        if network.decoder_channels.iter().any(|&c| c == 0 || c > 4096) {
            bail!("network.decoder_channels: expected five numbers from 1 to 4096, found {:?}", network.decoder_channels);
        }
        if network.classes != 2 {
            bail!("network.classes: expected 2 (background and nucleus), found {}", network.classes);
        }
        if ![1, 3].contains(&network.head_kernel) {
            bail!("network.head_kernel: expected 1 or 3, found {}", network.head_kernel);
        }
        Ok(())
    }
}

impl DataConfig {
    fn check(&self) -> Result<()> {
        if let Some(scale) = self.microns_per_pixel {
            within("data.microns_per_pixel", scale, 0.01, 100.0)?;
        }
        within("data.gamma", self.gamma, 0.0, 3.0)?;
        within("data.zoom", self.zoom, 0.0, 0.9)?;
        within("data.validation_share", self.validation_share, 0.0, 0.9)?;
        within("data.geojson.stroke_width_px", self.geojson.stroke_width_px, 0.1, 1000.0)?;
        within("data.imagej.stroke_width_px", self.imagej.stroke_width_px, 0.1, 1000.0)?;
        if let Some(group) = self.imagej.background_groups.iter().find(|group| self.imagej.foreground_groups.contains(group)) {
            bail!("data.imagej: group {group} means both background and nucleus"; hint: "list each group in only one of background_groups and foreground_groups");
        }
        within("data.folds", self.folds as f64, 2.0, 1e6)?;
        if self.fold.is_some_and(|fold| fold >= self.folds) {
            bail!("data.fold: expected 0 to {}, found {}", self.folds - 1, self.fold.unwrap_or_default(); hint: "folds are counted from 0; their number is data.folds");
        }
        let map = &self.label_map;
        let mut seen = BTreeSet::new();
        for value in map.background.iter().chain(&map.foreground).chain(&map.unlabelled) {
            if !seen.insert(value) {
                bail!("data.label_map: the value {value} is listed twice"; hint: "each value on disk has one meaning: background, foreground or unlabelled");
            }
        }
        if map.background.is_empty() || map.foreground.is_empty() {
            bail!("data.label_map: expected at least one background and one foreground value, found {map:?}"; hint: "for files written by train: background = [0], foreground = [1], unlabelled = [{UNLABELLED}]; in napari, ilastik and Labkit 0 is unlabelled");
        }
        Ok(())
    }
}

impl MethodConfig {
    fn check(&self) -> Result<()> {
        within("method.ema_alpha", self.ema_alpha, 1e-6, 1.0)?;
        within("method.threshold", self.threshold, 0.5, 1.0)?;
        within("method.pseudo_weight", self.pseudo_weight, 0.0, 1e6)?;
        at_least("method.ema_period", self.ema_period, 1)?;
        if let MaxPerClass::Limit(limit) = self.max_per_class {
            at_least("method.max_per_class", limit as u64, 2)?;
        }
        self.contrast.iter().try_for_each(ContrastTerm::check)?;
        let heads: BTreeSet<_> = self.contrast.iter().map(|term| &term.head).collect();
        if heads.len() < self.contrast.len() {
            bail!("method.contrast: two terms have the same head"; hint: "give each term a different head name");
        }
        if matches!(self.name, Method::R1 | Method::R4 | Method::Both) && self.active_terms().is_empty() {
            bail!("method.name is {:?}, but method.contrast has no term for it", self.name.name(); hint: "add a term with head = {:?}, or choose s2l", self.name.name());
        }
        Ok(())
    }
}

impl ContrastTerm {
    fn check(&self) -> Result<()> {
        let Some(block) = BLOCK_TAPS.iter().position(|tap| *tap == self.tap) else {
            return Err(unknown(&self.tap, &BLOCK_TAPS).during("method.contrast.tap"));
        };
        let stride = 1 << (BLOCK_TAPS.len() - 1 - block);
        if self.delta != stride {
            bail!("method.contrast.delta: the tap {} has one vector per {stride}x{stride} pixels, found delta {}", self.tap, self.delta; hint: "set delta = {stride}");
        }
        if self.head.is_empty() || !self.head.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            bail!("method.contrast.head: expected letters, digits and _, found {:?}", self.head);
        }
        within("method.contrast.tau", self.tau, 1e-3, 1e3)?;
        within("method.contrast.weight", self.weight, 0.0, 1e6)?;
        within("method.contrast.least_vectors", self.least_vectors as f64, 2.0, 1e9)?;
        within("method.contrast.hidden", self.hidden as f64, 1.0, 4096.0)?;
        within("method.contrast.outputs", self.outputs as f64, 1.0, 4096.0)
    }
}

impl OptimizerConfig {
    fn check(&self) -> Result<()> {
        for (name, rate) in [("lr_encoder", self.lr_encoder), ("lr_decoder", self.lr_decoder), ("lr_head", self.lr_head)] {
            within(&format!("optimizer.{name}"), rate, 0.0, 1.0)?;
        }
        within("optimizer.weight_decay", self.weight_decay, 0.0, 1.0)?;
        within("optimizer.lr_floor", self.lr_floor, 0.0, 1.0)?;
        within("optimizer.poly_power", self.poly_power, 0.01, 100.0)?;
        within("optimizer.weight_average", self.weight_average, 0.0, 0.99999)?;
        at_least("optimizer.restart_first", self.restart_first, 1)?;
        at_least("optimizer.restart_factor", self.restart_factor, 1)?;
        for group in &self.groups {
            within("optimizer.groups.lr", group.lr.unwrap_or(0.0), 0.0, 1.0)?;
            within("optimizer.groups.weight_decay", group.weight_decay.unwrap_or(0.0), 0.0, 1.0)?;
        }
        Ok(())
    }
}

impl RunSettings {
    fn check(&self, stride: usize) -> Result<()> {
        if self.seed > i64::MAX as u64 {
            bail!("run.seed: expected a number from 0 to {}, found {}", i64::MAX, self.seed);
        }
        at_least("run.iterations", self.iterations, 1)?;
        at_least("run.batch", self.batch as u64, 1)?;
        if self.crop == 0 || !self.crop.is_multiple_of(stride) || self.crop > 8192 {
            bail!("run.crop: expected a multiple of {stride} up to 8192, found {}", self.crop; hint: "256 is the papers' value");
        }
        self.check_devices()?;
        within("run.prefetch", self.prefetch as f64, 0.0, 64.0)?;
        within("run.save_minutes", self.save_minutes, 1e-3, 1e6)?;
        match self.minutes {
            Some(minutes) => within("run.minutes", minutes, 1e-3, 1e6),
            None => Ok(()),
        }
    }
}

impl RunSettings {
    fn check_devices(&self) -> Result<()> {
        within("run.devices", self.devices as f64, 1.0, 64.0)?;
        if !self.batch.is_multiple_of(self.devices) {
            bail!("run.devices: expected a divisor of run.batch ({}), found {}", self.batch, self.devices; hint: "all GPUs process the same number of images of a batch: set run.batch = {}", self.batch.next_multiple_of(self.devices));
        }
        if self.devices > 1 && self.count == Count::Epochs {
            bail!("run.devices: with run.count = epochs the last batch of an epoch is smaller, and {} GPUs cannot share it evenly", self.devices; hint: "set run.count = iterations, or run.devices = 1");
        }
        Ok(())
    }
}

/// Checks that `value` is in `low..=high`; NaN is outside every range.
fn within(key: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(Error::new(format!("{key}: expected {low} to {high}, found {value}"))) }
}

/// Checks that `value` is at least `low`.
fn at_least(key: &str, value: u64, low: u64) -> Result<()> {
    if value >= low { Ok(()) } else { Err(Error::new(format!("{key}: expected {low} or more, found {value}"))) }
}

#[cfg(test)]
mod tests {
    use crate::config::{Count, Profile, RunConfig};

    #[test]
    fn every_profile_passes_the_checks() {
        for profile in Profile::ALL {
            profile.config().check().unwrap();
        }
    }

    #[test]
    fn the_error_names_the_key_that_is_out_of_range() {
        for (set, part) in [
            ("method.threshold=0.4", "method.threshold"),
            ("method.ema_alpha=nan", "method.ema_alpha"),
            ("run.crop=250", "multiple of 32"),
            ("run.batch=0", "run.batch"),
            ("run.minutes=-1", "run.minutes"),
            ("data.microns_per_pixel=0.0", "data.microns_per_pixel"),
            ("data.label_map.foreground=[0]", "is listed twice"),
            ("data.label_map.background=[]", "at least one background"),
            ("network.encoder_width=63", "network.encoder_width"),
            ("network.classes=3", "network.classes"),
            ("data.folds=1", "data.folds"),
            ("data.gamma=-1", "data.gamma"),
            ("data.zoom=1.0", "data.zoom"),
            ("data.fold=5", "expected 0 to 4, found 5"),
            ("data.sides=croop", "did you mean \"crop\""),
            ("data.imagej={stroke_width_px=1.0,background=[],foreground=[],background_groups=[1],foreground_groups=[1]}", "group 1"),
            ("optimizer.weight_average=1.0", "optimizer.weight_average"),
            ("optimizer.restart_first=0", "optimizer.restart_first"),
            ("optimizer.schedule=cosine_restart", "did you mean \"cosine_restarts\""),
            ("optimizer.groups=[{prefix='a',lr=7.0}]", "optimizer.groups.lr"),
            ("run.save_minutes=0", "run.save_minutes"),
            ("run.prefetch=65", "run.prefetch"),
            ("run.devices=0", "run.devices"),
            ("run.devices=3", "run.batch = 6"),
            ("run={devices=2,count='epochs'}", "run.count = iterations"),
            ("run.precision=bf_16", "did you mean \"bf16\""),
            ("evaluation.threshold=1.5", "evaluation.threshold"),
            ("evaluation.views=four", "one, flips, all"),
            ("method.contrast=[]", "no term for it"),
            ("method.contrast=[{tap='block9',delta=1,tau=1.0,weight=1.0,hidden=1,outputs=1,head='a'}]", "block5"),
            ("method.contrast=[{tap='block4',delta=1,tau=1.0,weight=1.0,hidden=1,outputs=1,head='a'}]", "delta"),
        ] {
            let error = RunConfig::from_toml("method.name = 'both'", Profile::Scratch, &[set]).unwrap_err();
            assert!(format!("{error:?}").contains(part), "{set}: {error:?}");
        }
    }

    #[test]
    fn averaged_weights_require_recalibrated_statistics() {
        let sets = ["optimizer.weight_average=0.99", "run.recalibrate_batches=0"];
        let error = RunConfig::from_toml("", Profile::Scratch, &sets).unwrap_err();
        assert!(error.to_string().contains("statistics of their own") && error.hint_text().is_some(), "{error:?}");
        RunConfig::from_toml("", Profile::Scratch, &sets[..1]).unwrap();
    }

    #[test]
    fn an_epoch_includes_the_last_partial_batch() {
        let run = Profile::Paper.config().in_iterations(325);
        assert_eq!((run.run.count, run.method.warmup_iterations, run.method.ema_period), (Count::Iterations, 1100, 55));
        let few = Profile::Paper.config().in_iterations(10);
        assert_eq!(few.method.warmup_iterations, 100);
    }
}
