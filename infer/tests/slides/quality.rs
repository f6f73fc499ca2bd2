//! Colours of nuclei, and the quality status of a slide.

use std::path::Path;

use infer::golden::GoldenTile;
use infer::model::Model;
use infer::network::Network;
use infer::output::Summary;
use infer::quality::status::QcStatus;
use infer::segment::{Options, segment};
use models::card::{ModelCard, Training};
use models::colour::ColourStatistics;
use models::decode::Decoding;
use slides::Rgb;
use support::Result;
use support::console::Silent;

use crate::picture::{card, model, model_of, save_tiff, tissue};
use crate::random::Random;

/// Network that thresholds the red channel, with probabilities near 0 and 1.
struct Certain;

impl Certain {
    fn of(pixel: [u8; 3]) -> u8 {
        if pixel[0] < 128 { 250 } else { 2 }
    }
}

impl Network for Certain {
    fn quantised(&mut self, images: &[u8], _: usize, _: usize, _: usize) -> Result<Vec<u8>> {
        Ok(images.as_chunks::<3>().0.iter().map(|&pixel| Self::of(pixel)).collect())
    }
}

fn segmented(picture: &Rgb, card: &ModelCard, out: &Path) -> Summary {
    let path = out.join("a.tif");
    save_tiff(picture, &path, Some(0.5));
    let options = Options { out: out.to_owned(), tile: Some(208), ..Options::default() };
    segment(&path, &model_of(card), &mut [Box::new(Certain)], &options, &Silent).unwrap()
}

/// Returns a golden tile with a mean entropy of half a bit: probability 1/2 at every second pixel and 0 at the others.
fn half_uncertain() -> GoldenTile {
    let probability: Vec<u8> = (0..32 * 32).map(|i| [127, 0][i % 2]).collect();
    GoldenTile::new(&[0; 32 * 32 * 3], &probability, [32, 32], &Decoding::default()).unwrap()
}

fn recoloured(picture: &Rgb, pixel: impl Fn([u8; 3]) -> [u8; 3]) -> Rgb {
    Rgb { data: picture.data.as_chunks::<3>().0.iter().flat_map(|&v| pixel(v)).collect(), ..*picture }
}

#[test]
fn a_blurred_and_a_recoloured_slide_are_not_green_and_the_original_is() {
    let picture = tissue(&mut Random(17), 700, 500);
    let statistics = ColourStatistics::of_images([(picture.data.as_slice(), picture.width)]);
    let known = ModelCard { training: Training { colours: statistics, ..Training::default() }, ..card(Some(0.5)) };
    let folder = tempfile::tempdir().unwrap();
    let quality_of = |picture: &Rgb, card: &ModelCard| segmented(picture, card, folder.path()).quality;

    let original = quality_of(&picture, &known);
    let stain = original.stain.unwrap();
    assert_eq!((original.status, original.tiles.green), (QcStatus::Green, 24), "{original:?}");
    assert!(stain.mean.unwrap() < 2.0 && original.entropy.mean.unwrap() < 0.2);

    let pixels = image::RgbImage::from_raw(700, 500, picture.data.clone()).unwrap();
    let blurred = Rgb { data: image::imageops::blur(&pixels, 2.5).into_raw(), ..picture };
    let found = quality_of(&blurred, &known);
    assert!(found.status > QcStatus::Green && found.focus.status == found.status, "{found:?}");

    let picture = tissue(&mut Random(17), 700, 500);
    let green = recoloured(&picture, |[r, g, b]| [g, b, r]);
    let found = quality_of(&green, &known);
    assert_eq!(
        (found.status, found.stain.unwrap().status, found.focus.status),
        (QcStatus::Red, QcStatus::Red, QcStatus::Green),
        "{found:?}"
    );
    let options = Options { out: folder.path().to_owned(), ..Options::default() };
    let uncertain_model = Model { golden: vec![half_uncertain()], ..model_of(&known) };
    let uncertain_model =
        segment(&folder.path().join("a.tif"), &uncertain_model, &mut [Box::new(Certain)], &options, &Silent).unwrap().quality;
    assert!((uncertain_model.entropy.limits.amber - 0.75).abs() < 1e-4 && uncertain_model.entropy.status == QcStatus::Green);
    let unknown = quality_of(&green, &card(Some(0.5)));
    assert_eq!((unknown.status, unknown.stain), (QcStatus::Green, None));
    let text = std::fs::read_to_string(folder.path().join("a/summary.json")).unwrap();
    assert!(text.contains("\"light\": \"green\"") && text.contains("\"stain\": null"));
}

#[test]
fn the_quality_map_has_one_pixel_per_grid_tile_and_zeros_outside_of_tissue() {
    let mut picture = tissue(&mut Random(18), 700, 500);
    picture.paste(&Rgb::filled(350, 500, [240; 3]), 350, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&picture, &path, Some(0.5));
    let regions = infer::segment::Regions::Found;
    let options = Options { out: folder.path().to_owned(), regions, ..Options::default() };
    let summary = segment(&path, &model(Some(0.5)), &mut [Box::new(Certain)], &options, &Silent).unwrap();
    let slide = slides::open(&folder.path().join("a/quality.tif"), None).unwrap();
    assert_eq!((slide.levels()[0].width, slide.levels()[0].height), (6, 4));
    assert!(
        slide.facts().implausible_mpp.iter().any(|mpp| mpp.contains("64")),
        "a grid tile is larger than any plausible pixel of a slide"
    );
    let map = slide.read_region(0, 0, 0, 6, 4).unwrap();
    let entropies: Vec<bool> = (0..6).map(|x| map.at(x, 1)[0] > 0).collect();
    assert_eq!(entropies, [true, true, true, true, false, false]);
    let segmented = map.data.as_chunks::<3>().0.iter().filter(|pixel| pixel[0] > 0).count() as u64;
    let counts = summary.quality.tiles;
    assert_eq!(counts.green + counts.amber + counts.red, segmented);
    assert!(map.data.as_chunks::<3>().0.iter().all(|pixel| pixel[2] == 0), "the card has no colour statistics");
}

#[test]
fn mean_colours_are_averages_over_the_pixels_of_each_nucleus() {
    let picture = tissue(&mut Random(19), 500, 420);
    let folder = tempfile::tempdir().unwrap();
    let summary = segmented(&picture, &card(Some(0.5)), folder.path());
    assert!(summary.nuclei.count > 20);
    let labels = image::open(folder.path().join("a/labels.png")).unwrap().into_luma16();
    let mut sums = vec![([0.0; 3], 0.0); summary.nuclei.count as usize + 1];
    for (x, y, label) in labels.enumerate_pixels() {
        let pixel = picture.at(x as usize, y as usize);
        if Certain::of(pixel) > 127 {
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
