//! Damaged input files lead to an error or to a different picture, never to a panic.

use std::path::Path;

use models::plane::Plane;
use train::config::{DataConfig, GeoJsonConfig, LabelMap, Profile, RunConfig};
use train::data::image_file::{png_of_map, read_index, read_rgb};
use train::data::{index, read_scribble};
use train::rng::CounterRng;
use train::scribble::geojson;

/// Replaces, cuts or repeats bytes at up to four places, chosen by `case`.
fn damaged(bytes: &[u8], case: u64) -> Vec<u8> {
    let mut draw = CounterRng::new(1, "damage", 0, 0, case);
    let mut bytes = bytes.to_vec();
    for _ in 0..=draw.below(4) {
        let at = draw.below(bytes.len().max(1)).min(bytes.len());
        match draw.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, draw.bits() as u8),
            2 => bytes.extend_from_within(at..),
            _ if at < bytes.len() => bytes[at] = draw.bits() as u8,
            _ => {}
        }
    }
    bytes
}

fn scribble() -> Plane<u8> {
    Plane { width: 24, height: 18, data: (0..24 * 18).map(|i| [0, 1, 250][i % 3]).collect() }
}

fn data_config() -> DataConfig {
    DataConfig { label_map: LabelMap::default(), ..Profile::Scratch.config().data }
}

#[test]
fn damaged_pictures_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let grey = image::GrayImage::from_raw(24, 18, scribble().data).unwrap();
    let deep = image::DynamicImage::ImageLuma8(grey.clone()).to_luma16();
    let mut originals = vec![("a.png", png_of_map(&scribble()).unwrap())];
    for (name, picture) in [
        ("b.png", image::DynamicImage::ImageLuma16(deep.clone())),
        ("a.tif", image::DynamicImage::ImageLuma16(deep)),
        ("b.tif", image::DynamicImage::ImageLuma8(grey.clone()).to_rgb8().into()),
        ("a.jpg", image::DynamicImage::ImageLuma8(grey)),
    ] {
        picture.save(folder.path().join(name)).unwrap();
        originals.push((name, std::fs::read(folder.path().join(name)).unwrap()));
    }
    for (name, original) in originals {
        let path = folder.path().join(name);
        for case in 0..400 {
            std::fs::write(&path, damaged(&original, case)).unwrap();
            for error in [read_rgb(&path, None).err(), read_index(&path).err(), read_scribble(&path, 24, 18, &data_config()).err()]
                .into_iter()
                .flatten()
            {
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }
}

#[test]
fn a_jpeg_cut_short_is_refused_and_named_also_inside_of_a_tiff() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["baseline.jpg", "progressive.jpg", "restarts.jpg", "grey.jpg", "interval_300.jpg", "strips.tif", "tiles.tif"] {
        let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/pictures").join(name)).unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        read_rgb(&path, None).unwrap();
        for percent in [99, 95, 70, 50, 30, 10] {
            std::fs::write(&path, &bytes[..bytes.len() * percent / 100]).unwrap();
            for error in [read_rgb(&path, None).err(), read_index(&path).err()] {
                let error = error.unwrap_or_else(|| panic!("{percent} % of {name} were taken"));
                assert!(error.to_string().contains(name) && error.hint_text().is_some(), "{error:?}");
                assert!(error.to_string().contains("end of the file"), "{error:?}");
            }
        }
    }
}

#[test]
fn damaged_drawings_never_panic() {
    let text = r#"{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"classification":{"name":"nucleus"}},
        "geometry":{"type":"Polygon","coordinates":[[[1,1],[9,1],[9,9],[1,9],[1,1]]]}},{"type":"Feature","properties":{"classification":{"name":"background"}},
        "geometry":{"type":"GeometryCollection","geometries":[{"type":"LineString","coordinates":[[1,1.5],[20,3]]}]}}]}"#;
    for case in 0..4000 {
        let text = String::from_utf8_lossy(&damaged(text.as_bytes(), case)).into_owned();
        if let Ok(map) = geojson::rasterise(&text, 16, 12, [0.0, 0.0], &GeoJsonConfig::default()) {
            assert_eq!((map.width, map.height), (16, 12));
        }
    }
    let deep = format!("[{}", r#"{"type":"Feature","geometry":{"type":"GeometryCollection","geometries":["#.repeat(100_000));
    assert!(geojson::rasterise(&deep, 4, 4, [0.0, 0.0], &GeoJsonConfig::default()).is_err());
}

#[test]
fn damaged_configurations_and_indexes_never_panic() {
    let toml = Profile::Paper.config().to_toml();
    let csv = "id,split,modality\nimage1,train,fluorescence\nimage2,test,\"bright, field\"\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.csv");
    for case in 0..500 {
        if let Ok(config) =
            RunConfig::from_toml(&String::from_utf8_lossy(&damaged(toml.as_bytes(), case)), Profile::Scratch, &[] as &[&str])
        {
            config.check().unwrap();
        }
        std::fs::write(&path, damaged(csv.as_bytes(), case)).unwrap();
        if let Err(error) = index::read(&path) {
            assert!(error.to_string().contains("index.csv"), "{error}");
        }
    }
}
