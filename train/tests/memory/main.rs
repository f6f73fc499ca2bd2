//! Memory of a training step. These tests count the allocations of the whole process, so they have a binary of their own and run one
//! after another.

mod counted;
mod cpu;
mod cuda;

/// Lock held by the test that is counting allocations.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
