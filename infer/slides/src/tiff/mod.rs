//! Own reader of tiled TIFF, BigTIFF and Aperio SVS.
//!
//! | module | contents |
//! |---|---|
//! | [`mod@file`] | positioned reads within the bounds of the file |
//! | [`directory`] | chain of image file directories (IFDs) and their fields |
//! | [`tag`] | numbers of the fields |
//! | [`vendor`] | formats of vendors that need OpenSlide; scale |
//! | [`pyramid`] | directories that are levels of the slide |
//! | [`tile`] | decoding of a compressed tile to RGB |
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
use super::{Contents, Facts, Level, Rgb, Slide};
use directory::Directory;
use file::BoundedFile;
use pyramid::TiledImage;

/// Result of opening a TIFF file.
pub enum Opened {
    /// Tiled slide.
    Slide(Box<dyn Slide>),
    /// Metadata of a single image, in strips or in a pixel format that is decoded as a whole.
    Plain(Box<Facts>),
    /// Format that only OpenSlide reads, with the reason.
    NeedsOpenSlide(&'static str),
}

/// Opens a TIFF file and determines its reader.
pub fn open(path: &Path, file: File, contents: Arc<Contents>) -> Result<Opened> {
    let file = BoundedFile::new(file)?;
    let directories = Directory::chain(&file)?;
    if let Some(reason) = vendor::needs_openslide(&directories, &file)? {
        return Ok(Opened::NeedsOpenSlide(reason));
    }
    let first = &directories[0];
    let (mpp, implausible_mpp) = vendor::microns_per_pixel(first, &file)?;
    let properties = vendor::properties(first, &file)?;
    let mut facts = Facts { mpp, implausible_mpp, properties, ..Facts::new(path, contents, "tiff", Vec::new()) };
    if !TiledImage::is_candidate(first, &file)? {
        first.check_counts()?;
        return Ok(Opened::Plain(Box::new(facts)));
    }
    let images = pyramid::levels(&directories, &file)?;
    let planes = pyramid::planes(&directories, &file)?;
    if planes > 1 {
        facts.notes.push(format!("the file holds {planes} images of the same size, channels or planes: only the first was read"));
    }
    facts.levels = images.iter().map(|image| Level { width: image.width, height: image.height, downsample: image.downsample }).collect();
    Ok(Opened::Slide(Box::new(TiledSlide::new(facts, TiffTiles { file, images }))))
}

/// Tiles of all levels of one file.
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

/// Reads the text of a field; `None` if the field is missing. The error names the field.
fn text(directory: &Directory, file: &BoundedFile, number: u16) -> Result<Option<String>> {
    directory.text(number, file).doing(|| format!("tag {number} ({})", tag::name(number)))
}
