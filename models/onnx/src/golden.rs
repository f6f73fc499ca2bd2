//! Golden tiles: real images in a model file with the probabilities that the network must compute for them.
//!
//! Kernels differ between processors, drivers and versions, and some are wrong. With its golden tiles a model can be tested on the machine
//! that is going to run it, on images of the kind that it was made for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ExtendedColorType, GrayImage, ImageEncoder, ImageFormat, RgbImage};
use models::decode::{Decoding, instances};
use models::plane::Plane;
use serde::{Deserialize, Serialize};
use support::{Context, Result};

/// Metadata key of the golden tiles in an ONNX file; the value is a JSON array.
pub const METADATA_KEY: &str = "golden_tiles";
/// Largest accepted number of pixels of a golden tile.
const MAX_PIXELS: usize = 1 << 22;

/// An image with the probabilities of the plain graph in f32 on a CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenTile {
    /// RGB image as Base64 of a PNG; extents are multiples of the model's stride.
    image_png: String,
    /// Quantised probabilities `round(255 p)` as Base64 of a grey PNG.
    probability_png: String,
    /// Nuclei by the card's decoding: column and row of the centroid and area, in pixels.
    pub nuclei: Vec<[f64; 3]>,
}

impl GoldenTile {
    /// Packs an image of `height` x `width` pixels (`H W 3`) with its quantised probabilities.
    ///
    /// # Errors
    /// Arrays whose lengths do not fit the extents.
    pub fn new(image: &[u8], probability: &[u8], [height, width]: [usize; 2], decoding: &Decoding) -> Result<Self> {
        let levels = Plane::new(width, height, probability.to_vec())?;
        let extents = (width as u32, height as u32);
        Ok(Self {
            image_png: png(image, extents, ExtendedColorType::Rgb8)?,
            probability_png: png(probability, extents, ExtendedColorType::L8)?,
            nuclei: nuclei_table(&instances(&levels, decoding)),
        })
    }

    /// Unpacks the image.
    ///
    /// # Errors
    /// Damaged Base64 or PNG data, or an image that needs more than 16 MiB.
    pub fn image(&self) -> Result<RgbImage> {
        Ok(decode_png(&self.image_png)?.to_rgb8())
    }

    /// Unpacks the quantised probabilities.
    ///
    /// # Errors
    /// Those of [`GoldenTile::image`].
    pub fn probability(&self) -> Result<GrayImage> {
        Ok(decode_png(&self.probability_png)?.to_luma8())
    }
}

/// Returns centroid column, centroid row and area of each instance, centroids to a tenth of a pixel.
fn nuclei_table(labels: &Plane<u32>) -> Vec<[f64; 3]> {
    let mut sums = vec![[0.0; 3]; labels.data.iter().max().map_or(0, |&id| id as usize)];
    for (i, &id) in labels.data.iter().enumerate().filter(|(_, id)| **id > 0) {
        let at = [(i % labels.width) as f64, (i / labels.width) as f64, 1.0];
        sums[id as usize - 1].iter_mut().zip(at).for_each(|(sum, v)| *sum += v);
    }
    let tenth = |v: f64| (10.0 * v).round() / 10.0;
    sums.into_iter().map(|[x, y, area]| [tenth(x / area), tenth(y / area), area]).collect()
}

fn png(pixels: &[u8], (width, height): (u32, u32), colour: ExtendedColorType) -> Result<String> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes).write_image(pixels, width, height, colour).doing(|| "packing a golden tile")?;
    Ok(STANDARD.encode(bytes))
}

fn decode_png(text: &str) -> Result<image::DynamicImage> {
    let doing = || "unpacking a golden tile";
    let bytes = STANDARD.decode(text).doing(doing)?;
    let mut reader = image::ImageReader::with_format(std::io::Cursor::new(bytes), ImageFormat::Png);
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(4 * MAX_PIXELS as u64);
    reader.limits(limits);
    reader.decode().doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_a_tile_is_lossless() {
        let image: Vec<u8> = (0..32 * 32 * 3).map(|i| (i * 7) as u8).collect();
        let probability: Vec<u8> = (0..32 * 32).map(|i| (i / 4) as u8).collect();
        let tile = GoldenTile::new(&image, &probability, [32, 32], &Decoding::default()).unwrap();
        assert_eq!((tile.image().unwrap().into_raw(), tile.probability().unwrap().into_raw()), (image, probability));
    }

    #[test]
    fn the_table_lists_centroid_and_area_of_each_nucleus() {
        let labels = Plane::new(6, 1, vec![1, 1, 1, 0, 2, 2]).unwrap();
        assert_eq!(nuclei_table(&labels), [[1.0, 0.0, 3.0], [4.5, 0.0, 2.0]]);
    }
}
