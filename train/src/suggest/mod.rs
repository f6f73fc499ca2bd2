//! Regions in which more strokes would help most, from the checkpoint of a run (`train suggest`).
//!
//! The need of a pixel is the mean of three signals, each 0 to 1: the averaged prediction is too uncertain for a pseudo-label, the averaged
//! prediction disagrees with the current one, no stroke is near.

mod regions;

use std::path::{Path, PathBuf};

use models::plane::Plane;
use serde_json::json;
use support::durable::OutputFolder;
use support::{Context, Result, bail};

use crate::checkpoint::{self, Progress};
use crate::config::{DeviceChoice, RunConfig};
use crate::data::image_file::png_of_map;
use crate::data::{Dataset, Folder, Sample, Split};
use crate::network::Network;
use crate::predict::Predictor;
use crate::pseudo_labels::PseudoLabels;
use crate::run_folder::RunFolder;
use crate::scribble::UNLABELLED;
use crate::thread_pool::in_pool;
pub use regions::{Region, ranked};

/// Options of [`suggest`].
#[derive(Clone, Debug)]
pub struct SuggestOptions {
    /// Folder of a run.
    pub run: PathBuf,
    /// Folder for `maps/ID.png`, `regions.csv` and `ID.geojson`.
    pub out: PathBuf,
    /// Largest number of regions.
    pub count: usize,
    /// Side of a region in pixels.
    pub side: usize,
    /// Device of the network.
    pub device: DeviceChoice,
}

/// Need of strokes at each pixel of an image, with its three signals, all 0 to 1.
pub struct Need {
    /// Id of the image.
    pub id: String,
    /// Mean of the three signals; 0 under strokes.
    pub total: Plane<f32>,
    /// 1 if the averaged prediction is too uncertain for a pseudo-label of either class, else 0.
    pub unsure: Plane<f32>,
    /// Absolute difference between the averaged and the current prediction.
    pub disagreement: Plane<f32>,
    /// Chessboard distance to the nearest stroke in units of [`FAR_PX`], at most 1.
    pub untouched: Plane<f32>,
}

/// Distance to the nearest stroke, in pixels, beyond which the need does not grow.
pub const FAR_PX: usize = 64;

/// Ranks regions of the training images by their need of strokes, and writes `maps/ID.png`, `regions.csv` and `ID.geojson`.
pub fn suggest(options: &SuggestOptions) -> Result<Vec<Region>> {
    let (network, config) = checkpoint::open_network(&options.run, options.device)?;
    let [images, scribbles, labels] = Folder::parts(&config.data.folder);
    let mut out = OutputFolder::open(&options.out, "train suggest", &[&options.run, &images, &scribbles, &labels])?;
    out.check("regions.csv")?;
    let needs = in_pool(config.run.threads, || needs(&options.run, &network, &config))?;
    let regions = ranked(&needs, options.side, options.count);
    for need in &needs {
        let own: Vec<(usize, &Region)> = regions.iter().enumerate().filter(|(_, region)| region.id == need.id).collect();
        out.write(&format!("maps/{}.png", need.id), &png_of_map(&need.total.map(|v| (v * 255.0) as u8))?)?;
        if !own.is_empty() {
            out.write(&format!("{}.geojson", need.id), geojson(&own).as_bytes())?;
        }
    }
    let mut csv = csv::Writer::from_writer(Vec::new());
    for region in &regions {
        csv.serialize(region)?;
    }
    out.write("regions.csv", &csv.into_inner().map_err(csv::IntoInnerError::into_error)?)?;
    Ok(regions)
}

/// Computes the needs of all training images of a run.
pub fn needs(run: &Path, network: &Network, config: &RunConfig) -> Result<Vec<Need>> {
    let path = RunFolder::at(run).last;
    let file = checkpoint::open(&path).hint(|| "suggestions need the folder of a run with its last.safetensors")?;
    let progress: Progress =
        serde_json::from_str(file.metadata.get("progress").map_or("{}", String::as_str)).doing(|| format!("reading {}", path.display()))?;
    let rule = PseudoLabels::of(&config.method);
    let dataset = Dataset::load(config)?;
    let mut predictor = Predictor::new(network)?;
    let mut need_of = |sample: &Sample| {
        let current = predictor.probabilities(&sample.image)?;
        let averaged = match file.arrays.get(&format!("average.{}", sample.id)) {
            Some(array) if array.data.len() != current.data.len() => {
                bail!("{}: image {} has another size than when the run was made", path.display(), sample.id; hint: "the data folder has changed since the run was made")
            }
            Some(array) => {
                Plane { data: array.data.iter().map(|&w| rule.bias_corrected(w, progress.updates)).collect(), ..current.clone() }
            }
            None => current.clone(),
        };
        Ok(need(&sample.id, &sample.scribble, &current, &averaged, rule.threshold))
    };
    dataset.of(Split::Train).map(|(_, sample)| need_of(sample)).collect()
}

/// Computes the need of one image from its strokes, the current and the averaged prediction; `threshold` is the confidence of
/// pseudo-labels.
pub fn need(id: &str, scribble: &Plane<u8>, current: &Plane<f32>, averaged: &Plane<f32>, threshold: f32) -> Need {
    let unsure = averaged.map(|&w| f32::from(u8::from(w <= threshold && w >= 1.0 - threshold)));
    let pairs = current.data.iter().zip(&averaged.data);
    let disagreement = Plane { data: pairs.map(|(p, w)| (p - w).abs()).collect(), ..current.clone() };
    let untouched = regions::distances(scribble, FAR_PX).map(|&d| d as f32 / FAR_PX as f32);
    let total = (0..scribble.data.len()).map(|i| match scribble.data[i] {
        UNLABELLED => (unsure.data[i] + disagreement.data[i] + untouched.data[i]) / 3.0,
        _ => 0.0,
    });
    Need { id: id.into(), total: Plane { data: total.collect(), ..current.clone() }, unsure, disagreement, untouched }
}

/// Formats regions as annotations for QuPath; their names give rank, need and signals.
fn geojson(regions: &[(usize, &Region)]) -> String {
    let feature = |(rank, r): &(usize, &Region)| {
        let (left, top, right, bottom) = (r.x, r.y, r.x + r.width, r.y + r.height);
        json!({
            "type": "Feature",
            "geometry": { "type": "Polygon", "coordinates": [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]] },
            "properties": {
                "objectType": "annotation",
                "name": format!("{}: need {:.2} (unsure {:.2}, disagreement {:.2}, untouched {:.2})", rank + 1, r.need, r.unsure, r.disagreement, r.untouched),
                "classification": { "name": "Region*", "color": [200, 0, 200] },
                "rank": rank + 1,
                "measurements": { "need": r.need, "unsure": r.unsure, "disagreement": r.disagreement, "untouched": r.untouched },
            },
        })
    };
    json!({ "type": "FeatureCollection", "features": regions.iter().map(feature).collect::<Vec<_>>() }).to_string()
}

/// Formats the regions for a terminal, one line each.
pub fn to_text(regions: &[Region]) -> String {
    let line = |(i, r): (usize, &Region)| {
        format!(
            "{:>3}  need {:.2}  unsure {:.2}  disagreement {:.2}  untouched {:.2}  at {}, {} of {}\n",
            i + 1,
            r.need,
            r.unsure,
            r.disagreement,
            r.untouched,
            r.x,
            r.y,
            r.id
        )
    };
    regions.iter().enumerate().map(line).collect()
}
