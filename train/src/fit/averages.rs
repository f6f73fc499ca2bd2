//! The averaged predictions of a run: their updates, and how good the pseudo-labels are that come of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::plane::Plane;
use rayon::prelude::*;
use support::Result;

use super::batches::Batches;
use super::ranks::{Others, Shared};
use super::state::State;
use crate::alignment::{Contours, Edges, best_threshold, shift};
use crate::metrics::pseudo::Confusion;

impl State<'_> {
    /// Moves every average towards the network's present prediction, all or none: `false` if `stop` came before the end.
    pub fn update_averages(&mut self, batches: &Batches, shared: Shared, others: &Others) -> Result<bool> {
        if !self.recalibrate(batches, shared.stop)? {
            return Ok(false);
        }
        let Some(mut predictions) = others.predictions(shared, self.trainer.evaluated(), &self.training)? else { return Ok(false) };
        if self.config.method.edge_alignment {
            self.align(&mut predictions);
        }
        let rule = self.trainer.pseudo_labels();
        for (average, prediction) in Arc::make_mut(&mut self.averages).iter_mut().zip(&predictions) {
            rule.update(&mut average.data, prediction);
        }
        self.progress.updates += 1;
        self.progress.averaged = self.progress.iteration;
        self.note_confusion();
        Ok(true)
    }

    /// Shifts all predictions by one threshold, so that contours of .5 lie on edges.
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
        tracing::debug!("after {} iterations contours of {threshold:.2} lie on edges", self.progress.iteration);
        predictions.par_iter_mut().for_each(|p| shift(p, threshold));
    }

    /// Writes down how far the pseudo-labels agree with masks, where there are any.
    fn note_confusion(&mut self) {
        let rule = self.trainer.pseudo_labels();
        let mut confusion = Confusion::default();
        for (average, &i) in self.averages.iter().zip(&self.training) {
            let sample = &self.dataset.samples[i];
            if let Some(truth) = &sample.labels {
                confusion.add(truth, &sample.scribble, &rule.labels(&average.data, &sample.scribble.data, self.progress.updates));
            }
        }
        if confusion != Confusion::default() {
            self.log.pseudo_labelled(self.progress.iteration, confusion);
        }
    }

    /// The averages by the ids of their images.
    pub(super) fn averages_by_id(&self) -> BTreeMap<String, Vec<f32>> {
        let pairs = self.averages.iter().zip(&self.training);
        pairs.map(|(average, &i)| (self.dataset.samples[i].id.clone(), average.data.clone())).collect()
    }
}
