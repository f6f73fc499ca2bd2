//! Footprint of the program `train`: no command opens a connection or writes a file other than its outputs.

use super::trace::Sandbox;
use crate::support::pictures::{config, data_folder};

const TRAIN: &str = env!("CARGO_BIN_EXE_train");

#[test]
fn no_command_opens_a_connection_or_writes_beside_its_outputs() {
    let sandbox = Sandbox::new();
    data_folder(&sandbox.at("data"), 4);
    let sets = ["run.iterations=3", "run.validate_every=0", "run.overlays=1"];
    std::fs::write(sandbox.at("run.toml"), config(&sandbox.at("data"), &sets).to_toml()).unwrap();

    sandbox.run(TRAIN, &["check", "run.toml"]).assert_made(&[]);
    sandbox.run(TRAIN, &["fit", "run.toml", "-o", "run"]).assert_made(&[
        "work/run",
        "work/run/.lock",
        "work/run/.partial-*.tmp",
        "work/run/best.safetensors",
        "work/run/config.toml",
        "work/run/data.json",
        "work/run/last.safetensors",
        "work/run/log.csv",
        "work/run/overlays",
        "work/run/overlays/.partial-*.tmp",
        "work/run/overlays/p0.png",
        "work/run/pseudo_labels.csv",
        "work/run/report.html",
    ]);
    sandbox.run(TRAIN, &["report", "run"]).assert_made(&["work/run/.partial-*.tmp", "work/run/report.html"]);
}
