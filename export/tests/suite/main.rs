//! Tests of the whole crate in one program, so that they share the reference interpreter and link once.

mod buffers;
#[cfg(target_os = "linux")]
#[path = "../../../tests/faults.rs"]
mod fault_injection;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod footprint;
mod forms;
mod mutations;
mod native;
mod native_refusals;
mod passes;
mod programs;
mod reference;
mod refusals;
mod shipped;
mod signatures;
#[cfg(target_os = "linux")]
#[path = "../../../tests/trace.rs"]
mod trace;
