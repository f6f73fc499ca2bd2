//! Cropping of images to multiples of 32, the largest stride of the network's feature maps.

use models::plane::Plane;
use support::{Result, bail};

use super::image_file::RgbImage;
use super::sample::Sample;

/// Stride of the deepest feature map, in pixels.
const STRIDE: usize = 32;

/// Crops image, scribbles and labels on the right and at the bottom to multiples of [`STRIDE`], as the published code does.
///
/// # Errors
/// An image smaller than one stride.
pub(super) fn cropped(sample: Sample) -> Result<Sample> {
    let floor = |length: usize| length / STRIDE * STRIDE;
    let (width, height) = (floor(sample.image.width), floor(sample.image.height));
    if width == 0 || height == 0 {
        bail!("image {}: {} is empty after cropping to multiples of {STRIDE}", sample.id, sample.image.size(); hint: "--set data.sides=pad pads small images by reflection");
    }
    let image = RgbImage { width, height, data: upper_left(&sample.image.data, 3 * sample.image.width, 3 * width, height) };
    let labels = sample.labels.map(|labels| cropped_plane(&labels, width, height));
    Ok(Sample { image, scribble: cropped_plane(&sample.scribble, width, height), labels, ..sample })
}

/// Crops a plane to its upper left `width x height` pixels.
fn cropped_plane<T: Copy>(map: &Plane<T>, width: usize, height: usize) -> Plane<T> {
    Plane { width, height, data: upper_left(&map.data, map.width, width, height) }
}

/// Copies the upper left `width x height` items of rows of `row` items.
fn upper_left<T: Copy>(items: &[T], row: usize, width: usize, height: usize) -> Vec<T> {
    items.chunks_exact(row).take(height).flat_map(|row| &row[..width]).copied().collect()
}
