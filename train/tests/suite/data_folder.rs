//! Data folders as users have them: the samples that are read, and the error of each fault.

use std::path::Path;

use models::plane::Plane;
use support::durable;
use train::config::{Profile, RunConfig};
use train::data::image_file::{RgbImage, png_of_labels, png_of_map, png_of_rgb};
use train::data::{Counts, Dataset, Split};
use train::scribble::{BACKGROUND, FOREGROUND, UNLABELLED};

const WIDTH: usize = 7;
const HEIGHT: usize = 5;

/// Writes a folder with `count` images, scribbles of both classes and instance labels.
fn folder(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..count {
        let image = RgbImage::new(WIDTH, HEIGHT, vec![i as u8; 3 * WIDTH * HEIGHT]).unwrap();
        write(folder.path(), &format!("images/im{i}.png"), &png_of_rgb(&image).unwrap());
        write(folder.path(), &format!("scribbles/im{i}.png"), &png_of_map(&scribble()).unwrap());
        let mut labels = Plane::filled(WIDTH, HEIGHT, 0);
        labels.data[10] = 1;
        write(folder.path(), &format!("labels/im{i}.png"), &png_of_labels(&labels).unwrap());
    }
    folder
}

fn scribble() -> Plane<u8> {
    let mut map = Plane::filled(WIDTH, HEIGHT, UNLABELLED);
    map.data[0] = BACKGROUND;
    map.data[10] = FOREGROUND;
    map
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    durable::write(&folder.join(name), bytes).unwrap();
}

fn config(folder: &Path, sets: &[&str]) -> RunConfig {
    let mut config = RunConfig::from_toml("", Profile::Scratch, sets).unwrap();
    folder.clone_into(&mut config.data.folder);
    config
}

fn message(folder: &Path, sets: &[&str]) -> String {
    format!("{:?}", Dataset::load(&config(folder, sets)).unwrap_err())
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_fifth_of_the_images_validates_if_no_split_is_given() {
    let folder = folder(10);
    let dataset = Dataset::load(&config(folder.path(), &[])).unwrap();
    assert_eq!((dataset.of(Split::Train).count(), dataset.of(Split::Val).count()), (8, 2));
    assert_eq!(dataset, Dataset::load(&config(folder.path(), &[])).unwrap());
    assert_eq!(dataset.counts(Split::Train), Counts { background: 8, foreground: 8, unlabelled: 8 * 33 });
    let none = Dataset::load(&config(folder.path(), &["data.validation=none"])).unwrap();
    assert_eq!(none.of(Split::Train).count(), 10);
}

#[test]
fn the_index_decides_the_split_and_test_images_need_no_scribbles() {
    let folder = folder(4);
    write(folder.path(), "index.csv", b"id,split,modality\nim0,train,a\nim1,val,a\nim2,test,a\nim3,train,b\n");
    std::fs::remove_file(folder.path().join("scribbles/im2.png")).unwrap();
    let splits: Vec<Split> = Dataset::load(&config(folder.path(), &[])).unwrap().samples.iter().map(|s| s.split).collect();
    assert_eq!(splits, [Split::Train, Split::Val, Split::Test, Split::Train]);
    let only = Dataset::load(&config(folder.path(), &["data.modality=a"])).unwrap();
    assert_eq!(only.samples.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["im0", "im1", "im2"]);
    has(&message(folder.path(), &["data.modality=c"]), &["no image of modality \"c\"", "\"a\", \"b\""]);
    let test = Dataset::load_labelled(folder.path(), Some(Split::Test), None, &config(folder.path(), &[]).data).unwrap();
    assert_eq!(test.samples.len(), 1);
}

#[test]
fn full_supervision_trains_on_masks() {
    let folder = folder(2);
    std::fs::remove_dir_all(folder.path().join("scribbles")).unwrap();
    has(&message(folder.path(), &[]), &["scribbles: no scribbles found", "train scribble"]);
    let dataset = Dataset::load(&config(folder.path(), &["method.name=full"])).unwrap();
    assert_eq!(Counts::of(&dataset.samples[0].scribble), Counts { background: 34, foreground: 1, unlabelled: 0 });
}

#[test]
fn geojson_scribbles_and_scribble_pictures_can_be_mixed() {
    let folder = folder(1);
    std::fs::remove_file(folder.path().join("scribbles/im0.png")).unwrap();
    let stroke = |class: &str, y: f64| {
        format!(
            r#"{{"type":"Feature","properties":{{"classification":{{"name":"{class}"}}}},"geometry":{{"type":"LineString","coordinates":[[0,{y}],[7,{y}]]}}}}"#
        )
    };
    let text = format!(r#"{{"type":"FeatureCollection","features":[{},{}]}}"#, stroke("Nucleus", 0.5), stroke("Background", 3.5));
    write(folder.path(), "scribbles/im0.geojson", text.as_bytes());
    let dataset = Dataset::load(&config(folder.path(), &["data.geojson.stroke_width_px=1"])).unwrap();
    assert_eq!(Counts::of(&dataset.samples[0].scribble), Counts { background: 7, foreground: 7, unlabelled: 21 });
    write(folder.path(), "scribbles/im0.geojson", text.replace("Nucleus", "Tumor").as_bytes());
    has(&message(folder.path(), &[]), &["im0.geojson", "feature 1 of 2", "\"Tumor\""]);
}

#[test]
fn errors_of_missing_and_empty_folders_name_the_expected_files() {
    let folder = folder(0);
    has(&message(&folder.path().join("nowhere"), &[]), &["nowhere", "found nothing", "images/ID.png"]);
    has(&message(folder.path(), &[]), &["images: no images found"]);
    write(folder.path(), "file", b"");
    has(&message(&folder.path().join("file"), &[]), &["found a file"]);
}

#[test]
fn the_error_lists_images_without_scribbles() {
    let folder = folder(12);
    for i in [3, 5] {
        std::fs::remove_file(folder.path().join(format!("scribbles/im{i}.png"))).unwrap();
    }
    has(&message(folder.path(), &[]), &["images without scribbles: im3, im5 (2 in all)", "hint"]);
}

#[test]
fn errors_of_faulty_scribbles_name_the_file_with_expected_and_found_values() {
    let folder = folder(2);
    write(folder.path(), "scribbles/im1.png", &png_of_map(&Plane::filled(6, 5, UNLABELLED)).unwrap());
    has(&message(folder.path(), &[]), &["im1.png", "6 x 5", "7 x 5"]);
    write(folder.path(), "scribbles/im1.png", &png_of_map(&Plane::filled(7, 5, 9)).unwrap());
    has(&message(folder.path(), &[]), &["im1.png", "9 (35 pixels)", "foreground [1]", "label_map"]);
    for i in 0..2 {
        write(folder.path(), &format!("scribbles/im{i}.png"), &png_of_map(&Plane::filled(7, 5, UNLABELLED)).unwrap());
    }
    has(&message(folder.path(), &[]), &["0 background and 0 nucleus pixels"]);
}

#[test]
fn errors_of_faulty_images_labels_and_indexes_name_the_file() {
    let folder = folder(2);
    let good = std::fs::read(folder.path().join("images/im0.png")).unwrap();
    write(folder.path(), "images/im0.png", &good[..good.len() / 2]);
    has(&message(folder.path(), &[]), &["im0.png", "cut short"]);
    write(folder.path(), "images/im0.png", &good);
    write(folder.path(), "labels/im0.png", &png_of_map(&Plane::filled(5, 7, 0)).unwrap());
    has(&message(folder.path(), &[]), &["im0.png", "labels are 5 x 7", "7 x 5"]);
    write(folder.path(), "images/im0.tif", b"");
    has(&message(folder.path(), &[]), &["im0 has two files", "im0.png", "im0.tif"]);
    std::fs::remove_file(folder.path().join("images/im0.tif")).unwrap();
    write(folder.path(), "index.csv", b"id,split\nim0,train\n");
    has(&message(folder.path(), &[]), &["images without a row: im1"]);
    write(folder.path(), "index.csv", b"id,split\nim0,train\nim1,test\nim2,test\n");
    has(&message(folder.path(), &[]), &["rows without an image: im2"]);
}

#[test]
fn folds_partition_the_images_and_each_fold_validates_once() {
    let folder = folder(11);
    let parts = |fold: usize| {
        let dataset = Dataset::load(&config(folder.path(), &["data.folds=5", &format!("data.fold={fold}")])).unwrap();
        let ids = |split| dataset.of(split).map(|(_, sample)| sample.id.clone()).collect::<Vec<_>>();
        [ids(Split::Train), ids(Split::Val), ids(Split::Test)]
    };
    let all: Vec<_> = (0..4).map(parts).collect();
    assert!(all.iter().all(|[train, val, test]| train.len() + val.len() + test.len() == 11 && *test == all[0][2]));
    let validated: std::collections::BTreeSet<_> = all.iter().flat_map(|[_, val, _]| val.clone()).collect();
    assert_eq!(validated.len() + all[0][2].len(), 11);
    // With named test images every fold can be the validation set, and the test set is the same in all.
    let rows: Vec<String> = (0..11).map(|i| format!("im{i},{}\n", if i < 3 { "test" } else { "" })).collect();
    write(folder.path(), "index.csv", format!("id,split\n{}", rows.concat()).as_bytes());
    let [train, val, test] = parts(4);
    assert_eq!((test.len(), train.len() + val.len()), (3, 8));
    let labelled = Dataset::load_labelled(folder.path(), Some(Split::Val), None, &config(folder.path(), &["data.fold=4"]).data).unwrap();
    assert_eq!(labelled.samples.iter().map(|sample| sample.id.clone()).collect::<Vec<_>>(), val);
}

#[test]
fn folds_larger_than_the_data_are_refused() {
    let folder = folder(4);
    has(&message(folder.path(), &["data.fold=1"]), &["4 images cannot be divided into data.folds = 5 folds", "hint"]);
    has(&message(folder.path(), &["data.folds=3", "data.fold=2"]), &["fold 2 of 3 is the test set", "0 to 1"]);
}

#[test]
fn the_papers_profile_crops_to_multiples_of_32_and_refuses_smaller_images() {
    let small = folder(3);
    has(&message(small.path(), &["data.sides=crop"]), &["im0", "7 x 5", "data.sides=pad"]);
    let large = tempfile::tempdir().unwrap();
    let (width, height) = (70, 40);
    let image = RgbImage::new(width, height, (0..3 * width * height).map(|i| i as u8).collect()).unwrap();
    let mut map = Plane::filled(width, height, UNLABELLED);
    (map.data[0], map.data[width + 63], map.data[69]) = (BACKGROUND, FOREGROUND, FOREGROUND);
    write(large.path(), "images/a.png", &png_of_rgb(&image).unwrap());
    write(large.path(), "scribbles/a.png", &png_of_map(&map).unwrap());
    let dataset = Dataset::load(&config(large.path(), &["data.sides=crop", "data.validation=none"])).unwrap();
    let sample = &dataset.samples[0];
    assert_eq!((sample.image.width, sample.image.height, sample.scribble.width, sample.scribble.height), (64, 32, 64, 32));
    assert_eq!((sample.image.at(63, 31), sample.scribble.at(63, 1)), (image.at(63, 31), FOREGROUND));
    assert_eq!(Counts::of(&sample.scribble).foreground, 1);
}
