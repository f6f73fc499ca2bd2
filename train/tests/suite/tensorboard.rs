//! Event files for TensorBoard: contents, resume without repeated values, and reading by TensorBoard itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use crate::support::pictures::{config, data_folder};
use crate::support::stop_at::StopAt;
use support::console::Silent;
use train::fit::fit;
use train::tensorboard::read;

fn file(run: &Path) -> PathBuf {
    run.join("tensorboard/run.tfevents")
}

fn sorted(run: &Path) -> Vec<(String, i64, Option<u32>)> {
    let mut all: Vec<_> = read(&file(run)).unwrap().into_iter().map(|(tag, step, number)| (tag, step, number.map(f32::to_bits))).collect();
    all.sort();
    all
}

#[test]
fn a_resumed_run_has_the_events_of_an_uninterrupted_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    let config = config(&data, &["run.tensorboard=true"]);
    let never = AtomicBool::new(false);
    let whole = folder.path().join("whole");
    fit(&config, &whole, false, &Silent, &never).unwrap();
    let told = sorted(&whole);
    let steps_of = |tag: &str| told.iter().filter(|(found, ..)| found == tag).map(|(_, step, _)| *step).collect::<Vec<_>>();
    assert_eq!(steps_of("loss/total"), (1..=12).collect::<Vec<_>>());
    assert_eq!(steps_of("loss/pseudo_labels"), (5..=12).collect::<Vec<_>>());
    assert_eq!(steps_of("validation/iou"), [3, 6, 9, 12]);
    assert_eq!(steps_of("pseudo_labels/trusted"), [2, 4, 6, 8, 10, 12]);
    assert_eq!((steps_of("samples/p0"), steps_of("samples/p1")), (vec![12], vec![12]));
    let log = std::fs::read_to_string(whole.join("log.csv")).unwrap();
    let loss: f32 = log.lines().nth(7).unwrap().split(',').nth(4).unwrap().parse().unwrap();
    assert!(told.contains(&("loss/total".into(), 7, Some(loss.to_bits()))));
    for at in [4, 6, 12] {
        let parts = folder.path().join(format!("stopped at {at}"));
        let stop = AtomicBool::new(false);
        fit(&config, &parts, false, &StopAt { at, stop: &stop }, &stop).unwrap();
        // A killed program leaves steps after its last checkpoint, and a truncated record.
        let behind = std::fs::read(file(&whole)).unwrap();
        std::fs::write(file(&parts), &behind[..behind.len() * 3 / 4]).unwrap();
        fit(&config, &parts, true, &Silent, &never).unwrap();
        assert_eq!(sorted(&parts), told, "stopped at {at}");
        fit(&config, &parts, true, &Silent, &never).unwrap();
        assert_eq!(sorted(&parts), told, "resumed after its end");
    }
    let different: BTreeSet<_> = told.iter().map(|(tag, step, _)| (tag, step)).collect();
    assert_eq!(different.len(), told.len(), "no tag has a step twice");
    assert_read_by_tensorboard(&whole);
}

/// Compares with the numbers that TensorBoard's own reader returns, if `NUCLEI_TENSORBOARD_PYTHON` (or `python3`) can import TensorBoard.
fn assert_read_by_tensorboard(run: &Path) {
    const SCRIPT: &str = "
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
board = EventAccumulator(sys.argv[1]); board.Reload()
print([event.step for event in board.Scalars('loss/total')], [event.step for event in board.Scalars('validation/iou')])
for event in board.Scalars('loss/total'): print(event.step, repr(event.value))
image = board.Images('samples/p0')[0]
print(image.step, image.width > 0, image.encoded_image_string[:4])
";
    let python = std::env::var("NUCLEI_TENSORBOARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import tensorboard"]).output().is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("TensorBoard is not installed: its own reader was not asked");
        return;
    }
    let output = Command::new(&python).args(["-c", SCRIPT]).arg(run.join("tensorboard")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] [3, 6, 9, 12]"), "{text}");
    for (tag, step, number) in read(&file(run)).unwrap() {
        if let ("loss/total", Some(number)) = (tag.as_str(), number) {
            let found = text.lines().find_map(|line| line.strip_prefix(&format!("{step} "))).unwrap();
            assert_eq!(found.parse::<f64>().unwrap() as f32, number, "step {step}");
        }
    }
    assert!(text.contains("12 True b'\\x89PNG'"), "{text}");
}
