//! `labels.png`: the number of the nucleus in every pixel, 16-bit, where that fits.

use std::io::BufWriter;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use models::artifact::AtomicFile;
use models::{Error, Result};

use crate::instances::Instance;

/// Images with more pixels get no label image.
pub const MAX_PIXELS: usize = 100_000_000;
/// The largest number that 16 bits hold.
pub const MAX_NUCLEI: u64 = 65_535;

/// Labels at the model's scale, or why there are none.
pub struct Labels {
    width: usize,
    height: usize,
    plane: Result<Vec<u16>, String>,
}

impl Labels {
    /// Labels of an image of `width * height` pixels.
    pub fn new(width: usize, height: usize) -> Self {
        let pixels = width * height;
        let plane = if pixels < MAX_PIXELS { Ok(vec![0; pixels]) } else { Err(format!("{pixels} px, expected fewer than {MAX_PIXELS}")) };
        Self { width, height, plane }
    }

    /// Adds the pixels of a nucleus.
    pub fn add(&mut self, instance: &Instance) {
        if instance.id > MAX_NUCLEI {
            self.plane = Err(format!("more than {MAX_NUCLEI} nuclei"));
        }
        let Ok(plane) = &mut self.plane else { return };
        for run in &instance.runs {
            let row = run.y as usize * self.width;
            plane[row + run.x0 as usize..row + run.x1 as usize].fill(instance.id as u16);
        }
    }

    /// Writes the file that `create` starts; the text says why there is none.
    pub fn finish(self, create: impl FnOnce() -> Result<AtomicFile>) -> Result<Result<AtomicFile, String>> {
        let plane = match self.plane {
            Ok(plane) => plane,
            Err(why) => return Ok(Err(why)),
        };
        let bytes: Vec<u8> = plane.into_iter().flat_map(u16::to_ne_bytes).collect();
        write_png(create()?, &bytes, [self.width, self.height], ExtendedColorType::L16).map(Ok)
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
