//! Segmentation of several slides, one after another.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use support::console::Progress;
use support::{Result, bail};

use super::{Options, folder, segment};
use crate::model::Model;
use crate::network::Network;
use crate::output::Summary;
use crate::output::summary::Status;

/// Results of several slides.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Summaries of the slides that succeeded, in the order of the slides.
    pub summaries: Vec<Summary>,
    /// Slides that failed; their errors are logged.
    pub failed: Vec<PathBuf>,
}

impl Batch {
    /// Checks that every slide succeeded.
    ///
    /// # Errors
    /// The number of slides that failed, and the first of these slides.
    pub fn check(&self) -> Result<()> {
        match self.failed.first() {
            None => Ok(()),
            Some(first) => {
                let slides = self.failed.len() + self.summaries.len();
                bail!("{} of {slides} slides failed, the first is {}", self.failed.len(), first.display())
            }
        }
    }

    /// Returns true if no slide has the status [`Status::Incomplete`].
    pub fn is_complete(&self) -> bool {
        self.summaries.iter().all(|summary| summary.status == Status::Complete)
    }
}

/// Segments slides as [`segment()`] does and calls `on_summary` after each slide.
///
/// After a failed slide, the remaining slides are still segmented; see [`Batch::check`].
///
/// # Errors
/// The error of the slide if there is only one, or if `options.stop` is set.
pub fn segment_all(
    slides: &[&Path],
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    progress: &dyn Progress,
    mut on_summary: impl FnMut(&Summary),
) -> Result<Batch> {
    let mut batch = Batch::default();
    for &slide in slides {
        match segment(slide, model, networks, options, progress) {
            Ok(summary) => {
                on_summary(&summary);
                batch.summaries.push(summary);
            }
            Err(error) if slides.len() == 1 || options.stop.load(Ordering::Relaxed) != 0 => return Err(error),
            Err(error) => {
                tracing::error!("{error:?}");
                batch.failed.push(slide.to_owned());
            }
        }
    }
    Ok(batch)
}

/// Checks that no two slides have the same results folder in `out`.
///
/// # Errors
/// Two slides with the same file name, or a path without a file name.
pub fn check_names<P: AsRef<Path>>(slides: &[P], out: &Path) -> Result<()> {
    let mut slide_by_folder = HashMap::new();
    for slide in slides {
        let slide = slide.as_ref();
        let folder = folder(slide, out)?;
        if let Some(other) = slide_by_folder.insert(folder.clone(), slide) {
            let (other, slide, folder) = (other.display(), slide.display(), folder.display());
            bail!("{other} and {slide} would both be written to {folder}"; hint: "segment them with different --out folders");
        }
    }
    Ok(())
}
