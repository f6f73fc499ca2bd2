//! Updates of the averaged predictions from which pseudo-labels are made, and the agreement of the pseudo-labels with masks.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::plane::Plane;
use rayon::prelude::*;
use support::Result;

use super::batches::Batches;
use super::ranks::{OtherRanks, RunContext};
use super::state::State;
use crate::alignment::{Contours, Edges, best_threshold, shift};
use crate::metrics::pseudo::Confusion;

impl State<'_> {
    /// Updates every averaged prediction with the network's current prediction, all or none; returns `false` if `stop` became true before
    /// the end.
    pub fn update_averages(&mut self, batches: &Batches, run: RunContext, others: &OtherRanks) -> Result<bool> {
        if !self.recalibrate(batches, run.stop)? {
            return Ok(false);
        }
        let Some(mut predictions) = others.predictions(run, self.trainer.evaluated(), &self.training)? else { return Ok(false) };
        if self.config.method.edge_alignment {
            self.align(&mut predictions);
        }
        let rule = self.trainer.pseudo_labels();
        for (average, prediction) in Arc::make_mut(&mut self.averages).iter_mut().zip(&predictions) {
            rule.update(&mut average.data, prediction);
        }
        self.progress.updates += 1;
        self.progress.averaged = self.progress.iteration;
        self.record_confusion();
        Ok(true)
    }

    /// Shifts all predictions by one threshold, so that the contours at 0.5 lie on image edges.
    fn align(&mut self, predictions: &mut [Vec<f32>]) {
        let images = || self.training.par_iter().map(|&i| &self.dataset.samples[i].image);
        if self.edges.is_empty() {
            self.edges = images().map(Edges::of).collect();
        }
        let levels = |values: &[f32]| values.iter().map(|&p| models::decode::quantise(p)).collect();
        let contours: Vec<Contours> = images()
            .zip(predictions.par_iter())
            .zip(&self.edges)
            .map(|((image, p), edges)| Contours::of(&Plane { width: image.width, height: image.height, data: levels(p) }, edges))
            .collect();
        let Some(threshold) = best_threshold(&contours) else { return };
        tracing::debug!("after {} iterations the contours at {threshold:.2} lie on image edges", self.progress.iteration);
        predictions.par_iter_mut().for_each(|p| shift(p, threshold));
    }

    /// Logs the agreement of the pseudo-labels with masks, over the images that have masks.
    fn record_confusion(&mut self) {
        let rule = self.trainer.pseudo_labels();
        let mut confusion = Confusion::default();
        for (average, &i) in self.averages.iter().zip(&self.training) {
            let sample = &self.dataset.samples[i];
            if let Some(truth) = &sample.labels {
                confusion.add(truth, &sample.scribble, &rule.labels(&average.data, &sample.scribble.data, self.progress.updates));
            }
        }
        if confusion != Confusion::default() {
            self.log.push_pseudo_labels(self.progress.iteration, confusion);
        }
    }

    /// Returns copies of the averaged predictions by image id.
    pub(super) fn averages_by_id(&self) -> BTreeMap<String, Vec<f32>> {
        let pairs = self.averages.iter().zip(&self.training);
        pairs.map(|(average, &i)| (self.dataset.samples[i].id.clone(), average.data.clone())).collect()
    }
}
