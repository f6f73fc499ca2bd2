//! One slide through one model: from a file to `OUT/SLIDE/`.
//!
//! | module | what |
//! |---|---|
//! | `plan` | everything that is decided before the first pixel is read, and the summary of it |
//! | `compute` | the threads between the slide and its files |

mod compute;
mod plan;

use std::path::{Path, PathBuf};
use std::time::Instant;

use models::card::ModelCard;
use models::console::Progress;
use models::{Result, artifact, bail};

#[cfg(doc)]
use crate::output::summary::Status;
use crate::output::writers::Source;
use crate::output::{Files, Summary};
use crate::segmenter::Network;
use crate::slide;
use crate::timing::Busy;
use plan::{Plan, timings};

/// Pixels read around each core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Halo {
    /// The halo that was measured for the model, or all its reach where none was.
    #[default]
    Card,
    /// All that a value can depend on: tiles cannot show.
    Exact,
    /// So many pixels at the model's scale.
    Px(usize),
}

/// What positions in the files count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The corner of level 0.
    #[default]
    Full,
    /// The corner of the scanned part, as QuPath shows slides that tell it.
    Bounds,
}

/// How a slide is segmented.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder in which a folder for the slide is made.
    pub out: PathBuf,
    /// µm per pixel of level 0, in place of what the slide says.
    pub mpp: Option<f64>,
    /// Pixels around each core.
    pub halo: Halo,
    /// Side of windows at the model's scale; `None`: by the halo.
    pub tile: Option<usize>,
    /// Windows that a network gets at once; 0: one.
    pub batch: usize,
    /// Threads that read windows; 0: by the machine.
    pub readers: usize,
    /// The OpenSlide library, if not where it is usually found.
    pub openslide: Option<PathBuf>,
    /// What positions count from.
    pub origin: Origin,
    /// What runs the network, for the summary.
    pub device: String,
}

/// Finds the nuclei of `slide` and writes the files of [`crate::output`] to `options.out/<slide's name>/`.
///
/// Networks run side by side; results do not depend on how many there are. A summary with [`Status::Incomplete`] is a result too:
/// more than 5 % of the slide could not be read.
pub fn segment(
    slide: &Path,
    card: &ModelCard,
    model_sha256: &str,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Summary> {
    let began = Instant::now();
    if networks.is_empty() {
        bail!("segmenting {}: no network was given", slide.display());
    }
    // Classes are background and nucleus; a card that names one names the nucleus.
    let Some(class) = card.classes.get(1).or(card.classes.first()) else {
        bail!("the card of the model {} names no class", card.name);
    };
    let opened = slide::open(slide, options.openslide.as_deref())?;
    let plan = Plan::new(opened.as_ref(), card, options)?;
    let busy = Busy::default();
    let slide_sha256 = busy.hash.time(|| artifact::sha256_of_file(slide))?;
    let source = Source { slide_sha256: &slide_sha256, model_sha256, class };
    let mut files = Files::new(&folder(slide, &options.out)?)?;
    let (nuclei, note) = plan.compute(card, networks, &source, &mut files, &busy, progress)?;
    let mut summary = plan.summary(card, &source, nuclei, networks.len());
    summary.notes.extend(note);
    summary.outputs = files.names();
    summary.timings = timings(began, &busy, &summary.areas);
    files.commit(&summary)?;
    Ok(summary)
}

/// The folder of a slide's files: named as the slide, without its extension.
pub fn folder(slide: &Path, out: &Path) -> Result<PathBuf> {
    let Some(stem) = slide.file_stem() else { bail!("{} names no file", slide.display()) };
    Ok(out.join(stem))
}
