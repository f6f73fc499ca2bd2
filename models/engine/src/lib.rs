//! Models run by this program's own kernels: f32, on any processor, without ONNX Runtime.
//!
//! | module | what |
//! |---|---|
//! | `from_graph` | a graph in training, with its weights, to a `Net` |
//! | `read` | an ONNX graph, node by node, to a `Net`; what is not understood is refused with the reason |
//! | `up` | convolutions of enlarged maps, back from the forms that other runtimes like |
//! | `fuse` | what is computed at once |
//! | `join` | steps whose maps between them never exist |
//! | `program` | the kernel and the weights of each stage, made once |
//! | `run` | a program on an image, some columns after the other: no more memory for a long image than for a short one |
//! | `reach`, `row_ring` | which columns of a map are read, and which are still needed |
//! | `step` | one step on some columns |
//! | `transposed` | rows and columns exchanged |
//!
//! Sums run in an order that depends neither on the number of threads nor on the batch: the same bits. Winograd's form works on tiles of
//! 4x4 at every resolution, and each of a tile's values is rounded along with its neighbours: a pixel of two windows that see all it can
//! depend on differs in the last bits of f32 (probabilities by less than 1e-6), as it does between processors of other vector units.

mod attributes;
mod from_graph;
mod fuse;
mod join;
mod layout;
mod net;
mod program;
mod reach;
mod read;
mod row_ring;
mod run;
mod step;
mod transposed;
mod up;

use std::sync::Arc;

use kernels::{Isa, sigmoid};
use models::card::Normalisation;
use models::graph::Graph;
use models::weights::Weights;
use onnx::proto::GraphProto;
use rayon::{ThreadPool, ThreadPoolBuilder};
use support::{Context, Error, Result};

pub use program::Program;
use run::Workspace;

/// Reads the network of an ONNX graph and prepares it for an instruction set, which must be among [`Isa::available`].
///
/// `stride` is the stride of the network: extents of images are multiples of it.
///
/// # Errors
/// A graph with operations that have no kernel here; the error names the first.
pub fn prepare(graph: &GraphProto, stride: usize, isa: Isa) -> Result<Program> {
    let net = read::read(graph)?;
    net.check_sizes(stride)?;
    Ok(Program::new(net, isa))
}

/// Prepares a network in training for predictions: BatchNorm folded, layers fused, for an instruction set of this machine.
///
/// `normalisation` is applied to the u8 image inside the program.
///
/// # Errors
/// A missing weight, or a graph whose output is not one or two channels of logits.
pub fn prepare_graph(graph: &Graph, weights: &Weights, normalisation: &Normalisation, isa: Isa) -> Result<Program> {
    let net = from_graph::net(graph, weights, normalisation)?;
    net.check_sizes(graph.stride())?;
    Ok(Program::new(net, isa))
}

/// A program with its threads and its workspace; used by one caller at a time.
pub struct Engine {
    program: Arc<Program>,
    /// `None`: the rayon pool of the caller.
    threads: Option<ThreadPool>,
    workspace: Workspace,
    /// Columns of the image per block; `None`: chosen from the size of the image.
    block_columns: Option<usize>,
}

impl Engine {
    /// Runs `program` on `threads` threads of its own; 0: as many as the machine has cores.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn new(program: Arc<Program>, threads: usize) -> Result<Self> {
        // The cores are counted here because rayon's own default listens to an environment variable.
        let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) } else { threads };
        let threads = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("native {i}")).build();
        let threads = threads.map_err(Error::from).doing(|| "starting threads")?;
        Ok(Self { threads: Some(threads), ..Self::on_current_pool(program) })
    }

    /// Runs `program` on the rayon pool of the calling thread.
    pub fn on_current_pool(program: Arc<Program>) -> Self {
        Self { program, threads: None, workspace: Workspace::new(), block_columns: None }
    }

    /// Sets the number of columns per block.
    ///
    /// # Panics
    /// If `columns` is 0.
    #[must_use]
    pub fn with_block_columns(self, columns: usize) -> Self {
        assert!(columns > 0, "a block has at least one column");
        Self { block_columns: Some(columns), ..self }
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Computes probabilities in 0..=1, `batch * height * width`, of images `batch * height * width * 3`.
    ///
    /// `shape` is batch, height and width; height and width are multiples of the network's stride.
    pub fn probabilities(&mut self, images: &[u8], shape: [usize; 3]) -> Vec<f32> {
        self.run(images, shape, |columns, put| put(columns))
    }

    /// Computes probabilities as `round(255 p)`; otherwise like [`Engine::probabilities`].
    pub fn quantised(&mut self, images: &[u8], shape: [usize; 3]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.run(images, shape, |columns, put| {
            bytes.resize(columns.len(), 0);
            sigmoid::quantise(columns, &mut bytes);
            put(&bytes);
        })
    }

    fn run<T>(&mut self, images: &[u8], shape: [usize; 3], mut convert: impl FnMut(&[f32], &mut dyn FnMut(&[T])) + Send) -> Vec<T>
    where
        T: Copy + Default + Send + Sync,
    {
        let [batch, height, width] = shape;
        let Self { program, threads, workspace, block_columns } = self;
        let block_columns = block_columns.unwrap_or_else(|| run::columns_per_block(height, width));
        let mut all = vec![T::default(); batch * height * width];
        let pixels = height * width;
        let mut run_all = || {
            for (image, out) in images.chunks_exact(3 * pixels).zip(all.chunks_exact_mut(pixels)) {
                program.run(image, width, block_columns, workspace, |first, columns| {
                    convert(columns, &mut |columns| transposed::put(columns, first, width, out));
                });
            }
        };
        match threads {
            Some(threads) => threads.install(run_all),
            None => run_all(),
        }
        all
    }
}
