//! Tests of the whole crate in one program, so that they share the reference interpreter and link once.

mod buffers;
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
