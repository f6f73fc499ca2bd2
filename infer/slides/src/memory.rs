//! Images in the memory of a caller, and slides from a caller's own pixel source.

use std::path::Path;

use support::{Result, bail, durable};

use super::{Contents, Facts, Level, LostTile, Mpp, Rgb, Slide};

/// Image in memory as a slide of one level.
pub struct Image {
    facts: Facts,
    pixels: Rgb,
}

impl Image {
    /// Copies 8-bit RGB pixels, `height * width * 3` bytes, row by row.
    ///
    /// # Errors
    /// A side of 0, or another number of bytes.
    pub fn rgb8(width: usize, height: usize, pixels: &[u8]) -> Result<Self> {
        check_size(width, height, pixels.len(), 3)?;
        Ok(Self::new(Rgb { width, height, data: pixels.to_vec() }))
    }

    /// Copies 8-bit RGB pixels whose rows begin every `stride` bytes.
    ///
    /// # Errors
    /// A side of 0, a stride shorter than a row, or too few bytes.
    pub fn rgb8_with_stride(width: usize, height: usize, stride: usize, pixels: &[u8]) -> Result<Self> {
        let needed = height.saturating_sub(1) * stride + 3 * width;
        if width == 0 || height == 0 || stride < 3 * width || pixels.len() < needed {
            bail!("an image of {width} x {height} px with rows of {stride} bytes needs {needed} bytes, found {}", pixels.len());
        }
        let data = pixels.chunks(stride).take(height).flat_map(|row| &row[..3 * width]).copied().collect();
        Ok(Self::new(Rgb { width, height, data }))
    }

    /// Copies 8-bit grey pixels, `height * width` bytes, to three equal channels.
    ///
    /// # Errors
    /// A side of 0, or another number of bytes.
    pub fn grey8(width: usize, height: usize, pixels: &[u8]) -> Result<Self> {
        check_size(width, height, pixels.len(), 1)?;
        Ok(Self::new(Rgb { width, height, data: pixels.iter().flat_map(|&value| [value; 3]).collect() }))
    }

    /// Converts 16-bit grey pixels to 8 bits; values from `white` on become 255.
    ///
    /// # Errors
    /// A side of 0, another number of pixels, or `white` 0.
    pub fn grey16(width: usize, height: usize, pixels: &[u16], white: u16) -> Result<Self> {
        check_size(width, height, pixels.len(), 1)?;
        Ok(Self::new(Rgb { width, height, data: to_bytes(pixels, white)?.into_iter().flat_map(|value| [value; 3]).collect() }))
    }

    /// Converts 16-bit RGB pixels to 8 bits; values from `white` on become 255.
    ///
    /// # Errors
    /// A side of 0, another number of values, or `white` 0.
    pub fn rgb16(width: usize, height: usize, pixels: &[u16], white: u16) -> Result<Self> {
        check_size(width, height, pixels.len(), 3)?;
        Ok(Self::new(Rgb { width, height, data: to_bytes(pixels, white)? }))
    }

    /// Sets the scale in µm per pixel.
    ///
    /// # Errors
    /// A scale outside of 0.05 to 5.
    pub fn with_mpp(mut self, microns_per_pixel: f64) -> Result<Self> {
        self.facts.mpp = Some(Mpp::given(microns_per_pixel)?);
        Ok(self)
    }

    fn new(pixels: Rgb) -> Self {
        let name = Path::new("image");
        Self::with_facts(Facts::new(name, Contents::without_file(name), "memory", Vec::new()), pixels)
    }

    /// Makes a slide of one level of decoded pixels; `facts` are those of the file.
    pub(super) fn with_facts(facts: Facts, pixels: Rgb) -> Self {
        let level = Level { width: pixels.width as u64, height: pixels.height as u64, downsample: 1.0 };
        Self { facts: Facts { levels: vec![level], ..facts }, pixels }
    }
}

impl Slide for Image {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn sha256(&self) -> Result<String> {
        let contents = &self.facts.contents;
        if contents.is_in_files() { contents.sha256() } else { Ok(durable::sha256(&self.pixels.data)) }
    }

    fn read_region(&self, _: usize, x: i64, y: i64, width: usize, height: usize) -> Result<Rgb> {
        let mut region = Rgb::filled(width, height, self.facts.background);
        region.paste(&self.pixels, -x, -y);
        Ok(region)
    }

    fn lost_tiles(&self) -> Vec<LostTile> {
        Vec::new()
    }
}

/// Pixel source of a caller, for example an archive that is read through a network.
pub trait Pixels: Send + Sync {
    /// Returns the levels, the finest first; at least one.
    fn levels(&self) -> Vec<Level>;

    /// Reads `width * height` pixels of a level from column `x` and row `y`, in pixels of that level. The rectangle may reach beyond the
    /// level; pixels outside the level are white.
    ///
    /// # Errors
    /// An error ends the run.
    fn read(&self, level: usize, x: i64, y: i64, width: usize, height: usize) -> Result<Rgb>;

    /// Returns the scale of level 0 in µm per pixel along x and y; `None`, the default, if unknown.
    fn mpp(&self) -> Option<[f64; 2]> {
        None
    }

    /// Returns the SHA-256 that identifies the pixels in output files. With `None`, the default, no output files can be written.
    fn sha256(&self) -> Option<String> {
        None
    }

    /// Returns the name for messages and for the output folder.
    fn name(&self) -> String {
        "pixels".to_owned()
    }
}

/// Slide whose pixels come from a [`Pixels`] source.
pub struct PixelSlide<'a> {
    source: &'a dyn Pixels,
    facts: Facts,
}

impl<'a> PixelSlide<'a> {
    /// Creates a slide with the levels and the scale of the source.
    ///
    /// # Errors
    /// A source without levels, or an implausible scale.
    pub fn new(source: &'a dyn Pixels) -> Result<Self> {
        let levels = source.levels();
        if levels.is_empty() {
            bail!("the source {:?} has no levels, expected at least one", source.name());
        }
        let name = source.name();
        let mut facts = Facts::new(Path::new(&name), Contents::without_file(Path::new(&name)), "caller", levels);
        facts.mpp = source.mpp().map(|[x, y]| Mpp::given_for_axes(x, y)).transpose()?;
        Ok(Self { source, facts })
    }
}

impl Slide for PixelSlide<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn sha256(&self) -> Result<String> {
        self.source.sha256().map_or_else(|| self.facts.contents.sha256(), Ok)
    }

    fn read_region(&self, level: usize, x: i64, y: i64, width: usize, height: usize) -> Result<Rgb> {
        let pixels = self.source.read(level, x, y, width, height)?;
        if (pixels.width, pixels.height, pixels.data.len()) != (width, height, 3 * width * height) {
            bail!(
                "the source {:?} gave {} x {} px of {} bytes, expected {width} x {height} px of RGB",
                self.source.name(),
                pixels.width,
                pixels.height,
                pixels.data.len()
            );
        }
        Ok(pixels)
    }

    fn lost_tiles(&self) -> Vec<LostTile> {
        Vec::new()
    }
}

fn check_size(width: usize, height: usize, values: usize, channels: usize) -> Result<()> {
    let expected = width * height * channels;
    if expected == 0 || values != expected {
        bail!("an image of {width} x {height} px has {values} values, expected {expected}");
    }
    Ok(())
}

/// Scales 16-bit values to 8 bits, rounded to the nearest; values from `white` on become 255.
fn to_bytes(values: &[u16], white: u16) -> Result<Vec<u8>> {
    if white == 0 {
        bail!("the value that becomes white is 0, expected 1 to 65535");
    }
    let white = u32::from(white);
    Ok(values.iter().map(|&value| ((u32::from(value).min(white) * 255 + white / 2) / white) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_16_bit_samples_and_grey_are_converted_to_rgb() {
        let rows = [1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0];
        let image = Image::rgb8_with_stride(2, 2, 8, &rows).unwrap();
        assert_eq!(image.read_region(0, 0, 0, 2, 2).unwrap().data, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let deep = Image::grey16(3, 1, &[0, 2000, 4095], 4095).unwrap();
        assert_eq!(deep.read_region(0, 0, 0, 3, 1).unwrap().data, [0, 0, 0, 125, 125, 125, 255, 255, 255]);
        assert_eq!(Image::grey8(1, 1, &[7]).unwrap().read_region(0, 0, 0, 1, 1).unwrap().data, [7; 3]);
        assert_eq!(Image::rgb16(1, 1, &[0, 65535, 32768], 65535).unwrap().read_region(0, 0, 0, 1, 1).unwrap().data, [0, 255, 128]);
    }

    #[test]
    fn wrong_sizes_and_scales_are_refused() {
        for wrong in
            [Image::rgb8(2, 2, &[0; 11]), Image::rgb8(0, 2, &[]), Image::grey8(2, 2, &[0; 3]), Image::rgb8_with_stride(2, 2, 5, &[0; 11])]
        {
            assert!(wrong.is_err_and(|error| error.to_string().contains(" px ")));
        }
        assert!(Image::grey16(1, 1, &[1], 0).is_err());
        assert!(Image::grey8(1, 1, &[1]).unwrap().with_mpp(0.0).is_err());
        assert_eq!(Image::grey8(1, 1, &[1]).unwrap().with_mpp(0.5).unwrap().microns_per_pixel(), Some([0.5; 2]));
    }
}
