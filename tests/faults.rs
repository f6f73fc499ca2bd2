//! Faults of system calls under `strace`: in a program under test, the n-th call of a kind fails, for one n after the other.
//!
//! The tests of each program include this file by `#[path]`, because only the tests of a program's own package know the program's path.

use std::path::Path;
use std::process::{Command, Output};

/// System calls that fail together, and their error.
const FAULTS: [(&str, &str); 7] = [
    ("write,writev,pwrite64", "ENOSPC"),
    ("fsync,fdatasync", "EIO"),
    ("rename,renameat,renameat2", "EACCES"),
    ("openat", "EMFILE"),
    ("mkdir,mkdirat", "EACCES"),
    ("unlink,unlinkat", "EACCES"),
    ("clone,clone3", "EAGAIN"),
];

/// Runs a program again and again in folders that `prepare` makes, with one more fault each time, until a run has fewer calls than that.
///
/// The first twelve calls of a kind fail one after the other, later ones in steps of a fifth; with `every`, all of them. `check` gets the
/// folder, the output and a description of the fault. Returns the number of runs with a fault.
pub fn for_each_fault<F: AsRef<Path>>(
    program: &str,
    arguments: &[&str],
    every: bool,
    mut prepare: impl FnMut() -> F,
    mut check: impl FnMut(&Path, &Output, &str),
) -> usize {
    let mut runs = 0;
    for (calls, error) in FAULTS {
        let mut number = 1;
        loop {
            let folder = prepare();
            let folder = folder.as_ref();
            let trace = tempfile::NamedTempFile::new().unwrap();
            let output = Command::new("strace")
                .args(["-f", "-qq", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={error}:when={number}"), "-o"])
                .args([trace.path(), program.as_ref()])
                .args(arguments)
                .current_dir(folder)
                .output()
                .unwrap_or_else(|error| panic!("this test needs strace (apt-get install strace): {error}"));
            if !std::fs::read_to_string(trace.path()).unwrap().contains("(INJECTED)") {
                break;
            }
            let fault = format!("{error} at call {number} of {calls}");
            let printed = String::from_utf8_lossy(&output.stderr);
            // The system's loader opens the program's libraries before the program begins.
            let is_loader = output.status.code() == Some(127) && printed.contains("loading shared libraries");
            assert!(is_loader || matches!(output.status.code(), Some(0 | 1)), "{fault}: {}: {printed}", output.status);
            assert!(!printed.contains("panicked"), "{fault}: {printed}");
            check(folder, &output, &fault);
            runs += 1;
            number += if every || number < 12 { 1 } else { number / 5 };
        }
    }
    runs
}
