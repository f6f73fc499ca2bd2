//! Scale of a slide in µm per pixel (mpp): its origin and its plausibility.

use serde::{Deserialize, Serialize};
use support::{Result, bail};

/// Range of plausible scales in µm per pixel; scales outside of the range are mistakes (72 dpi are 353 µm per pixel).
pub const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.05..=5.0;
/// Maximum relative difference of the scales along x and y.
pub const SQUARE_WITHIN: f64 = 0.02;

/// Origin of a scale, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MppSource {
    /// Option `--mpp`, or the caller of the library.
    #[serde(rename = "--mpp")]
    Given,
    /// OpenSlide's properties `openslide.mpp-x` and `openslide.mpp-y`.
    #[serde(rename = "openslide.mpp")]
    OpenSlide,
    /// Tag of the vendor, such as `aperio.MPP`.
    #[serde(rename = "vendor tag")]
    Vendor,
    /// TIFF fields `XResolution`, `YResolution` and `ResolutionUnit`.
    #[serde(rename = "TIFF resolution")]
    TiffResolution,
}

/// Scale of level 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mpp {
    /// µm per pixel along x.
    pub x: f64,
    /// µm per pixel along y.
    pub y: f64,
    /// Origin of the scale.
    pub source: MppSource,
}

impl Mpp {
    /// Returns the scale that the user gave, in µm per pixel along both axes.
    ///
    /// # Errors
    /// A scale outside of [`PLAUSIBLE`].
    pub fn given(mpp: f64) -> Result<Self> {
        if !PLAUSIBLE.contains(&mpp) {
            bail!("--mpp {mpp}: expected microns per pixel between {} and {}", PLAUSIBLE.start(), PLAUSIBLE.end(); hint: "a 40x scan has about 0.25, a 20x scan about 0.5");
        }
        Ok(Self { x: mpp, y: mpp, source: MppSource::Given })
    }

    /// Returns the scales along x and y that the caller gave, in µm per pixel.
    ///
    /// # Errors
    /// A scale outside of the range of microscopes, or pixels that are not square.
    pub fn given_for_axes(x: f64, y: f64) -> Result<Self> {
        let mpp = Self { x, y, source: MppSource::Given };
        if !mpp.is_plausible() {
            bail!(
                "scales of {x} and {y} µm per pixel: expected numbers between {} and {} that differ by at most 2 %",
                PLAUSIBLE.start(),
                PLAUSIBLE.end()
            );
        }
        Ok(mpp)
    }

    /// Reports whether the scale is finite, in the range of microscopes, and equal along both axes within 2 %.
    pub fn is_plausible(&self) -> bool {
        PLAUSIBLE.contains(&self.x) && PLAUSIBLE.contains(&self.y) && (self.x - self.y).abs() <= SQUARE_WITHIN * self.x.max(self.y)
    }
}

/// Returns the first plausible scale of `found`, which is ordered by trust, and descriptions of the implausible scales before it.
pub fn first_plausible(found: impl IntoIterator<Item = Mpp>) -> (Option<Mpp>, Vec<String>) {
    let mut implausible = Vec::new();
    for mpp in found {
        if mpp.is_plausible() {
            return (Some(mpp), implausible);
        }
        implausible.push(format!("{:?} says {} x {} µm/px", mpp.source, mpp.x, mpp.y));
    }
    (None, implausible)
}

/// Parses the decimal number of a vendor tag, with a decimal point or a decimal comma.
pub fn parse(text: &str) -> Option<f64> {
    text.trim().replace(',', ".").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implausible_scales_are_skipped() {
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
            assert!(!mpp(x, y).is_plausible(), "{x} {y}");
        }
        for (x, y) in [(0.5, 0.5), (0.2528, 0.2530), (0.05, 0.05), (5.0, 5.0), (0.5, 0.505)] {
            assert!(mpp(x, y).is_plausible(), "{x} {y}");
        }
        let (found, implausible) = first_plausible([mpp(0.0, 0.0), Mpp { x: 0.4, y: 0.4, source: MppSource::TiffResolution }]);
        assert_eq!(found.unwrap().source, MppSource::TiffResolution);
        assert_eq!(implausible, ["Vendor says 0 x 0 µm/px"]);
        assert!(Mpp::given(0.0).is_err() && Mpp::given(f64::NAN).is_err() && Mpp::given(0.25).is_ok());
    }

    #[test]
    fn a_decimal_comma_is_read() {
        assert_eq!(parse(" 0,2528 "), Some(0.2528));
        assert_eq!(parse("0.5x"), None);
    }
}
