//! Microns per pixel: where it was found, and when it is believed.

use serde::{Deserialize, Serialize};
use support::{Result, bail};

/// Scales outside of this range are mistakes (72 dpi is 353 µm/px).
pub const BELIEVABLE: std::ops::RangeInclusive<f64> = 0.05..=5.0;
/// Largest relative difference of x and y.
pub const SQUARE_WITHIN: f64 = 0.02;

/// Where a scale comes from, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MppSource {
    /// `--mpp`.
    #[serde(rename = "--mpp")]
    Given,
    /// `openslide.mpp-x`, `openslide.mpp-y`.
    #[serde(rename = "openslide.mpp")]
    OpenSlide,
    /// A vendor's own tag, such as `aperio.MPP`.
    #[serde(rename = "vendor tag")]
    Vendor,
    /// Resolution and unit of the TIFF file.
    #[serde(rename = "TIFF resolution")]
    TiffResolution,
}

/// The scale of level 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mpp {
    /// µm per pixel along x.
    pub x: f64,
    /// µm per pixel along y.
    pub y: f64,
    /// Where it was found.
    pub source: MppSource,
}

impl Mpp {
    /// The scale given by the user.
    pub fn given(mpp: f64) -> Result<Self> {
        if !BELIEVABLE.contains(&mpp) {
            bail!("--mpp {mpp}: expected microns per pixel between {} and {}", BELIEVABLE.start(), BELIEVABLE.end(); hint: "a 40x scan has about 0.25, a 20x scan about 0.5");
        }
        Ok(Self { x: mpp, y: mpp, source: MppSource::Given })
    }

    /// The scales along x and y given by the caller.
    ///
    /// # Errors
    /// A scale outside of the range of microscopes, or pixels that are not square.
    pub fn given_for_axes(x: f64, y: f64) -> Result<Self> {
        let mpp = Self { x, y, source: MppSource::Given };
        if !mpp.is_believable() {
            bail!(
                "scales of {x} and {y} µm per pixel: expected numbers between {} and {} that differ by at most 2 %",
                BELIEVABLE.start(),
                BELIEVABLE.end()
            );
        }
        Ok(mpp)
    }

    /// Whether it is finite, in the range of microscopes and square.
    pub fn is_believable(&self) -> bool {
        BELIEVABLE.contains(&self.x) && BELIEVABLE.contains(&self.y) && (self.x - self.y).abs() <= SQUARE_WITHIN * self.x.max(self.y)
    }
}

/// The first believable one of `found` (most trusted first), and those before it in words.
pub fn first_believable(found: impl IntoIterator<Item = Mpp>) -> (Option<Mpp>, Vec<String>) {
    let mut disbelieved = Vec::new();
    for mpp in found {
        if mpp.is_believable() {
            return (Some(mpp), disbelieved);
        }
        disbelieved.push(format!("{:?} says {} x {} µm/px", mpp.source, mpp.x, mpp.y));
    }
    (None, disbelieved)
}

/// A decimal number of a vendor tag; commas are decimal points.
pub fn parse(text: &str) -> Option<f64> {
    text.trim().replace(',', ".").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_that_cannot_be_are_not_believed() {
        let mpp = |x, y| Mpp { x, y, source: MppSource::Vendor };
        for (x, y) in [
            (0.0, 0.0),
            (f64::NAN, 0.5),
            (0.5, f64::NAN),
            (f64::INFINITY, 0.5),
            (-0.5, -0.5),
            (352.8, 352.8),
            (0.049, 0.049),
            (5.1, 5.1),
            (0.5, 0.25),
            (0.25, 0.26),
        ] {
            assert!(!mpp(x, y).is_believable(), "{x} {y}");
        }
        for (x, y) in [(0.5, 0.5), (0.2528, 0.2530), (0.05, 0.05), (5.0, 5.0), (0.5, 0.505)] {
            assert!(mpp(x, y).is_believable(), "{x} {y}");
        }
        let (found, disbelieved) = first_believable([mpp(0.0, 0.0), Mpp { x: 0.4, y: 0.4, source: MppSource::TiffResolution }]);
        assert_eq!(found.unwrap().source, MppSource::TiffResolution);
        assert_eq!(disbelieved, ["Vendor says 0 x 0 µm/px"]);
        assert!(Mpp::given(0.0).is_err() && Mpp::given(f64::NAN).is_err() && Mpp::given(0.25).is_ok());
    }

    #[test]
    fn a_decimal_comma_is_read() {
        assert_eq!(parse(" 0,2528 "), Some(0.2528));
        assert_eq!(parse("0.5x"), None);
    }
}
