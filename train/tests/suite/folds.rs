//! Cross-validation: resume, and refusal of impossible folds.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::pictures::{config, data_folder};
use support::console::{Progress, Silent};
use train::config::{Method, RunConfig};
use train::folds::{FoldsOptions, run};

use crate::side_by_side::{program, settings};

fn options(folder: &Path, config: RunConfig, methods: &[Method]) -> FoldsOptions {
    FoldsOptions {
        config,
        out: folder.join("folds"),
        methods: methods.to_vec(),
        folds: vec![0, 1],
        seeds: vec![],
        beside: vec![],
        budget_minutes: None,
    }
}

/// Progress that counts the runs begun, and sets the stop flag in the middle of one of them.
struct StopInRun<'a> {
    begun: std::sync::atomic::AtomicUsize,
    stop_in: usize,
    stop: &'a AtomicBool,
}

impl Progress for StopInRun<'_> {
    fn begin(&self, _: &str, _: u64, _: &str) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }
    fn at(&self, done: u64, _: &str) {
        if self.begun.load(Ordering::Relaxed) == self.stop_in && done == 2 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn end(&self) {}
}

#[test]
fn stopped_folds_resume_and_keep_finished_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 7);
    let config = config(&data, &["run.iterations=4", "method.warmup_iterations=1", "data.folds=3", "run.validate_every=1"]);
    let options = options(folder.path(), config, &[Method::Pce, Method::Both]);
    let stop = AtomicBool::new(false);
    let first = StopInRun { begun: 0.into(), stop_in: 3, stop: &stop };
    assert_eq!(run(&options, &first, &stop).unwrap(), None);
    let scores = |method: &str, fold: usize| options.out.join(format!("{method}/fold-{fold}/scores.json"));
    assert!(scores("pce", 0).exists() && scores("both", 0).exists() && !scores("pce", 1).exists());
    let finished = std::fs::metadata(scores("pce", 0)).unwrap().modified().unwrap();
    let second = StopInRun { begun: 0.into(), stop_in: usize::MAX, stop: &stop };
    stop.store(false, Ordering::Relaxed);
    let table = run(&options, &second, &stop).unwrap().expect("it was not stopped");
    assert_eq!(second.begun.load(Ordering::Relaxed), 2, "two of four runs were left");
    assert_eq!(std::fs::metadata(scores("pce", 0)).unwrap().modified().unwrap(), finished);
    // The table has two means, four runs, and the papers' 24 rows, which are all listed if the modality of the data is unknown.
    assert_eq!(table.lines.len(), 2 + 24 + 4);
    for name in ["table.md", "table.csv", "table.json", "loss.svg", "validation.svg"] {
        assert!(options.out.join(name).is_file(), "{name}");
    }
    assert_eq!(
        table.differences.iter().map(|difference| (difference.method.as_str(), difference.over.as_str())).collect::<Vec<_>>(),
        [("both", "pce")]
    );
    assert!(std::fs::read_to_string(options.out.join("loss.svg")).unwrap().contains("both, 2 runs"));
    let again = StopInRun { begun: 0.into(), stop_in: usize::MAX, stop: &stop };
    assert_eq!(run(&options, &again, &stop).unwrap().as_ref(), Some(&table));
    assert_eq!(again.begun.load(Ordering::Relaxed), 0);
    // Runs of another seed are added beside those of the first.
    let out = folder.path().join("other");
    let other = FoldsOptions {
        out,
        folds: vec![0],
        methods: vec![Method::Pce],
        seeds: vec![0, 3],
        beside: vec![options.out.clone()],
        ..options.clone()
    };
    let table = run(&other, &Silent, &stop).unwrap().expect("it was not stopped");
    let scores = |path: &str| std::fs::read(path).unwrap();
    let of = |folder: &Path, fold: &str| scores(folder.join(format!("pce/{fold}/best.safetensors")).to_str().unwrap());
    assert!(of(&other.out, "fold-0-seed-0") != of(&other.out, "fold-0-seed-3"));
    let difference =
        table.differences.iter().find(|difference| difference.over == "folds/pce").expect("the runs beside it have the method");
    assert_eq!((difference.pairs, difference.scores["iou"].mean), (1, 0.0), "the same run twice");
    let markdown = std::fs::read_to_string(other.out.join("table.md")).unwrap();
    assert!(markdown.contains("| folds |  | both | mean of 2 |") && markdown.contains("| pce | 0, seed 3 |"), "{markdown}");
    let mut changed = options.clone();
    changed.config.run.batch = 1;
    let error = format!("{:?}", run(&changed, &Silent, &stop).unwrap_err());
    assert!(error.contains("run.batch was 2, is now 1") && error.contains("hint"), "{error}");
}

#[test]
fn impossible_folds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 4);
    let out = folder.path().join("out").display().to_string();
    let file = settings(folder.path(), &data, &["run.iterations=1"]).display().to_string();
    for (extra, part) in [
        (&["--folds", "4"][..], "there is no fold 4"),
        (&["--folds", "0"][..], "4 images cannot be divided into data.folds = 5 folds"),
        (&["--folds", "0", "--budget-minutes", "0"][..], "run.minutes"),
        (&["--set", "data.folds=3", "--folds", "2"][..], "there is no fold 2"),
        (&["--set", "data.folds=2", "--folds", "0", "--beside", &out][..], "--beside"),
    ] {
        let (code, _, stderr) = program(&[&["folds", &file, "-o", &out][..], extra].concat());
        assert!(code == 1 && stderr.contains(part) && !stderr.contains("panicked"), "{extra:?}: {stderr}");
    }
    let (code, _, stderr) = program(&["folds", &file, "-o", &out, "--methods", "boht"]);
    assert!(code == 2 && stderr.contains("did you mean \"both\""), "{stderr}");
}
