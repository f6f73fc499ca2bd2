//! Colours of nuclei, and the light that a slide gets.

use std::path::Path;

use infer::golden::GoldenTile;
use infer::output::Summary;
use infer::quality::status::QcStatus;
use infer::segment::{Options, segment};
use infer::segmenter::{Model, Network};
use models::card::{ModelCard, Training};
use models::colour::ColourStatistics;
use models::decode::Decoding;
use slides::Rgb;
use support::Result;
use support::console::Silent;

use crate::picture::{card, model, model_of, save_tiff, tissue};
use crate::random::Random;

/// Dark red is nucleus, without doubt.
struct Sure;

impl Sure {
    fn of(pixel: [u8; 3]) -> u8 {
        if pixel[0] < 128 { 250 } else { 2 }
    }
}

impl Network for Sure {
    fn quantised(&mut self, images: &[u8], _: usize, _: usize, _: usize) -> Result<Vec<u8>> {
        Ok(images.as_chunks::<3>().0.iter().map(|&pixel| Self::of(pixel)).collect())
    }
}

fn judged(picture: &Rgb, card: &ModelCard, out: &Path) -> Summary {
    let path = out.join("a.tif");
    save_tiff(picture, &path, Some(0.5));
    let options = Options { out: out.to_owned(), tile: Some(208), ..Options::default() };
    segment(&path, &model_of(card), &mut [Box::new(Sure)], &options, &Silent).unwrap()
}

/// A golden tile with a mean entropy of half a bit: every second pixel has a probability of 1/2, the others of 0.
fn half_uncertain() -> GoldenTile {
    let probability: Vec<u8> = (0..32 * 32).map(|i| [127, 0][i % 2]).collect();
    GoldenTile::new(&[0; 32 * 32 * 3], &probability, [32, 32], &Decoding::default()).unwrap()
}

fn map(picture: &Rgb, pixel: impl Fn([u8; 3]) -> [u8; 3]) -> Rgb {
    Rgb { data: picture.data.as_chunks::<3>().0.iter().flat_map(|&v| pixel(v)).collect(), ..*picture }
}

#[test]
fn a_blurred_and_a_recoloured_slide_are_flagged_and_the_original_is_not() {
    let picture = tissue(&mut Random(17), 700, 500);
    let statistics = ColourStatistics::of_images([(picture.data.as_slice(), picture.width)]);
    let known = ModelCard { training: Training { colours: statistics, ..Training::default() }, ..card(Some(0.5)) };
    let folder = tempfile::tempdir().unwrap();
    let judge = |picture: &Rgb, card: &ModelCard| judged(picture, card, folder.path()).quality;

    let original = judge(&picture, &known);
    let stain = original.stain.unwrap();
    assert_eq!((original.status, original.tiles.green), (QcStatus::Green, 24), "{original:?}");
    assert!(stain.mean.unwrap() < 2.0 && original.entropy.mean.unwrap() < 0.2);

    let pixels = image::RgbImage::from_raw(700, 500, picture.data.clone()).unwrap();
    let blurred = Rgb { data: image::imageops::blur(&pixels, 2.5).into_raw(), ..picture };
    let found = judge(&blurred, &known);
    assert!(found.status > QcStatus::Green && found.focus.status == found.status, "{found:?}");

    let picture = tissue(&mut Random(17), 700, 500);
    let green = map(&picture, |[r, g, b]| [g, b, r]);
    let found = judge(&green, &known);
    assert_eq!(
        (found.status, found.stain.unwrap().status, found.focus.status),
        (QcStatus::Red, QcStatus::Red, QcStatus::Green),
        "{found:?}"
    );
    let options = Options { out: folder.path().to_owned(), ..Options::default() };
    let used_to_doubt = Model { golden: vec![half_uncertain()], ..model_of(&known) };
    let used_to_doubt = segment(&folder.path().join("a.tif"), &used_to_doubt, &mut [Box::new(Sure)], &options, &Silent).unwrap().quality;
    assert!((used_to_doubt.entropy.limits.amber - 0.75).abs() < 1e-4 && used_to_doubt.entropy.status == QcStatus::Green);
    let unknown = judge(&green, &card(Some(0.5)));
    assert_eq!((unknown.status, unknown.stain), (QcStatus::Green, None));
    let text = std::fs::read_to_string(folder.path().join("a/summary.json")).unwrap();
    assert!(text.contains("\"light\": \"green\"") && text.contains("\"stain\": null"));
}

#[test]
fn the_map_has_a_pixel_for_each_cell_and_zeros_where_nothing_was_analysed() {
    let mut picture = tissue(&mut Random(18), 700, 500);
    picture.paste(&Rgb::filled(350, 500, [240; 3]), 350, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&picture, &path, Some(0.5));
    let regions = infer::segment::Regions::Found;
    let options = Options { out: folder.path().to_owned(), regions, ..Options::default() };
    let summary = segment(&path, &model(Some(0.5)), &mut [Box::new(Sure)], &options, &Silent).unwrap();
    let slide = slides::open(&folder.path().join("a/quality.tif"), None).unwrap();
    assert_eq!((slide.levels()[0].width, slide.levels()[0].height), (6, 4));
    assert!(slide.facts().disbelieved_mpp.iter().any(|mpp| mpp.contains("64")), "cells are larger than pixels of slides");
    let cells = slide.read_region(0, 0, 0, 6, 4).unwrap();
    let entropies: Vec<bool> = (0..6).map(|x| cells.at(x, 1)[0] > 0).collect();
    assert_eq!(entropies, [true, true, true, true, false, false]);
    let judged = cells.data.as_chunks::<3>().0.iter().filter(|cell| cell[0] > 0).count() as u64;
    let counts = summary.quality.tiles;
    assert_eq!(counts.green + counts.amber + counts.red, judged);
    assert!(cells.data.as_chunks::<3>().0.iter().all(|cell| cell[2] == 0), "the card does not tell the colours");
}

#[test]
fn mean_colours_are_those_of_the_pixels_of_each_nucleus() {
    let picture = tissue(&mut Random(19), 500, 420);
    let folder = tempfile::tempdir().unwrap();
    let summary = judged(&picture, &card(Some(0.5)), folder.path());
    assert!(summary.nuclei.count > 20);
    let labels = image::open(folder.path().join("a/labels.png")).unwrap().into_luma16();
    let mut sums = vec![([0.0; 3], 0.0); summary.nuclei.count as usize + 1];
    for (x, y, label) in labels.enumerate_pixels() {
        let pixel = picture.at(x as usize, y as usize);
        if Sure::of(pixel) > 127 {
            let (sum, count) = &mut sums[usize::from(label[0])];
            (0..3).for_each(|c| sum[c] += f64::from(pixel[c]));
            *count += 1.0;
        }
    }
    let mut table = csv::Reader::from_path(folder.path().join("a/nuclei.csv")).unwrap();
    let names = table.headers().unwrap().clone();
    for row in table.records() {
        let row = row.unwrap();
        let column = |name: &str| -> f64 { row[names.iter().position(|n| n == name).unwrap()].parse().unwrap() };
        let (sum, count) = sums[column("id") as usize];
        for (c, name) in ["mean_red", "mean_green", "mean_blue"].into_iter().enumerate() {
            assert!((column(name) - sum[c] / count).abs() <= 0.00501, "{name} of {}", column("id"));
        }
        assert!(column("hematoxylin_od").is_finite());
    }
}
