//! Fluorescence part: one image with instance labels, simulated strokes on three quarters, scores on the fourth quarter.

use std::time::Instant;

use models::decode::{Decoding, instances_of_mask};
use models::plane::Plane;
use support::wheel;
use support::{Context, Result, durable};
use train::data::{RgbImage, image_file};
use train::rng::CounterRng;
use train::scribble::{BACKGROUND, UNLABELLED, strokes::strokes};

use crate::part::{self, Figures, Part, announce};
use crate::pictures;

/// Fraction of nuclei that get a stroke.
const STROKED_NUCLEI: f64 = 0.5;
/// Number of rounds per region; each round draws one to three curves through the background.
const BACKGROUND_ROUNDS: u64 = 3;
/// Fraction of nuclei that are encircled with a background stroke. Without such strokes no label marks the boundary of a nucleus.
const ENCIRCLED_NUCLEI: f64 = 0.3;
/// Inner and outer distance of a circle from its nucleus, in pixels.
const CIRCLE_PX: (f64, f64) = (2.0, 4.0);
/// Percentile of the grey values that becomes white, because fluorescence images are dim.
const WHITE_PERCENTILE: f64 = 99.8;
const MAX_BYTES: u64 = 1 << 24;

/// Rectangle of the image: name; left, top, width and height in pixels.
type Region = (&'static str, [usize; 4]);
const TRAIN: [Region; 3] = [("top-left", [0, 0, 256, 256]), ("top-right", [256, 0, 256, 256]), ("bottom-left", [0, 256, 256, 256])];
const TEST: Region = ("bottom-right", [256, 256, 256, 256]);

/// Runs all stages on the fluorescence image.
pub fn run(part: &Part, since: Instant) -> Result<Figures> {
    let began = Instant::now();
    announce(since, "fluorescence: downloading the image in the Python package stardist (DSB2018, CC0)");
    let (image, labels) = image_with_labels()?;

    announce(since, "drawing simulated strokes on three quarters of the image");
    let labelled_fraction = write_data(part, &image, &labels)?;

    announce(since, &format!("training for {} minutes", part.settings.minutes));
    let trained = part.train(None)?;

    announce(since, "exporting to ONNX and measuring the halo");
    let halo_px = part.export()?;

    announce(since, "scoring the held-out quarter");
    let (test_image, truth) = (crop_image(&image, TEST.1)?, crop(&labels, TEST.1));
    part.write_scored(TEST.0, &test_image, &truth)?;
    let mask = part::mask(&trained.network, &test_image, &trained.decoding)?;
    let found = instances_of_mask(&mask, &trained.decoding);
    let panels = [
        pictures::plain(&test_image),
        pictures::with_outlines(&test_image, &found, pictures::NUCLEUS),
        pictures::with_outlines(&test_image, &truth, pictures::TRUTH),
    ];
    pictures::write_row(&part.folder.join("found.png"), &panels)?;
    Ok(Figures {
        title: "fluorescence",
        labelled_fraction,
        iterations: trained.iterations,
        training_secs: trained.secs,
        before: part::score(&trained.untrained, &test_image, &truth, &Decoding::splitting())?,
        after: part::score(&trained.network, &test_image, &truth, &trained.decoding)?,
        halo_px,
        max_difference: part.largest_difference(&trained.network, &test_image)?,
        whole_slide: None,
        total_secs: began.elapsed().as_secs_f64(),
    })
}

/// Downloads the image; returns it stretched to 8 bits, with its instance labels.
fn image_with_labels() -> Result<(RgbImage, Plane<u32>)> {
    let package = wheel::fetch(&wheel::STARDIST, None)?;
    let read = |name: &str| -> Result<Plane<u32>> {
        let member = format!("stardist/data/images/{name}");
        let bytes = wheel::read_member(&package, &member, MAX_BYTES)?;
        let grey = image::load_from_memory(&bytes).doing(|| format!("reading {member}"))?.into_luma16();
        Plane::new(grey.width() as usize, grey.height() as usize, grey.into_raw().into_iter().map(u32::from).collect())
    };
    Ok((stretched(&read("img2d.tif")?)?, read("mask2d.tif")?))
}

/// Converts grey to RGB: the darkest value becomes black, the [`WHITE_PERCENTILE`] white.
fn stretched(grey: &Plane<u32>) -> Result<RgbImage> {
    let mut sorted = grey.data.clone();
    sorted.sort_unstable();
    let black = f64::from(sorted[0]);
    let white = f64::from(sorted[(WHITE_PERCENTILE / 100.0 * (sorted.len() - 1) as f64) as usize]);
    let stretch = |&v: &u32| [(255.0 * (f64::from(v) - black) / (white - black)).round().min(255.0) as u8; 3];
    RgbImage::new(grey.width, grey.height, grey.data.iter().flat_map(stretch).collect())
}

/// Writes the training regions, their strokes and their masks, which only the method `full` reads; returns the fraction of pixels with a
/// stroke.
fn write_data(part: &Part, image: &RgbImage, labels: &Plane<u32>) -> Result<f64> {
    let (mut labelled, mut pixels) = (0, 0);
    for (i, (name, region)) in TRAIN.into_iter().enumerate() {
        let (image, labels) = (crop_image(image, region)?, crop(labels, region));
        let scribbles = simulated(&labels, part.settings.seed, i as u64);
        durable::write(&part.data().join(format!("labels/{name}.png")), &image_file::png_of_labels(&labels)?)?;
        durable::write(&part.data().join(format!("images/{name}.png")), &image_file::png_of_rgb(&image)?)?;
        durable::write(&part.data().join(format!("scribbles/{name}.png")), &image_file::png_of_map(&scribbles)?)?;
        if i == 0 {
            pictures::write_row(&part.folder.join("strokes.png"), &[pictures::with_scribbles(&image, &scribbles)])?;
        }
        labelled += scribbles.data.iter().filter(|&&v| v != UNLABELLED).count();
        pixels += scribbles.data.len();
    }
    Ok(labelled as f64 / pixels as f64)
}

/// Draws strokes on some nuclei, circles around some, and several rounds of curves through the background.
fn simulated(labels: &Plane<u32>, seed: u64, region: u64) -> Plane<u8> {
    let mut drawn = curves(labels, seed, region);
    let circles = circles(labels, &mut CounterRng::new(seed, "circles", 0, 0, region));
    drawn.data.iter_mut().zip(circles.data).filter(|(v, circle)| **v == UNLABELLED && *circle).for_each(|(v, _)| *v = BACKGROUND);
    drawn
}

/// Draws background circles around a random fraction of the nuclei, never closer to any nucleus than the inner distance of [`CIRCLE_PX`].
fn circles(labels: &Plane<u32>, draw: &mut CounterRng) -> Plane<bool> {
    let most = labels.data.iter().max().map_or(0, |&id| id as usize);
    let chosen: Vec<bool> = (0..=most).map(|_| draw.bool(ENCIRCLED_NUCLEI)).collect();
    let reach = CIRCLE_PX.1.ceil() as usize;
    let mut drawn = Plane::filled(labels.width, labels.height, false);
    for y in 0..labels.height {
        for x in 0..labels.width {
            let (mut to_any, mut to_chosen) = (f64::INFINITY, f64::INFINITY);
            for ny in y.saturating_sub(reach)..(y + reach + 1).min(labels.height) {
                for nx in x.saturating_sub(reach)..(x + reach + 1).min(labels.width) {
                    let id = labels.at(nx, ny) as usize;
                    if id > 0 {
                        let distance = (nx as f64 - x as f64).hypot(ny as f64 - y as f64);
                        to_any = to_any.min(distance);
                        to_chosen = if chosen[id] { to_chosen.min(distance) } else { to_chosen };
                    }
                }
            }
            drawn.row_mut(y)[x] = to_any > CIRCLE_PX.0 && to_chosen <= CIRCLE_PX.1;
        }
    }
    drawn
}

/// Draws strokes on some nuclei and several rounds of curves through the background.
fn curves(labels: &Plane<u32>, seed: u64, region: u64) -> Plane<u8> {
    let round = |round: u64| {
        let share = if round == 0 { STROKED_NUCLEI } else { 0.0 };
        strokes(labels, share, &mut CounterRng::new(seed, "strokes", 0, round, region))
    };
    (1..BACKGROUND_ROUNDS).map(round).fold(round(0), |mut drawn, more| {
        drawn.data.iter_mut().zip(more.data).filter(|(v, _)| **v == UNLABELLED).for_each(|(v, new)| *v = new);
        drawn
    })
}

fn crop<T: Copy>(plane: &Plane<T>, [left, top, width, height]: [usize; 4]) -> Plane<T> {
    let data = (top..top + height).flat_map(|y| plane.row(y)[left..left + width].iter().copied()).collect();
    Plane { width, height, data }
}

fn crop_image(image: &RgbImage, [left, top, width, height]: [usize; 4]) -> Result<RgbImage> {
    let data = (top..top + height).flat_map(|y| &image.data[3 * (y * image.width + left)..][..3 * width]).copied().collect();
    RgbImage::new(width, height, data)
}
