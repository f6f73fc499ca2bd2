//! Limits of the quality measures, and the status of grid tiles and of the slide.

use serde::{Deserialize, Serialize};

use super::grid_tile::Measures;

/// Values of a measure from which on a grid tile is amber, and red.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// First amber value.
    pub amber: f64,
    /// First red value.
    pub red: f64,
}

/// Upper limits of the mean entropy in bits, relative to the model's mean on its golden tiles, because well-trained models differ in
/// confidence.
pub const ENTROPY: Limits = Limits { amber: 0.25, red: 0.45 };
/// Expected mean entropy in bits of a model without golden tiles.
pub const DEFAULT_ENTROPY: f64 = 0.15;
/// Lower limits of focus. On H&E at 0.5 µm per pixel, 99 % of tiles in focus lie above 0.07; half of the tiles blurred by a Gaussian with a
/// standard deviation of 1.5 px lie below 0.03.
pub const FOCUS: Limits = Limits { amber: 0.06, red: 0.02 };
/// Upper limits of the stain distance in standard deviations.
pub const STAIN: Limits = Limits { amber: 3.0, red: 5.0 };
/// Limits of a slide: the fraction of amber and red tiles from which on the slide is amber, and of red tiles from which on it is red.
pub const SLIDE: Limits = Limits { amber: 0.2, red: 0.2 };

/// Quality status of a grid tile or of a slide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QcStatus {
    /// As expected.
    Green,
    /// A person should review it.
    Amber,
    /// Not trustworthy without review.
    Red,
}

impl Limits {
    /// Returns the limits relative to `value`.
    fn above(self, value: f64) -> Self {
        Self { amber: value + self.amber, red: value + self.red }
    }

    /// Returns the status for upper limits.
    fn status_above(self, value: f64) -> QcStatus {
        if value >= self.red {
            QcStatus::Red
        } else if value >= self.amber {
            QcStatus::Amber
        } else {
            QcStatus::Green
        }
    }

    /// Returns the status for lower limits.
    fn status_below(self, value: f64) -> QcStatus {
        Limits { amber: -self.amber, red: -self.red }.status_above(-value)
    }
}

/// Number of grid tiles of each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCounts {
    /// Green tiles.
    pub green: u64,
    /// Amber tiles.
    pub amber: u64,
    /// Red tiles.
    pub red: u64,
}

impl StatusCounts {
    fn add(&mut self, status: QcStatus) {
        *match status {
            QcStatus::Green => &mut self.green,
            QcStatus::Amber => &mut self.amber,
            QcStatus::Red => &mut self.red,
        } += 1;
    }

    /// Returns the status of a slide with these tiles.
    fn status(&self) -> QcStatus {
        let fraction = |tiles: u64| tiles as f64 / (self.green + self.amber + self.red).max(1) as f64;
        if fraction(self.red) >= SLIDE.red {
            QcStatus::Red
        } else if fraction(self.amber + self.red) >= SLIDE.amber {
            QcStatus::Amber
        } else {
            QcStatus::Green
        }
    }
}

/// Grid tiles by one measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasureFacts {
    /// Status of the slide by this measure alone.
    #[serde(rename = "light")]
    pub status: QcStatus,
    /// Tiles for which the measure is known.
    #[serde(rename = "cells")]
    pub tiles: StatusCounts,
    /// Mean over these tiles; `None` without tiles.
    pub mean: Option<f64>,
    /// Limits of a tile.
    pub limits: Limits,
}

/// Quality of a slide in the summary.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityFacts {
    /// Worst status of the measures.
    #[serde(rename = "light")]
    pub status: QcStatus,
    /// Fractions of tiles from which on the slide is amber (amber and red tiles) and red (red tiles).
    pub slide_limits: Limits,
    /// Side of a grid tile in pixels at the model's scale.
    #[serde(rename = "cell_px")]
    pub tile_px: usize,
    /// Tiles by the worst of their measures.
    #[serde(rename = "cells")]
    pub tiles: StatusCounts,
    /// Mean entropy of the probabilities in bits.
    pub entropy: MeasureFacts,
    /// Variance of the Laplacian over the variance of grey values.
    pub focus: MeasureFacts,
    /// Stain distance to the training images in standard deviations; `None` without colour statistics on the model card.
    pub stain: Option<MeasureFacts>,
}

impl QualityFacts {
    /// Returns the measures that are not green, with their status; empty if all are green.
    pub fn doubts(&self) -> String {
        let named = [("entropy", Some(&self.entropy)), ("focus", Some(&self.focus)), ("colour", self.stain.as_ref())];
        let statuses = named.into_iter().filter_map(|(name, measure)| measure.map(|measure| (name, measure.status)));
        let words = statuses.filter(|(_, status)| *status != QcStatus::Green);
        words
            .map(|(name, status)| format!("{name} {}", if status == QcStatus::Red { "red" } else { "amber" }))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Tally of the grid tiles of a slide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    entropy_limits: Limits,
    all: StatusCounts,
    entropy: MeasureTally,
    focus: MeasureTally,
    stain: MeasureTally,
}

/// Tally of one measure.
#[derive(Clone, Copy, Debug, Default)]
struct MeasureTally {
    tiles: StatusCounts,
    sum: f64,
}

impl MeasureTally {
    fn add(&mut self, value: f64, status: QcStatus) -> QcStatus {
        self.sum += value;
        self.tiles.add(status);
        status
    }

    fn facts_with(&self, limits: Limits) -> MeasureFacts {
        let StatusCounts { green, amber, red } = self.tiles;
        let known = green + amber + red;
        let mean = (known > 0).then(|| self.sum / known as f64);
        MeasureFacts { status: self.tiles.status(), tiles: self.tiles, mean, limits }
    }
}

impl Tally {
    /// Returns an empty tally, with entropy limits relative to the model's mean entropy on its golden tiles in bits.
    pub(super) fn new(expected_entropy: Option<f64>) -> Self {
        let entropy_limits = ENTROPY.above(expected_entropy.unwrap_or(DEFAULT_ENTROPY));
        Self {
            entropy_limits,
            all: StatusCounts::default(),
            entropy: MeasureTally::default(),
            focus: MeasureTally::default(),
            stain: MeasureTally::default(),
        }
    }

    /// Adds a tile. Tiles are added in a fixed order, because means are sums of floats.
    pub(super) fn add(&mut self, measures: &Measures) {
        let entropy = self.entropy.add(measures.entropy, self.entropy_limits.status_above(measures.entropy));
        let focus = measures.focus.map(|v| self.focus.add(v, FOCUS.status_below(v)));
        let stain = measures.stain.map(|v| self.stain.add(v, STAIN.status_above(v)));
        let worst = [Some(entropy), focus, stain].into_iter().flatten().max();
        self.all.add(worst.unwrap_or(entropy));
    }

    pub(super) fn facts(&self, stain_is_known: bool) -> QualityFacts {
        let (entropy, focus) = (self.entropy.facts_with(self.entropy_limits), self.focus.facts_with(FOCUS));
        let stain = stain_is_known.then(|| self.stain.facts_with(STAIN));
        let status = entropy.status.max(focus.status).max(stain.map_or(QcStatus::Green, |stain| stain.status));
        QualityFacts { status, slide_limits: SLIDE, tile_px: models::colour::GRID_TILE, tiles: self.all, entropy, focus, stain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_tiles_decides_and_unknown_measures_do_not_count() {
        let facts = |red: usize, amber: usize, stain: Option<f64>| {
            let mut counts = Tally::new(None);
            for i in 0..100 {
                let focus = if i < red {
                    Some(0.01)
                } else if i < red + amber {
                    Some(0.05)
                } else {
                    None
                };
                counts.add(&Measures { entropy: 0.1, focus: focus.or((i % 2 == 0).then_some(1.0)), stain });
            }
            counts.facts(stain.is_some())
        };
        assert_eq!(facts(0, 0, None).status, QcStatus::Green);
        assert_eq!(facts(0, 9, Some(1.0)).status, QcStatus::Green);
        assert_eq!(facts(0, 20, None).status, QcStatus::Amber);
        assert_eq!((facts(20, 0, None).status, facts(20, 0, None).tiles.red), (QcStatus::Red, 20));
        assert_eq!((facts(0, 0, Some(4.0)).status, facts(0, 0, Some(9.0)).status), (QcStatus::Amber, QcStatus::Red));
        assert!(facts(0, 0, None).stain.is_none() && facts(0, 0, None).doubts().is_empty());
        let unsure = |expected| {
            let mut counts = Tally::new(expected);
            counts.add(&Measures { entropy: 0.5, focus: None, stain: None });
            counts.facts(false).status
        };
        assert_eq!([None, Some(0.0), Some(0.3)].map(unsure), [QcStatus::Amber, QcStatus::Red, QcStatus::Green]);
        assert_eq!(facts(20, 0, Some(4.0)).doubts(), "focus red, colour amber");
    }
}
