//! Decoding that `evaluation.calibrate` fits to the validation images: threshold and least area.

use models::decode::Decoding;
use serde::{Deserialize, Serialize};

use crate::config::RunConfig;

/// Threshold and least area of nuclei.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Probability above which a pixel belongs to a nucleus.
    pub threshold: f64,
    /// Area in pixels below which a connected component is dropped.
    pub min_area_px: usize,
}

/// Fitted decoding of the mean over views, used for scores, and of the image as it is, used for slides.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedDecoding {
    /// For the mean over `evaluation.views`: scores are computed with these values.
    #[serde(flatten)]
    pub mean: Level,
    /// For a single view, the image as it is: slides are decoded with these values; `None` takes those of `mean`.
    #[serde(rename = "one")]
    pub single: Option<Level>,
}

impl FittedDecoding {
    /// Returns `config` with the values of the mean over views.
    pub fn put_into(self, config: &RunConfig) -> RunConfig {
        let mut config = config.clone();
        (config.evaluation.threshold, config.evaluation.min_area_px) = (self.mean.threshold, self.mean.min_area_px);
        config
    }

    /// Returns the decoding of slides.
    pub fn on_slides(self, config: &RunConfig) -> Decoding {
        let Level { threshold, min_area_px } = self.single.unwrap_or(self.mean);
        Decoding { threshold, min_area_px, ..config.evaluation.decoding() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checkpoints of all versions store the values under these keys.
    #[test]
    fn the_stored_form_is_stable() {
        let level = |threshold, min_area_px| Level { threshold, min_area_px };
        for (text, single) in [
            (r#"{"threshold":0.5,"min_area_px":64,"one":{"threshold":0.6,"min_area_px":24}}"#, Some(level(0.6, 24))),
            (r#"{"threshold":0.5,"min_area_px":64,"one":null}"#, None),
        ] {
            let fitted = FittedDecoding { mean: level(0.5, 64), single };
            assert_eq!(serde_json::to_string(&fitted).unwrap(), text);
            assert_eq!(serde_json::from_str::<FittedDecoding>(text).unwrap(), fitted);
        }
    }
}
