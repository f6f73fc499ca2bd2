//! Nucleus in the slide's coordinates and units.

use crate::instances::Instance;
use crate::instances::boundary::{QUARTERS, Ring};
use crate::instances::shape::Shape;
use crate::tissue::region::Region;
use slides::scaled::Scale;

/// Conversion from positions at the model's scale to positions on the slide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Level-0 pixels per pixel at the model's scale, along x and y.
    pub slide_from_model: [f64; 2],
    /// Microns per level-0 pixel along x and y; `None` if the scale is unknown.
    pub microns_per_pixel: Option<[f64; 2]>,
    /// Origin of positions in outputs, in level-0 pixels.
    pub origin: [f64; 2],
    /// True if the slide is light, so that stains have an optical density; false for fluorescence.
    pub has_stains: bool,
}

impl Frame {
    /// Returns the frame of a slide that is read at `scale`, with positions relative to the level-0 pixel `origin`.
    pub fn new(scale: &Scale, origin: [f64; 2]) -> Self {
        let um = scale.effective_mpp.map(|mpp| [0, 1].map(|i| mpp[i] / scale.slide_from_model[i]));
        Self { slide_from_model: scale.slide_from_model, microns_per_pixel: um, origin, has_stains: true }
    }

    /// Converts a position at the model's scale to level-0 pixels from the origin.
    pub fn slide_from_model(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [x * self.slide_from_model[0] - self.origin[0], y * self.slide_from_model[1] - self.origin[1]]
    }

    /// Converts rings in quarters of a pixel at the model's scale to level-0 pixels from the origin.
    pub fn place(&self, rings: &[Ring]) -> Vec<Vec<[f64; 2]>> {
        let to_slide = |&[x, y]: &[i64; 2]| self.slide_from_model([x as f64 / QUARTERS as f64, y as f64 / QUARTERS as f64]);
        rings.iter().map(|ring| ring.iter().map(to_slide).collect()).collect()
    }

    /// Returns the sides of a pixel at the model's scale in µm, or in level-0 pixels if the scale is unknown.
    pub fn pixel_sides(&self) -> [f64; 2] {
        let um = self.microns_per_pixel.unwrap_or([1.0; 2]);
        [0, 1].map(|i| self.slide_from_model[i] * um[i])
    }

    /// Returns the unit of [`Frame::pixel_sides`]: `µm` or `px`.
    pub fn unit(&self) -> &'static str {
        if self.microns_per_pixel.is_some() { "µm" } else { "px" }
    }
}

/// Nucleus as it is written to files.
#[derive(Clone, Debug, PartialEq)]
pub struct Nucleus {
    /// Number from 1, in the order of the files.
    pub id: u64,
    /// Outer boundary, then holes, in level-0 pixels from the origin; the first vertex is not repeated.
    pub rings: Vec<Vec<[f64; 2]>>,
    /// Number of pixels at the model's scale, filled holes included.
    pub area_px: u64,
    /// Shape, with lengths in µm and areas in µm², or in level-0 pixels if the scale is unknown.
    pub shape: Shape,
    /// Unit of the lengths of `shape`: `µm`, or `px` if the scale is unknown.
    pub unit: &'static str,
    /// Centroid in level-0 pixels from the origin.
    pub centroid_px: [f64; 2],
    /// Left, top, right and bottom in level-0 pixels from the origin.
    pub box_px: [f64; 4],
    /// Mean probability of the pixels above the threshold.
    pub mean_probability: f64,
    /// Mean red, green and blue of the same pixels, 0 to 255.
    pub mean_rgb: [f64; 3],
    /// Mean optical density of hematoxylin in the same pixels, see [`models::colour::ColourSum::hematoxylin`]; `None` for fluorescence.
    pub hematoxylin: Option<f64>,
    /// True if the nucleus reaches the border of the image, so that a part may be missing.
    pub touches_border: bool,
}

impl Nucleus {
    /// Converts an instance to the frame of its slide.
    pub fn new(instance: &Instance, frame: &Frame) -> Self {
        let rings = frame.place(&instance.rings);
        let pixel = frame.pixel_sides();
        let shape = Shape::of(instance, pixel);
        let centroid_px = frame.slide_from_model([shape.centroid[0] / pixel[0], shape.centroid[1] / pixel[1]]);
        let smallest = |axis: usize| rings[0].iter().map(|vertex| vertex[axis]).fold(f64::INFINITY, f64::min);
        let largest = |axis: usize| rings[0].iter().map(|vertex| vertex[axis]).fold(f64::NEG_INFINITY, f64::max);
        Self {
            id: instance.id,
            area_px: instance.area_px(),
            shape,
            unit: frame.unit(),
            centroid_px,
            box_px: [smallest(0), smallest(1), largest(0), largest(1)],
            mean_probability: instance.mean_probability(),
            mean_rgb: instance.colour.mean_rgb(),
            hematoxylin: frame.has_stains.then(|| instance.colour.hematoxylin()),
            touches_border: instance.touches_border,
            rings,
        }
    }

    /// Returns the area in µm², or in square pixels of level 0 if the scale is unknown.
    pub fn area(&self) -> f64 {
        self.shape.area
    }

    /// Reports whether the centroid lies in a region; positions must be relative to the corner of level 0.
    pub fn centroid_in(&self, region: &Region) -> bool {
        region.contains(self.centroid_px)
    }
}
