//! `train label-budget`: one run for each kind of labels, the table and the plot.

use std::sync::atomic::AtomicBool;

use crate::support::pictures::{config, data_folder};
use support::console::Silent;
use train::label_budget::{LabelBudgetOptions, Point, run};

#[test]
fn larger_budgets_label_more_pixels_and_finished_runs_are_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    let rows = "id,split\np0,train\np1,train\np2,train\np3,val\np4,test\np5,test\n";
    std::fs::write(data.join("index.csv"), rows).unwrap();
    let out = folder.path().join("budget");
    let options = LabelBudgetOptions {
        config: config(&data, &["run.iterations=2", "run.validate_every=0", "run.overlays=0"]),
        out: out.clone(),
        ratios: vec![20, 100],
        strokes: 0.5,
        full: true,
        scribble_seed: 0,
    };
    let never = AtomicBool::new(false);
    let text = run(&options, &Silent, &never).unwrap().unwrap();
    assert_eq!(text.lines().count(), 2 + 4, "{text}");
    let read = || std::fs::read(out.join("table.json")).unwrap();
    let points: Vec<Point> = serde_json::from_slice(&read()).unwrap();
    let names: Vec<&str> = points.iter().map(|point| point.labels.as_str()).collect();
    assert_eq!(names, ["strokes-50", "auto-20", "auto-100", "full"]);
    assert!(points[1].labelled_fraction < points[2].labelled_fraction, "{text}");
    assert!(points[2].labelled_fraction < 1.0 && points[3].labelled_fraction == 1.0, "{text}");
    assert!(points.iter().all(|point| point.test.table.images.len() == 2));
    let plot = std::fs::read_to_string(out.join("plot.svg")).unwrap();
    assert!(plot.contains("<svg") && plot.contains("labelled pixels") && plot.contains("aji"), "{plot}");
    assert_eq!(std::fs::read_to_string(out.join("table.csv")).unwrap().lines().count(), 1 + 4 * 4);
    let last = std::fs::metadata(out.join("runs/full/last.safetensors")).unwrap().modified().unwrap();
    assert_eq!(run(&options, &Silent, &never).unwrap().unwrap(), text);
    assert_eq!(std::fs::metadata(out.join("runs/full/last.safetensors")).unwrap().modified().unwrap(), last, "it did not run again");
    let untouched = std::fs::read_dir(data.join("scribbles")).unwrap().count();
    assert_eq!(untouched, 6, "the user's folder keeps its own scribbles");
}
