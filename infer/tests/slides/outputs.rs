//! Output files, read back field by field; their bytes are independent of windows, batches and threads.

use std::path::Path;
use std::time::Duration;

use infer::output::summary::Status;
use infer::segment::{Halo, Options};
use models::decode;
use models::plane::{Plane, reflect_101};
use serde_json::Value;
use slides::Rgb;

use crate::picture::{Darkness, card, contents, geojson, model, run, save_tiff, shared, tissue};
use crate::random::Random;

const FILES: [&str; 7] = ["nuclei.geojson.gz", "nuclei.csv", "mask.tif", "probability.tif", "labels.png", "overlay.png", "quality.tif"];

/// Returns the prediction for the whole image, padded by reflection as in training.
fn whole(picture: &Rgb, stride: usize) -> Plane<u8> {
    let (width, height) = (picture.width.next_multiple_of(stride), picture.height.next_multiple_of(stride));
    let pixel = |x: usize, y: usize| picture.at(reflect_101(x as isize, picture.width), reflect_101(y as isize, picture.height));
    let padded: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    let prediction = Plane::new(width, height, Darkness::of(&padded, height, width)).unwrap();
    let rows = (0..picture.height).flat_map(|y| prediction.row(y)[..picture.width].to_vec());
    Plane::new(picture.width, picture.height, rows.collect()).unwrap()
}

fn grey(path: &Path) -> Plane<u8> {
    let mut decoder = tiff::decoder::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    let tiff::decoder::DecodingResult::U8(data) = decoder.read_image().unwrap() else { panic!("8-bit grey") };
    Plane::new(width as usize, height as usize, data).unwrap()
}

#[test]
fn files_equal_those_of_the_whole_image_for_every_window_batch_and_thread_count() {
    let folder = tempfile::tempdir().unwrap();
    let picture = tissue(&mut Random(5), 701, 523);
    let path = folder.path().join("a.tif");
    save_tiff(&picture, &path, Some(0.5));
    let card = card(Some(0.5));
    let mut first: Option<Vec<Vec<u8>>> = None;
    for (i, (tile, halo, batch, networks, readers)) in
        [(2048, 16, 1, 1, 1), (64, 16, 3, 2, 3), (112, 32, 1, 1, 2), (256, 16, 2, 3, 1), (48, 16, 7, 1, 4)].into_iter().enumerate()
    {
        let out = folder.path().join(format!("out{i}"));
        let options = Options { out, tile: Some(tile), halo: Halo::Px(halo), batch, readers, ..Options::default() };
        let (summary, out) = run(&path, &card, networks, &options).unwrap();
        assert_eq!((summary.status, summary.areas.lost_px), (Status::Complete, 0));
        assert_eq!(summary.outputs.len(), FILES.len());
        let bytes = contents(&out, &FILES);
        let expected = first.get_or_insert_with(|| bytes.clone());
        for ((name, bytes), expected) in FILES.iter().zip(&bytes).zip(expected) {
            assert!(bytes == expected, "{name} depends on tile {tile}, batch {batch}, {networks} networks, {readers} readers");
        }
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), FILES.len() + 1, "temporary files were left");
        let probability = whole(&picture, card.stride);
        assert_eq!(grey(&out.join("probability.tif")), probability, "tile {tile}");
        let labels = decode::instances(&probability, &card.decoding);
        assert_eq!(grey(&out.join("mask.tif")), labels.map(|&id| if id > 0 { 255 } else { 0 }), "tile {tile}");
        assert_eq!(summary.nuclei.count, u64::from(*labels.data.iter().max().unwrap()));
    }
}

#[test]
fn bands_are_in_order_if_networks_finish_out_of_order() {
    struct Slow(Duration);
    impl infer::network::Network for Slow {
        fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> support::Result<Vec<u8>> {
            std::thread::sleep(std::mem::take(&mut self.0));
            Darkness.quantised(images, batch, height, width)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tall.tif");
    save_tiff(&tissue(&mut Random(8), 40, 900), &path, None);
    let mut files = Vec::new();
    for (i, tile) in [2048, 48].into_iter().enumerate() {
        let options = Options { out: folder.path().join(i.to_string()), tile: Some(tile), ..Options::default() };
        let mut networks: Vec<Box<dyn infer::network::Network>> =
            [300, 0, 100].map(|ms| Box::new(Slow(Duration::from_millis(ms))) as Box<dyn infer::network::Network>).into();
        infer::segment::segment(&path, &model(None), &mut networks, &options, &support::console::Silent).unwrap();
        files.push(contents(&options.out.join("tall"), &FILES));
    }
    assert!(files[0] == files[1]);
}

#[test]
fn geojson_csv_and_labels_have_the_same_nuclei() {
    let folder = tempfile::tempdir().unwrap();
    let picture = tissue(&mut Random(6), 400, 300);
    let path = folder.path().join("a.tif");
    save_tiff(&picture, &path, Some(0.25));
    let options = Options { out: folder.path().join("out"), ..Options::default() };
    let (summary, out) = run(&path, &card(Some(0.5)), 1, &options).unwrap();
    assert_eq!(summary.scale.read_at.slide_from_model, [2.0, 2.0]);
    let collection = geojson(&out.join("nuclei.geojson.gz"));
    let features = collection["features"].as_array().unwrap();
    assert_eq!(features.len() as u64, summary.nuclei.count);
    let labels = image::open(out.join("labels.png")).unwrap().into_luma16();
    assert_eq!((labels.width(), labels.height()), (200, 150));
    let mut table = csv::Reader::from_path(out.join("nuclei.csv")).unwrap();
    let names = table.headers().unwrap().clone();
    let column = |row: &csv::StringRecord, name: &str| -> f64 { row[names.iter().position(|n| n == name).unwrap()].parse().unwrap() };
    let mut ids = std::collections::HashSet::new();
    for (feature, row) in features.iter().zip(table.records()) {
        let row = row.unwrap();
        assert_eq!((&feature["type"], &feature["properties"]["objectType"]), (&"Feature".into(), &"detection".into()));
        let id = uuid::Uuid::parse_str(feature["id"].as_str().unwrap()).unwrap();
        assert!(id.get_version_num() == 5 && ids.insert(id));
        let class = &feature["properties"]["classification"];
        assert_eq!((&class["name"], &class["color"]), (&"Nucleus".into(), &serde_json::json!([20, 200, 40])));
        let measured = &feature["properties"]["measurements"];
        let area = measured["Area µm^2"].as_f64().unwrap();
        assert!((area - column(&row, "area_um2")).abs() < 1e-3 && (area - column(&row, "area_model_px") * 0.25).abs() < 1e-3);
        assert!((0.5..=1.0).contains(&measured["Probability"].as_f64().unwrap()));
        for name in ["Perimeter µm", "Major axis µm", "Minor axis µm", "Eccentricity", "Solidity"] {
            assert!(measured[name].as_f64().is_some(), "{name}");
        }
        let number = column(&row, "id") as u16;
        assert_eq!(labels.pixels().filter(|pixel| pixel[0] == number).count() as f64, column(&row, "area_model_px"));
        check_ring(&feature["geometry"], area / 0.0625);
    }
}

/// Checks that a ring is closed, has at least four points and the measured area (replaced corners change the area by at most 1/8 pixel each).
fn check_ring(geometry: &Value, area_px: f64) {
    assert_eq!(geometry["type"], "Polygon");
    let rings = geometry["coordinates"].as_array().unwrap();
    assert_eq!(rings.len(), 1);
    let ring: Vec<[f64; 2]> = serde_json::from_value(rings[0].clone()).unwrap();
    assert!(ring.len() >= 4 && ring.first() == ring.last());
    let twice: f64 = ring.windows(2).map(|side| side[0][0] * side[1][1] - side[1][0] * side[0][1]).sum();
    assert!((twice / 2.0 - area_px).abs() <= 0.02 * area_px, "{twice} {area_px}");
}

#[test]
fn every_level_of_a_written_pyramid_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let picture = tissue(&mut Random(9), 1301, 700);
    let path = folder.path().join("a.tif");
    save_tiff(&picture, &path, Some(0.5));
    let slide = slides::open(&path, None).unwrap();
    let sizes: Vec<_> = slide.levels().iter().map(|level| (level.width, level.height)).collect();
    assert_eq!(sizes, [(1301, 700), (651, 350), (326, 175)]);
    let mpp = slide.microns_per_pixel().unwrap();
    assert!((mpp[0] - 0.5).abs() < 1e-4 && (mpp[1] - 0.5).abs() < 1e-4);
    let level_0 = slide.read_region(0, 0, 0, 1301, 700).unwrap();
    assert_eq!(level_0, picture);
    let part = slide.read_region(0, 500, 508, 50, 9).unwrap();
    assert_eq!(part.at(12, 4), picture.at(512, 512));
    let half = slide.read_region(1, 0, 0, 651, 350).unwrap();
    let mean = |x: usize, y: usize, c: usize| {
        (0..4).map(|i| u32::from(picture.at((2 * x + i % 2).min(1300), (2 * y + i / 2).min(699))[c])).sum::<u32>()
    };
    for (x, y) in [(0, 0), (650, 349), (255, 256), (300, 100)] {
        assert_eq!(half.at(x, y), [0, 1, 2].map(|c| ((mean(x, y, c) + 2) / 4) as u8));
    }
}

#[test]
fn an_output_folder_that_cannot_be_created_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(1), 64, 64), &path, Some(0.5));
    std::fs::write(folder.path().join("out"), b"a file").unwrap();
    let options = Options { out: folder.path().join("out"), ..Options::default() };
    let error = run(&path, &card(None), 1, &options).unwrap_err();
    assert!(error.to_string().contains("out"), "{error}");
}

#[test]
fn a_failed_network_leaves_no_files() {
    struct Failing(u32);
    impl infer::network::Network for Failing {
        fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> support::Result<Vec<u8>> {
            self.0 += 1;
            if self.0 > 4 {
                support::bail!("out of memory");
            }
            Ok(vec![0; images.len() / 3 / (batch * height * width) * batch * height * width])
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(1), 600, 600), &path, Some(0.5));
    let options = Options { out: folder.path().join("out"), tile: Some(64), ..Options::default() };
    let mut networks: Vec<Box<dyn infer::network::Network>> = vec![Box::new(Failing(0))];
    let error = infer::segment::segment(&path, &model(None), &mut networks, &options, &support::console::Silent).unwrap_err();
    assert_eq!(error.to_string(), "out of memory");
    assert_eq!(std::fs::read_dir(folder.path().join("out/a")).unwrap().count(), 0);
}

#[test]
fn a_real_slide_is_segmented() {
    let Some(path) = shared("CMU-1-Small-Region.svs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = Options { out: folder.path().to_owned(), tile: Some(512), ..Options::default() };
    let (summary, out) = run(&path, &card(Some(0.5)), 1, &options).unwrap();
    assert_eq!((summary.slide.reader.as_str(), summary.slide.size_px), ("tiff", [2220, 2967]));
    assert_eq!(summary.scale.slide.unwrap().x, 0.499);
    assert_eq!(summary.scale.read_at.level_from_model, [1.0, 1.0]);
    assert!(summary.nuclei.count > 100, "{:?}", summary.nuclei);
    let text = std::fs::read_to_string(out.join("summary.json")).unwrap() + &geojson(&out.join("nuclei.geojson.gz")).to_string();
    assert!(!text.contains("Aperio") && !text.contains("AppMag"), "vendor tags are not copied");
}
