//! Streaming writer of tiled pyramidal BigTIFF files, lossless, from top to bottom.
//!
//! Levels are in the top-level chain of directories, the finest first. Reduced levels have `NewSubfileType` 1 and are means of 2 x 2 pixels.
//! OpenSlide, QuPath, libvips and tifffile read this layout.

use std::io::{BufWriter, Seek, SeekFrom, Write};

use rayon::prelude::*;
use support::Result;
use support::artifact::AtomicFile;

use super::ome::description;
use super::tiles::{Coding, halved, rational, tile};

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

/// Directory entry: tag, type, number of values, and the value or the offset of the values.
type Field = (u16, u16, u64, u64);

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

    /// Writes the directories of all levels as a chain; returns the offset of the first.
    fn chain(&mut self) -> Result<u64> {
        let directories: Vec<Vec<u8>> = (0..self.levels.len()).map(|level| self.directory(level, Vec::new())).collect::<Result<_>>()?;
        let mut at = self.position;
        let first = at;
        for (i, mut directory) in directories.iter().cloned().enumerate() {
            at += directory.len() as u64 + 8;
            let next = if i + 1 < directories.len() { at } else { 0 };
            directory.extend(next.to_le_bytes());
            self.write(&directory)?;
        }
        Ok(first)
    }

    /// Writes the directories of reduced levels and then the directory of the first level, which refers to them; returns its offset.
    fn nest(&mut self) -> Result<u64> {
        const IFD8: u16 = 18;
        let mut reduced = Vec::new();
        for level in 1..self.levels.len() {
            let directory = self.directory(level, Vec::new())?;
            reduced.push(self.position);
            self.write(&[directory, vec![0; 8]].concat())?;
        }
        let text = description(self.levels[0].width, self.levels[0].height, self.um_per_pixel) + "\0";
        let mut fields = vec![(270, 2, text.len() as u64, self.position)];
        self.write(text.as_bytes())?;
        if !reduced.is_empty() {
            fields.push((330, IFD8, reduced.len() as u64, self.list(&reduced)?));
        }
        let directory = self.directory(0, fields)?;
        let first = self.position;
        self.write(&[directory, vec![0; 8]].concat())?;
        Ok(first)
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

    /// Returns the directory of a level with `further` entries, after writing the lists that do not fit into entries.
    fn directory(&mut self, level: usize, further: Vec<Field>) -> Result<Vec<u8>> {
        const SHORT: u16 = 3;
        const LONG: u16 = 4;
        const LONG8: u16 = 16;
        let (width, height) = (self.levels[level].width as u64, self.levels[level].height as u64);
        let offsets: Vec<u64> = self.levels[level].tiles.iter().map(|tile| tile.0).collect();
        let counts: Vec<u64> = self.levels[level].tiles.iter().map(|tile| tile.1).collect();
        let samples = if self.is_labels { 1 } else { self.samples as u64 };
        let bits = if self.is_labels { 32 } else { (0..samples).fold(0, |bits, i| bits | 8u64 << (16 * i)) };
        let photometric = self.coding.photometric(samples);
        let mut fields: Vec<Field> = vec![
            (254, LONG, 1, u64::from(level > 0)),
            (256, LONG, 1, width),
            (257, LONG, 1, height),
            (258, SHORT, samples, bits),
            (259, SHORT, 1, self.coding.tag()),
            (262, SHORT, 1, photometric),
            (277, SHORT, 1, samples),
            (284, SHORT, 1, 1),
            (317, SHORT, 1, self.coding.predictor()),
            (322, LONG, 1, TILE as u64),
            (323, LONG, 1, TILE as u64),
            (324, LONG8, offsets.len() as u64, self.list(&offsets)?),
            (325, LONG8, counts.len() as u64, self.list(&counts)?),
        ];
        if let Some(per_cm) = self.per_cm {
            let size = [self.levels[0].width as f64, self.levels[0].height as f64];
            let x = rational(per_cm[0] * width as f64 / size[0]);
            let y = rational(per_cm[1] * height as f64 / size[1]);
            fields.extend([(282, 5, 1, x), (283, 5, 1, y), (296, SHORT, 1, 3)]);
        }
        if self.coding == Coding::Jpeg {
            fields.push((530, SHORT, 2, 1 | 1 << 16)); // no chroma subsampling
        }
        fields.extend(further);
        fields.sort_by_key(|field| field.0);
        let mut directory = (fields.len() as u64).to_le_bytes().to_vec();
        for (tag, kind, count, value) in fields {
            directory.extend(u16::to_le_bytes(tag));
            directory.extend(u16::to_le_bytes(kind));
            directory.extend(u64::to_le_bytes(count));
            directory.extend(u64::to_le_bytes(value));
        }
        Ok(directory)
    }

    /// Returns the value field of a list of offsets: the only value, or the offset at which the list is written.
    fn list(&mut self, values: &[u64]) -> Result<u64> {
        if let [value] = values {
            return Ok(*value);
        }
        let at = self.position;
        self.write(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
        Ok(at)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| self.file.get_ref().failed(error))
    }
}
