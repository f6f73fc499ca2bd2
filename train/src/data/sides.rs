//! Images whose sides are no multiples of 32, the largest stride of the network's features.

use models::plane::Plane;
use support::{Result, bail};

use super::image_file::RgbImage;
use super::sample::Sample;

/// The stride of the deepest features.
const MULTIPLE: usize = 32;

/// Cuts the right and lower rest off image, scribbles and labels, as the published code does.
pub(super) fn cropped(sample: Sample) -> Result<Sample> {
    let cut = |length: usize| length / MULTIPLE * MULTIPLE;
    let (width, height) = (cut(sample.image.width), cut(sample.image.height));
    if width == 0 || height == 0 {
        bail!("image {}: {} leaves nothing when it is cut to multiples of {MULTIPLE}", sample.id, sample.image.size(); hint: "--set data.sides=pad continues small images by reflection");
    }
    let image = RgbImage { width, height, data: upper_left(&sample.image.data, 3 * sample.image.width, 3 * width, height) };
    let labels = sample.labels.map(|labels| plane(&labels, width, height));
    Ok(Sample { image, scribble: plane(&sample.scribble, width, height), labels, ..sample })
}

fn plane<T: Copy>(map: &Plane<T>, width: usize, height: usize) -> Plane<T> {
    Plane { width, height, data: upper_left(&map.data, map.width, width, height) }
}

fn upper_left<T: Copy>(items: &[T], row: usize, width: usize, height: usize) -> Vec<T> {
    items.chunks_exact(row).take(height).flat_map(|row| &row[..width]).copied().collect()
}
