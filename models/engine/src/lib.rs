//! Forward pass of a network by the project's own kernels: f32, on any CPU, without ONNX Runtime.
//!
//! A network comes from an ONNX graph ([`prepare`]) or from training ([`prepare_graph`]). Its nodes are fused to steps, and an [`Engine`]
//! computes an image block by block along one axis, the **stream axis**. A slide arrives in bands of its full width, so the stream axis is
//! the width of the image. Kernels process consecutive rows; the network is therefore transposed when it is prepared, and one column of the
//! image is one **row** of every feature map in memory, `[row][pixel][channel]`. Outside this page and `transposition`, rows are always
//! rows along the stream axis. Feature maps are ring buffers of rows, so a long image needs no more memory than a short one.
//!
//! | module | contents |
//! |---|---|
//! | `read`, `attributes` | translation of an ONNX graph to a `Net`; an operation without a kernel is an error that names the node |
//! | `from_graph` | translation of a graph in training, with its weights, to a `Net` |
//! | `net` | the network as operations on feature maps |
//! | `upsampled_conv` | recovery of 3x3 convolutions of upsampled feature maps from the forms that exported files use |
//! | `transposition` | transposition of filters, images and results |
//! | `fuse` | graph passes, and fusion of nodes that one kernel call computes |
//! | `fuse_steps` | fusion of steps, so that the feature maps between them are never stored |
//! | `channel_layout` | padding of channels to SIMD width |
//! | `program`, `pack` | steps with their kernels and packed weights |
//! | `stream` | execution of a program on an image, block by block |
//! | `receptive_field` | input rows that output rows depend on |
//! | `row_ring` | ring buffer of feature-map rows |
//! | `step` | kernel calls of one step |
//! | `workspace` | reused buffers and gather tables |
//!
//! The order of every sum is independent of the number of threads and of the batch, so results are the same bits. Winograd convolutions
//! work on tiles of 4x4 pixels at every resolution, and rounding depends on the position in the tile. A pixel that is computed in two
//! windows, both with its whole receptive field, can therefore differ in the last bits of f32 (probabilities by less than 1e-6), as it does
//! between instruction sets.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod attributes;
mod channel_layout;
mod from_graph;
mod fuse;
mod fuse_steps;
mod net;
mod pack;
mod program;
mod read;
mod receptive_field;
mod row_ring;
mod step;
mod stream;
mod transposition;
mod upsampled_conv;
mod workspace;

use std::sync::Arc;

use kernels::{Isa, sigmoid};
use models::card::Normalisation;
use models::graph::Graph;
use models::weights::Weights;
use onnx::proto::GraphProto;
use rayon::{ThreadPool, ThreadPoolBuilder};
use support::{Context, Error, Result};

pub use program::Program;
use workspace::Workspace;

/// Reads the network of an ONNX graph and packs its weights for an instruction set, which must be among [`Isa::available`].
///
/// `stride` is the stride of the network; heights and widths of images are multiples of it.
///
/// # Errors
/// A graph with operations that have no kernel here; the error names the first such node.
pub fn prepare(graph: &GraphProto, stride: usize, isa: Isa) -> Result<Program> {
    let net = read::read(graph)?;
    net.check_sizes(stride)?;
    Ok(Program::new(net, isa))
}

/// Prepares a network in training for predictions: folds batch normalisation, fuses layers and packs weights for an instruction set.
///
/// The program applies `normalisation` to the u8 image.
///
/// # Errors
/// A missing weight, or a graph whose output is not one or two channels of logits.
pub fn prepare_graph(graph: &Graph, weights: &Weights, normalisation: &Normalisation, isa: Isa) -> Result<Program> {
    let net = from_graph::net(graph, weights, normalisation)?;
    net.check_sizes(graph.stride())?;
    Ok(Program::new(net, isa))
}

/// A program with its threads and its workspace, used by one caller at a time.
pub struct Engine {
    program: Arc<Program>,
    /// Threads of the engine; by default, the rayon pool of the caller.
    threads: Option<ThreadPool>,
    workspace: Workspace,
    /// Length of a block along the stream axis, in columns of the image; by default, chosen from the size of the image.
    block_columns: Option<usize>,
}

impl Engine {
    /// Creates an engine with `threads` threads of its own; 0 stands for the number of cores.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn new(program: Arc<Program>, threads: usize) -> Result<Self> {
        // Cores are counted here because rayon's default depends on an environment variable.
        let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) } else { threads };
        let threads = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("native {i}")).build();
        let threads = threads.map_err(Error::from).doing(|| "starting threads")?;
        Ok(Self { threads: Some(threads), ..Self::on_current_pool(program) })
    }

    /// Creates an engine that runs on the rayon pool of the calling thread.
    pub fn on_current_pool(program: Arc<Program>) -> Self {
        Self { program, threads: None, workspace: Workspace::new(), block_columns: None }
    }

    /// Sets the length of a block along the stream axis, in columns of the image. Only the last bits of results depend on it.
    ///
    /// # Panics
    /// If `columns` is 0.
    #[must_use]
    pub fn with_block_columns(self, columns: usize) -> Self {
        assert!(columns > 0, "a block has at least one column");
        Self { block_columns: Some(columns), ..self }
    }

    /// Returns the program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Computes probabilities in 0..=1, `B H W`, of u8 RGB images `B H W 3`.
    ///
    /// `shape` is `[B, H, W]`; height and width are multiples of the network's stride.
    pub fn probabilities(&mut self, images: &[u8], shape: [usize; 3]) -> Vec<f32> {
        self.run(images, shape, |rows, write| write(rows))
    }

    /// Computes probabilities quantised to `round(255 p)`; otherwise like [`Engine::probabilities`].
    pub fn quantised(&mut self, images: &[u8], shape: [usize; 3]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.run(images, shape, |rows, write| {
            bytes.resize(rows.len(), 0);
            sigmoid::quantise(rows, &mut bytes);
            write(&bytes);
        })
    }

    /// Runs the program on every image; `convert` turns probabilities of some rows into results and passes them to its second argument.
    fn run<T>(&mut self, images: &[u8], shape: [usize; 3], mut convert: impl FnMut(&[f32], &mut dyn FnMut(&[T])) + Send) -> Vec<T>
    where
        T: Copy + Default + Send + Sync,
    {
        let [batch, height, width] = shape;
        let Self { program, threads, workspace, block_columns } = self;
        let block_rows = block_columns.unwrap_or_else(|| stream::default_block_rows(width, height));
        let mut results = vec![T::default(); batch * height * width];
        let pixels = height * width;
        let mut run_all = || {
            for (image, out) in images.chunks_exact(3 * pixels).zip(results.chunks_exact_mut(pixels)) {
                program.run(image, width, block_rows, workspace, |first, rows| {
                    convert(rows, &mut |rows| transposition::write_rows(rows, first, width, out));
                });
            }
        };
        match threads {
            Some(threads) => threads.install(run_all),
            None => run_all(),
        }
        results
    }
}
