//! `labels.png`: the number of the nucleus at every pixel as a 16-bit image, written row by row, for small slides.

use std::io::{BufWriter, Write};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use png::{BitDepth, ColorType, Compression, Encoder, StreamWriter};
use support::Result;
use support::durable::AtomicFile;

use super::shared_file::SharedFile;
use super::unsettled::Unsettled;
use crate::instances::Instance;

/// Number of pixels from which on no label image is written.
pub const MAX_PIXELS: usize = 100_000_000;
/// Maximum number of nuclei, the largest number of 16 bits.
pub const MAX_NUCLEI: u64 = 65_535;

/// Streaming writer of labels at the model's scale.
pub struct Labels {
    height: usize,
    rows: Unsettled<u16>,
    /// Open file, or the reason why there is none.
    file: Result<Png, String>,
}

/// Open PNG file, with the encoder, which does not return the file at its end.
struct Png {
    file: SharedFile,
    writer: StreamWriter<'static, SharedFile>,
}

impl Labels {
    /// Returns the writer of an image of `width * height` pixels; `create` is called only if the image is small enough.
    pub fn new(width: usize, height: usize, create: impl FnOnce() -> Result<AtomicFile>) -> Result<Self> {
        let pixels = width * height;
        let file = if pixels < MAX_PIXELS {
            Ok(Png::start(create()?, [width as u32, height as u32])?)
        } else {
            Err(format!("{pixels} px, expected fewer than {MAX_PIXELS}"))
        };
        Ok(Self { height, rows: Unsettled::new(width), file })
    }

    /// Adds the pixels of a nucleus.
    pub fn add(&mut self, instance: &Instance) {
        if instance.id > MAX_NUCLEI && self.file.is_ok() {
            self.file = Err(format!("more than {MAX_NUCLEI} nuclei"));
        }
        if self.file.is_ok() {
            self.rows.add(&instance.runs, instance.id as u16);
        }
    }

    /// Writes the rows above `row`, which no later nucleus changes.
    pub fn settle(&mut self, row: usize) -> Result<()> {
        let Ok(png) = &mut self.file else { return Ok(()) };
        while let Some(rows) = self.rows.next_before(row) {
            let bytes: Vec<u8> = rows.into_iter().flat_map(u16::to_be_bytes).collect();
            png.writer.write_all(&bytes).map_err(|error| png.file.failed(error))?;
        }
        Ok(())
    }

    /// Finishes the file; the inner error is the reason why there is no label image.
    pub fn finish(mut self) -> Result<Result<AtomicFile, String>> {
        self.settle(self.height)?;
        match self.file {
            Ok(png) => png.finish().map(Ok),
            Err(reason) => Ok(Err(reason)),
        }
    }
}

impl Png {
    /// Writes the header of a 16-bit grey image.
    fn start(file: AtomicFile, [width, height]: [u32; 2]) -> Result<Self> {
        let file = SharedFile::new(file);
        let mut encoder = Encoder::new(file.clone(), width, height);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::Sixteen);
        encoder.set_compression(Compression::Fast);
        let writer = encoder.write_header().and_then(png::Writer::into_stream_writer).map_err(|error| file.failed(error))?;
        Ok(Self { file, writer })
    }

    /// Finishes the file. The encoder writes its last chunks in `Drop` and loses their errors, which the file keeps.
    fn finish(self) -> Result<AtomicFile> {
        self.writer.finish().map_err(|error| self.file.failed(error))?;
        self.file.into_file()
    }
}

/// Encodes a whole image as PNG; `size` is columns and rows.
pub fn write_png(file: AtomicFile, bytes: &[u8], size: [usize; 2], colour: ExtendedColorType) -> Result<AtomicFile> {
    let mut buffer = BufWriter::new(file);
    let encoder = PngEncoder::new_with_quality(&mut buffer, CompressionType::Fast, FilterType::Adaptive);
    let encoded = encoder.write_image(bytes, size[0] as u32, size[1] as u32, colour);
    let flushed = buffer.flush();
    let (file, _) = buffer.into_parts();
    // This encoder too writes its last chunk in `Drop` and loses its error.
    file.check()?;
    encoded.map_err(|error| file.failed_in_encoder(error))?;
    flushed.map_err(|error| file.failed_in_encoder(error))?;
    Ok(file)
}
