//! Files and sockets of the program `infer`: no socket is opened, and no file is created except the requested outputs.

use std::process::Command;
use std::time::Duration;

use crate::trace::{Sandbox, is_sandboxed};
use crate::{INFER, data, slide};

fn sandbox() -> Sandbox {
    infer::runtime::install(None, None).expect("ONNX Runtime is fetched by `python3 -m pip download`");
    Sandbox::new()
}

/// The run lasts fifteen seconds after ONNX Runtime has been loaded and used, so that its telemetry would open a socket.
#[test]
fn verify_creates_only_its_certificate() {
    let sandbox = sandbox();
    let model = data("format-1.onnx").display().to_string();
    let trace = sandbox.run_long(INFER, &["verify", &model, "--device", "cpu", "--certificate", "certificate.json"]);
    trace.assert_made(&["work/.partial-*.tmp", "work/certificate.json"]);
    assert!(String::from_utf8_lossy(&trace.output.stdout).contains("sound on cpu"));
}

#[test]
fn segment_creates_only_its_outputs() {
    let sandbox = sandbox();
    let model = data("format-1.onnx").display().to_string();
    slide(&sandbox.at("a.png"));
    for device in ["cpu", "native"] {
        let out = format!("out-{device}");
        let arguments = ["segment", &model, "a.png", "-o", &out, "--mpp", "0.5", "--tile", "160", "--halo", "32", "--device", device];
        let trace = sandbox.run(INFER, &arguments);
        let files = [
            "",
            "/a",
            "/a/.bands",
            "/a/.bands/*",
            "/a/.bands/.partial-*.tmp",
            "/a/.lock",
            "/a/.partial-*.tmp",
            "/a/labels.png",
            "/a/mask.tif",
            "/a/nuclei.csv",
            "/a/nuclei.geojson.gz",
            "/a/overlay.png",
            "/a/probability.tif",
            "/a/quality.tif",
            "/a/summary.json",
        ];
        trace.assert_made(&files.map(|file| format!("work/{out}{file}")).each_ref().map(String::as_str));
    }
}

#[test]
fn doctor_and_list_create_no_files() {
    let sandbox = sandbox();
    let doctor = sandbox.run(INFER, &["doctor"]);
    doctor.assert_made(&[]);
    assert!(String::from_utf8_lossy(&doctor.output.stdout).contains("loads, built for cpu"), "ONNX Runtime has been loaded");
    sandbox.run(INFER, &["runtime", "list"]).assert_made(&[]);
}

/// The program uses the library crate and does not disable telemetry itself.
#[test]
fn a_rust_program_that_embeds_the_library_creates_no_files() {
    let sandbox = sandbox();
    let tests = std::env::current_exe().unwrap();
    let trace = sandbox.run(&tests, &["--exact", "footprint::loads_the_library", "--ignored"]);
    trace.assert_made(&[]);
    assert!(String::from_utf8_lossy(&trace.output.stdout).contains("1 passed"));
}

#[test]
#[ignore = "another test starts it in a process of its own; by itself it does nothing"]
fn loads_the_library() {
    if !is_sandboxed() {
        return;
    }
    assert_eq!(std::env::var_os("ORT_DISABLE_TELEMETRY"), None);
    infer::runtime::load(None).unwrap();
    std::thread::sleep(Duration::from_secs(15));
}

/// The trace itself records files and sockets of a program and of its children, in any thread.
#[test]
fn a_trace_records_files_and_sockets() {
    let sandbox = Sandbox::new();
    let tests = std::env::current_exe().unwrap();
    let trace = sandbox.run(&tests, &["--exact", "footprint::makes_files_and_a_socket", "--ignored"]);
    assert!(trace.output.status.success());
    assert_eq!(trace.made.iter().map(String::as_str).collect::<Vec<_>>(), ["home/.hidden", "home/.hidden/a", "tmp/b", "work/c"]);
    assert_eq!(trace.sockets.len(), 1, "{:?}", trace.sockets);
}

#[test]
#[ignore = "another test starts it in a process of its own; by itself it does nothing"]
fn makes_files_and_a_socket() {
    if !is_sandboxed() {
        return;
    }
    let home = std::path::PathBuf::from(std::env::var_os("HOME").unwrap()).join(".hidden");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("a"), b"a").unwrap();
    std::fs::rename(home.join("a"), std::env::temp_dir().join("b")).unwrap();
    assert!(Command::new("touch").arg("c").status().unwrap().success());
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
}
