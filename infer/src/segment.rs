//! One slide through one model: from a file to `OUT/SLIDE/`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use models::card::ModelCard;
use models::console::Progress;
use models::{Error, Result, artifact, bail};

use crate::instances::{Extractor, Harvest};
use crate::output::overlay::Overlay;
use crate::output::pyramid::PyramidWriter;
use crate::output::summary::{
    Areas, COMPLETE_WITHIN, ModelFacts, NucleusFacts, RunFacts, ScaleFacts, SlideFacts, Status, Summary, TileFacts, Timings,
};
use crate::output::writers::{Source, Writers};
use crate::output::{Files, Frame};
use crate::pipeline::{self, Band, Job};
use crate::segmenter::Network;
use crate::slide::scaled::Scale;
use crate::slide::{self, Mpp, Rgb, ScaledSlide, Slide};
use crate::tile::{TileGrid, Window};
use crate::timing::Busy;

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

/// Everything that is decided before the first pixel is read.
struct Plan<'a> {
    slide: &'a dyn Slide,
    mpp: Option<Mpp>,
    scale: Scale,
    frame: Frame,
    grid: TileGrid,
    halo_is_exact: bool,
    batch: usize,
    readers: usize,
    device: &'a str,
}

impl<'a> Plan<'a> {
    fn new(slide: &'a dyn Slide, card: &ModelCard, options: &'a Options) -> Result<Self> {
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

    /// Runs the pipeline into files; the text says what was not written.
    fn compute(
        &self,
        card: &ModelCard,
        networks: &mut [Box<dyn Network>],
        source: &Source<'_>,
        files: &mut Files,
        busy: &Busy,
        progress: &dyn Progress,
    ) -> Result<(NucleusFacts, Option<String>)> {
        let [width, height] = self.scale.size_px;
        let overlay = Mutex::new(Overlay::new([width, height]));
        let probability = PyramidWriter::new(files.create("probability.tif")?, width, height, 1, self.scale.effective_mpp)?;
        let writers = Writers::new(files, source, &self.scale, self.frame, &overlay)?;
        let extractor = Extractor::new(width, height, &card.decoding);
        let found = Mutex::new(0);
        progress.begin("segment", self.grid.len() as u64, "tiles");
        let (probability, writers) = thread::scope(|scope| {
            let (map_in, map) = sync_channel::<Arc<Band>>(1);
            let (bands_in, bands) = sync_channel::<Arc<Band>>(1);
            let (harvests_in, harvests) = sync_channel::<Harvest>(2);
            let map = scope.spawn(move || write_map(probability, &map, busy));
            let nuclei = scope.spawn(move || write_nuclei(writers, &harvests, busy));
            let found = &found;
            let extraction = scope.spawn(move || {
                extract(extractor, height, &bands, busy, |harvest| {
                    *found.lock().expect("no panic while counting") += harvest.instances.len();
                    harvests_in.send(harvest).is_ok()
                });
            });
            let reader = ScaledSlide::new(self.slide, self.scale);
            let seen = |pixels: &Rgb, window: &Window| add_core(&overlay, pixels, window);
            let job = Job { slide: &reader, grid: &self.grid, batch: self.batch, readers: self.readers, seen: &seen, busy };
            let began = Instant::now();
            let computed = pipeline::run(&job, networks, |band| {
                let pixels = ((band.y + band.rows.len() / width) * width) as f64;
                let rate = pixels / 1e6 / began.elapsed().as_secs_f64();
                let count = *found.lock().expect("no panic while counting");
                progress.at(band.windows_done as u64, &format!("{rate:.2} Mpx/s, {count} nuclei"));
                let band = Arc::new(band);
                let sent = map_in.send(band.clone()).is_ok() && bands_in.send(band).is_ok();
                // Whoever stopped taking bands says why below.
                if sent { Ok(()) } else { Err(Error::new("writing stopped")) }
            });
            drop((map_in, bands_in));
            joined(extraction);
            let (probability, writers) = (joined(map), joined(nuclei));
            let (probability, writers) = (probability?, writers?);
            computed.map(|()| (probability, writers))
        })?;
        progress.end();
        files.add(probability.finish()?);
        let (nuclei, note) = writers.finish(files)?;
        let overlay = overlay.into_inner().expect("no panic while drawing");
        files.add(overlay.finish(files.create("overlay.png")?, source.class.colour)?);
        Ok((nuclei, note))
    }

    fn summary(&self, card: &ModelCard, source: &Source<'_>, nuclei: NucleusFacts, networks: usize) -> Summary {
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

fn timings(began: Instant, busy: &Busy, areas: &Areas) -> Timings {
    let wall_seconds = began.elapsed().as_secs_f64();
    Timings {
        wall_seconds,
        busy_seconds: busy.seconds(),
        megapixels_per_second: areas.analysed_px as f64 / 1e6 / wall_seconds,
        seconds_per_mm2: areas.analysed_mm2.map(|mm2| wall_seconds / mm2),
    }
}

fn joined<T>(hand: thread::ScopedJoinHandle<'_, T>) -> T {
    hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Adds the pixels of a window's core to the overlay.
fn add_core(overlay: &Mutex<Overlay>, pixels: &Rgb, window: &Window) {
    let inside = [window.x.core - window.x.read, window.y.core - window.y.read];
    let size = [window.x.core_length, window.y.core_length];
    overlay.lock().expect("no panic while drawing").add_pixels(pixels, inside, [window.x.core, window.y.core], size);
}

fn write_map(mut map: PyramidWriter, bands: &Receiver<Arc<Band>>, busy: &Busy) -> Result<PyramidWriter> {
    for band in bands {
        busy.probability.time(|| map.push(&band.rows))?;
    }
    Ok(map)
}

fn write_nuclei<'a>(mut writers: Writers<'a>, harvests: &Receiver<Harvest>, busy: &Busy) -> Result<Writers<'a>> {
    for harvest in harvests {
        busy.nuclei.time(|| writers.add(&harvest))?;
    }
    Ok(writers)
}

/// Hands on what each band finished; an image whose last rows never come is not ended.
fn extract(mut extractor: Extractor, height: usize, bands: &Receiver<Arc<Band>>, busy: &Busy, mut found: impl FnMut(Harvest) -> bool) {
    let mut rows = 0;
    for band in bands {
        let harvest = busy.instances.time(|| extractor.push(&band.rows));
        rows = harvest.rows_taken as usize;
        if !found(harvest) {
            return;
        }
    }
    if rows == height {
        found(busy.instances.time(|| extractor.finish()));
    }
}
