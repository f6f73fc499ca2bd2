//! `train fit --from`, `train suggest`, `train report`, `train compare` and their relatives as a user runs them, on synthetic pictures.

use std::path::Path;
use std::process::Command;

use crate::support::pictures::{config, data_folder};
use train::config::Profile;
use train::data::image_file::read_index;

/// Runs the program; returns exit code, stdout and stderr.
pub fn program(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_train")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

pub fn settings(folder: &Path, data: &Path, sets: &[&str]) -> std::path::PathBuf {
    let path = folder.join("run.toml");
    std::fs::write(&path, config(data, sets).to_toml()).unwrap();
    path
}

#[test]
fn a_run_has_a_report_and_suggestions_and_starts_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 5);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let file = settings(folder.path(), &data, &["run.iterations=6", "method.warmup_iterations=2"]).display().to_string();
    let (code, _, stderr) = program(&["fit", &file, "-o", &at("run"), "--set", "data.validation_share=0.4"]);
    assert_eq!(code, 0, "{stderr}");
    let html = std::fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    for part in [
        "<svg",
        "data:image/png;base64,",
        "full masks",
        "ema_period = 2",
        "accuracy: correct, of labelled pixels",
        "ignored (low confidence)",
        "<td>train</td><td>3</td>",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("http://") || html.matches("http://").count() == html.matches("http://www.w3.org").count());
    std::fs::remove_file(folder.path().join("run/report.html")).unwrap();
    assert_eq!(program(&["report", &at("run")]).0, 0);
    assert_eq!(std::fs::read_to_string(folder.path().join("run/report.html")).unwrap(), html);

    let (code, stdout, stderr) = program(&["suggest", &at("run"), "-o", &at("places"), "--count", "4", "--side", "16"]);
    assert!(code == 0 && stdout.contains("--from"), "{stderr}");
    let rows = std::fs::read_to_string(folder.path().join("places/regions.csv")).unwrap();
    assert_eq!(rows.lines().count(), 5, "{rows}");
    let first = rows.lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    let places = std::fs::read_to_string(folder.path().join(format!("places/{first}.geojson"))).unwrap();
    assert!(places.contains("\"rank\":1") && places.contains("Polygon"), "{places}");
    assert_eq!(read_index(&folder.path().join(format!("places/maps/{first}.png"))).unwrap().width, 70);

    let (code, _, stderr) = program(&["fit", "--from", &at("run"), "-o", &at("next"), "--set", "run.iterations=3"]);
    assert!(code == 0 && stderr.contains("at the start, gain "), "{stderr}");
    // A run resumes without the file that it started from.
    std::fs::rename(folder.path().join("run/best.safetensors"), folder.path().join("moved")).unwrap();
    let (code, _, stderr) = program(&["fit", "-o", &at("next"), "--resume"]);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = program(&["fit", "--from", &at("nowhere"), "-o", &at("other")]);
    assert!(code == 1 && stderr.contains("nowhere"), "{stderr}");
    let (code, _, stderr) = program(&["suggest", &at("nowhere"), "-o", &at("places")]);
    assert!(code == 1 && stderr.contains("nowhere") && stderr.contains("hint: "), "{stderr}");
    let (code, _, stderr) = program(&["report", &at("data")]);
    assert!(code == 1 && stderr.contains("config.toml") && stderr.contains("hint: "), "{stderr}");
}

#[test]
fn scribbles_of_every_kind_are_exported_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 2);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (code, stdout, stderr) = program(&["export-scribbles", &data.display().to_string(), "-o", &at("drawn")]);
    assert!(code == 0 && stdout.contains("2 images"), "{stderr}");
    let map = read_index(&data.join("scribbles/p0.png")).unwrap();
    let back = train::data::read_scribble(&folder.path().join("drawn/p0.geojson"), 70, 70, &config(&data, &[]).data).unwrap();
    assert_eq!(back.data, map.data.iter().map(|&v| v as u8).collect::<Vec<_>>());
    std::fs::write(data.join("scribbles/p1.qpdata"), b"x").unwrap();
    let (code, _, stderr) = program(&["export-scribbles", &data.display().to_string(), "-o", &at("drawn")]);
    assert!(code == 1 && stderr.contains("p1.qpdata") && stderr.contains(".roi") && stderr.contains("hint: "), "{stderr}");
}

#[test]
fn init_recognises_labels_of_other_programs_and_writes_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 2);
    let (data, out) = (data.display().to_string(), folder.path().join("run.toml"));
    let init = ["init", &data, "-o", &out.display().to_string(), "--labels-from", "napari", "--index"];
    let (code, _, stderr) = program(&init);
    assert_eq!(code, 0, "{stderr}");
    let config = train::config::RunConfig::load(&out, Profile::Scratch, &[] as &[&str]).unwrap();
    assert_eq!((config.data.label_map.unlabelled, config.data.label_map.background), (vec![0], vec![1]));
    let index = std::fs::read_to_string(Path::new(&data).join("index.csv")).unwrap();
    assert_eq!(index, "id,split,modality\np0,,fluorescence\np1,,fluorescence\n");
    std::fs::remove_file(&out).unwrap();
    let (code, _, stderr) = program(&init);
    assert!(code == 1 && stderr.contains("index.csv") && stderr.contains("hint: "), "{stderr}");
    let (code, _, stderr) = program(&["init", &data, "-o", "x.toml", "--labels-from", "napri"]);
    assert!(code == 2 && stderr.contains("did you mean \"napari\""), "{stderr}");
}

#[test]
fn compare_writes_a_page_a_figure_and_scores_of_several_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 5);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let file = settings(folder.path(), &data, &["run.iterations=2", "method.warmup_iterations=1"]).display().to_string();
    for (out, method) in [("a", "pce"), ("b", "s2l")] {
        let (code, _, stderr) = program(&["fit", &file, "-o", &at(out), "--set", &format!("method.name={method}")]);
        assert_eq!(code, 0, "{stderr}");
    }
    let data = data.display().to_string();
    let given = ["compare", &data, &at("a"), &at("b"), "-o", &at("c")];
    let (code, stdout, stderr) = program(&[&given[..], &["--names", "scribbles,both <stages>", "--images", "2"]].concat());
    assert!(code == 0 && stdout.contains("Difference from scribbles") && stdout.contains("both <stages>"), "{stdout}{stderr}");
    let html = std::fs::read_to_string(folder.path().join("c/compare.html")).unwrap();
    assert!(html.contains("both &lt;stages&gt;") && html.contains("<svg") && !html.contains("<stages>"));
    assert_eq!(html.matches("data:image/png;base64,").count(), 2);
    // The figure shows image, truth and two networks for an image of 70 x 70 px, enlarged four times.
    let picture = image::open(folder.path().join("c/figures/p0.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (4 * 70 * 4 + 3 * 2, 70 * 4));
    assert_eq!(std::fs::read_dir(folder.path().join("c/figures")).unwrap().count(), 5);
    let scores = std::fs::read_to_string(folder.path().join("c/scores.csv")).unwrap();
    assert_eq!(scores.lines().count(), 1 + 2 * 5 * 12);
    // `train evaluate` gives the same scores.
    let (_, evaluated, _) = program(&["evaluate", &at("b"), &data, "--json"]);
    let evaluated: serde_json::Value = serde_json::from_str(&evaluated).unwrap();
    let iou = evaluated["images"][0][1]["iou"].as_f64().unwrap();
    assert!(scores.contains(&format!("both <stages>,{},iou,{iou:.6}", evaluated["images"][0][0].as_str().unwrap())), "{scores}");

    let (code, _, stderr) = program(&[&given[..], &["--names", "one"]].concat());
    assert!(code == 1 && stderr.contains("1 names for 2 runs") && stderr.contains("hint"), "{stderr}");
    let (code, _, stderr) = program(&["compare", &data, &at("a"), &at("a"), "-o", &at("c")]);
    assert!(code == 1 && stderr.contains("two of the runs have one name"), "{stderr}");
}
