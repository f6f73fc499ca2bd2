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
//! | `reach`, `slab` | which columns of a map are read, and which are still needed |
//! | `step` | one step on some columns |
//! | `turned` | rows and columns exchanged |
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
mod run;
mod slab;
mod step;
mod turned;
mod up;

use std::sync::Arc;

use kernels::{Isa, sigmoid};
use prost::Message;
use rayon::{ThreadPool, ThreadPoolBuilder};
use support::{Context, Error, Result, bail};

use crate::model::Model;
use crate::onnx_proto::ModelProto;
use crate::runtime::Precision;
pub use program::Program;
use run::Room;

/// Reads the network of a model and prepares it for the best instruction set here.
///
/// # Errors
/// A model with operations that have no kernel here; it names the first.
pub fn prepare(model: &Model) -> Result<Program> {
    prepare_for(model, Isa::best())
}

/// The same for an instruction set, which must be among [`Isa::available`].
pub fn prepare_for(model: &Model, isa: Isa) -> Result<Program> {
    let proto = ModelProto::decode(model.bytes.as_slice()).doing(|| "parsing ONNX")?;
    let Some(graph) = &proto.graph else { bail!("the file has no graph") };
    let program = read::read(graph).and_then(|net| net.check_sizes(model.card.stride).map(|()| Program::new(net, isa)));
    program.doing(|| format!("running {} by the native kernels", model.card.name)).hint(|| "use --device cpu, or export the model in f32")
}

/// An error for any arithmetic but f32.
pub fn check_precision(precision: Precision) -> Result<()> {
    match precision {
        Precision::F32 => Ok(()),
        Precision::Bf16 => bail!("the device native computes in f32 only"; hint: "bf16 is for the device openvino"),
    }
}

/// A program with threads and memory of its own.
pub struct Native {
    program: Arc<Program>,
    threads: ThreadPool,
    room: Room,
    /// Columns that a turn takes; `None`: by the image.
    at_once: Option<usize>,
}

impl Native {
    /// `threads` 0: as many as the machine has cores.
    pub fn new(program: Arc<Program>, threads: usize) -> Result<Self> {
        // Counted here: rayon's own default listens to an environment variable.
        let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) } else { threads };
        let threads = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("native {i}")).build();
        let threads = threads.map_err(Error::from).doing(|| "starting threads")?;
        Ok(Self { program, threads, room: Room::new(), at_once: None })
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
        let Self { program, threads, room, at_once } = self;
        let at_once = at_once.unwrap_or_else(|| run::columns_at_once(height, width));
        let mut all = vec![T::default(); batch * height * width];
        let pixels = height * width;
        threads.install(|| {
            for (image, out) in images.chunks_exact(3 * pixels).zip(all.chunks_exact_mut(pixels)) {
                program.run(image, width, at_once, room, |first, columns| {
                    of(columns, &mut |columns| turned::put(columns, first, width, out));
                });
            }
        });
        all
    }
}
