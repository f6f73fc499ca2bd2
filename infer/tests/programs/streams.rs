//! Streams and signals: a lost stdout or stderr ends no work, `-q` is quiet, and a signal ends the program in ten seconds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{INFER, data, slide};

/// Makes slides and returns the command that segments them to `out`.
fn segment(folder: &Path, slides: usize) -> Command {
    let slides: Vec<PathBuf> = (0..slides).map(|number| folder.join(format!("slide{number}.tif"))).collect();
    slides.iter().for_each(|path| slide(path));
    // A caller may have the tests run with an ignored SIGHUP, as `nohup` does.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", INFER, "segment"]).arg(data("format-1.onnx")).args(&slides).arg("-o").arg(folder.join("out"));
    command.args(["--mpp", "0.5", "--tile", "160", "--halo", "32", "--device", "native"]).stdin(Stdio::null());
    command
}

/// Returns the number of slides with a summary.
fn finished(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder.join("out")) else { return 0 };
    entries.filter(|entry| entry.as_ref().unwrap().path().join("summary.json").is_file()).count()
}

/// Returns a pipe whose reader has gone away.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Returns the stream of a full disk.
fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn wait(mut child: Child, limit: Duration) -> std::process::ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > limit {
            child.kill().unwrap();
            panic!("the program still runs after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_closed_stdout_ends_quietly_after_all_slides() {
    let folder = tempfile::tempdir().unwrap();
    let output = segment(folder.path(), 3).stdout(closed_pipe()).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !stderr.contains("panic") && !stderr.contains("error"), "{stderr}");
    assert_eq!(finished(folder.path()), 3);
}

#[test]
fn a_full_stdout_is_an_error_after_all_slides() {
    let folder = tempfile::tempdir().unwrap();
    let output = segment(folder.path(), 3).stdout(full_disk()).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("error: writing to stdout") && !stderr.contains("panic"), "{stderr}");
    assert_eq!(finished(folder.path()), 3);
}

#[test]
fn a_lost_stderr_ends_nothing() {
    for stderr in [closed_pipe, full_disk] {
        let folder = tempfile::tempdir().unwrap();
        let output = segment(folder.path(), 2).stdout(Stdio::piped()).stderr(stderr()).spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!((finished(folder.path()), String::from_utf8_lossy(&output.stdout).lines().count()), (2, 2));
    }
}

#[test]
fn commands_that_print_end_without_a_panic_when_nothing_reads() {
    let model = data("format-1.onnx").display().to_string();
    for arguments in [&["doctor"][..], &["verify", &model, "--device", "native"], &["runtime", "list"], &["--help"]] {
        for stdout in [closed_pipe, full_disk] {
            let output = Command::new(INFER).args(arguments).stdout(stdout()).stderr(Stdio::piped()).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code().is_some_and(|code| code <= 1) && !stderr.contains("panic"), "{arguments:?}: {stderr}");
        }
    }
}

#[test]
fn quiet_prints_results_only() {
    let folder = tempfile::tempdir().unwrap();
    let output = segment(folder.path(), 1).arg("-q").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
fn control_characters_of_file_names_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(INFER).arg("verify").arg(folder.path().join("a\u{1b}[2Jb.onnx")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("a\\u{1b}[2Jb.onnx") && !stderr.contains('\u{1b}'), "{stderr:?}");
}

/// A pipe has no writer, so that a program which opened it would wait without end.
#[test]
fn a_pipe_in_the_place_of_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.svs");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let model = data("format-1.onnx");
    let out = folder.path().join("out");
    let mut as_model = Command::new(INFER);
    as_model.arg("verify").arg(&pipe);
    let mut as_slide = Command::new(INFER);
    as_slide.arg("segment").arg(&model).arg(&pipe).arg("-o").arg(&out).args(["--device", "native"]);
    let mut as_regions = segment(folder.path(), 1);
    as_regions.arg("--tissue").arg(&pipe);
    for mut command in [as_model, as_slide, as_regions] {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(wait(child, Duration::from_mins(1)).code(), Some(1), "{command:?}");
    }
}

#[test]
fn a_file_size_limit_is_an_error_that_leaves_no_unfinished_file() {
    let folder = tempfile::tempdir().unwrap();
    let command = segment(folder.path(), 1);
    let line = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| format!("'{}'", word.to_str().unwrap()));
    let script = format!("ulimit -f 1; exec {}", line.collect::<Vec<_>>().join(" "));
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("error: "), "{:?}: {stderr}", output.status);
    let left: Vec<_> = fs::read_dir(folder.path().join("out/slide0")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == ".bands"), "{left:?}");
}

/// Reports if a process has a handler for SIGTERM.
fn catches_signals(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> 14 & 1 == 1
}

/// The file takes minutes to hash, because it is much longer than the image in it; most of it takes no room on the disk.
#[test]
fn a_signal_ends_the_program_in_ten_seconds_while_a_slide_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = segment(folder.path(), 1);
    File::options().write(true).open(folder.path().join("slide0.tif")).unwrap().set_len(400 << 30).unwrap();
    for (name, code) in [("HUP", 129), ("INT", 130), ("TERM", 143)] {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(3));
        while !catches_signals(child.id()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(wait(child, Duration::from_secs(15)).code(), Some(code), "{name}");
    }
    assert_eq!(finished(folder.path()), 0);
}
