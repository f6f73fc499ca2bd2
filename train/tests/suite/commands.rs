//! The commands `train check` and `train scribble`, called as functions.

use std::path::Path;

use models::plane::Plane;
use support::durable;
use train::check::{Audit, audit};
use train::config::{Profile, RunConfig};
use train::data::Split;
use train::data::image_file::{RgbImage, png_of_labels, png_of_map, png_of_rgb, read_index};
use train::make_scribbles::{Kind, summary, write_scribbles};

/// Writes a data folder of four different images of 40 x 30 px with one nucleus each and no scribbles.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..4u8 {
        let image = RgbImage::new(40, 30, vec![10 * i; 3 * 40 * 30]).unwrap();
        let mut labels = Plane::filled(40, 30, 0);
        for y in 8..20 {
            labels.row_mut(y)[10..28].fill(1);
        }
        write(folder.path(), &format!("images/im{i}.png"), &png_of_rgb(&image).unwrap());
        write(folder.path(), &format!("labels/im{i}.png"), &png_of_labels(&labels).unwrap());
    }
    folder
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    durable::write(&folder.join(name), bytes).unwrap();
}

fn check(folder: &Path) -> Audit {
    let mut config = RunConfig::from_toml("", Profile::Scratch, &["run.crop=32"]).unwrap();
    folder.clone_into(&mut config.data.folder);
    audit(&config).unwrap()
}

#[test]
fn a_sound_folder_is_reported_as_ready_to_train() {
    let folder = folder();
    write_scribbles(folder.path(), Kind::Auto(100), 1, false).unwrap();
    let audit = check(folder.path());
    assert!(audit.is_sound(), "{:?}", audit.problems);
    let text = audit.to_text();
    for part in [
        "train: 4 images, 4 with labels (4 nuclei)",
        "contradicting the labels: 0 px",
        "4 of 40 x 30 colour, 8 bits",
        "ready to train",
        "smaller than the crop",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(audit.memory.features > 1 << 20 && audit.memory.data == 12 * 4 * 1200);
}

#[test]
fn one_check_lists_every_fault_of_a_folder() {
    let folder = folder();
    write_scribbles(folder.path(), Kind::Strokes(1.0), 1, false).unwrap();
    write(folder.path(), "scribbles/im0.png", &png_of_map(&Plane::filled(40, 30, 77)).unwrap());
    std::fs::remove_file(folder.path().join("scribbles/im1.png")).unwrap();
    write(folder.path(), "scribbles/im2.png", &png_of_map(&Plane::filled(40, 30, 1)).unwrap());
    std::fs::copy(folder.path().join("images/im2.png"), folder.path().join("images/im3.png")).unwrap();
    write(folder.path(), "index.csv", b"id,split\nim0,train\nim1,train\nim2,train\nim3,test\n");
    let audit = check(folder.path());
    let text = audit.to_text();
    for part in [
        "77 (1200 pixels)",
        "training images without scribbles: im0, im1",
        "contradict the labels: im2",
        "the same picture: im2 (train), im3 (test): in two splits",
        "would not start",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!audit.is_sound() && audit.counts(Split::Test).labelled() > 0);
    serde_json::to_string(&audit).unwrap();
}

#[test]
fn an_unreadable_image_is_listed_and_the_check_continues() {
    let folder = folder();
    write_scribbles(folder.path(), Kind::Auto(100), 1, false).unwrap();
    write(folder.path(), "images/im1.png", b"not a picture");
    let audit = check(folder.path());
    assert_eq!((audit.images.len(), audit.problems.len()), (3, 1));
    assert!(audit.problems[0].contains("im1.png"), "{:?}", audit.problems);
}

#[test]
fn scribbles_depend_only_on_seed_and_image_id_and_are_not_overwritten() {
    let kind = Kind::Strokes(1.0);
    let (one, two) = (folder(), folder());
    let text = summary(kind, &write_scribbles(one.path(), kind, 5, false).unwrap());
    assert!(text.contains("4 images: simulated strokes on 100 % of nuclei") && text.contains("labelled pixels"), "{text}");
    std::fs::remove_file(two.path().join("images/im0.png")).unwrap();
    write_scribbles(two.path(), kind, 5, false).unwrap();
    let read = |folder: &tempfile::TempDir| read_index(&folder.path().join("scribbles/im3.png")).unwrap();
    assert_eq!(read(&one), read(&two));
    let error = format!("{:?}", write_scribbles(one.path(), kind, 5, false).unwrap_err());
    assert!(error.contains("scribbles/im0.png") && error.contains("--overwrite"), "{error}");
    write_scribbles(one.path(), kind, 5, true).unwrap();
}

#[test]
fn scribbles_need_labels() {
    let folder = folder();
    std::fs::remove_dir_all(folder.path().join("labels")).unwrap();
    let error = write_scribbles(folder.path(), Kind::Auto(30), 1, false).unwrap_err();
    assert!(error.to_string().contains("no labels found"), "{error}");
}

#[test]
fn unbalanced_classes_and_images_with_strokes_of_one_class_are_reported() {
    let folder = folder();
    write_scribbles(folder.path(), Kind::Strokes(1.0), 1, false).unwrap();
    let mut map = Plane::filled(40, 30, 0);
    map.row_mut(0).fill(250);
    for id in ["im0", "im1", "im2"] {
        write(folder.path(), &format!("scribbles/{id}.png"), &png_of_map(&map).unwrap());
    }
    let audit = check(folder.path());
    let text = audit.to_text();
    for part in ["strokes of one class only: im0, im1, im2", "far from balanced", "(most: im0 216 px, im1 216 px, im2 216 px)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_estimated_training_time_follows_the_length_of_the_run() {
    let folder = folder();
    write_scribbles(folder.path(), Kind::Auto(100), 1, false).unwrap();
    let sets = ["run.crop=32", "run.iterations=100", "run.batch=2", "network.encoder_width=4", "network.decoder_channels=[4,4,4,4,4]"];
    let mut config = RunConfig::from_toml("", Profile::Scratch, &sets).unwrap();
    folder.path().clone_into(&mut config.data.folder);
    let images = audit(&config).unwrap().images;
    let time = train::check::time(&images, &config).unwrap();
    assert!(time.step > 0.0 && time.predictions > 0.0);
    assert!((time.training - 100.0 * time.step).abs() < 1e-9);
    config.run.minutes = Some(1e-3);
    assert!(train::check::time(&images, &config).unwrap().training <= 0.06);
}

/// The help of each command with `--profile` lists all profiles.
#[test]
fn help_names_every_profile() {
    for command in ["init", "fit", "folds"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_train")).args([command, "--help"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let named = text.lines().find(|line| line.contains("default, ")).unwrap_or_else(|| panic!("{text}"));
        for profile in Profile::ALL {
            assert!(named.replace(['`', '.'], "").split([' ', ',']).any(|word| word == profile.name()), "{command}: {named}");
        }
    }
}
