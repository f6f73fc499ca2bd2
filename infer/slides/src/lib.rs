//! Slides: one trait over plain images, the project's own reader of tiled TIFF, and OpenSlide.
//!
//! | module | contents |
//! |---|---|
//! | [`rgb`] | rectangle of RGB pixels |
//! | [`image`] | PNG, JPEG and plain TIFF, held in memory as one level |
//! | [`tiff`] | own reader of tiled TIFF, BigTIFF and Aperio SVS |
//! | [`openslide`] | all other formats, through a library loaded at run time |
//! | [`tiled`], [`cache`] | common parts of the two tiled readers: regions assembled from tiles, tile cache, tiles that cannot be decoded |
//! | [`memory`] | images in memory, pixel sources of the caller |
//! | [`mpp`] | scale in µm per pixel: its origin and its plausibility |
//! | [`scaled`], [`resample`] | slide at the model's scale, on one grid for the whole slide |
//! | [`small`] | thumbnail of the whole slide |
//! | [`contents`], [`companions`], `stamp` | files of a slide: their hash, and detection of changes |

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cache;
pub mod companions;
pub mod contents;
pub mod image;
pub mod memory;
pub mod mpp;
pub mod openslide;
pub mod resample;
pub mod rgb;
pub mod scaled;
pub mod small;
mod stamp;
pub mod tiff;
pub mod tiled;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use support::{Context, Result};

pub use contents::Contents;
pub use memory::{Image, PixelSlide, Pixels};
pub use mpp::{Mpp, MppSource};
pub use openslide::Access;
pub use rgb::Rgb;
pub use scaled::ScaledSlide;

/// Colour of unscanned areas and lost tiles, unless the slide names another colour.
pub const WHITE: [u8; 3] = [255; 3];

/// Level of the resolution pyramid of a slide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Columns.
    pub width: u64,
    /// Rows.
    pub height: u64,
    /// Number of level-0 pixels per pixel of this level, the mean of both axes.
    pub downsample: f64,
}

/// Scanned part of a slide, in level-0 pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// Left column.
    pub x: i64,
    /// Top row.
    pub y: i64,
    /// Columns.
    pub width: u64,
    /// Rows.
    pub height: u64,
}

/// Tile that could not be decoded and is read as background.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LostTile {
    /// Index of the level.
    pub level: usize,
    /// Left edge in pixels of the level.
    pub x: u64,
    /// Top edge in pixels of the level.
    pub y: u64,
    /// Columns inside the level.
    pub width: u64,
    /// Rows inside the level.
    pub height: u64,
    /// Text of the error.
    pub reason: String,
}

/// Metadata of an open slide.
#[derive(Clone, Debug)]
pub struct Facts {
    /// File that the user named.
    pub path: PathBuf,
    /// All files of the slide, as they were when the slide was opened.
    pub contents: Arc<Contents>,
    /// Name of the reader: `image`, `tiff`, `openslide`, `memory` or `caller`.
    pub reader: &'static str,
    /// Levels, the finest first; at least one.
    pub levels: Vec<Level>,
    /// Scale of level 0; `None` if no plausible scale was found.
    pub mpp: Option<Mpp>,
    /// Descriptions of scales that were found and are implausible.
    pub implausible_mpp: Vec<String>,
    /// Scanned part; `None` if the slide does not state it.
    pub bounds: Option<Bounds>,
    /// Colour of unscanned areas and lost tiles.
    pub background: [u8; 3],
    /// Vendor tags. They are never written to an output or log, because they may name the patient.
    pub properties: BTreeMap<String, String>,
    /// Notes for the user about conversions of pixels.
    pub notes: Vec<String>,
}

impl Facts {
    /// Returns facts without a scale, vendor tags and notes, on a white background.
    pub fn new(path: &Path, contents: Arc<Contents>, reader: &'static str, levels: Vec<Level>) -> Self {
        Self {
            path: path.to_owned(),
            contents,
            reader,
            levels,
            mpp: None,
            implausible_mpp: Vec::new(),
            bounds: None,
            background: WHITE,
            properties: BTreeMap::new(),
            notes: Vec::new(),
        }
    }
}

/// Image of any size that is read by regions.
pub trait Slide: Send + Sync {
    /// Returns the metadata of the slide.
    fn facts(&self) -> &Facts;

    /// Reads `width * height` pixels of a level from column `x` and row `y`, in pixels of that level. Pixels outside the level have the
    /// background colour.
    ///
    /// Tiles that cannot be decoded are read as background and listed by [`Slide::lost_tiles`].
    fn read_region(&self, level: usize, x: i64, y: i64, width: usize, height: usize) -> Result<Rgb>;

    /// Returns the tiles that were requested so far and could not be decoded, sorted by level, row and column.
    fn lost_tiles(&self) -> Vec<LostTile>;

    /// Returns the SHA-256 by which result files name the slide, see [`Contents::sha256`].
    ///
    /// # Errors
    /// A file that changed, or pixels without a hash.
    fn sha256(&self) -> Result<String> {
        self.facts().contents.sha256()
    }

    /// Returns the levels, the finest first.
    fn levels(&self) -> &[Level] {
        &self.facts().levels
    }

    /// Returns the scale of level 0 in µm per pixel along x and y; `None` if unknown.
    fn microns_per_pixel(&self) -> Option<[f64; 2]> {
        self.facts().mpp.map(|mpp| [mpp.x, mpp.y])
    }

    /// Returns the scanned part in level-0 pixels; `None` if the slide does not state it.
    fn bounds(&self) -> Option<Bounds> {
        self.facts().bounds
    }

    /// Returns the vendor tags, see [`Facts::properties`].
    fn properties(&self) -> &BTreeMap<String, String> {
        &self.facts().properties
    }
}

/// Opens a slide with the first reader that knows its format; OpenSlide runs in this process.
///
/// `openslide_lib` is the OpenSlide library for formats without an own reader; by default it is searched by [`support::library::locate`].
pub fn open(path: &Path, openslide_lib: Option<&Path>) -> Result<Box<dyn Slide>> {
    open_with(path, Access { library: openslide_lib, program: None })
}

/// Opens a slide with the first reader that knows its format.
pub fn open_with(path: &Path, access: Access<'_>) -> Result<Box<dyn Slide>> {
    let doing = || format!("opening slide {}", path.display());
    let file = support::durable::open(path).doing(doing)?;
    let contents = Arc::new(Contents::of_open_file(path, &file).doing(doing)?);
    match kind(path, &file).doing(doing)? {
        Kind::Image => image::open(path, file, contents).doing(doing),
        Kind::Tiff => match tiff::open(path, file.try_clone().doing(doing)?, contents).doing(doing)? {
            tiff::Opened::Slide(slide) => Ok(slide),
            tiff::Opened::Plain(facts) => image::open_tiff(file, *facts).doing(doing),
            tiff::Opened::NeedsOpenSlide(reason) => openslide::open(path, access, reason).doing(doing),
        },
        Kind::Other => openslide::open(path, access, "it is not a PNG, JPEG or TIFF file").doing(doing),
    }
}

/// Group of file formats that share a reader.
enum Kind {
    Image,
    Tiff,
    Other,
}

/// Recognises the format by the first bytes; MIRAX by the file name, because its index file is a JPEG.
fn kind(path: &Path, file: &File) -> Result<Kind> {
    let mut head = Vec::new();
    file.take(8).read_to_end(&mut head)?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mrxs")) {
        return Ok(Kind::Other);
    }
    Ok(match head.as_slice() {
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => Kind::Image,
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Kind::Tiff,
        _ => Kind::Other,
    })
}
