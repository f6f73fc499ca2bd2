//! Scale at which slides are read, and slides without a known scale.

use infer::segment::{Halo, Options};
use slides::ScaledSlide;
use slides::scaled::Scale;

use crate::picture::{card, contents, run, save_tiff, tissue};
use crate::random::Random;

#[test]
fn an_unknown_scale_is_an_error_with_a_hint_unless_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let picture = tissue(&mut Random(2), 200, 150);
    image::RgbImage::from_raw(200, 150, picture.data).unwrap().save(&path).unwrap();
    let options = Options { out: folder.path().join("out"), ..Options::default() };
    let error = run(&path, &card(Some(0.5)), 1, &options).unwrap_err();
    assert!(error.to_string().contains("a.png") && error.hint_text().unwrap().contains("--mpp"), "{error:?}");
    assert!(!folder.path().join("out").exists(), "a refused slide leaves no files");
    let (summary, _) = run(&path, &card(None), 1, &options).unwrap();
    assert!(summary.notes.iter().any(|note| note.contains("read at level 0")), "{:?}", summary.notes);
    assert_eq!(summary.areas.analysed_mm2, None);
    let (summary, _) = run(&path, &card(Some(0.5)), 1, &Options { mpp: Some(0.25), ..options.clone() }).unwrap();
    assert_eq!(summary.scale.read_at.size_px, [100, 75]);
    assert!(run(&path, &card(Some(0.5)), 1, &Options { mpp: Some(f64::NAN), ..options }).is_err());
}

#[test]
fn the_coarsest_sufficient_level_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(2), 2048, 1024), &path, Some(0.25));
    let slide = slides::open(&path, None).unwrap();
    let choose = |model| Scale::choose(slide.as_ref(), slide.facts().mpp, Some(model)).unwrap();
    for (model, level, factor, size) in [
        (0.25, 0, 1.0, [2048, 1024]),
        (0.2518, 0, 1.0, [2048, 1024]),
        (0.5, 1, 1.0, [1024, 512]),
        (0.496, 1, 1.0, [1024, 512]),
        (0.4, 0, 1.6, [1280, 640]),
        (0.75, 1, 1.5, [683, 341]),
        (0.125, 0, 0.5, [4096, 2048]),
    ] {
        let scale = choose(model);
        assert_eq!((scale.level, scale.size_px), (level, size), "{model}");
        assert!((scale.level_from_model[0] - factor).abs() < 1e-3, "{model}: {scale:?}");
        let effective = scale.effective_mpp.unwrap()[0];
        assert!((effective - model).abs() <= 0.0101 * model, "{model}: {effective}");
    }
}

#[test]
fn every_window_is_a_part_of_one_resampled_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(4), 600, 500), &path, Some(0.25));
    let slide = slides::open(&path, None).unwrap();
    let mut random = Random(8);
    for model in [0.2, 0.25, 0.3, 0.5, 0.61] {
        let scaled = ScaledSlide::new(slide.as_ref(), Scale::choose(slide.as_ref(), slide.facts().mpp, Some(model)).unwrap());
        let [width, height] = scaled.scale.size_px;
        let all = scaled.read(0, 0, width + 31, height + 31).unwrap();
        for _ in 0..10 {
            let (x, y) = (random.below(width + 20), random.below(height + 20));
            let (w, h) = (random.between(1, (width + 31 - x).min(200)), random.between(1, (height + 31 - y).min(200)));
            let part = scaled.read(x, y, w, h).unwrap();
            for row in 0..h {
                assert_eq!(part.row(row), &all.row(y + row)[x * 3..(x + w) * 3], "{model} µm/px at {x}, {y}");
            }
        }
    }
}

#[test]
fn files_of_a_resampled_slide_are_independent_of_the_window_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(12), 500, 400), &path, Some(0.3));
    let files = |tile: usize, name: &str| {
        let options = Options { out: folder.path().join(name), tile: Some(tile), halo: Halo::Exact, ..Options::default() };
        let (_, out) = run(&path, &card(Some(0.5)), 1, &options).unwrap();
        contents(&out, &["nuclei.geojson.gz", "mask.tif", "overlay.png"])
    };
    assert!(files(48, "small") == files(1024, "large"));
}
