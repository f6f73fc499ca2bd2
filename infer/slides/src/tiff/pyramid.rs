//! Selection of the directories of a TIFF file that are levels of the slide.

use support::{Context, Result, bail};

use super::directory::Directory;
use super::file::BoundedFile;
use super::tag;
use super::tile::{Compression, Photometric, TileFormat};

/// Supported values of the field `Compression`: none, LZW, JPEG, deflate (Adobe's and the old number), zstd.
pub const COMPRESSIONS: [u64; 6] = [1, 5, 7, 8, 32946, 50000];
/// Maximum side of a tile in pixels.
const MAX_TILE_SIDE: u64 = 8192;
/// Maximum side of an image in pixels.
const MAX_SIDE: u64 = 1 << 24;
/// Maximum relative difference of a level's downsamples along x and y, in addition to one pixel of rounding.
const ASPECT_WITHIN: f64 = 0.01;

/// Tiled image of a file.
pub struct TiledImage {
    /// Number of columns in pixels.
    pub width: u64,
    /// Number of rows in pixels.
    pub height: u64,
    /// Number of level-0 pixels per pixel of the image, the mean of both axes.
    pub downsample: f64,
    /// Number of columns of tiles.
    pub columns: u64,
    /// Storage format of the tiles.
    pub format: TileFormat,
    /// Position of each tile in the file, row by row.
    pub offsets: Vec<u64>,
    /// Compressed size of each tile in bytes.
    pub byte_counts: Vec<u64>,
}

impl TiledImage {
    /// Reports whether a directory has an image that this reader supports: tiled, 8 bits, grey or RGB, interleaved samples.
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

    /// Reads the layout of a tiled image and checks that it is plausible.
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
        // A tile takes at least two bytes of the two lists, so the length of the file bounds the number of tiles.
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

/// Returns the levels of the slide, the finest first: the first image, and all smaller images of the same field of view among its
/// sub-directories (`SubIFDs`, as in OME-TIFF) and the later directories.
///
/// Thumbnails, labels and macro photographs are not levels: they are stored in strips or have another aspect ratio.
pub fn levels(directories: &[Directory], file: &BoundedFile) -> Result<Vec<TiledImage>> {
    let mut levels = vec![TiledImage::read(&directories[0], file).doing(|| "level 0")?];
    let within = directories[0].children(file)?;
    for (i, directory) in within.iter().chain(&directories[1..]).enumerate() {
        if !TiledImage::is_candidate(directory, file).unwrap_or(false) {
            continue;
        }
        let mut image = TiledImage::read(directory, file).doing(|| format!("directory {}", i + 1))?;
        let (base, last) = (&levels[0], &levels[levels.len() - 1]);
        if image.width < last.width && image.height < last.height && has_same_aspect(base, &image) {
            image.downsample = f64::midpoint(base.width as f64 / image.width as f64, base.height as f64 / image.height as f64);
            levels.push(image);
        }
    }
    Ok(levels)
}

/// Counts the images of the size of the first, including the first: channels or planes of a stack, of which only the first is read.
pub fn planes(directories: &[Directory], file: &BoundedFile) -> Result<usize> {
    let size = |directory: &Directory| -> Result<[u64; 2]> {
        Ok([directory.number(tag::IMAGE_WIDTH, 0, file)?, directory.number(tag::IMAGE_LENGTH, 0, file)?])
    };
    let first = size(&directories[0])?;
    Ok(directories.iter().filter(|directory| size(directory).is_ok_and(|size| size == first)).count())
}

/// Reports whether two images have the same aspect ratio, up to rounding.
fn has_same_aspect(base: &TiledImage, image: &TiledImage) -> bool {
    let (x, y) = (base.width as f64 / image.width as f64, base.height as f64 / image.height as f64);
    let rounding = 1.0 / image.width as f64 + 1.0 / image.height as f64;
    (x - y).abs() <= (ASPECT_WITHIN + rounding) * x.max(y)
}
