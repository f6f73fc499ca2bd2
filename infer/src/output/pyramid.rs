//! Tiled pyramidal BigTIFF, lossless, written from top to bottom while rows arrive.
//!
//! Levels stand in the top-level chain of directories, the finest first; reduced ones carry `NewSubfileType` 1 and are means of
//! 2 x 2 pixels. This is the form that OpenSlide, QuPath, libvips and tifffile read.

use std::io::{BufWriter, Seek, SeekFrom, Write};

use rayon::prelude::*;
use support::Result;
use support::artifact::AtomicFile;

use super::ome::description;
use super::tiles::{Coding, halved, rational, tile};

/// Side of tiles.
pub const TILE: usize = 512;

/// Writes a pyramid of `samples` bytes a pixel (1: grey, 3: RGB).
pub struct PyramidWriter {
    file: BufWriter<AtomicFile>,
    position: u64,
    /// Bytes of a pixel.
    samples: usize,
    /// Whether a pixel is one number, which is never mixed with others.
    is_labels: bool,
    coding: Coding,
    um_per_pixel: Option<[f64; 2]>,
    /// Pixels per cm of level 0 along x and y.
    per_cm: Option<[f64; 2]>,
    levels: Vec<Level>,
}

/// Tag, type, number of values, and the values or where they stand.
type Field = (u16, u16, u64, u64);

struct Level {
    width: usize,
    height: usize,
    rows_taken: usize,
    /// Rows that do not make a row of tiles yet.
    rows: Vec<u8>,
    /// An even row that waits for the odd one below it, to be halved.
    waiting: Option<Vec<u8>>,
    tiles: Vec<(u64, u64)>,
}

impl PyramidWriter {
    /// Starts a file of `width * height` pixels with sides of `um_per_pixel`.
    pub fn new(file: AtomicFile, width: usize, height: usize, samples: usize, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        let coding = Coding::Differences { samples };
        Ok(Self { coding, ..Self::start(file, [width, height], samples, false, um_per_pixel)? })
    }

    /// The same with grey pixels of few values.
    pub fn of_mask(file: AtomicFile, width: usize, height: usize, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        Ok(Self { coding: Coding::Runs, ..Self::start(file, [width, height], 1, false, um_per_pixel)? })
    }

    /// The same with RGB pixels in JPEG tiles, as scanners write them: not lossless.
    pub fn of_jpeg(file: AtomicFile, width: usize, height: usize, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        Ok(Self { coding: Coding::Jpeg, ..Self::start(file, [width, height], 3, false, um_per_pixel)? })
    }

    /// Starts an OME-TIFF file of one little-endian u32 a pixel. Reduced levels stand in `SubIFDs`, as OME-TIFF has them, and are the upper left
    /// ones of 2 x 2 pixels.
    pub fn of_labels(file: AtomicFile, width: usize, height: usize, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        Self::start(file, [width, height], 4, true, um_per_pixel)
    }

    fn start(file: AtomicFile, size: [usize; 2], samples: usize, is_labels: bool, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        let [width, height] = size;
        let mut levels = Vec::new();
        let (mut w, mut h) = (width, height);
        loop {
            let rows = Vec::with_capacity(w * samples * h.min(TILE));
            levels.push(Level { width: w, height: h, rows_taken: 0, rows, waiting: None, tiles: Vec::new() });
            if w <= TILE && h <= TILE {
                break;
            }
            (w, h) = (w.div_ceil(2), h.div_ceil(2));
        }
        let per_cm = um_per_pixel.map(|um| um.map(|um| 1e4 / um));
        let mut writer =
            Self { file: BufWriter::new(file), position: 0, samples, is_labels, coding: Coding::Deflate, um_per_pixel, per_cm, levels };
        // Little endian, BigTIFF, offsets of 8 bytes; where the first directory is follows at the end.
        writer.put(&[b'I', b'I', 43, 0, 8, 0, 0, 0])?;
        writer.put(&0u64.to_le_bytes())?;
        Ok(writer)
    }

    /// Takes the next rows, `n * width * samples` bytes.
    pub fn push(&mut self, rows: &[u8]) -> Result<()> {
        for row in rows.chunks_exact(self.levels[0].width * self.samples) {
            self.push_row(0, row)?;
        }
        Ok(())
    }

    /// Ends the file, which must have got all its rows.
    pub fn finish(mut self) -> Result<AtomicFile> {
        assert_eq!(self.levels[0].rows_taken, self.levels[0].height, "a picture ends after its last row");
        let first = if self.is_labels { self.nest()? } else { self.chain()? };
        let path = self.file.get_ref().path().to_owned();
        let told = |error: std::io::Error| support::Error::from(error).during(format!("writing {}", path.display()));
        let mut file = self.file.into_inner().map_err(|error| told(error.into_error()))?;
        file.seek(SeekFrom::Start(8)).and_then(|_| file.write_all(&first.to_le_bytes())).map_err(|error| file.failed(error))?;
        Ok(file)
    }

    /// Writes the directories of all levels one after another; where the first is.
    fn chain(&mut self) -> Result<u64> {
        let directories: Vec<Vec<u8>> = (0..self.levels.len()).map(|level| self.directory(level, Vec::new())).collect::<Result<_>>()?;
        let mut at = self.position;
        let first = at;
        for (i, mut directory) in directories.iter().cloned().enumerate() {
            at += directory.len() as u64 + 8;
            let next = if i + 1 < directories.len() { at } else { 0 };
            directory.extend(next.to_le_bytes());
            self.put(&directory)?;
        }
        Ok(first)
    }

    /// Writes the directories of reduced levels, then that of the first level, which names them.
    fn nest(&mut self) -> Result<u64> {
        const IFD8: u16 = 18;
        let mut reduced = Vec::new();
        for level in 1..self.levels.len() {
            let directory = self.directory(level, Vec::new())?;
            reduced.push(self.position);
            self.put(&[directory, vec![0; 8]].concat())?;
        }
        let text = description(self.levels[0].width, self.levels[0].height, self.um_per_pixel) + "\0";
        let mut own = vec![(270, 2, text.len() as u64, self.position)];
        self.put(text.as_bytes())?;
        if !reduced.is_empty() {
            own.push((330, IFD8, reduced.len() as u64, self.list(&reduced)?));
        }
        let directory = self.directory(0, own)?;
        let first = self.position;
        self.put(&[directory, vec![0; 8]].concat())?;
        Ok(first)
    }

    fn push_row(&mut self, level: usize, row: &[u8]) -> Result<()> {
        let last = level + 1 == self.levels.len();
        let this = &mut self.levels[level];
        this.rows.extend_from_slice(row);
        this.rows_taken += 1;
        let at_end = this.rows_taken == this.height;
        if this.rows.len() == TILE * row.len() || at_end {
            self.write_tiles(level)?;
        }
        if last {
            return Ok(());
        }
        let this = &mut self.levels[level];
        let Some(above) = this.waiting.take() else {
            if at_end {
                let halved = self.halved(row, row);
                return self.push_row(level + 1, &halved);
            }
            this.waiting = Some(row.to_vec());
            return Ok(());
        };
        let halved = self.halved(&above, row);
        self.push_row(level + 1, &halved)
    }

    fn halved(&self, above: &[u8], below: &[u8]) -> Vec<u8> {
        if self.is_labels {
            return above.chunks_exact(self.samples).step_by(2).flatten().copied().collect();
        }
        halved(above, below, self.samples)
    }

    /// Compresses the waiting rows of a level as one row of tiles; the border is repeated into what no pixel fills.
    fn write_tiles(&mut self, level: usize) -> Result<()> {
        let (width, samples, coding) = (self.levels[level].width, self.samples, self.coding);
        let mut rows = std::mem::take(&mut self.levels[level].rows);
        let tiles: Vec<Vec<u8>> =
            (0..width.div_ceil(TILE)).into_par_iter().map(|column| coding.compress(&tile(&rows, width, samples, column))).collect();
        for bytes in tiles {
            self.levels[level].tiles.push((self.position, bytes.len() as u64));
            self.put(&bytes)?;
        }
        rows.clear();
        self.levels[level].rows = rows;
        Ok(())
    }

    /// The fields of a level's directory, after writing the lists that do not fit into it.
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
            fields.push((530, SHORT, 2, 1 | 1 << 16)); // every pixel has its own colour
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

    /// A list of offsets as the value of a field: itself if it is one, else where it was written.
    fn list(&mut self, values: &[u64]) -> Result<u64> {
        if let [value] = values {
            return Ok(*value);
        }
        let at = self.position;
        self.put(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
        Ok(at)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| self.file.get_ref().failed(error))
    }
}
