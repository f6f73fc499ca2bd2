//! Sharded and simplified GeoJSON; labels as OME-TIFF.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use infer::instances::Extractor;
use infer::instances::boundary::Ring;
use infer::output::simplify::{is_sound, simplified};
use infer::output::{ExtraOutput, Outlines};
use infer::segment::Options;
use models::decode::Decoding;
use serde_json::Value;
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;

use crate::picture::{card, geojson, run, save_tiff, tissue};
use crate::random::Random;
use crate::readers::ask_python;

fn features(path: &Path) -> Vec<Value> {
    geojson(path)["features"].as_array().unwrap().clone()
}

/// Segments a slide; returns the names of its GeoJSON files and their bytes.
fn files(slide: &Path, out: &Path, outlines: Outlines, tile: usize) -> BTreeMap<String, Vec<u8>> {
    let options = Options { out: out.to_owned(), outlines, tile: Some(tile), ..Options::default() };
    let (summary, folder) = run(slide, &card(Some(0.5)), 1, &options).unwrap();
    let names = summary.outputs.into_iter().map(|output| output.name).filter(|name| name.ends_with(".geojson.gz"));
    names.map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn every_nucleus_is_in_the_shard_of_its_centroid_and_in_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let slide = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(21), 1300, 1100), &slide, Some(0.25));
    let whole = folder.path().join("whole");
    assert_eq!(files(&slide, &whole, Outlines::default(), 256).len(), 1);
    let all = features(&whole.join("a/nuclei.geojson.gz"));
    let cut = Outlines { shard_px: Some(512), simplify_px: 0.0 };
    let shards = files(&slide, &folder.path().join("cut"), cut, 256);
    assert_eq!(shards, files(&slide, &folder.path().join("again"), cut, 80), "shards depend on windows");
    assert_eq!(shards.len(), 9);
    let mut found = BTreeMap::new();
    for name in shards.keys() {
        let (x, y) = name.strip_prefix("nuclei_x").unwrap().strip_suffix(".geojson.gz").unwrap().split_once("_y").unwrap();
        for feature in features(&folder.path().join("cut/a").join(name)) {
            let ring: Vec<[f64; 2]> = serde_json::from_value(feature["geometry"]["coordinates"][0].clone()).unwrap();
            for (axis, start) in [x, y].into_iter().enumerate() {
                let start: f64 = start.parse().unwrap();
                let least = ring.iter().map(|p| p[axis]).fold(f64::INFINITY, f64::min);
                let most = ring.iter().map(|p| p[axis]).fold(0.0, f64::max);
                assert!(most > start && least < start + 512.0, "{name}: {least} to {most}");
            }
            assert!(found.insert(feature["id"].as_str().unwrap().to_owned(), feature).is_none());
        }
    }
    assert_eq!(found.len(), all.len());
    assert!(all.iter().all(|feature| found[feature["id"].as_str().unwrap()] == *feature));
    let many = Outlines { shard_px: Some(1), ..cut };
    let options = Options { out: folder.path().join("many"), outlines: many, ..Options::default() };
    let error = run(&slide, &card(Some(0.5)), 1, &options).unwrap_err();
    assert!(error.to_string().contains("expected at most 4096") && error.hint_text().unwrap().contains("--geojson-shards"), "{error}");
}

fn twice_area(ring: &[[f64; 2]]) -> f64 {
    ring.windows(2).map(|side| side[0][0] * side[1][1] - side[1][0] * side[0][1]).sum()
}

#[test]
fn simplified_rings_keep_ids_and_areas_and_have_fewer_corners() {
    let folder = tempfile::tempdir().unwrap();
    let slide = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(22), 700, 600), &slide, Some(0.5));
    files(&slide, &folder.path().join("exact"), Outlines::default(), 256);
    files(&slide, &folder.path().join("thin"), Outlines { shard_px: None, simplify_px: 0.75 }, 256);
    let [exact, simple] = ["exact", "thin"].map(|name| features(&folder.path().join(name).join("a/nuclei.geojson.gz")));
    assert_eq!(exact.len(), simple.len());
    let (mut corners, mut area) = ([0, 0], [0.0, 0.0]);
    for (exact, simple) in exact.iter().zip(&simple) {
        assert_eq!((&exact["id"], &exact["properties"]), (&simple["id"], &simple["properties"]));
        let rings = [exact, simple]
            .map(|feature| -> Vec<[f64; 2]> { serde_json::from_value(feature["geometry"]["coordinates"][0].clone()).unwrap() });
        for (i, ring) in rings.iter().enumerate() {
            corners[i] += ring.len();
            area[i] += twice_area(ring) / 2.0;
        }
        let areas = rings.each_ref().map(|ring| twice_area(ring) / 2.0);
        assert!((areas[1] - areas[0]).abs() <= 0.75 * rings[0].len() as f64, "{areas:?}");
    }
    assert!(corners[1] * 2 < corners[0], "{corners:?}");
    assert!((area[1] / area[0] - 1.0).abs() < 0.02, "{area:?}");
    let script = "import gzip, json, shapely.geometry as g, sys\n\
        shapes = [g.shape(f['geometry']) for f in json.load(gzip.open(sys.argv[1]))['features']]\n\
        assert all(s.is_valid and s.area > 0 for s in shapes)\nprint(len(shapes))";
    if let Some(count) = ask_python(&["shapely"], script, &[folder.path().join("thin/a/nuclei.geojson.gz").to_str().unwrap()]) {
        assert_eq!(count.trim(), simple.len().to_string());
    }
}

/// Components of noise have nested holes, necks of one pixel and shared corners.
#[test]
fn simplified_rings_of_any_shape_are_valid_polygons() {
    let mut random = Random(23);
    for round in 0..400 {
        let (width, height) = (random.between(3, 60), random.between(3, 60));
        let density = [0.3, 0.5, 0.6, 0.8, 0.95][random.below(5)];
        let map: Vec<u8> = (0..width * height).map(|_| if random.chance(density) { 200 } else { 0 }).collect();
        let mut extractor = Extractor::new(width, height, &Decoding { min_area_px: 1, fill_holes: round % 2 == 0, ..Decoding::default() });
        let mut found = extractor.push(&map, &vec![0; 3 * map.len()]).instances;
        found.extend(extractor.finish().instances);
        let tolerance = [0.3, 0.75, 1.5, 4.0][random.below(4)];
        for instance in found {
            let simple = simplified(&instance.rings, tolerance);
            assert!(is_sound(&instance.rings, &simple), "round {round}: {simple:?}");
            let corners = |rings: &[Ring]| rings.iter().map(Vec::len).sum::<usize>();
            assert!(corners(&simple) <= corners(&instance.rings) && simple.len() == instance.rings.len());
            assert!(simple.iter().zip(&instance.rings).all(|(simple, exact)| simple.iter().all(|corner| exact.contains(corner))));
        }
    }
}

/// Reads all levels: the first directory and its `SubIFDs`. The decoder reads only the first directory of a file, so each level is made the
/// first in a copy.
fn u32_levels(path: &Path) -> Vec<(u32, u32, Vec<u32>)> {
    let bytes = std::fs::read(path).unwrap();
    let mut first = Decoder::new(Cursor::new(&bytes)).unwrap();
    let text = first.get_tag_ascii_string(Tag::ImageDescription).unwrap();
    assert!(text.contains("Type=\"uint32\"") && text.contains("PhysicalSizeX=\"0.5\""), "{text}");
    let nested = first.find_tag(Tag::SubIfd).unwrap().map_or_else(Vec::new, |value| value.into_ifd_vec().unwrap());
    let own = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
    let level = |at: u64| {
        let mut bytes = bytes.clone();
        bytes[8..16].copy_from_slice(&at.to_le_bytes());
        let mut decoder = Decoder::new(Cursor::new(bytes)).unwrap();
        let (width, height) = decoder.dimensions().unwrap();
        let DecodingResult::U32(data) = decoder.read_image().unwrap() else { panic!("32-bit labels") };
        (width, height, data)
    };
    [own].into_iter().chain(nested.into_iter().map(|pointer| pointer.0)).map(level).collect()
}

#[test]
fn ome_labels_equal_the_label_image_at_every_level() {
    let folder = tempfile::tempdir().unwrap();
    let slide = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(24), 1201, 700), &slide, Some(0.5));
    let written = |name: &str, tile: usize| {
        let options = Options { out: folder.path().join(name), extra: vec![ExtraOutput::Labels], tile: Some(tile), ..Options::default() };
        let (summary, out) = run(&slide, &card(Some(0.5)), 1, &options).unwrap();
        assert!(summary.outputs.iter().any(|output| output.name == "labels.ome.tif"));
        out
    };
    let out = written("a", 512);
    let path = out.join("labels.ome.tif");
    assert!(std::fs::read(&path).unwrap() == std::fs::read(written("b", 96).join("labels.ome.tif")).unwrap(), "labels depend on windows");
    let labels = image::open(out.join("labels.png")).unwrap().into_luma16();
    let levels = u32_levels(&path);
    assert_eq!(levels.len(), 3);
    let (width, height, data) = &levels[0];
    assert_eq!((*width, *height), (1201, 700));
    for pair in levels.windows(2) {
        let ((fine, coarse), width) = ((&pair[0], &pair[1]), pair[1].0);
        assert_eq!((coarse.0, coarse.1), (fine.0.div_ceil(2), fine.1.div_ceil(2)));
        let above = |i: u32| fine.2[(i / width * 2 * fine.0 + i % width * 2) as usize];
        assert!((0..coarse.0 * coarse.1).all(|i| coarse.2[i as usize] == above(i)));
    }
    assert!(data.iter().zip(labels.pixels()).all(|(label, pixel)| *label == u32::from(pixel[0])));
    let script = "import sys, tifffile, numpy as np\nf = tifffile.TiffFile(sys.argv[1])\nassert f.is_ome\ns = f.series[0]\n\
        a = s.asarray()\nassert a.dtype == np.uint32 and a.shape == (700, 1201), (a.dtype, a.shape)\n\
        l = [x.asarray() for x in s.levels]\nassert len(l) == 3\n\
        assert all((l[i + 1] == l[i][::2, ::2]).all() for i in range(2))\nprint(a.max())";
    if let Some(count) = ask_python(&["tifffile", "numpy"], script, &[path.to_str().unwrap()]) {
        assert_eq!(count.trim(), data.iter().max().unwrap().to_string());
    }
}
