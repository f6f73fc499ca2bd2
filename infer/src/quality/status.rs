//! Cells to a light.

use serde::{Deserialize, Serialize};

use super::grid_tile::Figures;

/// From what value on a cell is amber, and red.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Amber from here on.
    pub amber: f64,
    /// Red from here on.
    pub red: f64,
}

/// Mean entropy in bits above that of the model's golden tiles, upwards: how sure a model is, its training decides.
pub const ENTROPY: Limits = Limits { amber: 0.25, red: 0.45 };
/// The mean entropy that is expected of a model without golden tiles.
pub const USUAL_ENTROPY: f64 = 0.15;
/// Focus, downwards. On H&E at 0.5 µm per pixel 99 % of cells in focus lie above 0.07; blurred by a Gaussian of 1.5 px half lie below 0.03.
pub const FOCUS: Limits = Limits { amber: 0.06, red: 0.02 };
/// Distance of the colour in deviations, upwards.
pub const STAIN: Limits = Limits { amber: 3.0, red: 5.0 };
/// The share of judged cells that are amber or red from which on the slide is amber, and the share of red ones from which on it is red.
pub const SLIDE: Limits = Limits { amber: 0.2, red: 0.2 };

/// How good something looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QcStatus {
    /// As expected.
    Green,
    /// To be looked at.
    Amber,
    /// Not to be trusted without a look.
    Red,
}

impl Limits {
    fn above(self, value: f64) -> Self {
        Self { amber: value + self.amber, red: value + self.red }
    }

    fn upwards(self, value: f64) -> QcStatus {
        if value >= self.red {
            QcStatus::Red
        } else if value >= self.amber {
            QcStatus::Amber
        } else {
            QcStatus::Green
        }
    }

    fn downwards(self, value: f64) -> QcStatus {
        Limits { amber: -self.amber, red: -self.red }.upwards(-value)
    }
}

/// Cells of each light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    /// As expected.
    pub green: u64,
    /// To be looked at.
    pub amber: u64,
    /// Not to be trusted without a look.
    pub red: u64,
}

impl Cells {
    fn add(&mut self, light: QcStatus) {
        *match light {
            QcStatus::Green => &mut self.green,
            QcStatus::Amber => &mut self.amber,
            QcStatus::Red => &mut self.red,
        } += 1;
    }

    fn light(&self) -> QcStatus {
        let share = |cells: u64| cells as f64 / (self.green + self.amber + self.red).max(1) as f64;
        if share(self.red) >= SLIDE.red {
            QcStatus::Red
        } else if share(self.amber + self.red) >= SLIDE.amber {
            QcStatus::Amber
        } else {
            QcStatus::Green
        }
    }
}

/// Cells of each light by one figure, and its mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The light of the slide by this figure alone.
    pub light: QcStatus,
    /// Cells for which it is known.
    pub cells: Cells,
    /// Its mean over them; `None`: there are none.
    pub mean: Option<f64>,
    /// The limits of a cell.
    pub limits: Limits,
}

/// What the summary says of quality.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The worst light of the figures.
    pub light: QcStatus,
    /// Shares of cells that make the slide amber (amber and red cells) and red (red cells).
    pub slide_limits: Limits,
    /// Side of a cell in pixels at the model's scale.
    pub cell_px: usize,
    /// Cells by the worst of their figures.
    pub cells: Cells,
    /// Mean entropy of the probabilities in bits.
    pub entropy: Figure,
    /// Variance of the Laplacian over the variance of grey values.
    pub focus: Figure,
    /// Deviations from the training images' colours; `None`: unknown, the model card does not tell them.
    pub stain: Option<Figure>,
}

impl Facts {
    /// What is not green, in words; empty where all is.
    pub fn doubts(&self) -> String {
        let figures = [("entropy", Some(&self.entropy)), ("focus", Some(&self.focus)), ("colour", self.stain.as_ref())];
        let doubts = figures.into_iter().filter_map(|(name, figure)| figure.map(|figure| (name, figure.light)));
        let words = doubts.filter(|(_, light)| *light != QcStatus::Green);
        words.map(|(name, light)| format!("{name} {}", if light == QcStatus::Red { "red" } else { "amber" })).collect::<Vec<_>>().join(", ")
    }
}

/// Cells counted so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    entropy_limits: Limits,
    all: Cells,
    entropy: Count,
    focus: Count,
    stain: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    cells: Cells,
    sum: f64,
}

impl Count {
    fn add(&mut self, value: f64, light: QcStatus) -> QcStatus {
        self.sum += value;
        self.cells.add(light);
        light
    }

    fn figure(&self, limits: Limits) -> Figure {
        let Cells { green, amber, red } = self.cells;
        let known = green + amber + red;
        let mean = (known > 0).then(|| self.sum / known as f64);
        Figure { light: self.cells.light(), cells: self.cells, mean, limits }
    }
}

impl Counts {
    /// None yet, for a model with so much entropy on its golden tiles.
    pub(super) fn new(expected_entropy: Option<f64>) -> Self {
        let entropy_limits = ENTROPY.above(expected_entropy.unwrap_or(USUAL_ENTROPY));
        Self { entropy_limits, all: Cells::default(), entropy: Count::default(), focus: Count::default(), stain: Count::default() }
    }

    /// Adds a cell; to be called in one order, for means are sums of floats.
    pub(super) fn add(&mut self, figures: &Figures) {
        let entropy = self.entropy.add(figures.entropy, self.entropy_limits.upwards(figures.entropy));
        let focus = figures.focus.map(|v| self.focus.add(v, FOCUS.downwards(v)));
        let stain = figures.stain.map(|v| self.stain.add(v, STAIN.upwards(v)));
        let worst = [Some(entropy), focus, stain].into_iter().flatten().max();
        self.all.add(worst.unwrap_or(entropy));
    }

    pub(super) fn facts(&self, stain_is_known: bool) -> Facts {
        let (entropy, focus) = (self.entropy.figure(self.entropy_limits), self.focus.figure(FOCUS));
        let stain = stain_is_known.then(|| self.stain.figure(STAIN));
        let light = entropy.light.max(focus.light).max(stain.map_or(QcStatus::Green, |stain| stain.light));
        Facts { light, slide_limits: SLIDE, cell_px: models::colour::GRID_TILE, cells: self.all, entropy, focus, stain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_cells_decides_and_what_is_not_known_does_not_count() {
        let facts = |red: usize, amber: usize, stain: Option<f64>| {
            let mut counts = Counts::new(None);
            for i in 0..100 {
                let focus = if i < red {
                    Some(0.01)
                } else if i < red + amber {
                    Some(0.05)
                } else {
                    None
                };
                counts.add(&Figures { entropy: 0.1, focus: focus.or((i % 2 == 0).then_some(1.0)), stain });
            }
            counts.facts(stain.is_some())
        };
        assert_eq!(facts(0, 0, None).light, QcStatus::Green);
        assert_eq!(facts(0, 9, Some(1.0)).light, QcStatus::Green);
        assert_eq!(facts(0, 20, None).light, QcStatus::Amber);
        assert_eq!((facts(20, 0, None).light, facts(20, 0, None).cells.red), (QcStatus::Red, 20));
        assert_eq!((facts(0, 0, Some(4.0)).light, facts(0, 0, Some(9.0)).light), (QcStatus::Amber, QcStatus::Red));
        assert!(facts(0, 0, None).stain.is_none() && facts(0, 0, None).doubts().is_empty());
        let unsure = |expected| {
            let mut counts = Counts::new(expected);
            counts.add(&Figures { entropy: 0.5, focus: None, stain: None });
            counts.facts(false).light
        };
        assert_eq!([None, Some(0.0), Some(0.3)].map(unsure), [QcStatus::Amber, QcStatus::Red, QcStatus::Green]);
        assert_eq!(facts(20, 0, Some(4.0)).doubts(), "focus red, colour amber");
    }
}
