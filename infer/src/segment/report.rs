//! Summary of a finished slide: areas, tiles, times and remarks.

use std::collections::BTreeMap;
use std::time::Instant;

use models::card::ModelCard;

use super::compute::Computed;
use super::plan::Plan;
use crate::output::OutputFile;
use crate::output::summary::{
    Areas, MAX_LOST_FRACTION, ModelFacts, NucleusFacts, RunFacts, ScaleFacts, SlideFacts, Status, Summary, TileFacts, Timings,
};
use crate::output::writers::Source;
use slides::LostTile;
use slides::scaled::Scale;

impl Plan<'_> {
    /// Returns the summary of the slide, after all files are written.
    pub(super) fn summary(
        &self,
        card: &ModelCard,
        source: &Source<'_>,
        computed: Computed,
        outputs: Vec<OutputFile>,
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
            written_by: format!("infer {}", provenance::VERSION),
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
            outputs,
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
