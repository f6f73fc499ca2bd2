//! Slides: one trait over plain images, our own tiled TIFF reader and OpenSlide.
//!
//! | module | what |
//! |---|---|
//! | [`rgb`] | a rectangle of RGB pixels |
//! | [`image`] | PNG, JPEG and plain TIFF, held in memory as one level |
//! | [`tiff`] | tiled TIFF, BigTIFF and Aperio SVS, read by ourselves |
//! | [`openslide`] | everything else, through a library loaded at run time |
//! | [`tiled`], [`cache`] | what the two tiled readers share: assembling regions, the cache, tiles that cannot be decoded |
//! | [`memory`] | images in memory and sources of the caller |
//! | [`mpp`] | microns per pixel: where it was found, and when it is believed |
//! | [`scaled`], [`resample`] | the slide at the model's scale, on one grid for the whole slide |
//! | [`small`] | the whole slide made small |

pub mod cache;
pub mod image;
pub mod memory;
pub mod mpp;
pub mod openslide;
pub mod resample;
pub mod rgb;
pub mod scaled;
pub mod small;
pub mod tiff;
pub mod tiled;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use support::{Context, Result};

pub use memory::{Image, PixelSlide, Pixels};
pub use mpp::{Mpp, MppSource};
pub use openslide::Access;
pub use rgb::Rgb;
pub use scaled::ScaledSlide;

/// Where nothing was scanned or a tile is lost, unless the slide names another colour.
pub const WHITE: [u8; 3] = [255; 3];

/// One resolution of a slide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Columns.
    pub width: u64,
    /// Rows.
    pub height: u64,
    /// Level-0 pixels to one pixel of this level, the mean of both axes.
    pub downsample: f64,
}

/// The scanned part of a slide, in level-0 pixels.
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

/// A tile that could not be decoded and was read as background.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LostTile {
    /// Level.
    pub level: usize,
    /// Left edge in pixels of the level.
    pub x: u64,
    /// Top edge in pixels of the level.
    pub y: u64,
    /// Columns inside the level.
    pub width: u64,
    /// Rows inside the level.
    pub height: u64,
    /// Why.
    pub reason: String,
}

/// What is known of a slide once it is open.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The file.
    pub path: PathBuf,
    /// Which reader opened it: `image`, `tiff` or `openslide`.
    pub reader: &'static str,
    /// Resolutions, the finest first; at least one.
    pub levels: Vec<Level>,
    /// Its scale, where one was found that can be believed.
    pub mpp: Option<Mpp>,
    /// Scales that were found and not believed, in words.
    pub disbelieved_mpp: Vec<String>,
    /// The scanned part, where the slide tells it.
    pub bounds: Option<Bounds>,
    /// The colour of nothing.
    pub background: [u8; 3],
    /// Vendor tags. They may name the patient: never written to any output or log.
    pub properties: BTreeMap<String, String>,
    /// What the user should know about how pixels were converted.
    pub notes: Vec<String>,
}

/// A picture of any size that is read by regions.
pub trait Slide: Send + Sync {
    /// What is known of it.
    fn facts(&self) -> &Facts;

    /// `width * height` pixels of a level from column `x` and row `y` (pixels of that level); background colour outside of it.
    ///
    /// Tiles that cannot be decoded are read as background and told by [`Slide::lost_tiles`].
    fn read_region(&self, level: usize, x: i64, y: i64, width: usize, height: usize) -> Result<Rgb>;

    /// The tiles that were needed so far and could not be decoded, in order of level, row and column.
    fn lost_tiles(&self) -> Vec<LostTile>;

    /// Resolutions, the finest first.
    fn levels(&self) -> &[Level] {
        &self.facts().levels
    }

    /// Scale of level 0 in µm per pixel along x and y, where it is known.
    fn microns_per_pixel(&self) -> Option<[f64; 2]> {
        self.facts().mpp.map(|mpp| [mpp.x, mpp.y])
    }

    /// The scanned part in level-0 pixels, where the slide tells it.
    fn bounds(&self) -> Option<Bounds> {
        self.facts().bounds
    }

    /// Vendor tags; see [`Facts::properties`].
    fn properties(&self) -> &BTreeMap<String, String> {
        &self.facts().properties
    }
}

/// Opens a slide with the first reader that knows its format, OpenSlide in this process.
///
/// `openslide_lib` is the OpenSlide library to load where our own readers do not suffice; `None`: the usual places.
pub fn open(path: &Path, openslide_lib: Option<&Path>) -> Result<Box<dyn Slide>> {
    open_with(path, Access { library: openslide_lib, program: None })
}

/// Opens a slide with the first reader that knows its format.
pub fn open_with(path: &Path, access: Access<'_>) -> Result<Box<dyn Slide>> {
    let doing = || format!("opening slide {}", path.display());
    match kind(path).doing(doing)? {
        Kind::Image => image::open(path).doing(doing),
        Kind::Tiff => match tiff::open(path).doing(doing)? {
            tiff::Opened::Slide(slide) => Ok(slide),
            tiff::Opened::Plain(facts) => image::open_tiff(path, *facts).doing(doing),
            tiff::Opened::NeedsOpenSlide(why) => openslide::open(path, access, why).doing(doing),
        },
        Kind::Other => openslide::open(path, access, "this is no PNG, JPEG or TIFF file").doing(doing),
    }
}

enum Kind {
    Image,
    Tiff,
    Other,
}

/// By content; by name only for MIRAX, whose index file is a JPEG.
fn kind(path: &Path) -> Result<Kind> {
    let mut head = Vec::new();
    File::open(path)?.take(8).read_to_end(&mut head)?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mrxs")) {
        return Ok(Kind::Other);
    }
    Ok(match head.as_slice() {
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => Kind::Image,
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Kind::Tiff,
        _ => Kind::Other,
    })
}
