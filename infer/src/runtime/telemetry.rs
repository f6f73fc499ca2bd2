//! Disabling of ONNX Runtime's telemetry, before the library is loaded.
//!
//! From version 1.29 on, the official builds for Linux carry a client that reports to Microsoft: a process that loads one writes a device
//! identifier and a queue of events to `~/.cache/Microsoft/DeveloperTools/.onnxruntime/` and to `TMPDIR`, and sends the queue some seconds
//! later. The function of its C interface that disables telemetry can be called only after the first event, so environment variables disable
//! the telemetry here.

use std::ffi::OsStr;

/// Environment variables that ONNX Runtime reads at its start: the one of releases, and the one of some development builds.
const VARIABLES: [&str; 2] = ["ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED"];
/// Value that disables telemetry.
const OFF: &str = "1";

/// Disables ONNX Runtime's telemetry for this process and its children; overrides the environment.
///
/// Call this function at the start of `main`, before any thread is started. [`super::load`] calls it too, right before the library is
/// loaded, so that no program can forget it. That late call is sound as long as no other thread reads the environment at that moment
/// through C's `getenv`; reads through [`mod@std::env`] are always safe.
pub fn disable_telemetry() {
    for variable in VARIABLES {
        if std::env::var_os(variable).as_deref() != Some(OsStr::new(OFF)) {
            // SAFETY: the standard library locks the environment against its own readers, which are all readers in Rust. Readers in C are
            // excluded by the rule above: a program calls this function before it starts threads, and the call in `load` finds it done.
            unsafe { std::env::set_var(variable, OFF) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_is_disabled_by_any_number_of_calls() {
        for _ in 0..2 {
            disable_telemetry();
            assert!(VARIABLES.iter().all(|name| std::env::var_os(name).as_deref() == Some(OsStr::new(OFF))));
        }
    }
}
