//! Tests of the whole crate, in one program: they share the naive evaluator and link once.

mod buffers;
mod forms;
mod mutations;
mod native;
mod passes;
mod programs;
mod reference;
mod shipped;
mod signatures;
