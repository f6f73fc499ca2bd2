//! Nuclei handed to a callback as soon as they are complete, without files.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use support::console::Progress;
use support::{Error, Result, bail, threads};

use super::Options;
use super::plan::Plan;
use crate::instances::{Extractor, FinishedInstances};
use crate::model::Model;
use crate::network::Network;
use crate::output::Nucleus;
use crate::output::writers::Source;
use crate::pipeline::Band;
use crate::quality::Quality;
use crate::timing::StageTimings;
use slides::{LostTile, Slide};

/// Outcome of a visit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Visit {
    /// Number of nuclei that the callback got.
    pub nuclei: u64,
    /// Pixels at the model's scale that were analysed.
    pub analysed_px: u64,
    /// Analysed area in mm²; `None` where the scale is not known.
    pub analysed_mm2: Option<f64>,
    /// Fraction of the analysed area that could not be read.
    pub lost_fraction: f64,
    /// Tiles that could not be read and were taken as background.
    pub lost_tiles: Vec<LostTile>,
}

/// Finds the nuclei of an open slide and calls `each` for every nucleus, in the order of [`super::segment()`]'s files.
///
/// Nothing is written; `options.out`, `extra`, `outlines` and `resume` have no effect.
///
/// # Errors
/// The first error of the slide, of a network or of `each`, which ends the visit, or a slide that changed meanwhile.
pub fn visit(
    slide: &dyn Slide,
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    progress: &dyn Progress,
    mut each: impl FnMut(&Nucleus) -> Result<()>,
) -> Result<Visit> {
    let Some(network) = networks.first() else { bail!("segmenting {}: no network was given", slide.facts().path.display()) };
    let timings = StageTimings::default();
    let source = Source { slide_sha256: "", model_sha256: &model.sha256, class: model.class()? };
    let plan = Plan::new(slide, model, &source, network.windows(), options, &timings)?;
    let mut nuclei = 0;
    plan.finished_instances(model, networks, progress, |finished| {
        for instance in &finished.instances {
            nuclei += 1;
            each(&Nucleus::new(instance, &plan.frame))?;
        }
        Ok(())
    })?;
    slide.facts().contents.check()?;
    let areas = plan.areas(plan.lost_tiles());
    Ok(Visit {
        nuclei,
        analysed_px: areas.analysed_px,
        analysed_mm2: areas.analysed_mm2,
        lost_fraction: areas.lost_share,
        lost_tiles: areas.lost_tiles,
    })
}

impl Plan<'_> {
    /// Runs all bands through the networks and the extractor; `take` gets finished instances on the calling thread.
    fn finished_instances(
        &self,
        model: &Model,
        networks: &mut [Box<dyn Network>],
        progress: &dyn Progress,
        mut take: impl FnMut(FinishedInstances) -> Result<()>,
    ) -> Result<()> {
        let [width, height] = self.scale.size_px;
        let mut extractor = Extractor::new(width, height, &model.card.decoding);
        let mut quality = Quality::new(width, model.card.training.colours.clone(), self.expected_entropy);
        let all_bands: Vec<usize> = (0..self.grid.bands().len()).collect();
        let mut taken = Ok(());
        let computed = thread::scope(|scope| {
            let (bands_in, bands) = sync_channel::<Arc<Band>>(1);
            let computing = threads::start(scope, || {
                let bands_in = bands_in;
                let send = |band| bands_in.send(Arc::new(band)).map_err(|_| Error::new("the caller stopped"));
                self.run(networks, &all_bands, progress, &String::new, send)
            })?;
            let cutting = self.cut_into_strips(&bands, &mut quality, |strip| {
                taken = take(extractor.push(&strip.probabilities, &strip.colours));
                taken.is_ok()
            });
            drop(bands);
            let computed = threads::join(computing);
            cutting.and(computed)
        });
        taken?;
        computed?;
        take(extractor.finish())
    }
}
