//! Plan of one slide: all decisions before the first window is read; and the summary of the finished slide.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use models::card::ModelCard;
use serde_json::json;
use support::{Result, durable};

use super::compute::Computed;
use super::overview::{check_shards, find_tissue, read_overview};
use super::{Options, Origin, Regions, folder};
use crate::golden;
use crate::model::Model;
use crate::output::summary::{
    Areas, MAX_LOST_FRACTION, ModelFacts, NucleusFacts, RunFacts, ScaleFacts, SlideFacts, Status, Summary, TileFacts, Timings,
};
use crate::output::writers::Source;
use crate::output::{Files, Frame};
use crate::tile::{TileGrid, Window, Windows};
use crate::timing::StageTimings;
use crate::tissue::{Tissue, given};
use slides::scaled::Scale;
use slides::{LostTile, Mpp, Rgb, Slide};

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
        let origin = match (options.origin, slide.bounds()) {
            (Origin::Bounds, Some(bounds)) => [bounds.x as f64, bounds.y as f64],
            _ => [0.0; 2],
        };
        check_shards(&options.outlines, slide)?;
        let cores = thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let (tissue, regions, overview) = timings.small.time(|| find_regions(slide, &scale, &options.regions))?;
        let batch = options.batch.max(1);
        let key = json!({
            "program": env!("CARGO_PKG_VERSION"), "slide": source.slide_sha256, "model": source.model_sha256, "scale": scale,
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

    /// Returns the summary of the slide, after all files are written.
    pub(super) fn summary(
        &self,
        card: &ModelCard,
        source: &Source<'_>,
        computed: Computed,
        files: &Files,
        networks: usize,
        began: Instant,
    ) -> Summary {
        let facts = self.slide.facts();
        let areas = self.areas(computed.lost);
        let (nuclei, quality) = (computed.nuclei, computed.quality);
        let timings = self.timings_facts(began, computed.seconds, networks, &areas);
        let per_mm2 = areas.analysed_mm2.map(|mm2| nuclei.count as f64 / mm2);
        let status = if areas.lost_share > MAX_LOST_FRACTION { Status::Incomplete } else { Status::Complete };
        Summary {
            status,
            key: self.key.clone(),
            written_by: concat!("infer ", env!("CARGO_PKG_VERSION")).to_owned(),
            model: ModelFacts {
                name: card.name.clone(),
                sha256: source.model_sha256.to_owned(),
                microns_per_pixel: card.microns_per_pixel,
            },
            slide: SlideFacts {
                file: facts.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                sha256: source.slide_sha256.to_owned(),
                reader: facts.reader.to_owned(),
                size_px: [facts.levels[0].width, facts.levels[0].height],
            },
            scale: ScaleFacts { slide: self.mpp, read_at: self.scale, origin_px: self.frame.origin },
            tiles: self.tile_facts(),
            run: RunFacts {
                device: self.options.device.clone(),
                batch: self.batch,
                networks,
                readers: self.readers,
                proof: self.options.proof.clone(),
            },
            areas,
            nuclei: NucleusFacts { per_mm2, ..nuclei },
            quality,
            timings,
            notes: self.notes(card).into_iter().chain(computed.note).collect(),
            outputs: files.names(),
        }
    }

    fn tile_facts(&self) -> TileFacts {
        TileFacts {
            window_px: self.grid.window_size(),
            halo_px: self.grid.halo,
            halo_is_exact: self.halo_is_exact,
            windows: self.grid.len(),
            windows_skipped: (0..self.grid.len()).filter(|&i| !self.is_active(&self.grid.window(i))).count(),
            overlap: self.grid.overlap(),
        }
    }

    /// Returns the areas that were analysed, skipped and lost.
    pub(super) fn areas(&self, lost_tiles: Vec<LostTile>) -> Areas {
        let Scale { size_px, effective_mpp, level_from_model, .. } = self.scale;
        let lost_px = lost_tiles.iter().map(|tile| tile.width * tile.height).sum::<u64>();
        let analysed_px = self.tissue.area_px();
        let skipped_px = (size_px[0] * size_px[1]) as u64 - analysed_px;
        let mm2 = |px: f64| effective_mpp.map(|um| px * um[0] * um[1] / 1e6);
        let lost = lost_px as f64 / (level_from_model[0] * level_from_model[1]);
        Areas {
            regions: self.regions.clone(),
            analysed_px,
            analysed_mm2: mm2(analysed_px as f64),
            skipped_px,
            skipped_mm2: mm2(skipped_px as f64),
            lost_px,
            lost_mm2: mm2(lost),
            lost_share: (lost / analysed_px.max(1) as f64).min(1.0),
            lost_tiles,
        }
    }

    /// Returns the time of each stage and the stage that limits the speed: the one with the largest busy share per thread.
    fn timings_facts(&self, began: Instant, pipeline_seconds: f64, networks: usize, areas: &Areas) -> Timings {
        let busy_seconds = self.timings.seconds();
        let threads = |stage: &str| match stage {
            "read" => self.readers,
            "network" => networks,
            _ => 1,
        };
        let in_pipeline = busy_seconds.iter().filter(|(stage, _)| !matches!(stage.as_str(), "hash" | "small"));
        let busy_fraction =
            |(stage, seconds): (&String, &f64)| (stage.clone(), (seconds / threads(stage) as f64 / pipeline_seconds * 1e3).round() / 1e3);
        let busy_share: BTreeMap<String, f64> = in_pipeline.map(busy_fraction).collect();
        let limit = busy_share.iter().max_by(|a, b| a.1.total_cmp(b.1));
        let wall_seconds = began.elapsed().as_secs_f64();
        Timings {
            wall_seconds,
            pipeline_seconds,
            limited_by: limit.map_or_else(String::new, |(stage, _)| stage.clone()),
            busy_share,
            busy_seconds,
            megapixels_per_second: areas.analysed_px as f64 / 1e6 / wall_seconds,
            seconds_per_mm2: areas.analysed_mm2.map(|mm2| wall_seconds / mm2),
        }
    }

    /// Returns the remarks of the summary.
    fn notes(&self, card: &ModelCard) -> Vec<String> {
        let mut notes = self.slide.facts().notes.clone();
        if card.microns_per_pixel.is_none() {
            notes.push("the model card has no scale: the slide was read at level 0".to_owned());
        }
        if self.mpp.is_none() {
            notes.push("the scale of the slide is unknown: lengths and areas are in level-0 pixels".to_owned());
        }
        notes
    }
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
