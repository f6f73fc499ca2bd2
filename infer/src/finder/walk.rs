//! One slide through a [`Finder`], with a callback for each nucleus or with the usual files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use slides::Slide;
use support::Result;
use support::console::{Progress, Silent};

use super::Finder;
use crate::output::{ExtraOutput, Nucleus, Summary};
use crate::segment::{self, Halo, Options, Regions, Visit};
use crate::tissue::region::Region;

/// Options of one pass over a slide.
pub struct Walk<'a> {
    finder: &'a Finder,
    slide: &'a dyn Slide,
    options: Options,
    inside: Option<&'a Region>,
    progress: &'a dyn Progress,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(finder: &'a Finder, slide: &'a dyn Slide) -> Self {
        let options = Options { regions: Regions::Found, device: finder.device.clone(), proof: finder.proof.clone(), ..Options::default() };
        Self { finder, slide, options, inside: None, progress: &Silent }
    }

    /// Visits only nuclei whose centroid lies in `region`; only grid tiles that the region touches are analysed.
    #[must_use]
    pub fn inside(mut self, region: &'a Region) -> Self {
        self.options.regions = Regions::Inside(region.clone());
        self.inside = Some(region);
        self
    }

    /// Sets the analysed part of the slide; the default is the tissue that is found on a light background.
    #[must_use]
    pub fn regions(mut self, regions: Regions) -> Self {
        (self.options.regions, self.inside) = (regions, None);
        self
    }

    /// Sets the halo; the default is the one that was measured for the model.
    #[must_use]
    pub fn halo(mut self, halo: Halo) -> Self {
        self.options.halo = halo;
        self
    }

    /// Sets the scale of level 0 in µm per pixel, in place of the slide's own.
    #[must_use]
    pub fn mpp(mut self, microns_per_pixel: f64) -> Self {
        self.options.mpp = Some(microns_per_pixel);
        self
    }

    /// Ends the walk soon after the number becomes other than 0, with an error of the kind [`support::ErrorKind::Cancelled`].
    #[must_use]
    pub fn until(mut self, stop: Arc<AtomicUsize>) -> Self {
        self.options.stop = stop;
        self
    }

    /// Reports progress to the caller.
    #[must_use]
    pub fn progress(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Calls `each` for every nucleus as soon as it is complete; nothing is written.
    ///
    /// Nuclei come in the order of the files of `infer segment`, whatever the number of threads.
    ///
    /// # Errors
    /// The first error of the slide, of the network or of `each`, which ends the walk.
    pub fn each(self, mut each: impl FnMut(&Nucleus) -> Result<()>) -> Result<Visit> {
        let Self { finder, slide, options, inside, progress } = self;
        let mut visited = 0;
        let visit = finder.with_networks(|networks| {
            segment::visit(slide, &finder.model, networks, &options, progress, |nucleus| {
                if inside.is_some_and(|region| !nucleus.centroid_in(region)) {
                    return Ok(());
                }
                visited += 1;
                each(nucleus)
            })
        })?;
        Ok(Visit { nuclei: visited, ..visit })
    }

    /// Writes the files of `infer segment` to `out/NAME/`, with `extra` beside the usual ones.
    ///
    /// # Errors
    /// The first error of the slide, of the network or of a file; no file of this run then has its final name.
    pub fn writing(mut self, out: impl AsRef<Path>, extra: &[ExtraOutput]) -> Result<Summary> {
        (self.options.out, self.options.extra) = (out.as_ref().to_owned(), extra.to_vec());
        let Self { finder, slide, options, progress, .. } = self;
        finder.with_networks(|networks| segment::segment_open(slide, &finder.model, networks, &options, progress))
    }
}
