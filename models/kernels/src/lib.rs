//! The arithmetic of a network on slices of f32, for training and for slides.
//!
//! Feature maps are `[image][row][column][channel]`, weights lie in panels of sixteen output channels, and every sum runs in an
//! order that depends on shapes alone: the same bits for any number of threads. Nothing here knows a tensor or a file.

pub mod bf16;
pub mod depthwise;
pub mod finish;
pub mod gather;
pub mod geometry;
pub mod head;
pub mod lanes;
pub mod maps;
mod margin;
pub mod norm;
pub mod panels;
pub mod patches;
pub mod pointwise;
pub mod pooling;
pub mod product;
pub mod scratch;
pub mod sigmoid;
mod strips;
pub mod weight_gradient;
pub mod winograd;

pub use finish::Activation;
pub use lanes::Isa;
pub use maps::Shape;
pub use margin::Margin;
pub use scratch::{Buffer, Pool};
