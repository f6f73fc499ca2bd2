//! Synthetic slides with a model card and a network, and readers of output files.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use infer::model::Model;
use infer::network::Network;
use infer::output::Summary;
use infer::pyramid::PyramidWriter;
use infer::segment::{Options, segment};
use models::card::{Class, Form, Images, ModelCard, Normalisation, Training};
use models::decode::Decoding;
use serde_json::Value;
use slides::Rgb;
use support::Result;
use support::console::Silent;
use support::durable::AtomicFile;

use crate::random::Random;

/// Returns dark discs and rings of many sizes on a light, noisy background.
pub fn tissue(random: &mut Random, width: usize, height: usize) -> Rgb {
    let mut picture = Rgb { width, height, data: (0..width * height * 3).map(|_| random.between(200, 255) as u8).collect() };
    for _ in 0..width * height / 900 {
        let (cx, cy, r) = (random.below(width), random.below(height), random.between(2, 14));
        let inner = if random.chance(0.3) { r / 2 } else { 0 };
        for y in cy.saturating_sub(r)..(cy + r + 1).min(height) {
            for x in cx.saturating_sub(r)..(cx + r + 1).min(width) {
                let distance = x.abs_diff(cx).pow(2) + y.abs_diff(cy).pow(2);
                if distance <= r * r && (inner == 0 || distance >= inner * inner) {
                    let at = (y * width + x) * 3;
                    picture.data[at..at + 3].copy_from_slice(&[90, 30, random.between(80, 160) as u8]);
                }
            }
        }
    }
    picture
}

/// Writes an image as a tiled pyramid.
pub fn save_tiff(picture: &Rgb, path: &Path, um_per_pixel: Option<f64>) {
    let file = AtomicFile::create(path).unwrap();
    let mut writer = PyramidWriter::new(file, picture.width, picture.height, 3, um_per_pixel.map(|um| [um; 2])).unwrap();
    writer.push(&picture.data).unwrap();
    writer.finish().unwrap().commit().unwrap();
}

/// Network that returns the darkness, averaged over 3 x 3 pixels with zero padding; its reach is 1 px.
pub struct Darkness;

impl Darkness {
    /// Predicts one image.
    pub fn of(image: &[u8], height: usize, width: usize) -> Vec<u8> {
        let dark: Vec<u32> = image.chunks_exact(3).map(|p| 255 - p.iter().map(|&v| u32::from(v)).sum::<u32>() / 3).collect();
        let mut prediction = Vec::with_capacity(height * width);
        for y in 0..height {
            for x in 0..width {
                let rows = y.saturating_sub(1)..(y + 2).min(height);
                let sum: u32 =
                    rows.flat_map(|v| (x.saturating_sub(1)..(x + 2).min(width)).map(move |u| v * width + u)).map(|i| dark[i]).sum();
                prediction.push((sum / 9).min(255) as u8);
            }
        }
        prediction
    }
}

impl Network for Darkness {
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>> {
        assert_eq!(images.len(), batch * height * width * 3);
        Ok(images.chunks_exact(height * width * 3).flat_map(|image| Self::of(image, height, width)).collect())
    }
}

/// Returns networks of darkness, to run side by side.
pub fn networks(count: usize) -> Vec<Box<dyn Network>> {
    (0..count).map(|_| Box::new(Darkness) as Box<dyn Network>).collect()
}

/// Returns a model without a file, because only its card and hash are read if the test has a network of its own.
pub fn model(microns_per_pixel: Option<f64>) -> Model {
    model_of(&card(microns_per_pixel))
}

/// Returns a model without a file, with this card.
pub fn model_of(card: &ModelCard) -> Model {
    Model { bytes: Vec::new(), sha256: "ab".into(), card: card.clone(), golden: Vec::new() }
}

/// Returns the card of [`Darkness`].
pub fn card(microns_per_pixel: Option<f64>) -> ModelCard {
    ModelCard {
        format_version: models::card::FORMAT_VERSION,
        name: "darkness".into(),
        version: None,
        classes: vec![Class { name: "Nucleus".into(), colour: [20, 200, 40] }],
        microns_per_pixel,
        images: Images::default(),
        normalisation: Normalisation::IMAGENET,
        stride: 16,
        reach_px: 16,
        effective_reach: None,
        decoding: Decoding { min_area_px: 20, ..Decoding::default() },
        form: Form::default(),
        training: Training::default(),
        licence: "none".into(),
        intended_use: "tests".into(),
        limits: None,
        written_by: "tests".into(),
    }
}

/// Segments a slide with `count` networks of [`Darkness`]; returns the summary and the results folder.
pub fn run(slide: &Path, card: &ModelCard, count: usize, options: &Options) -> Result<(Summary, PathBuf)> {
    let summary = segment(slide, &model_of(card), &mut networks(count), options, &Silent)?;
    Ok((summary, options.out.join(slide.file_stem().unwrap())))
}

/// Returns a file of the shared data folder beside the checkout; reports that the test is skipped and returns `None` if it is absent.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/slides").join(name);
    if !path.exists() {
        eprintln!("skipped: {name} is not in the shared data folder");
        return None;
    }
    Some(path)
}

/// Reads output files of one folder.
pub fn contents(folder: &Path, names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))).collect()
}

/// Reads a compressed GeoJSON file.
pub fn geojson(path: &Path) -> Value {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let collection: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(collection["type"], "FeatureCollection");
    collection
}
