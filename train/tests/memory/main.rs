//! Memory of a training step. These tests count the allocations of the whole process, so they have a binary of their own and take turns.

mod counted;
mod cpu;
mod cuda;

/// Held by the test that counts.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
