//! The arithmetic of a network on slices of f32, for training and for slides.
//!
//! Feature maps are `[image][row][column][channel]`, weights lie in panels of sixteen output channels, and every sum runs in an
//! order that depends on shapes alone: the same bits for any number of threads. Nothing here knows a tensor or a file.

pub mod bf16;
pub mod depthwise;
pub mod epilogue;
pub mod gather;
pub mod geometry;
mod halo_rows;
pub mod head;
pub mod im2col;
pub mod maps;
pub mod norm;
pub mod panels;
pub mod pointwise;
pub mod pooling;
pub mod product;
mod row_blocks;
pub mod scratch;
pub mod sigmoid;
pub mod simd;
pub mod weight_gradient;
pub mod winograd;

pub use epilogue::Activation;
pub use halo_rows::HaloRows;
pub use maps::Shape;
pub use scratch::{Buffer, Pool};
pub use simd::Isa;
