//! Helpers that several tests share.

pub mod devices;
pub mod emulator;
pub mod golden;
pub mod operations;
pub mod pictures;
pub mod reference;
pub mod stop_at;
#[expect(dead_code, reason = "the benchmark of gradients reads the other fields")]
pub mod trained;
