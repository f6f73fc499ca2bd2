//! Tiled TIFF, BigTIFF and Aperio SVS, read by ourselves.
//!
//! | module | what |
//! |---|---|
//! | [`mod@file`] | positioned reads that cannot leave the file |
//! | [`directory`] | the chain of image file directories (IFDs) and their fields |
//! | [`tag`] | numbers of fields |
//! | [`vendor`] | formats that only look like plain TIFF; the scale |
//! | [`pyramid`] | which directories are resolutions of the slide |
//! | [`tile`] | one compressed tile to RGB |
//!
//! Reference: TIFF 6.0 (Adobe, 1992); the BigTIFF design of libtiff; TIFF Technical Note 2 for JPEG.

pub mod directory;
pub mod file;
pub mod pyramid;
pub mod tag;
pub mod tile;
pub mod vendor;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use support::{Context, Result, bail};

use super::cache::TileKey;
use super::tiled::{TileSource, TiledSlide};
use super::{Contents, Facts, Level, Rgb, Slide, WHITE};
use directory::Directory;
use file::BoundedFile;
use pyramid::TiledImage;

/// What a TIFF file turned out to be.
pub enum Opened {
    /// A tiled slide.
    Slide(Box<dyn Slide>),
    /// One image in strips or in a pixel format that whole-image readers know.
    Plain(Box<Facts>),
    /// A vendor's format, and what says so.
    NeedsOpenSlide(&'static str),
}

/// Opens a TIFF file as whatever it is.
pub fn open(path: &Path, file: File, contents: Arc<Contents>) -> Result<Opened> {
    let file = BoundedFile::new(file)?;
    let directories = Directory::chain(&file)?;
    if let Some(why) = vendor::needs_openslide(&directories, &file)? {
        return Ok(Opened::NeedsOpenSlide(why));
    }
    let first = &directories[0];
    let (mpp, disbelieved_mpp) = vendor::microns_per_pixel(first, &file)?;
    let mut facts = Facts {
        path: path.to_owned(),
        contents,
        reader: "tiff",
        levels: Vec::new(),
        mpp,
        disbelieved_mpp,
        bounds: None,
        background: WHITE,
        properties: vendor::properties(first, &file)?,
        notes: Vec::new(),
    };
    if !TiledImage::is_candidate(first, &file)? {
        first.check_counts()?;
        return Ok(Opened::Plain(Box::new(facts)));
    }
    let images = pyramid::levels(&directories, &file)?;
    let planes = pyramid::planes(&directories, &file)?;
    if planes > 1 {
        facts.notes.push(format!("the file holds {planes} images of the same size, channels or planes: only the first was looked at"));
    }
    facts.levels = images.iter().map(|image| Level { width: image.width, height: image.height, downsample: image.downsample }).collect();
    Ok(Opened::Slide(Box::new(TiledSlide::new(facts, TiffTiles { file, images }))))
}

/// The tiles of all levels of one file.
struct TiffTiles {
    file: BoundedFile,
    images: Vec<TiledImage>,
}

impl TileSource for TiffTiles {
    fn tile_size(&self, level: usize) -> [u64; 2] {
        let image = &self.images[level];
        [image.format.tile_width as u64, image.format.tile_height as u64]
    }

    fn decode(&self, (level, column, row): TileKey) -> Result<Rgb> {
        let image = &self.images[level];
        let index = (row * image.columns + column) as usize;
        let (offset, bytes) = (image.offsets[index], image.byte_counts[index]);
        let limit = tile::max_compressed_bytes(&image.format);
        if bytes > limit {
            bail!("tile at byte {offset} claims {bytes} bytes, expected at most {limit}");
        }
        let data = self.file.read(offset, bytes).doing(|| format!("tile at byte {offset}"))?;
        tile::decode(&image.format, &data)
    }
}

/// The text of a field, where it is there and is text.
fn text(directory: &Directory, file: &BoundedFile, number: u16) -> Result<Option<String>> {
    directory.text(number, file).doing(|| format!("tag {number} ({})", tag::name(number)))
}
