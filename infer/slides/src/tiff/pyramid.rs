//! Which directories of a TIFF file are resolutions of the slide.

use support::{Context, Result, bail};

use super::directory::Directory;
use super::file::BoundedFile;
use super::tag;
use super::tile::{Compression, Photometric, TileFormat};

/// Values of the Compression field that are read here: none, LZW, JPEG, deflate (Adobe's and the old number), zstd.
pub const COMPRESSIONS: [u64; 6] = [1, 5, 7, 8, 32946, 50000];
/// Tile sides that are believed.
const MAX_TILE_SIDE: u64 = 8192;
/// Image sides that are believed.
const MAX_SIDE: u64 = 1 << 24;
/// Allowed relative difference of a level's downsamples along x and y, beside one pixel of rounding.
const ASPECT_WITHIN: f64 = 0.01;

/// One tiled image of a file.
pub struct TiledImage {
    /// Columns.
    pub width: u64,
    /// Rows.
    pub height: u64,
    /// Level-0 pixels to one of its pixels.
    pub downsample: f64,
    /// Columns of tiles.
    pub columns: u64,
    /// How its tiles are stored.
    pub format: TileFormat,
    /// Where each tile begins, row by row.
    pub offsets: Vec<u64>,
    /// Compressed bytes of each tile.
    pub byte_counts: Vec<u64>,
}

impl TiledImage {
    /// Whether a directory holds an image as this reader takes it: tiled, 8 bits, grey or RGB, samples together.
    pub fn is_candidate(directory: &Directory, file: &BoundedFile) -> Result<bool> {
        let samples = directory.number(tag::SAMPLES_PER_PIXEL, 1, file)?;
        let bits = directory.values(tag::BITS_PER_SAMPLE, 8, file)?.unwrap_or_else(|| vec![1]);
        let photometric = directory.number(tag::PHOTOMETRIC, 1, file)?;
        Ok(directory.has(tag::TILE_OFFSETS)
            && matches!((samples, photometric), (1, 0 | 1) | (3, 2 | 6))
            && bits.iter().all(|&bits| bits == 8)
            && directory.number(tag::SAMPLE_FORMAT, 1, file)? == 1
            && directory.number(tag::PLANAR_CONFIGURATION, 1, file)? == 1
            && COMPRESSIONS.contains(&directory.number(tag::COMPRESSION, 1, file)?))
    }

    fn read(directory: &Directory, file: &BoundedFile) -> Result<Self> {
        let (width, height) = (directory.number(tag::IMAGE_WIDTH, 0, file)?, directory.number(tag::IMAGE_LENGTH, 0, file)?);
        let (tile_width, tile_height) = (directory.number(tag::TILE_WIDTH, 0, file)?, directory.number(tag::TILE_LENGTH, 0, file)?);
        for (what, value, limit) in [
            ("width", width, MAX_SIDE),
            ("height", height, MAX_SIDE),
            ("tile width", tile_width, MAX_TILE_SIDE),
            ("tile height", tile_height, MAX_TILE_SIDE),
        ] {
            if value == 0 || value > limit {
                bail!("{what} of {value} px, expected 1 to {limit}");
            }
        }
        let columns = width.div_ceil(tile_width);
        let tiles = columns * height.div_ceil(tile_height);
        // A tile takes at least two bytes of the two lists, so their length bounds what a header can claim.
        if tiles.saturating_mul(2) > file.length() {
            bail!(
                "{width} x {height} px in tiles of {tile_width} x {tile_height} would be {tiles} tiles, more than a file of {} bytes can list",
                file.length()
            );
        }
        let offsets = directory.list(tag::TILE_OFFSETS, tiles, file)?;
        let byte_counts = directory.list(tag::TILE_BYTE_COUNTS, tiles, file)?;
        let format = TileFormat {
            compression: Compression::from_tag(directory.number(tag::COMPRESSION, 1, file)?)?,
            photometric: Photometric::from_tag(directory.number(tag::PHOTOMETRIC, 1, file)?)?,
            predictor: directory.number(tag::PREDICTOR, 1, file)? == 2,
            tile_width: tile_width as usize,
            tile_height: tile_height as usize,
            jpeg_tables: directory.raw(tag::JPEG_TABLES, file)?,
        };
        Ok(Self { width, height, downsample: 1.0, columns, format, offsets, byte_counts })
    }
}

/// The first image and all others that are smaller pictures of the same field, the finest first: those that it refers to (`SubIFDs`,
/// as in OME-TIFF), and later ones.
///
/// Thumbnails, labels and macro photographs are stored in strips or have another aspect; they are no levels.
pub fn levels(directories: &[Directory], file: &BoundedFile) -> Result<Vec<TiledImage>> {
    let mut levels = vec![TiledImage::read(&directories[0], file).doing(|| "level 0")?];
    let within = directories[0].children(file)?;
    for (i, directory) in within.iter().chain(&directories[1..]).enumerate() {
        if !TiledImage::is_candidate(directory, file).unwrap_or(false) {
            continue;
        }
        let mut image = TiledImage::read(directory, file).doing(|| format!("directory {}", i + 1))?;
        let (base, last) = (&levels[0], &levels[levels.len() - 1]);
        if image.width < last.width && image.height < last.height && same_aspect(base, &image) {
            image.downsample = f64::midpoint(base.width as f64 / image.width as f64, base.height as f64 / image.height as f64);
            levels.push(image);
        }
    }
    Ok(levels)
}

/// Images of the size of the first, itself included: channels or planes of a stack, of which only the first is read.
pub fn planes(directories: &[Directory], file: &BoundedFile) -> Result<usize> {
    let size = |directory: &Directory| -> Result<[u64; 2]> {
        Ok([directory.number(tag::IMAGE_WIDTH, 0, file)?, directory.number(tag::IMAGE_LENGTH, 0, file)?])
    };
    let first = size(&directories[0])?;
    Ok(directories.iter().filter(|directory| size(directory).is_ok_and(|size| size == first)).count())
}

fn same_aspect(base: &TiledImage, image: &TiledImage) -> bool {
    let (x, y) = (base.width as f64 / image.width as f64, base.height as f64 / image.height as f64);
    let rounding = 1.0 / image.width as f64 + 1.0 / image.height as f64;
    (x - y).abs() <= (ASPECT_WITHIN + rounding) * x.max(y)
}
