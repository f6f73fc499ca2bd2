//! Golden tiles: real images inside a model file with the probabilities that they must give.
//!
//! Kernels differ between processors, drivers and versions, and some are wrong. Golden tiles check a model on the device that will run it, on
//! images like those that it was trained for.

use models::card::{self, ModelCard, Parity};
use models::decode::instances;
use models::plane::Plane;
use serde::{Deserialize, Serialize};
use support::{Result, bail};

use crate::network::Network;
use crate::quality::grid_tile;
use crate::runtime::{Device, Precision};

pub use onnx::golden::{GoldenTile, METADATA_KEY};

/// Result of a model's golden tiles on a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Number of tiles.
    pub tiles: usize,
    /// Difference between the probabilities and the expected ones.
    #[serde(flatten)]
    pub difference: Parity,
    /// Number of expected nuclei.
    pub nuclei: usize,
    /// Number of expected nuclei that were found, with an intersection over union above 0.5.
    pub nuclei_found: usize,
}

/// Limits of the difference on a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// Largest difference of a probability.
    pub max_change: f64,
    /// Largest fraction of pixels that are nucleus in one and background in the other.
    pub flipped_share: f64,
}

/// Runs golden tiles on a network and compares the results with the expected ones; `None` without tiles.
pub fn run(tiles: &[GoldenTile], card: &ModelCard, network: &mut dyn Network) -> Result<Option<Outcome>> {
    let mut seen = Vec::new();
    let mut expected = Vec::new();
    let (mut nuclei, mut nuclei_found) = (0, 0);
    for tile in tiles {
        let (image, probability) = (tile.image()?, tile.probability()?);
        let (width, height) = (image.width() as usize, image.height() as usize);
        if image.dimensions() != probability.dimensions() {
            bail!("a golden tile has an image of {:?} and probabilities of {:?}", image.dimensions(), probability.dimensions());
        }
        let map = network.quantised(image.as_raw(), 1, height, width)?;
        let labels = |map: &[u8]| Ok::<_, support::Error>(instances(&Plane::new(width, height, map.to_vec())?, &card.decoding));
        nuclei_found += found(&labels(probability.as_raw())?, &labels(&map)?);
        nuclei += tile.nuclei.len();
        expected.extend_from_slice(probability.as_raw());
        seen.extend(map);
    }
    let level = card.decoding.first_foreground_level();
    Ok((!tiles.is_empty()).then(|| Outcome {
        tiles: tiles.len(),
        difference: Parity::of_levels(&expected, &seen, level),
        nuclei,
        nuclei_found,
    }))
}

/// Returns the mean entropy in bits of the expected probabilities; `None` without tiles.
pub fn mean_entropy(tiles: &[GoldenTile]) -> Result<Option<f64>> {
    let mut all = Vec::new();
    for tile in tiles {
        all.extend_from_slice(tile.probability()?.as_raw());
    }
    Ok((!tiles.is_empty()).then(|| grid_tile::mean_entropy(&all)))
}

/// Returns the tolerance by the arithmetic of the file, the arithmetic of the session, and the device.
///
/// For 8-bit models, the tolerance is based on twice the difference that was measured at export, because processors round differently.
pub fn tolerance(card: &ModelCard, device: Device, precision: Precision) -> Tolerance {
    let exported = card.form.parity.map_or((0.0, 0.0), |parity| (parity.max_change, parity.flipped_share));
    let (max_change, flipped_share) = match (card.form.precision, precision, device) {
        (card::Precision::Int8, ..) => ((2.0 * exported.0 + 0.05).min(1.0), 2.0 * exported.1 + 0.002),
        (_, Precision::Bf16, _) => (0.25, 0.005),
        (card::Precision::F16, ..) => (0.1, 0.002),
        (card::Precision::F32, Precision::F32, Device::Auto | Device::Native | Device::Cpu) => (0.01, 0.0005),
        (card::Precision::F32, Precision::F32, Device::OpenVino | Device::Cuda | Device::TensorRt) => (0.03, 0.001),
    };
    Tolerance { max_change, flipped_share }
}

impl Tolerance {
    /// Checks that a result is within the tolerance.
    ///
    /// # Errors
    /// An error of the kind `Refused` that names both limits.
    pub fn check(&self, outcome: &Outcome, device: Device) -> Result<()> {
        let Parity { max_change, flipped_share, .. } = outcome.difference;
        if max_change > self.max_change || flipped_share > self.flipped_share {
            bail!(
                Refused;
                "on {device} the model's golden tiles move by up to {max_change:.4} (at most {:.4}) and {:.4} % of their pixels change side (at most {:.4} %)",
                self.max_change, 100.0 * flipped_share, 100.0 * self.flipped_share;
                hint: "this device computes something else than the model was made for: use --device cpu, or other versions of runtime and driver"
            );
        }
        Ok(())
    }
}

/// Counts the instances of `expected` that have an instance in `seen` with an intersection over union above 0.5.
fn found(expected: &Plane<u32>, seen: &Plane<u32>) -> usize {
    let mut shared = std::collections::BTreeMap::<(u32, u32), usize>::new();
    let mut areas = [std::collections::BTreeMap::<u32, usize>::new(), std::collections::BTreeMap::new()];
    for (&a, &b) in expected.data.iter().zip(&seen.data) {
        *areas[0].entry(a).or_default() += 1;
        *areas[1].entry(b).or_default() += 1;
        *shared.entry((a, b)).or_default() += 1;
    }
    shared.iter().filter(|((a, b), both)| *a > 0 && *b > 0 && 3 * **both > areas[0][a] + areas[1][b]).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nuclei_are_found_by_more_than_half_of_their_union() {
        let plane = |data: &[u32]| Plane::new(6, 1, data.to_vec()).unwrap();
        let expected = plane(&[1, 1, 1, 0, 2, 2]);
        assert_eq!(found(&expected, &expected), 2);
        assert_eq!(found(&expected, &plane(&[3, 3, 0, 0, 0, 4])), 1); // 2 of 3 of the first; 1 of 2 of the second is not more than half
    }
}
