//! Tests of the whole crate, in one program: they share the naive evaluator and link once.

mod passes;
mod programs;
mod reference;
mod shipped;
