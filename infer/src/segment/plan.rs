//! Plan of one slide: all decisions before the first window is read.

use std::path::PathBuf;
use std::thread;

use serde_json::json;
use support::{Result, bail, durable};

use super::overview::{check_shards, find_tissue, read_overview};
use super::{Options, Origin, Regions, folder};
use crate::golden;
use crate::model::Model;
use crate::output::Frame;
use crate::output::writers::Source;
use crate::tile::{TileGrid, Window, Windows};
use crate::timing::StageTimings;
use crate::tissue::{Tissue, given};
use slides::scaled::Scale;
use slides::{LostTile, Mpp, Rgb, Slide};

/// Largest size of a band; slides of 700,000 px are below it with the highest default windows.
const MAX_BAND_BYTES: usize = 2 << 30;

/// Scale, tile grid, regions, key and options of one slide.
pub(super) struct Plan<'a> {
    pub(super) slide: &'a dyn Slide,
    pub(super) mpp: Option<Mpp>,
    pub(super) scale: Scale,
    pub(super) frame: Frame,
    pub(super) grid: TileGrid,
    pub(super) halo_is_exact: bool,
    /// Windows per call of a network, at least 1.
    pub(super) batch: usize,
    /// Threads that read windows, at least 1.
    pub(super) readers: usize,
    pub(super) options: &'a Options,
    pub(super) expected_entropy: Option<f64>,
    pub(super) timings: &'a StageTimings,
    /// Reduced image of the slide, if it was read to find tissue.
    overview: Option<Rgb>,
    pub(super) tissue: Tissue,
    /// Source of `tissue`, for the summary.
    pub(super) regions: String,
    /// Results folder of the slide.
    pub(super) folder: PathBuf,
    /// SHA-256 of everything that the results depend on.
    pub(super) key: String,
}

impl<'a> Plan<'a> {
    /// Chooses scale and grid, reads the overview and finds the regions.
    pub(super) fn new(
        slide: &'a dyn Slide,
        model: &Model,
        source: &Source<'_>,
        windows: Windows,
        options: &'a Options,
        timings: &'a StageTimings,
    ) -> Result<Self> {
        let card = &model.card;
        let mpp = options.mpp.map(Mpp::given).transpose()?.or(slide.facts().mpp);
        let scale = Scale::choose(slide, mpp, card.microns_per_pixel)?;
        let halo = options.halo.px(card);
        let tile = options.tile.unwrap_or_else(|| options.halo.tile_px(card, windows));
        let grid = TileGrid::new(scale.size_px, card.stride, tile, halo, windows)?;
        check_band_size(&grid)?;
        let origin = match (options.origin, slide.bounds()) {
            (Origin::Bounds, Some(bounds)) => [bounds.x as f64, bounds.y as f64],
            _ => [0.0; 2],
        };
        check_shards(&options.outlines, slide)?;
        let cores = thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (tissue, regions, overview) = timings.small.time(|| find_regions(slide, &scale, &options.regions))?;
        let batch = options.batch.max(1);
        let key = json!({
            "program": provenance::VERSION, "slide": source.slide_sha256, "model": source.model_sha256, "scale": scale,
            "window": grid.window_size(), "windows": format!("{windows:?}"), "halo": grid.halo, "batch": batch, "device": options.device, "origin": origin,
            "outlines": options.outlines, "tissue": durable::sha256(&tissue.bytes()),
        });
        Ok(Self {
            slide,
            mpp,
            scale,
            frame: Frame::new(&scale, origin),
            halo_is_exact: grid.halo >= card.reach_px || grid.len() == 1,
            grid,
            batch,
            readers: if options.readers == 0 { cores.clamp(2, 8) } else { options.readers },
            options,
            expected_entropy: golden::mean_entropy(&model.golden)?,
            timings,
            overview,
            tissue,
            regions,
            folder: folder(&slide.facts().path, &options.out)?,
            key: durable::sha256(key.to_string().as_bytes()),
        })
    }

    /// Returns the reduced image of the slide for the overlay.
    pub(super) fn overview(&self) -> Result<Rgb> {
        match &self.overview {
            Some(overview) => Ok(overview.clone()),
            None => self.timings.small.time(|| read_overview(self.slide, &self.scale)),
        }
    }

    /// Reports whether a window is computed: its core has tissue.
    pub(super) fn is_active(&self, window: &Window) -> bool {
        let range = |span: crate::tile::Span| span.core..span.core + span.core_length;
        self.tissue.any(range(window.x), range(window.y))
    }

    /// Returns the lost tiles of the level that is read.
    pub(super) fn lost_tiles(&self) -> Vec<LostTile> {
        self.slide.lost_tiles().into_iter().filter(|tile| tile.level == self.scale.level).collect()
    }
}

/// Checks that the bands of a slide, several of which are in memory at the same time, are not too large.
///
/// # Errors
/// A slide whose width is out of proportion, as headers of damaged and hostile files claim it.
fn check_band_size(grid: &TileGrid) -> Result<()> {
    let rows = grid.bands().iter().map(|band| band.core_length).max().unwrap_or(0);
    let bytes = grid.image[0].saturating_mul(rows);
    if bytes > MAX_BAND_BYTES {
        bail!("the slide is {} px wide, and {rows} rows of probabilities are {} MiB, more than the {} MiB that are allowed",
            grid.image[0], bytes >> 20, MAX_BAND_BYTES >> 20; hint: "choose lower windows by --tile");
    }
    Ok(())
}

/// Returns the analysed part of a slide, its description for the summary, and the overview if it was read to find tissue.
fn find_regions(slide: &dyn Slide, scale: &Scale, regions: &Regions) -> Result<(Tissue, String, Option<Rgb>)> {
    let everywhere = || Tissue::uniform(scale.size_px, true);
    Ok(match regions {
        Regions::All => (everywhere(), "all".to_owned(), None),
        Regions::Given(path) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (given::tissue(path, scale.size_px, scale.slide_from_model)?, name, None)
        }
        Regions::Inside(region) => (region.tissue(scale.size_px, scale.slide_from_model), "a region of the caller".to_owned(), None),
        Regions::Found => match find_tissue(slide, scale)? {
            (overview, Some(tissue)) => (tissue, "tissue found".to_owned(), Some(overview)),
            (overview, None) => (everywhere(), "all, for the slide has no light background".to_owned(), Some(overview)),
        },
    })
}
