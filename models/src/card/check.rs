//! Ranges of a card's values. A card inside of a sealed file is not changed by accident, but it can be written wrong.

use std::ops::RangeInclusive;

use support::{Result, bail};

use super::ModelCard;

/// Scales in microns per pixel, wider than those of light microscopes: a magnification of 200 to 2.
pub const MICRONS_PER_PIXEL: RangeInclusive<f64> = 0.05..=5.0;
/// Longest name, in bytes.
const MAX_NAME: usize = 200;
/// Largest halo in pixels: that of a network with an output stride of 1024.
const MAX_REACH_PX: usize = 1 << 14;
/// Largest area in pixels below which components are dropped.
const MAX_MIN_AREA_PX: usize = 1 << 24;

impl ModelCard {
    /// Checks that every value is one with which a slide can be segmented.
    ///
    /// # Errors
    /// The first value outside of its range, by name, with the range.
    pub fn check(&self) -> Result<()> {
        check_name("name", &self.name)?;
        if self.classes.is_empty() || self.classes.len() > 256 {
            bail!("the model card has {} classes, expected 1 to 256", self.classes.len());
        }
        self.classes.iter().try_for_each(|class| check_name("the name of a class", &class.name))?;
        if let Some(mpp) = self.microns_per_pixel {
            within("microns_per_pixel", mpp, MICRONS_PER_PIXEL)?;
        }
        for channel in 0..3 {
            within("normalisation.mean", f64::from(self.normalisation.mean[channel]), -1e3..=1e3)?;
            within("normalisation.std", f64::from(self.normalisation.std[channel]), 1e-4..=1e3)?;
        }
        self.check_lengths()?;
        self.check_decoding()
    }

    fn check_lengths(&self) -> Result<()> {
        if !self.stride.is_power_of_two() || self.stride > 1024 {
            bail!("stride is {} in the model card, expected a power of two from 1 to 1024", self.stride);
        }
        within("reach_px", self.reach_px as f64, 0.0..=MAX_REACH_PX as f64)?;
        if let Some(reach) = &self.effective_reach {
            within("effective_reach.px", reach.px as f64, 0.0..=MAX_REACH_PX as f64)?;
        }
        Ok(())
    }

    fn check_decoding(&self) -> Result<()> {
        within("decoding.threshold", self.decoding.threshold, 0.0..=1.0)?;
        within("decoding.min_area_px", self.decoding.min_area_px as f64, 0.0..=MAX_MIN_AREA_PX as f64)?;
        if let Some(split) = &self.decoding.split {
            within("decoding.split.neck", split.neck, 0.0..=1.0)?;
            within("decoding.split.depth_px", split.depth_px, 0.0..=1e4)?;
            within("decoding.split.radius_px", split.radius_px, 0.0..=1e4)?;
        }
        Ok(())
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        bail!("{what} is {name:?} in the model card, expected 1 to {MAX_NAME} bytes without control characters");
    }
    Ok(())
}

/// Checks a number; those that are not finite are in no range.
fn within(what: &str, value: f64, range: RangeInclusive<f64>) -> Result<()> {
    if !range.contains(&value) {
        bail!("{what} is {value} in the model card, expected {} to {}", range.start(), range.end());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns the card of `tests/data/models/card-1.json` with one value replaced, given by its JSON pointer.
    fn with(pointer: &str, value: Value) -> Result<ModelCard> {
        let mut card: Value = serde_json::from_str(include_str!("../../../tests/data/models/card-1.json")).unwrap();
        *card.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is in the card")) = value;
        ModelCard::from_json(&card.to_string())
    }

    #[test]
    fn values_outside_of_their_ranges_are_refused_by_name() {
        let wrong: [(&str, Vec<Value>); 8] = [
            ("/microns_per_pixel", vec![json!(-0.5), json!(0.0), json!(1e300), json!(1000)]),
            ("/stride", vec![json!(0), json!(3), json!(1u64 << 31), json!(1u64 << 63)]),
            ("/reach_px", vec![json!(1u64 << 40), json!(u64::MAX)]),
            ("/normalisation/std/1", vec![json!(0.0), json!(-1.0), json!(1e30)]),
            ("/normalisation/mean/2", vec![json!(1e30)]),
            ("/decoding/threshold", vec![json!(-1.0), json!(2.0), json!(1e308)]),
            ("/decoding/min_area_px", vec![json!(u64::MAX)]),
            ("/name", vec![json!(""), json!("a\u{1b}[2J"), json!("n".repeat(201))]),
        ];
        for (pointer, values) in wrong {
            for value in values {
                let error = with(pointer, value.clone()).expect_err(&format!("{pointer} = {value}")).to_string();
                let name =
                    pointer.trim_start_matches('/').split('/').filter(|part| part.parse::<usize>().is_err()).collect::<Vec<_>>().join(".");
                assert!(error.contains(&name), "{pointer} = {value}: {error}");
            }
        }
    }

    #[test]
    fn values_at_the_ends_of_their_ranges_are_accepted() {
        for (pointer, value) in [
            ("/microns_per_pixel", Value::Null),
            ("/microns_per_pixel", json!(0.05)),
            ("/microns_per_pixel", json!(5.0)),
            ("/stride", json!(1)),
            ("/stride", json!(1024)),
            ("/decoding/threshold", json!(0.0)),
            ("/decoding/threshold", json!(1.0)),
            ("/decoding/min_area_px", json!(0)),
        ] {
            with(pointer, value.clone()).unwrap_or_else(|error| panic!("{pointer} = {value}: {error}"));
        }
    }
}
