//! Size of an image and the positions of its tiles or strips.

use super::compression::Compression;
use super::directory::Directory;
use super::file::BoundedFile;
use super::format::Format;
use super::tag;
use crate::{Result, bail};

/// Maximum side of a tile in pixels.
const MAX_TILE_SIDE: u64 = 8192;
/// Maximum side of an image in pixels.
const MAX_SIDE: u64 = 1 << 24;

/// Image of a file in tiles or strips.
pub struct Layout {
    /// Number of columns in pixels.
    pub width: u64,
    /// Number of rows in pixels.
    pub height: u64,
    /// Number of columns of a tile; the width of the image for strips.
    pub part_width: u64,
    /// Number of rows of a tile or strip.
    pub part_height: u64,
    /// Number of tiles side by side, 1 for strips.
    pub columns: u64,
    /// Number of rows of tiles, or of strips.
    pub rows: u64,
    /// True for tiles, false for strips.
    pub is_tiled: bool,
    /// Storage format.
    pub format: Format,
    /// Position of each tile or strip in the file, row by row, plane after plane.
    pub offsets: Vec<u64>,
    /// Compressed size of each tile or strip in bytes.
    pub byte_counts: Vec<u64>,
    /// Value of the field `Orientation`, 1 to 8; 1 is upright.
    pub orientation: u8,
}

impl Layout {
    /// Reads the layout of an image and checks that it is plausible.
    ///
    /// # Errors
    /// A format that is not read, or a damaged directory.
    pub fn read(directory: &Directory, file: &BoundedFile) -> Result<Self> {
        let (width, height) = size(directory, file)?;
        let is_tiled = directory.has(tag::TILE_OFFSETS);
        let (part_width, part_height) = if is_tiled {
            let sides = (directory.number(tag::TILE_WIDTH, 0, file)?, directory.number(tag::TILE_LENGTH, 0, file)?);
            check_side("tile width", sides.0, MAX_TILE_SIDE)?;
            check_side("tile height", sides.1, MAX_TILE_SIDE)?;
            sides
        } else {
            (width, directory.number(tag::ROWS_PER_STRIP, height, file)?.clamp(1, height))
        };
        let format = Format::read(directory, file)?;
        let (columns, rows) = (width.div_ceil(part_width), height.div_ceil(part_height));
        let planes = if format.is_planar { format.samples as u64 } else { 1 };
        let parts = columns * rows * planes;
        // A tile takes at least two bytes of the two lists, so the length of the file bounds the number of tiles.
        if parts.saturating_mul(2) > file.length() {
            bail!(
                "{width} x {height} px in tiles of {part_width} x {part_height} would be {parts} tiles, more than a file of {} bytes can list",
                file.length()
            );
        }
        let (offsets, counts) =
            if is_tiled { (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS) } else { (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS) };
        let mut layout = Self {
            width,
            height,
            part_width,
            part_height,
            columns,
            rows,
            is_tiled,
            format,
            offsets: directory.list(offsets, parts, file)?,
            byte_counts: Vec::new(),
            orientation: directory.number(tag::ORIENTATION, 1, file)?.clamp(1, 8) as u8,
        };
        layout.byte_counts = if directory.has(counts) || layout.format.compression != Compression::None {
            directory.list(counts, parts, file)?
        } else {
            (0..parts).map(|i| layout.decompressed_bytes(i % (columns * rows) / columns) as u64).collect()
        };
        Ok(layout)
    }

    /// Returns the rows of a tile or strip in row `row` of parts: the last strip may be shorter.
    pub fn part_rows(&self, row: u64) -> u64 {
        if self.is_tiled { self.part_height } else { self.part_height.min(self.height - row * self.part_height) }
    }

    /// Returns the bytes of a decompressed tile or strip in row `row` of parts.
    pub fn decompressed_bytes(&self, row: u64) -> usize {
        self.format.row_bytes(self.part_width as usize) * self.part_rows(row) as usize
    }

    /// Reports whether the writer left out a tile or strip, which then has offset 0 and no bytes.
    pub fn is_left_out(&self, column: u64, row: u64) -> bool {
        let index = (row * self.columns + column) as usize;
        self.offsets[index] == 0 && self.byte_counts[index] == 0
    }

    /// Reports whether any tile or strip was left out.
    pub fn has_left_out(&self) -> bool {
        self.offsets.iter().zip(&self.byte_counts).any(|(offset, bytes)| *offset == 0 && *bytes == 0)
    }
}

/// Returns columns and rows of an image.
///
/// # Errors
/// A side of 0 or beyond 2^24.
pub fn size(directory: &Directory, file: &BoundedFile) -> Result<(u64, u64)> {
    let (width, height) = (directory.number(tag::IMAGE_WIDTH, 0, file)?, directory.number(tag::IMAGE_LENGTH, 0, file)?);
    check_side("width", width, MAX_SIDE)?;
    check_side("height", height, MAX_SIDE)?;
    Ok((width, height))
}

fn check_side(name: &str, value: u64, limit: u64) -> Result<()> {
    if value == 0 || value > limit {
        bail!("{name} of {value} px, expected 1 to {limit}");
    }
    Ok(())
}
