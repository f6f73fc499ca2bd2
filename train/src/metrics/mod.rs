//! Segmentation metrics. tests/data/golden/README.md has the definitions, the rules for ties and the values of empty cases.

pub mod instance;
mod overlap;
pub mod paired;
pub mod paper;
pub mod pseudo;
pub mod summary;

use models::decode::{Decoding, instances_of_mask};
use models::plane::Plane;
use serde::{Deserialize, Serialize};

pub use overlap::Overlaps;
pub use summary::{ScoreTable, Summary, summarise};

/// Pixel counts of the overlap of two masks, which add up over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pixels {
    /// Number of pixels in both masks.
    pub shared: u64,
    /// Number of pixels in at least one of the masks.
    pub union: u64,
    /// Sum of the areas of the masks.
    pub sum: u64,
}

impl Pixels {
    /// Counts the pixels of two masks of the same size.
    pub fn of(truth: impl Iterator<Item = bool>, predicted: impl Iterator<Item = bool>) -> Self {
        truth.zip(predicted).fold(Self::default(), |mut pixels, (t, p)| {
            pixels.shared += u64::from(t && p);
            pixels.union += u64::from(t || p);
            pixels.sum += u64::from(t) + u64::from(p);
            pixels
        })
    }

    /// Returns the intersection over union; 1 if both masks are empty.
    pub fn iou(self) -> f64 {
        if self.union == 0 { 1.0 } else { self.shared as f64 / self.union as f64 }
    }

    /// Returns the Dice coefficient; 1 if both masks are empty.
    pub fn dice(self) -> f64 {
        if self.sum == 0 { 1.0 } else { 2.0 * self.shared as f64 / self.sum as f64 }
    }
}

impl std::ops::AddAssign for Pixels {
    fn add_assign(&mut self, other: Self) {
        self.shared += other.shared;
        self.union += other.union;
        self.sum += other.sum;
    }
}

/// All scores of one image, each from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Pixel counts of the masks, for micro-averages over images.
    pub pixels: Pixels,
    /// Semantic intersection over union.
    pub iou: f64,
    /// Semantic Dice coefficient.
    pub dice: f64,
    /// Mean Dice of nuclei, see [`instance::mdice`].
    pub mdice: f64,
    /// Mean Dice of nuclei as the papers' code computes it, for comparison with their tables; see [`paper::mdice_paper`].
    pub mdice_paper: f64,
    /// Symmetric best Dice.
    pub sbd: f64,
    /// Aggregated Jaccard index.
    pub aji: f64,
    /// Panoptic quality.
    pub pq: f64,
    /// Detection quality: F1 at `IoU` > .5.
    pub dq: f64,
    /// Segmentation quality: mean `IoU` of matched nuclei.
    pub sq: f64,
    /// F1 at `IoU` > .5, equal to `dq`.
    pub f1: f64,
    /// `TP / (TP + FP + FN)` at `IoU` > .5.
    pub ap_50: f64,
    /// Mean of `TP / (TP + FP + FN)` over the thresholds .50, .55, ..., .95.
    pub ap: f64,
}

impl Scores {
    /// Scores predicted instances, whose union is the predicted mask. For `paper_clip` see [`paper::mdice_paper`].
    pub fn of_instances(truth: &Plane<u32>, predicted: &Plane<u32>, paper_clip: Option<u32>) -> Self {
        Self::of(truth, &predicted.map(|&id| id > 0), predicted, paper_clip)
    }

    /// Scores a predicted mask: the semantic scores on its pixels, the instance scores on the instances that `decoding` extracts.
    pub fn of_mask(truth: &Plane<u32>, mask: &Plane<bool>, decoding: &Decoding, paper_clip: Option<u32>) -> Self {
        Self::of(truth, mask, &instances_of_mask(mask, decoding), paper_clip)
    }

    fn of(truth: &Plane<u32>, mask: &Plane<bool>, predicted: &Plane<u32>, paper_clip: Option<u32>) -> Self {
        let pixels = Pixels::of(truth.data.iter().map(|&id| id > 0), mask.data.iter().copied());
        let overlaps = Overlaps::new(truth, predicted);
        let instance::Panoptic { pq, dq, sq } = instance::panoptic(&overlaps);
        let ap = instance::average_precision(&overlaps);
        Self {
            pixels,
            iou: pixels.iou(),
            dice: pixels.dice(),
            mdice: instance::mdice(&overlaps),
            mdice_paper: paper::mdice_paper(truth, mask, paper_clip),
            sbd: instance::sbd(&overlaps),
            aji: instance::aji(&overlaps),
            pq,
            dq,
            sq,
            f1: dq,
            ap_50: ap[0],
            ap: ap.iter().sum::<f64>() / ap.len() as f64,
        }
    }

    /// Returns names and values in the order of tables and files.
    pub fn named(&self) -> [(&'static str, f64); 12] {
        [
            ("iou", self.iou),
            ("dice", self.dice),
            ("mdice", self.mdice),
            ("mdice_paper", self.mdice_paper),
            ("sbd", self.sbd),
            ("aji", self.aji),
            ("pq", self.pq),
            ("dq", self.dq),
            ("sq", self.sq),
            ("f1@.5", self.f1),
            ("ap@.5", self.ap_50),
            ("ap@.5:.95", self.ap),
        ]
    }
}
