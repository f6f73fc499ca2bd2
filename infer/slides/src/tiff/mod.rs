//! Own reader of tiled TIFF, BigTIFF and Aperio SVS, tile by tile; other images are read as a whole.
//!
//! | module | contents |
//! |---|---|
//! | [`vendor`] | formats of vendors that need OpenSlide; scale |
//! | [`pyramid`] | directories that are levels of the slide |
//!
//! Directories, formats and the decoding of tiles are those of [`support::picture::tiff`], which also reads training images.

pub mod pyramid;
pub mod vendor;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use support::picture::tiff::{BoundedFile, Directory, Layout, Selection, part, tag, whole};
use support::{Context, Result};

use super::cache::TileKey;
use super::tiled::{TileSource, TiledSlide};
use super::{Contents, Facts, Level, Rgb, Slide};
use pyramid::TiledImage;

/// Result of opening a TIFF file.
pub enum Opened {
    /// Tiled slide.
    Slide(Box<dyn Slide>),
    /// Single image, in strips or in a pixel format that is decoded as a whole.
    Plain(Box<Plain>),
    /// Format that only OpenSlide reads, with the reason.
    NeedsOpenSlide(&'static str),
}

/// Image of a TIFF file that is decoded as a whole.
pub struct Plain {
    /// Metadata, without levels.
    pub facts: Facts,
    /// File of the image.
    pub file: BoundedFile,
    /// Size, format and parts of the image.
    pub layout: Layout,
    /// Image and channel that are read.
    pub selection: Selection,
}

/// Opens a TIFF file and determines its reader; `channel` is a number from 1 or a name.
pub fn open(path: &Path, file: File, contents: Arc<Contents>, channel: Option<&str>) -> Result<Opened> {
    let file = BoundedFile::new(file)?;
    let directories = Directory::chain(&file)?;
    let selection = Selection::of(&directories, &file, channel)?;
    let base = &directories[selection.base];
    if let Some(reason) = vendor::needs_openslide(&directories, base, &file)? {
        return Ok(Opened::NeedsOpenSlide(reason));
    }
    let (mpp, implausible_mpp) = vendor::microns_per_pixel(base, &file)?;
    let properties = vendor::properties(base, &file)?;
    let mut facts = Facts { mpp, implausible_mpp, properties, ..Facts::new(path, contents, "tiff", Vec::new()) };
    let directory = &directories[selection.directory];
    if !directory.has(tag::TILE_OFFSETS) {
        directory.check_counts()?;
    }
    let layout = pyramid::layout(directory, &file, &selection)?;
    if !TiledImage::is_candidate(&layout) {
        facts.background = whole::background(&file, &layout, selection.sample);
        return Ok(Opened::Plain(Box::new(Plain { facts, file, layout, selection })));
    }
    let deep = (layout.format.bits == 16).then(|| whole::deep_note(layout.format.white, None));
    facts.notes = selection.notes.iter().cloned().chain(deep).collect();
    let images = pyramid::levels(layout, &directories, &selection, &file)?;
    facts.background = whole::background(&file, &images[images.len() - 1].layout, selection.sample);
    facts.levels =
        images.iter().map(|image| Level { width: image.layout.width, height: image.layout.height, downsample: image.downsample }).collect();
    let sample = selection.sample;
    Ok(Opened::Slide(Box::new(TiledSlide::new(facts, TiffTiles { file, images, sample }))))
}

/// Tiles of all levels of one file.
struct TiffTiles {
    file: BoundedFile,
    images: Vec<TiledImage>,
    /// Index of the sample that is read as grey; `None` reads colours.
    sample: Option<usize>,
}

impl TileSource for TiffTiles {
    fn tile_size(&self, level: usize) -> [u64; 2] {
        let layout = &self.images[level].layout;
        [layout.part_width, layout.part_height]
    }

    fn decode(&self, (level, column, row): TileKey) -> Result<Option<Rgb>> {
        let layout = &self.images[level].layout;
        let samples = part::read(layout, &self.file, column, row)?;
        Ok(samples.map(|samples| Rgb {
            width: layout.part_width as usize,
            height: layout.part_height as usize,
            data: samples.to_rgb(&layout.format, self.sample, 1.0),
        }))
    }
}

/// Reads the text of a field; `None` if the field is missing. The error names the field.
fn text(directory: &Directory, file: &BoundedFile, number: u16) -> Result<Option<String>> {
    directory.text(number, file).doing(|| format!("tag {number} ({})", tag::name(number)))
}
