//! `train suggest`: where more strokes would help most, from a finished run.
//!
//! For every pixel of the training images, the mean of three signs, each 0 to 1: the averaged prediction is in the band that
//! pseudo-labels ignore; it disagrees with the network's present prediction; no stroke is near.

mod regions;

use std::path::PathBuf;

use models::plane::Plane;
use serde_json::json;
use support::{Context, Result, artifact, bail};

use crate::checkpoint::{self, Progress};
use crate::config::{DeviceChoice, RunConfig, choice};
use crate::data::image_file::png_of_map;
use crate::data::{Dataset, Sample, Split};
use crate::evaluate::command::open;
use crate::evaluate::probabilities;
use crate::fit::in_pool;
use crate::network::Network;
use crate::pseudo_labels::PseudoLabels;
use crate::scribble::UNLABELLED;
pub use regions::{Region, ranked};

/// Arguments of `train suggest`.
#[derive(Clone, Debug, clap::Args)]
pub struct SuggestArgs {
    /// Folder of a run
    pub run: PathBuf,
    /// Folder for maps, regions.csv and ID.geojson
    #[arg(short, long)]
    pub out: PathBuf,
    /// Number of regions
    #[arg(long, default_value_t = 20)]
    pub count: usize,
    /// Side of a region in pixels
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub side: u32,
    /// Where to run: auto, cpu or cuda
    #[arg(long, default_value = "auto", value_parser = choice::parse::<DeviceChoice>)]
    pub device: DeviceChoice,
}

/// How much a stroke would help at each pixel of an image, and why.
pub struct Need {
    /// Id of the image.
    pub id: String,
    /// Mean of the three signs; 0 where a stroke is.
    pub total: Plane<f32>,
    /// 1 where the averaged prediction is trusted neither as nucleus nor as background.
    pub unsure: Plane<f32>,
    /// Distance of the averaged from the present prediction.
    pub disagreement: Plane<f32>,
    /// Distance to the nearest stroke, 1 at [`FAR_PX`] or more.
    pub untouched: Plane<f32>,
}

/// A place this far from any stroke is as good as untouched.
pub const FAR_PX: usize = 64;

/// Runs the command; returns what to print.
pub fn run(arguments: &SuggestArgs) -> Result<String> {
    let (network, config) = open(&arguments.run, arguments.device)?;
    let needs = in_pool(config.run.threads, || needs(&arguments.run, &network, &config))?;
    let found = ranked(&needs, arguments.side as usize, arguments.count);
    for need in &needs {
        let own: Vec<(usize, &Region)> = found.iter().enumerate().filter(|(_, region)| region.id == need.id).collect();
        artifact::write(&arguments.out.join(format!("maps/{}.png", need.id)), &png_of_map(&need.total.map(|v| (v * 255.0) as u8))?)?;
        if !own.is_empty() {
            artifact::write(&arguments.out.join(format!("{}.geojson", need.id)), geojson(&own).as_bytes())?;
        }
    }
    let mut csv = csv::Writer::from_writer(Vec::new());
    for region in &found {
        csv.serialize(region)?;
    }
    artifact::write(&arguments.out.join("regions.csv"), &csv.into_inner().map_err(csv::IntoInnerError::into_error)?)?;
    Ok(text(&found, arguments))
}

/// The needs of all training images of a run.
pub fn needs(run: &std::path::Path, network: &Network, config: &RunConfig) -> Result<Vec<Need>> {
    let path = run.join("last.safetensors");
    let file = checkpoint::open(&path).hint(|| "suggestions need the folder of a run with its last.safetensors")?;
    let progress: Progress =
        serde_json::from_str(file.metadata.get("progress").map_or("{}", String::as_str)).doing(|| format!("reading {}", path.display()))?;
    let rule = PseudoLabels::of(&config.method);
    let dataset = Dataset::load(config)?;
    let of = |sample: &Sample| {
        let present = probabilities(network, &sample.image)?;
        let averaged = match file.arrays.get(&format!("average.{}", sample.id)) {
            Some(array) if array.data.len() != present.data.len() => {
                bail!("{}: image {} has another size than when the run was made", path.display(), sample.id; hint: "the data folder changed since")
            }
            Some(array) => {
                Plane { data: array.data.iter().map(|&w| rule.bias_corrected(w, progress.updates)).collect(), ..present.clone() }
            }
            None => present.clone(),
        };
        Ok(need(&sample.id, &sample.scribble, &present, &averaged, rule.threshold))
    };
    dataset.of(Split::Train).map(|(_, sample)| of(sample)).collect()
}

/// The need of one image from its strokes, the network's prediction and the averaged one.
pub fn need(id: &str, scribble: &Plane<u8>, present: &Plane<f32>, averaged: &Plane<f32>, threshold: f32) -> Need {
    let unsure = averaged.map(|&w| f32::from(u8::from(w <= threshold && w >= 1.0 - threshold)));
    let pairs = present.data.iter().zip(&averaged.data);
    let disagreement = Plane { data: pairs.map(|(p, w)| (p - w).abs()).collect(), ..present.clone() };
    let untouched = regions::distances(scribble, FAR_PX).map(|&d| d as f32 / FAR_PX as f32);
    let total = (0..scribble.data.len()).map(|i| match scribble.data[i] {
        UNLABELLED => (unsure.data[i] + disagreement.data[i] + untouched.data[i]) / 3.0,
        _ => 0.0,
    });
    Need { id: id.into(), total: Plane { data: total.collect(), ..present.clone() }, unsure, disagreement, untouched }
}

/// Squares for QuPath; the name says rank and reasons.
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

fn text(found: &[Region], arguments: &SuggestArgs) -> String {
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
    let lines: String = found.iter().enumerate().map(line).collect();
    let next = format!("next: draw strokes there, then train fit --from {} -o NEW_RUN\n", arguments.run.display());
    format!("{lines}wrote {}\n{next}", arguments.out.display())
}
