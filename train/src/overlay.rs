//! Overlay pictures: image, scribbles, pseudo-labels, predicted and true nuclei side by side.

use models::plane::Plane;

use crate::data::RgbImage;
use crate::scribble::{BACKGROUND, FOREGROUND};

/// Colour of nucleus strokes and pseudo-labels: orange.
pub const NUCLEUS_COLOUR: [u8; 3] = [255, 150, 0];
/// Colour of background strokes and pseudo-labels: blue, which is distinguishable from orange in all types of colour vision.
pub const BACKGROUND_COLOUR: [u8; 3] = [40, 130, 255];
/// Colour of the outlines of predicted nuclei: yellow.
pub const PREDICTION_COLOUR: [u8; 3] = [255, 230, 0];
/// Colour of the outlines of true nuclei: cyan.
pub const TRUTH_COLOUR: [u8; 3] = [0, 225, 225];
const SEPARATOR_COLOUR: [u8; 3] = [255, 255, 255];
/// Width of the line between two panels, in pixels.
const SEPARATOR_PX: usize = 2;
/// Shorter side in pixels that smaller images are enlarged to, by integer factors.
const MIN_SIDE_PX: usize = 256;
/// Largest enlargement factor.
const MAX_FACTOR: usize = 8;

/// Image and its layers, each shown in a panel. All planes have the size of the image; a layer of `None` has no panel.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Image without overlay, shown in the first panel.
    pub image: &'a RgbImage,
    /// Scribble map: 0 background, 1 foreground, other values unlabelled.
    pub scribble: Option<&'a Plane<u8>>,
    /// Pseudo-labels, with the values of scribble maps.
    pub pseudo: Option<&'a Plane<u8>>,
    /// Instance map of the prediction.
    pub prediction: Option<&'a Plane<u32>>,
    /// Instance map of the ground truth.
    pub truth: Option<&'a Plane<u32>>,
}

/// Draws the panels from left to right (image, scribbles, pseudo-labels, prediction, truth), separated by white lines.
pub fn panels(layers: &Layers) -> RgbImage {
    let image = layers.image;
    let factor = factor(image);
    let plain = enlarged(image, factor);
    let mut panels = vec![plain.clone()];
    panels.extend(layers.scribble.map(|map| painted(&plain, map, factor, 1.0)));
    panels.extend(layers.pseudo.map(|map| painted(&plain, map, factor, 0.45)));
    panels.extend(layers.prediction.map(|labels| outlined(&plain, labels, factor, PREDICTION_COLOUR)));
    panels.extend(layers.truth.map(|labels| outlined(&plain, labels, factor, TRUTH_COLOUR)));
    side_by_side(&panels)
}

/// Draws the image and, for each of `outlines`, the image with the instances outlined in the given colour, in a row.
pub fn row(image: &RgbImage, outlines: &[(&Plane<u32>, [u8; 3])]) -> RgbImage {
    let factor = factor(image);
    let plain = enlarged(image, factor);
    let drawn = outlines.iter().map(|(labels, colour)| outlined(&plain, labels, factor, *colour));
    side_by_side(&std::iter::once(plain.clone()).chain(drawn).collect::<Vec<_>>())
}

/// Returns the enlargement factor of an image.
fn factor(image: &RgbImage) -> usize {
    MIN_SIDE_PX.div_ceil(image.width.min(image.height).max(1)).clamp(1, MAX_FACTOR)
}

/// Enlarges an image by pixel replication.
fn enlarged(image: &RgbImage, factor: usize) -> RgbImage {
    let (width, height) = (image.width * factor, image.height * factor);
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    RgbImage { width, height, data: pixels.flat_map(|(x, y)| image.at(x / factor, y / factor)).collect() }
}

/// Paints the classes of a scribble map over a picture that is enlarged by `factor`, with an opacity from 0 to 1.
fn painted(picture: &RgbImage, map: &Plane<u8>, factor: usize, opacity: f32) -> RgbImage {
    recoloured(picture, |x, y, pixel| {
        let colour = match map.at(x / factor, y / factor) {
            BACKGROUND => BACKGROUND_COLOUR,
            FOREGROUND => NUCLEUS_COLOUR,
            _ => return pixel,
        };
        std::array::from_fn(|c| (f32::from(pixel[c]) * (1.0 - opacity) + f32::from(colour[c]) * opacity).round() as u8)
    })
}

/// Draws the inner boundary of every instance, one pixel wide, on a picture that is enlarged by `factor`.
fn outlined(picture: &RgbImage, labels: &Plane<u32>, factor: usize, colour: [u8; 3]) -> RgbImage {
    let at = |x: usize, y: usize| labels.at(x / factor, y / factor);
    recoloured(picture, |x, y, pixel| {
        let id = at(x, y);
        let differs = |x: usize, y: usize| x < picture.width && y < picture.height && at(x, y) != id;
        // At column or row 0 the subtraction wraps around to a position outside the picture.
        let edge = id > 0 && (differs(x + 1, y) || differs(x, y + 1) || differs(x.wrapping_sub(1), y) || differs(x, y.wrapping_sub(1)));
        if edge { colour } else { pixel }
    })
}

/// Replaces each pixel by `colour(x, y, pixel)`.
fn recoloured(picture: &RgbImage, colour: impl Fn(usize, usize, [u8; 3]) -> [u8; 3]) -> RgbImage {
    let pixels = picture.data.as_chunks::<3>().0.iter().enumerate();
    let data = pixels.flat_map(|(i, &pixel)| colour(i % picture.width, i / picture.width, pixel)).collect();
    RgbImage { data, ..*picture }
}

/// Joins panels of one height horizontally.
fn side_by_side(panels: &[RgbImage]) -> RgbImage {
    let height = panels[0].height;
    let width = panels.iter().map(|panel| panel.width).sum::<usize>() + SEPARATOR_PX * (panels.len() - 1);
    let mut data = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for (i, panel) in panels.iter().enumerate() {
            if i > 0 {
                data.extend(SEPARATOR_COLOUR.repeat(SEPARATOR_PX));
            }
            data.extend_from_slice(&panel.data[3 * y * panel.width..3 * (y + 1) * panel.width]);
        }
    }
    RgbImage { width, height, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_images_are_enlarged_and_every_layer_has_a_panel() {
        let image = RgbImage::new(128, 64, vec![10; 3 * 128 * 64]).unwrap();
        let mut labels = Plane::filled(128, 64, 0);
        for y in 10..20 {
            labels.row_mut(y)[10..30].fill(1);
        }
        let mut scribble = Plane::filled(128, 64, 250);
        (scribble.row_mut(0)[0], scribble.row_mut(0)[1]) = (BACKGROUND, FOREGROUND);
        let layers = Layers { image: &image, scribble: Some(&scribble), pseudo: None, prediction: Some(&labels), truth: Some(&labels) };
        let picture = panels(&layers);
        assert_eq!((picture.width, picture.height), (4 * 512 + 3 * 2, 256));
        let panel = |i: usize, x: usize, y: usize| picture.at(i * 514 + x, y);
        assert_eq!(panel(0, 0, 0), [10; 3]);
        assert_eq!((panel(1, 3, 3), panel(1, 4, 0), panel(1, 8, 0)), (BACKGROUND_COLOUR, NUCLEUS_COLOUR, [10; 3]));
        assert_eq!((panel(2, 40, 40), panel(2, 41, 41), panel(2, 39, 40)), (PREDICTION_COLOUR, [10; 3], [10; 3]));
        assert_eq!((panel(3, 119, 79), panel(3, 120, 79)), (TRUTH_COLOUR, [10; 3]));
        assert_eq!(picture.at(512, 9), SEPARATOR_COLOUR);
    }

    #[test]
    fn large_images_keep_their_size_and_tiny_ones_are_enlarged_up_to_the_limit() {
        for (width, height, factor) in [(300, 400, 1), (1, 1, 8), (50, 300, 6)] {
            let image = RgbImage::new(width, height, vec![0; 3 * width * height]).unwrap();
            let labels = Plane::filled(width, height, 1);
            let picture = panels(&Layers { image: &image, scribble: None, pseudo: None, prediction: Some(&labels), truth: None });
            assert_eq!((picture.width, picture.height), (2 * factor * width + 2, factor * height));
        }
    }
}
