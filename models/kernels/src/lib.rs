//! CPU kernels of a convolutional network, forward and backward, on slices of f32: the arithmetic of training and of inference.
//!
//! **Layouts.** Feature maps are `B H W C` (channels last): `[image][row][column][channel]`. Convolution weights are packed into panels of
//! sixteen output channels, `[panel][tap][input channel][16]` (see [`panels`]); a *tap* is one of the `K x K` positions of a kernel.
//! Depthwise weights are `[tap][channel]`.
//!
//! **Reproducibility.** Every sum runs in an order that depends on shapes, and in some kernels on the instruction set, never on threads:
//! results have the same bits for any number of threads.
//!
//! **Dispatch.** A kernel is written once over the SIMD vector [`simd::F32x16`] and compiled for AVX-512, AVX2 and plain Rust;
//! [`Isa`] selects one at run time.
//!
//! | kernel | convolutions |
//! |---|---|
//! | [`winograd`] | 3x3 with stride 1, channels a multiple of 16 |
//! | [`im2col`] | fewer than 16 input channels, such as the first layer |
//! | [`gather`], [`weight_gradient`] | any other kernel and stride |
//! | [`head`] | a single output channel |
//! | [`depthwise`] | 3x3 depthwise, and fused inverted residual blocks |
//! | [`pointwise`] | 1x1 inside a fused block |
//! | [`bf16`] | 1x1 and 3x3 with bf16 operands |
//!
//! The crate knows slices only: no tensor type and no file.

pub mod bf16;
pub mod depthwise;
pub mod epilogue;
pub mod gather;
pub mod gemm;
pub mod geometry;
mod halo_rows;
pub mod head;
pub mod im2col;
pub mod maps;
pub mod norm;
pub mod panels;
pub mod pointwise;
pub mod pooling;
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
