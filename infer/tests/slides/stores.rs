//! Annotation store `nuclei.db`: it contains all added annotations at any size, and its bytes are reproducible.

use std::path::Path;

use infer::instances::Extractor;
use infer::instances::shape::Shape;
use infer::output::annotation_store::{Annotation, AnnotationStore};
use infer::output::overlay::Overlay;
use infer::output::writers::{Source, Wanted, Writers};
use infer::output::{ExtraOutput, Files, Frame, Nucleus, Outlines};
use infer::segment::Options;
use models::card::Class;
use serde_json::json;
use slides::Rgb;
use slides::scaled::Scale;
use support::durable::{AtomicFile, FolderLock};
use uuid::Uuid;

use crate::figures::peak_memory;
use crate::picture::{Darkness, card, run, save_tiff, tissue};
use crate::random::Random;
use crate::stored::{checked, one, open};

/// Returns a nucleus with a number of corners at a random place of a large slide.
fn nucleus(id: u64, corners: usize, random: &mut Random) -> Nucleus {
    let [x, y] = [0, 1].map(|_| random.below(100_000) as f64 + 50.0);
    let corner = |i: usize| {
        let angle = i as f64 / corners as f64 * std::f64::consts::TAU;
        let radius = 8.0 + random.below(1000) as f64 / 500.0;
        [x + radius * angle.cos(), y + radius * angle.sin()]
    };
    let ring: Vec<[f64; 2]> = (0..corners).map(corner).collect();
    let side = |axis: usize, pick: fn(f64, f64) -> f64| ring.iter().map(|p| p[axis]).reduce(pick).unwrap();
    let box_px = [side(0, f64::min), side(1, f64::min), side(0, f64::max), side(1, f64::max)];
    let shape = Shape { area: 9.0, perimeter: 9.0, centroid: [x, y], major_axis: 3.0, minor_axis: 3.0, eccentricity: 0.0, solidity: 1.0 };
    Nucleus {
        id,
        rings: vec![ring],
        area_px: 9,
        shape,
        unit: "px",
        centroid_px: [x, y],
        box_px,
        mean_probability: 0.75,
        mean_rgb: [90.0; 3],
        hematoxylin: 0.5,
        touches_border: false,
    }
}

/// Returns the key of a nucleus.
fn key(id: u64) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, &id.to_le_bytes())
}

/// Writes a store of `count` random nuclei; `corners` is the number of corners by id.
fn store_of(path: &Path, count: u64, corners: impl Fn(u64) -> usize) {
    let class = Class { name: "nucleus".into(), colour: [200, 0, 0] };
    let mut store = AnnotationStore::new(AtomicFile::create(path).unwrap()).unwrap();
    let mut random = Random(9);
    for id in 1..=count {
        let nucleus = nucleus(id, corners(id), &mut random);
        store.add(&nucleus, &Annotation::new(&nucleus, key(id), &class).unwrap()).unwrap();
    }
    store.finish().unwrap().commit().unwrap();
}

/// Segments a slide and returns the bytes of its store.
fn segmented(folder: &Path, tile: usize, networks: usize, readers: usize) -> Vec<u8> {
    let path = folder.join("a.tif");
    save_tiff(&tissue(&mut Random(6), 700, 600), &path, Some(0.5));
    let out = folder.join(format!("{tile} {networks} {readers}"));
    let options = Options { out, extra: vec![ExtraOutput::AnnotationStore], tile: Some(tile), readers, ..Options::default() };
    let (summary, out) = run(&path, &card(Some(0.5)), networks, &options).unwrap();
    assert!(summary.nuclei.count > 100);
    std::fs::read(out.join("nuclei.db")).unwrap()
}

/// Writes all files of nuclei of a picture, `strip` rows at a time, and returns the bytes of the store.
fn written(strip: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (card, picture) = (card(None), tissue(&mut Random(6), 700, 600));
    let (width, height) = (picture.width, picture.height);
    let probability = Darkness::of(&picture.data, height, width);
    let scale =
        Scale { level: 0, level_from_model: [1.0; 2], slide_from_model: [1.0; 2], size_px: [width, height], effective_mpp: Some([0.5; 2]) };
    let mut files = Files::new(folder.path(), &FolderLock::exclusive(folder.path()).unwrap(), false).unwrap();
    let overlay = Overlay::new([width, height], Rgb::filled(700, 600, [255; 3]));
    let wanted = Wanted { extra: &[ExtraOutput::AnnotationStore], outlines: &Outlines::default() };
    let source = Source { slide_sha256: "ab", model_sha256: "cd", class: &card.classes[0] };
    let mut writers = Writers::new(&files, &wanted, &source, &scale, Frame::new(&scale, [0.0; 2]), overlay).unwrap();
    let mut extractor = Extractor::new(width, height, &card.decoding);
    for (rows, colours) in probability.chunks(strip * width).zip(picture.data.chunks(strip * width * 3)) {
        writers.add(&extractor.push(rows, colours)).unwrap();
    }
    writers.add(&extractor.finish()).unwrap();
    assert!(writers.finish(&mut files).unwrap().0.count > 100);
    // Files keep their temporary names until they are committed with a summary.
    let read = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read(entry.unwrap().path()).unwrap();
    std::fs::read_dir(folder.path()).unwrap().map(read).find(|bytes| bytes.starts_with(b"SQLite format 3\0")).unwrap()
}

#[test]
fn the_bytes_of_a_store_do_not_depend_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = segmented(folder.path(), 96, 1, 1);
    for (tile, networks, readers) in [(96, 1, 1), (96, 3, 4), (256, 2, 2)] {
        assert!(segmented(folder.path(), tile, networks, readers) == bytes, "tile {tile}, {networks} networks, {readers} readers");
    }
    let by_threads = |threads: usize, strip: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| written(strip))
    };
    let bytes = by_threads(1, 600);
    for (threads, strip) in [(1, 600), (7, 600), (3, 64)] {
        assert!(by_threads(threads, strip) == bytes, "{threads} threads, {strip} rows");
    }
}

/// The counts give R-trees of one page, of one inner page and of several levels; large polygons need several pages.
#[test]
fn stores_of_any_size_contain_what_was_added() {
    let folder = tempfile::tempdir().unwrap();
    for (count, large) in [(0, 5), (1, 1), (2, 2), (51, 5), (52, 40), (61, 9), (62, 9), (2700, 100), (50_000, 1000)] {
        let corners = |id: u64| if id.is_multiple_of(large) { [300, 700, 3000][id as usize % 3] } else { 6 };
        let [path, again] = ["a.db", "again.db"].map(|name| folder.path().join(name));
        store_of(&path, count, corners);
        store_of(&again, count, corners);
        assert!(std::fs::read(&again).unwrap() == std::fs::read(&path).unwrap(), "{count}");
        let rows = checked(&path);
        assert_eq!(rows.len() as u64, count);
        let mut random = Random(9);
        for (id, row) in (1..=count).zip(&rows) {
            let mut expected = nucleus(id, corners(id), &mut random);
            expected.rings.iter_mut().for_each(|ring| ring.push(ring[0]));
            assert_eq!((row.id as u64, &row.key, row.centroid), (id, &key(id).to_string(), expected.centroid_px));
            assert_eq!((&row.rings, &row.properties), (&expected.rings, &json!({ "type": "nucleus", "probability": 0.75 })));
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no journal and no temporary file is left");
}

/// The file exceeds 2^30 bytes, the position of SQLite's lock page; memory stays below 100 MiB.
#[test]
#[ignore = "writes 1.7 GB; to be run alone, because it measures the memory of the process"]
fn a_store_of_five_million_nuclei_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.db");
    store_of(&path, 5_000_000, |id| if id % 50 == 0 { 300 } else { 12 });
    let peak = peak_memory();
    assert!(std::fs::metadata(&path).unwrap().len() > 1 << 30);
    let database = open(&path);
    assert_eq!(one::<String>(&database, "PRAGMA integrity_check"), "ok");
    assert_eq!(one::<String>(&database, "SELECT rtreecheck('rtree')"), "ok");
    assert_eq!(one::<i64>(&database, "SELECT count(*) FROM annotations"), 5_000_000);
    let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 100 << 10, "{peak}");
}
