//! Everything that is decided before the first pixel is read, and the summary of it.

use std::thread;
use std::time::Instant;

use models::Result;
use models::card::ModelCard;

use super::{Halo, Options, Origin};
use crate::output::Frame;
use crate::output::summary::{
    Areas, COMPLETE_WITHIN, ModelFacts, NucleusFacts, RunFacts, ScaleFacts, SlideFacts, Status, Summary, TileFacts, Timings,
};
use crate::output::writers::Source;
use crate::slide::scaled::Scale;
use crate::slide::{Mpp, Slide};
use crate::tile::TileGrid;
use crate::timing::Busy;

/// Everything that is decided before the first pixel is read.
pub(super) struct Plan<'a> {
    pub(super) slide: &'a dyn Slide,
    pub(super) mpp: Option<Mpp>,
    pub(super) scale: Scale,
    pub(super) frame: Frame,
    pub(super) grid: TileGrid,
    pub(super) halo_is_exact: bool,
    pub(super) batch: usize,
    pub(super) readers: usize,
    pub(super) device: &'a str,
}

impl<'a> Plan<'a> {
    pub(super) fn new(slide: &'a dyn Slide, card: &ModelCard, options: &'a Options) -> Result<Self> {
        let mpp = options.mpp.map(Mpp::given).transpose()?.or(slide.facts().mpp);
        let scale = Scale::choose(slide, mpp, card.microns_per_pixel)?;
        let halo = match options.halo {
            Halo::Card => card.default_halo_px(),
            Halo::Exact => card.reach_px,
            Halo::Px(px) => px,
        };
        let tile = options.tile.unwrap_or_else(|| TileGrid::default_tile(halo.next_multiple_of(card.stride)));
        let grid = TileGrid::new(scale.size_px, card.stride, tile, halo)?;
        let origin = match (options.origin, slide.bounds()) {
            (Origin::Bounds, Some(bounds)) => [bounds.x as f64, bounds.y as f64],
            _ => [0.0; 2],
        };
        let cores = thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Ok(Self {
            slide,
            mpp,
            scale,
            frame: Frame::new(&scale, origin),
            halo_is_exact: grid.halo >= card.reach_px || grid.len() == 1,
            grid,
            batch: options.batch.max(1),
            readers: if options.readers == 0 { cores.clamp(2, 8) } else { options.readers },
            device: &options.device,
        })
    }

    pub(super) fn summary(&self, card: &ModelCard, source: &Source<'_>, nuclei: NucleusFacts, networks: usize) -> Summary {
        let facts = self.slide.facts();
        let areas = self.areas();
        let per_mm2 = areas.analysed_mm2.map(|mm2| nuclei.count as f64 / mm2);
        let status = if areas.lost_share > COMPLETE_WITHIN { Status::Incomplete } else { Status::Complete };
        Summary {
            status,
            written_by: concat!("infer ", env!("CARGO_PKG_VERSION")).to_owned(),
            model: ModelFacts {
                name: card.name.clone(),
                sha256: source.model_sha256.to_owned(),
                microns_per_pixel: card.microns_per_pixel,
            },
            slide: SlideFacts {
                file: facts.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                sha256: source.slide_sha256.to_owned(),
                reader: facts.reader,
                size_px: [facts.levels[0].width, facts.levels[0].height],
            },
            scale: ScaleFacts { slide: self.mpp, read_at: self.scale, origin_px: self.frame.origin },
            tiles: TileFacts {
                window_px: self.grid.window_size(),
                halo_px: self.grid.halo,
                halo_is_exact: self.halo_is_exact,
                windows: self.grid.len(),
                overlap: self.grid.overlap(),
            },
            run: RunFacts { device: self.device.to_owned(), batch: self.batch, networks, readers: self.readers },
            areas,
            nuclei: NucleusFacts { per_mm2, ..nuclei },
            timings: timings(Instant::now(), &Busy::default(), &self.areas()),
            notes: self.notes(card),
            outputs: Vec::new(),
        }
    }

    fn areas(&self) -> Areas {
        let Scale { level, size_px, effective_mpp, level_from_model, .. } = self.scale;
        let lost_tiles: Vec<_> = self.slide.lost_tiles().into_iter().filter(|tile| tile.level == level).collect();
        let lost_px = lost_tiles.iter().map(|tile| tile.width * tile.height).sum::<u64>();
        let size = self.slide.levels()[level];
        let analysed_px = (size_px[0] * size_px[1]) as u64;
        let mm2 = |px: f64| effective_mpp.map(|um| px * um[0] * um[1] / 1e6);
        Areas {
            analysed_px,
            analysed_mm2: mm2(analysed_px as f64),
            lost_px,
            lost_mm2: mm2(lost_px as f64 / (level_from_model[0] * level_from_model[1])),
            lost_share: lost_px as f64 / (size.width * size.height) as f64,
            lost_tiles,
        }
    }

    fn notes(&self, card: &ModelCard) -> Vec<String> {
        let mut notes = self.slide.facts().notes.clone();
        if card.microns_per_pixel.is_none() {
            notes.push("the model card has no scale: the slide was read at level 0 as it is".to_owned());
        }
        if self.mpp.is_none() {
            notes.push("the scale of the slide is not known: lengths and areas are in level-0 pixels".to_owned());
        }
        notes
    }
}

pub(super) fn timings(began: Instant, busy: &Busy, areas: &Areas) -> Timings {
    let wall_seconds = began.elapsed().as_secs_f64();
    Timings {
        wall_seconds,
        busy_seconds: busy.seconds(),
        megapixels_per_second: areas.analysed_px as f64 / 1e6 / wall_seconds,
        seconds_per_mm2: areas.analysed_mm2.map(|mm2| wall_seconds / mm2),
    }
}
