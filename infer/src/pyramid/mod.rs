//! Streaming writer of tiled pyramidal BigTIFF files, lossless, from top to bottom.
//!
//! Levels are in the top-level chain of directories, the finest first. Reduced levels have `NewSubfileType` 1 and are means of 2 x 2 pixels.
//! OpenSlide, QuPath, libvips and tifffile read this layout.
//!
//! | module | contents |
//! |---|---|
//! | `tiles` | compression of tiles, reduction of rows to the next level |
//! | `directory` | TIFF directories (IFDs) of the levels |
//! | `ome_xml` | OME-XML description of label pyramids |

mod directory;
mod ome_xml;
pub(crate) mod tiles;

use std::io::{BufWriter, Seek, SeekFrom, Write};

use rayon::prelude::*;
use support::Result;
use support::durable::AtomicFile;

use tiles::{Coding, halved, tile};

/// Side of a tile in pixels.
pub const TILE: usize = 512;

/// Writer of a pyramid of `samples` bytes per pixel (1: grey, 3: RGB, 4: labels).
pub struct PyramidWriter {
    file: BufWriter<AtomicFile>,
    position: u64,
    /// Number of bytes per pixel.
    samples: usize,
    /// True if a pixel is one number, which is never averaged.
    is_labels: bool,
    coding: Coding,
    um_per_pixel: Option<[f64; 2]>,
    /// Resolution of level 0 in pixels per cm, along x and y.
    per_cm: Option<[f64; 2]>,
    levels: Vec<Level>,
}

/// State of one level of the pyramid.
struct Level {
    width: usize,
    height: usize,
    rows_received: usize,
    /// Rows of the current row of tiles.
    rows: Vec<u8>,
    /// Even row that is kept until the odd row below it arrives, for the next level.
    even_row: Option<Vec<u8>>,
    /// Offset and length in bytes of every tile.
    tiles: Vec<(u64, u64)>,
}

impl PyramidWriter {
    /// Creates a file of `width` columns and `height` rows with pixel sides of `um_per_pixel`.
    pub fn new(file: AtomicFile, width: usize, height: usize, samples: usize, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        let coding = Coding::Differences { samples };
        Ok(Self { coding, ..Self::start(file, [width, height], samples, false, um_per_pixel)? })
    }

    /// Creates a file of grey pixels with few different values.
    pub fn of_mask(file: AtomicFile, width: usize, height: usize, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        Ok(Self { coding: Coding::Runs, ..Self::start(file, [width, height], 1, false, um_per_pixel)? })
    }

    /// Creates a file of RGB pixels in JPEG tiles, as scanners write them; not lossless.
    pub fn of_jpeg(file: AtomicFile, width: usize, height: usize, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        Ok(Self { coding: Coding::Jpeg, ..Self::start(file, [width, height], 3, false, um_per_pixel)? })
    }

    /// Creates an OME-TIFF file of one little-endian u32 per pixel. Reduced levels are in `SubIFDs`, as OME-TIFF requires, and are the upper
    /// left pixels of 2 x 2 pixels.
    pub fn of_labels(file: AtomicFile, width: usize, height: usize, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        Self::start(file, [width, height], 4, true, um_per_pixel)
    }

    fn start(file: AtomicFile, size: [usize; 2], samples: usize, is_labels: bool, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        let [width, height] = size;
        let mut levels = Vec::new();
        let (mut w, mut h) = (width, height);
        loop {
            let rows = Vec::with_capacity(w * samples * h.min(TILE));
            levels.push(Level { width: w, height: h, rows_received: 0, rows, even_row: None, tiles: Vec::new() });
            if w <= TILE && h <= TILE {
                break;
            }
            (w, h) = (w.div_ceil(2), h.div_ceil(2));
        }
        let per_cm = um_per_pixel.map(|um| um.map(|um| 1e4 / um));
        let mut writer =
            Self { file: BufWriter::new(file), position: 0, samples, is_labels, coding: Coding::Deflate, um_per_pixel, per_cm, levels };
        // Header: little endian, BigTIFF, offsets of 8 bytes. The offset of the first directory is written at the end.
        writer.write(&[b'I', b'I', 43, 0, 8, 0, 0, 0])?;
        writer.write(&0u64.to_le_bytes())?;
        Ok(writer)
    }

    /// Receives the next rows, `[row][column][sample]`.
    pub fn push(&mut self, rows: &[u8]) -> Result<()> {
        for row in rows.chunks_exact(self.levels[0].width * self.samples) {
            self.push_row(0, row)?;
        }
        Ok(())
    }

    /// Finishes the file.
    ///
    /// # Panics
    /// If rows are missing.
    pub fn finish(mut self) -> Result<AtomicFile> {
        assert_eq!(self.levels[0].rows_received, self.levels[0].height, "all rows are received before the file is finished");
        let first = if self.is_labels { self.nest()? } else { self.chain()? };
        let path = self.file.get_ref().path().to_owned();
        let with_path = |error: std::io::Error| support::Error::from(error).during(format!("writing {}", path.display()));
        let mut file = self.file.into_inner().map_err(|error| with_path(error.into_error()))?;
        file.seek(SeekFrom::Start(8)).and_then(|_| file.write_all(&first.to_le_bytes())).map_err(|error| file.failed(error))?;
        Ok(file)
    }

    /// Adds a row to a level, and every second row to the next level, halved.
    fn push_row(&mut self, level: usize, row: &[u8]) -> Result<()> {
        let last = level + 1 == self.levels.len();
        let current = &mut self.levels[level];
        current.rows.extend_from_slice(row);
        current.rows_received += 1;
        let at_end = current.rows_received == current.height;
        if current.rows.len() == TILE * row.len() || at_end {
            self.write_tiles(level)?;
        }
        if last {
            return Ok(());
        }
        let current = &mut self.levels[level];
        let Some(above) = current.even_row.take() else {
            if at_end {
                let halved = self.halved(row, row);
                return self.push_row(level + 1, &halved);
            }
            current.even_row = Some(row.to_vec());
            return Ok(());
        };
        let halved = self.halved(&above, row);
        self.push_row(level + 1, &halved)
    }

    /// Returns the row of the next level from two rows.
    fn halved(&self, above: &[u8], below: &[u8]) -> Vec<u8> {
        if self.is_labels {
            return above.chunks_exact(self.samples).step_by(2).flatten().copied().collect();
        }
        halved(above, below, self.samples)
    }

    /// Compresses the rows of a level as one row of tiles; tiles beyond the border repeat its pixels.
    fn write_tiles(&mut self, level: usize) -> Result<()> {
        let (width, samples, coding) = (self.levels[level].width, self.samples, self.coding);
        let mut rows = std::mem::take(&mut self.levels[level].rows);
        let tiles: Vec<Vec<u8>> =
            (0..width.div_ceil(TILE)).into_par_iter().map(|column| coding.compress(&tile(&rows, width, samples, column))).collect();
        for bytes in tiles {
            self.levels[level].tiles.push((self.position, bytes.len() as u64));
            self.write(&bytes)?;
        }
        rows.clear();
        self.levels[level].rows = rows;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| self.file.get_ref().failed(error))
    }
}
