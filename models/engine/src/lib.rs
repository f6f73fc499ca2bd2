//! Models run by this program's own kernels: f32, on any processor, without ONNX Runtime.
//!
//! | module | what |
//! |---|---|
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

/// A program with threads and memory of its own.
pub struct Engine {
    program: Arc<Program>,
    threads: ThreadPool,
    workspace: Workspace,
    /// Columns that a turn takes; `None`: by the image.
    at_once: Option<usize>,
}

impl Engine {
    /// `threads` 0: as many as the machine has cores.
    pub fn new(program: Arc<Program>, threads: usize) -> Result<Self> {
        // Counted here: rayon's own default listens to an environment variable.
        let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) } else { threads };
        let threads = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("native {i}")).build();
        let threads = threads.map_err(Error::from).doing(|| "starting threads")?;
        Ok(Self { program, threads, workspace: Workspace::new(), at_once: None })
    }

    /// Takes images so many columns at a time.
    ///
    /// # Panics
    /// If these are none.
    #[must_use]
    pub fn with_columns_at_once(self, columns: usize) -> Self {
        assert!(columns > 0, "no columns at a time");
        Self { at_once: Some(columns), ..self }
    }

    /// What it runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Probabilities of images `batch * height * width * 3`, extents multiples of the network's stride.
    pub fn probabilities(&mut self, images: &[u8], shape: [usize; 3]) -> Vec<f32> {
        self.run(images, shape, |columns, put| put(columns))
    }

    /// The same as `round(255 p)`.
    pub fn quantised(&mut self, images: &[u8], shape: [usize; 3]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.run(images, shape, |columns, put| {
            bytes.resize(columns.len(), 0);
            sigmoid::quantise(columns, &mut bytes);
            put(&bytes);
        })
    }

    fn run<T>(&mut self, images: &[u8], shape: [usize; 3], mut of: impl FnMut(&[f32], &mut dyn FnMut(&[T])) + Send) -> Vec<T>
    where
        T: Copy + Default + Send + Sync,
    {
        let [batch, height, width] = shape;
        let Self { program, threads, workspace, at_once } = self;
        let at_once = at_once.unwrap_or_else(|| run::columns_at_once(height, width));
        let mut all = vec![T::default(); batch * height * width];
        let pixels = height * width;
        threads.install(|| {
            for (image, out) in images.chunks_exact(3 * pixels).zip(all.chunks_exact_mut(pixels)) {
                program.run(image, width, at_once, workspace, |first, columns| {
                    of(columns, &mut |columns| transposed::put(columns, first, width, out));
                });
            }
        });
        all
    }
}
