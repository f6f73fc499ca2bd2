//! `labels.png`: the number of the nucleus in every pixel, 16-bit, where that fits; written row by row.

use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use png::{BitDepth, ColorType, Compression, Encoder, StreamWriter};
use support::artifact::AtomicFile;
use support::{Error, Result};

use super::unsettled::Unsettled;
use crate::instances::Instance;

/// Images with more pixels get no label image.
pub const MAX_PIXELS: usize = 100_000_000;
/// The largest number that 16 bits hold.
pub const MAX_NUCLEI: u64 = 65_535;

/// Labels at the model's scale, or why there are none.
pub struct Labels {
    height: usize,
    rows: Unsettled<u16>,
    file: Result<Png, String>,
}

/// A file that is being written, and the writer that does not give it back.
struct Png {
    file: Arc<Mutex<AtomicFile>>,
    writer: StreamWriter<'static, Shared>,
}

struct Shared(Arc<Mutex<AtomicFile>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic while writing").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().expect("no panic while writing").flush()
    }
}

impl Labels {
    /// Labels of an image of `width * height` pixels, in the file that `create` starts.
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

    /// Rows above `row` will not change any more.
    pub fn settle(&mut self, row: usize) -> Result<()> {
        let Ok(png) = &mut self.file else { return Ok(()) };
        while let Some(rows) = self.rows.next_before(row) {
            let bytes: Vec<u8> = rows.into_iter().flat_map(u16::to_be_bytes).collect();
            png.writer.write_all(&bytes).map_err(|error| png.failed(error))?;
        }
        Ok(())
    }

    /// Ends the file; the text says why there is none.
    pub fn finish(mut self) -> Result<Result<AtomicFile, String>> {
        self.settle(self.height)?;
        match self.file {
            Ok(png) => png.finish().map(Ok),
            Err(why) => Ok(Err(why)),
        }
    }
}

impl Png {
    fn start(file: AtomicFile, [width, height]: [u32; 2]) -> Result<Self> {
        let file = Arc::new(Mutex::new(file));
        let mut encoder = Encoder::new(Shared(file.clone()), width, height);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::Sixteen);
        encoder.set_compression(Compression::Fast);
        let writer = encoder.write_header()?.into_stream_writer()?;
        Ok(Self { file, writer })
    }

    fn failed(&self, error: std::io::Error) -> Error {
        self.file.lock().expect("no panic while writing").failed(error)
    }

    fn finish(self) -> Result<AtomicFile> {
        let Self { file, writer } = self;
        writer.finish()?;
        let file = Arc::into_inner(file).expect("the writer has gone");
        Ok(file.into_inner().expect("no panic while writing"))
    }
}

/// Writes a PNG file.
pub fn write_png(file: AtomicFile, bytes: &[u8], size: [usize; 2], colour: ExtendedColorType) -> Result<AtomicFile> {
    let path = file.path().to_owned();
    let told = |error: Error| error.during(format!("writing {}", path.display()));
    let mut buffer = BufWriter::new(file);
    let encoder = PngEncoder::new_with_quality(&mut buffer, CompressionType::Fast, FilterType::Adaptive);
    encoder.write_image(bytes, size[0] as u32, size[1] as u32, colour).map_err(|error| told(error.into()))?;
    buffer.into_inner().map_err(|error| told(error.into_error().into()))
}
