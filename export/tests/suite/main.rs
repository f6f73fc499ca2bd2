//! Tests of the whole crate, in one program: they share the naive evaluator and link once.

mod buffers;
#[cfg(target_os = "linux")]
mod footprint;
mod forms;
mod mutations;
mod native;
mod passes;
mod programs;
mod reference;
mod shipped;
mod signatures;
#[cfg(target_os = "linux")]
#[path = "../../../tests/trace.rs"]
mod trace;
