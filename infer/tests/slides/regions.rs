//! Analysed regions are independent of windows, and nuclei lie inside of them only.

use infer::segment::{Halo, Options, Regions};
use slides::Rgb;

use crate::picture::{card, contents, run, save_tiff, tissue};
use crate::random::Random;

const SIDE: usize = 1500;
const FILES: [&str; 5] = ["nuclei.geojson.gz", "nuclei.csv", "mask.tif", "probability.tif", "overlay.png"];

/// Returns two pieces of tissue on glass.
fn on_glass() -> Rgb {
    let mut picture = Rgb::filled(SIDE, SIDE, [240, 241, 238]);
    picture.paste(&tissue(&mut Random(3), 300, 260), 150, 200);
    picture.paste(&tissue(&mut Random(4), 200, 400), 1100, 900);
    picture
}

#[test]
fn glass_is_skipped_for_every_window_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&on_glass(), &path, Some(0.5));
    let mut first: Option<Vec<Vec<u8>>> = None;
    let mut skipped = Vec::new();
    for (i, tile) in [2048, 64, 176, 512].into_iter().enumerate() {
        let out = folder.path().join(i.to_string());
        let options = Options { out, tile: Some(tile), halo: Halo::Px(16), regions: Regions::Found, ..Options::default() };
        let (summary, out) = run(&path, &card(Some(0.5)), 1, &options).unwrap();
        let bytes = contents(&out, &FILES);
        assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "tile {tile}");
        let areas = &summary.areas;
        assert_eq!(areas.analysed_px + areas.skipped_px, (SIDE * SIDE) as u64);
        assert!(areas.skipped_px > areas.analysed_px && areas.skipped_mm2.unwrap() > areas.analysed_mm2.unwrap());
        skipped.push(summary.tiles.windows_skipped as f64 / summary.tiles.windows as f64);
    }
    assert!(skipped[0] == 0.0 && skipped[1] > 0.5, "{skipped:?}");
    let all = Options { out: folder.path().join("all"), ..Options::default() };
    let (everywhere, out) = run(&path, &card(Some(0.5)), 1, &all).unwrap();
    assert_eq!(everywhere.areas.skipped_px, 0);
    assert!(std::fs::read(out.join("nuclei.csv")).unwrap() == first.unwrap()[1], "there are no nuclei on glass");
}

#[test]
fn nuclei_lie_inside_of_the_given_region() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&on_glass(), &path, Some(0.5));
    let regions = folder.path().join("region.geojson");
    let corner = [[130, 130], [250, 130], [250, 250], [130, 250], [130, 130]];
    std::fs::write(&regions, serde_json::json!({ "type": "Polygon", "coordinates": [corner] }).to_string()).unwrap();
    let options = Options { out: folder.path().join("out"), tile: Some(96), regions: Regions::Given(regions), ..Options::default() };
    let (summary, out) = run(&path, &card(Some(0.5)), 1, &options).unwrap();
    assert_eq!((summary.areas.analysed_px, summary.areas.regions.as_str()), (120 * 120, "region.geojson"));
    let kept = centroids(&out);
    let everywhere = Options { out: folder.path().join("all"), tile: Some(96), ..Options::default() };
    let (_, all) = run(&path, &card(Some(0.5)), 1, &everywhere).unwrap();
    let is_inside = |position: &[f64; 2]| position.iter().all(|at| (130.0..250.0).contains(at));
    let expected: Vec<[f64; 2]> = centroids(&all).into_iter().filter(is_inside).collect();
    assert!(!kept.is_empty() && kept == expected, "{kept:?}, expected {expected:?}");
    let missing = Options { regions: Regions::Given(folder.path().join("none.png")), ..options };
    let error = run(&path, &card(Some(0.5)), 1, &missing).unwrap_err();
    assert!(error.to_string().contains("none.png") && error.hint_text().is_some(), "{error}");
}

/// Reads the centroids in level-0 pixels from a table of nuclei.
fn centroids(out: &std::path::Path) -> Vec<[f64; 2]> {
    let text = std::fs::read_to_string(out.join("nuclei.csv")).unwrap();
    let number = |line: &str, column: usize| line.split(',').nth(column).unwrap().parse().unwrap();
    text.lines().skip(1).map(|line| [number(line, 1), number(line, 2)]).collect()
}
