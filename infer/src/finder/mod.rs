//! Entry point of the library: a checked model that finds the nuclei of images and slides.
//!
//! ```no_run
//! use infer::{Finder, Image};
//!
//! # fn main() -> infer::Result<()> {
//! let finder = Finder::open("nuclei.onnx")?.threads(4).ready()?;
//! # let pixels = vec![0; 696 * 520 * 3];
//! let image = Image::rgb8(696, 520, &pixels)?.with_mpp(0.5)?;
//! for nucleus in finder.nuclei(&image)? {
//!     println!("{:?} {:.1} {}²", nucleus.centroid_px, nucleus.area(), nucleus.unit);
//! }
//! # Ok(())
//! # }
//! ```

mod walk;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use slides::Slide;
use support::Result;

use crate::choose::{self, Chosen};
use crate::model::Model;
use crate::network::Network;
use crate::output::Nucleus;
use crate::output::summary::Proof;
use crate::runtime::{Device, Precision};
use crate::segment::Regions;
use crate::segmenter::Options;
use crate::signature::{self, Signed};
pub use walk::Walk;

/// Opens a slide with the first reader that knows its format: plain images, tiled TIFF and SVS; other formats by OpenSlide.
///
/// # Errors
/// A file that no reader knows, or OpenSlide that is needed and not installed.
pub fn open_slide(path: impl AsRef<Path>) -> Result<Box<dyn Slide>> {
    slides::open(path.as_ref(), None)
}

/// Builder of a [`Finder`]: a model whose device, threads and trusted key can still be chosen.
pub struct FinderBuilder {
    model: Model,
    path: Option<PathBuf>,
    signed: Option<Signed>,
    options: Options,
    precision: Option<Precision>,
}

impl FinderBuilder {
    /// Demands a signature by this public key beside the model (`MODEL.minisig`).
    ///
    /// # Errors
    /// No signature, one by another key, or a model that was not read from a file; the kind is [`support::ErrorKind::Refused`].
    pub fn trusting(mut self, key: impl AsRef<Path>) -> Result<Self> {
        let Some(path) = &self.path else {
            support::bail!(Refused; "a model from memory has no signature file"; hint: "open the model by its path, or verify the bytes first");
        };
        self.signed = signature::check(&self.model, path, Some(key.as_ref()))?;
        Ok(self)
    }

    /// Sets the device; the default, [`Device::Native`], needs no library beside the program.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.options.device = device;
        self
    }

    /// Sets the arithmetic of the inner layers; the default is f32.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// Sets the number of threads of the network; 0, the default: as many as the machine has cores.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = threads;
        self
    }

    /// Prepares the network and runs the model's golden tiles on it.
    ///
    /// A key `trusted.pub` beside the running program makes a signature a must, unless [`FinderBuilder::trusting`] named another key.
    ///
    /// # Errors
    /// A missing signature, a device that is not there, or golden tiles that come out wrong.
    pub fn ready(self) -> Result<Finder> {
        let signed = match (&self.signed, &self.path) {
            (None, Some(path)) => signature::check(&self.model, path, None)?,
            _ => self.signed,
        };
        let Chosen { segmenter, options, golden } = choose::open(&self.model, &self.options, self.precision)?;
        let device = format!("{} in {}, {}", options.device, options.precision.name(), segmenter.kernels());
        let networks: Vec<Box<dyn Network>> = vec![Box::new(segmenter)];
        Ok(Finder {
            model: self.model,
            device,
            proof: Proof { golden: golden.map(|(outcome, _)| outcome), signed: signed.map(|signed| signed.comment) },
            networks: Mutex::new(networks),
        })
    }
}

/// Model that has passed its golden tiles on this machine. Calls from several threads run one after the other.
pub struct Finder {
    pub(crate) model: Model,
    pub(crate) device: String,
    pub(crate) proof: Proof,
    networks: Mutex<Vec<Box<dyn Network>>>,
}

impl Finder {
    /// Reads a model file and checks its seal, its card and its operators.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or was not written by `export onnx`.
    pub fn open(path: impl AsRef<Path>) -> Result<FinderBuilder> {
        let path = path.as_ref();
        Ok(FinderBuilder { path: Some(path.to_owned()), ..Self::of(Model::open(path)?) })
    }

    /// Checks a model file that is held in memory.
    ///
    /// # Errors
    /// Bytes that are damaged or no model of this project.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<FinderBuilder> {
        Ok(Self::of(Model::from_bytes(bytes)?))
    }

    fn of(model: Model) -> FinderBuilder {
        let options = Options { device: Device::Native, ..Options::default() };
        FinderBuilder { model, path: None, signed: None, options, precision: None }
    }

    /// Makes a finder of a network that the caller runs, for example on a server. Golden tiles and signature are not checked.
    pub fn from_network(model: Model, network: Box<dyn Network>) -> Self {
        let networks = Mutex::new(vec![network]);
        Self { model, device: "network of the caller".to_owned(), proof: Proof::default(), networks }
    }

    /// The model: its card, hash and golden tiles.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The device, its arithmetic and its kernels in words.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Finds all nuclei of an image or a slide, everywhere in it, in the order of [`Walk::each`].
    ///
    /// # Errors
    /// An image without scale where the model has one, or a slide that cannot be read.
    pub fn nuclei(&self, slide: &dyn Slide) -> Result<Vec<Nucleus>> {
        let mut all = Vec::new();
        self.walk(slide).regions(Regions::All).each(|nucleus| {
            all.push(nucleus.clone());
            Ok(())
        })?;
        Ok(all)
    }

    /// Begins a walk over a slide: options first, then [`Walk::each`] or [`Walk::writing`].
    pub fn walk<'a>(&'a self, slide: &'a dyn Slide) -> Walk<'a> {
        Walk::new(self, slide)
    }

    /// Lends the networks to one caller at a time.
    pub(crate) fn with_networks<T>(&self, work: impl FnOnce(&mut [Box<dyn Network>]) -> T) -> T {
        work(&mut self.networks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
