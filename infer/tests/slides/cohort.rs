//! Scripts of `examples/cohort` for schedulers: their files equal those of one run over all slides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::picture::{save_tiff, tissue};
use crate::random::Random;

const INFER: &str = env!("CARGO_BIN_EXE_infer");
const SLIDES: usize = 3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn model() -> PathBuf {
    root().join("tests/data/models/format-1.onnx")
}

/// Writes slides of several bands each, and segments them in one run; returns the slides and the output folder.
fn cohort(folder: &Path) -> (Vec<PathBuf>, PathBuf) {
    infer::runtime::install(None, None).unwrap();
    let slides: Vec<PathBuf> = (0..SLIDES)
        .map(|i| {
            let path = folder.join(format!("slides/slide{i}.tif"));
            save_tiff(&tissue(&mut Random(i as u64), 300 + 90 * i, 500), &path, Some(0.5));
            path
        })
        .collect();
    let out = folder.join("plain");
    let status = Command::new(INFER).args(["-q", "segment"]).arg(model()).args(&slides).arg("-o").arg(&out).args(flags()).status().unwrap();
    assert!(status.success());
    (slides, out)
}

fn flags() -> [&'static str; 7] {
    ["--device", "cpu", "--tile", "160", "--halo", "32", "--no-tissue"]
}

/// Reads all files of all slides except for the summaries, which contain times.
fn files(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for i in 0..SLIDES {
        for entry in std::fs::read_dir(out.join(format!("slide{i}"))).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(out).unwrap().display().to_string();
            if !name.ends_with("summary.json") {
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    files
}

fn assert_same(plain: &Path, out: &Path) {
    let (expected, found) = (files(plain), files(out));
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    assert!(expected.len() >= 6 * SLIDES);
    expected.iter().for_each(|(name, bytes)| assert!(*bytes == found[name], "{name} differs"));
}

fn assert_table(out: &Path) {
    let mut table = csv::Reader::from_path(out.join("cohort.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let names: Vec<&str> = rows.iter().map(|row| &row[0]).collect();
    assert_eq!(names, ["slide0", "slide1", "slide2"]);
    assert!(rows.iter().all(|row| &row[1] == "complete" && row[2].parse::<u64>().is_ok()));
}

/// Runs the scripts as Slurm does: one process per task, with its number in the environment. Five tasks for three slides divide each slide.
#[test]
fn tasks_of_an_array_job_write_the_files_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let (slides, plain) = cohort(folder.path());
    for tasks in [2, 5] {
        let out = folder.path().join(format!("array{tasks}"));
        let script = |name: &str, task: usize| {
            let mut command = Command::new("bash");
            command.arg(root().join("examples/cohort").join(name)).arg(model()).arg(&out).args(&slides);
            command.envs([("INFER", INFER.to_owned()), ("INFER_FLAGS", flags().join(" "))]);
            command.envs([("SLURM_ARRAY_TASK_ID", task.to_string()), ("SLURM_ARRAY_TASK_COUNT", tasks.to_string())]);
            command.env("SLURM_CPUS_PER_TASK", "1").output().unwrap()
        };
        for task in (1..=tasks).rev() {
            let output = script("slurm.sh", task);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let output = script("collect.sh", 0);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("| slide1 | complete |") && text.contains("**3 slides**"), "{text}");
        assert_same(&plain, &out);
        assert_table(&out);
    }
}

#[test]
fn unfinished_slides_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let cohort = |out: &Path| Command::new(INFER).arg("cohort").arg(out).output().unwrap();
    let empty = cohort(folder.path());
    let message = String::from_utf8(empty.stderr).unwrap();
    assert!(empty.status.code() == Some(1) && message.contains("has no results of slides") && message.contains("hint:"), "{message}");
    std::fs::create_dir(folder.path().join("b")).unwrap();
    let unfinished = cohort(folder.path());
    assert_eq!(unfinished.status.code(), Some(3));
    assert!(String::from_utf8(unfinished.stdout).unwrap().contains("not finished: b"));
    std::fs::write(folder.path().join("b/summary.json"), "{}").unwrap();
    let message = String::from_utf8(cohort(folder.path()).stderr).unwrap();
    assert!(message.contains("b/summary.json") && message.contains("hint:"), "{message}");
}

/// Installs Snakemake into a virtual environment.
#[test]
#[ignore = "installs Snakemake"]
fn snakemake_writes_the_files_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let (slides, plain) = cohort(folder.path());
    let venv = folder.path().join("venv");
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    run(Command::new(venv.join("bin/python")).args(["-m", "pip", "install", "-q", "snakemake>=8"]));
    let out = folder.path().join("snake");
    let value = |key: &str, value: &Path| format!("{key}={}", value.display());
    let snakemake = || {
        let mut command = Command::new(venv.join("bin/snakemake"));
        command.arg("--snakefile").arg(root().join("examples/cohort/Snakefile")).args(["--cores", "2", "--config"]);
        command.args([value("model", &model()), value("slides", slides[0].parent().unwrap()), value("out", &out)]);
        command.args([value("infer", Path::new(INFER)), format!("flags={}", flags().join(" "))]).current_dir(folder.path());
        command
    };
    run(&mut snakemake());
    assert_same(&plain, &out);
    assert_table(&out);
    let again = snakemake().output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("Nothing to be done"));
}

/// Submits the scripts to an installed Slurm.
#[test]
#[ignore = "needs a running Slurm (sbatch)"]
fn slurm_writes_the_files_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let (slides, plain) = cohort(folder.path());
    let out = folder.path().join("slurm");
    let submit = |options: &[&str], script: &str| {
        let mut command = Command::new("sbatch");
        command
            .args(["--parsable", "--wait", "--mem=1G", "--cpus-per-task=1", "--output"])
            .arg(folder.path().join("%x-%a.log"))
            .args(options);
        command.arg(root().join("examples/cohort").join(script)).arg(model()).arg(&out).args(&slides);
        command.envs([("INFER", INFER.to_owned()), ("INFER_FLAGS", flags().join(" "))]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    submit(&["--array=1-5"], "slurm.sh");
    submit(&[], "collect.sh");
    assert_same(&plain, &out);
    assert_table(&out);
}
