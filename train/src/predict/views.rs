//! Test-time augmentation: predictions averaged over views of an image, as it is, flipped, and rotated by 90 degrees.

use std::sync::atomic::{AtomicBool, Ordering};

use models::plane::Plane;
use support::Result;

use super::Predictor;
use crate::config::Views;
use crate::data::RgbImage;

/// View of an image, one of the eight symmetries of the square: transposed or not, then each axis reversed or not.
#[derive(Clone, Copy)]
struct View {
    transposed: bool,
    reversed_x: bool,
    reversed_y: bool,
}

impl View {
    /// Lists the views; the first is the image as it is.
    fn all(views: Views) -> Vec<Self> {
        let reversals = |transposed| {
            [(false, false), (true, false), (false, true), (true, true)].map(|(reversed_x, reversed_y)| Self {
                transposed,
                reversed_x,
                reversed_y,
            })
        };
        match views {
            Views::One => reversals(false)[..1].to_vec(),
            Views::Flips => reversals(false).to_vec(),
            Views::All => [reversals(false), reversals(true)].concat(),
        }
    }

    /// Returns the index of the source pixel in the image for each pixel of the view, row by row.
    fn sources(self, width: usize, height: usize) -> Vec<usize> {
        let (columns, rows) = self.size(width, height);
        let source = |x: usize, y: usize| {
            let (x, y) = if self.transposed { (y, x) } else { (x, y) };
            let x = if self.reversed_x { width - 1 - x } else { x };
            let y = if self.reversed_y { height - 1 - y } else { y };
            y * width + x
        };
        (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y))).map(|(x, y)| source(x, y)).collect()
    }

    /// Returns width and height of the view.
    fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.transposed { (height, width) } else { (width, height) }
    }
}

/// Probability of nucleus for every pixel of an image.
pub struct Prediction {
    /// Prediction of a single view, the image as it is, as `infer` computes on slides.
    pub single: Plane<f32>,
    /// Mean over the views, each mapped back to the image.
    pub mean: Plane<f32>,
}

/// Computes the mean probability of nucleus over the views for every pixel. Each view is padded separately, as in [`Predictor::probabilities`].
pub fn averaged_probabilities(predictor: &mut Predictor<'_>, image: &RgbImage, views: Views) -> Result<Plane<f32>> {
    let prediction = predict_unless(predictor, image, views, &AtomicBool::new(false))?;
    Ok(prediction.expect("the stop flag is never set").mean)
}

/// Computes the prediction of the single view and the mean over all views; `None` if `stop` becomes true before the last view.
pub fn predict_unless(predictor: &mut Predictor<'_>, image: &RgbImage, views: Views, stop: &AtomicBool) -> Result<Option<Prediction>> {
    let single = predictor.probabilities(image)?;
    let all = View::all(views);
    let mut sum = single.clone();
    for view in &all[1..] {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let sources = view.sources(image.width, image.height);
        let pixels = image.data.as_chunks::<3>().0;
        let (width, height) = view.size(image.width, image.height);
        let viewed = RgbImage { width, height, data: sources.iter().flat_map(|&i| pixels[i]).collect() };
        let p = predictor.probabilities(&viewed)?;
        sources.iter().zip(&p.data).for_each(|(&i, p)| sum.data[i] += p);
    }
    let n = all.len() as f32;
    Ok(Some(Prediction { single, mean: sum.map(|p| p / n) }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::network::kernels::Cpu;
    use crate::network::{Network, initial_weights};
    use crate::rng::CounterRng;

    fn transformed(image: &RgbImage, view: View) -> RgbImage {
        let (width, height) = view.size(image.width, image.height);
        let pixels = image.data.as_chunks::<3>().0;
        RgbImage { width, height, data: view.sources(image.width, image.height).iter().flat_map(|&i| pixels[i]).collect() }
    }

    #[test]
    fn view_sets_have_1_4_and_8_distinct_views() {
        let image = RgbImage::new(3, 2, (0..18).collect()).unwrap();
        for (views, count) in [(Views::One, 1), (Views::Flips, 4), (Views::All, 8)] {
            let seen: std::collections::BTreeSet<_> =
                View::all(views).into_iter().map(|view| transformed(&image, view)).map(|i| (i.width, i.data)).collect();
            assert_eq!(seen.len(), count);
        }
    }

    #[test]
    fn the_mean_over_all_views_is_equivariant_to_each_view() {
        let config = models::unet::UNetConfig { encoder_width: 4, decoder_channels: [4; 5], ..models::unet::UNetConfig::default() };
        let graph = models::unet::unet(&config);
        let network = Network::new(graph.clone(), &initial_weights(&graph, 3), Arc::new(Cpu::default())).unwrap();
        let mut draw = CounterRng::new(1, "noise", 0, 0, 0);
        let image = RgbImage::new(40, 33, (0..3 * 40 * 33).map(|_| draw.below(256) as u8).collect()).unwrap();
        let mut predictor = Predictor::new(&network).unwrap();
        let original = averaged_probabilities(&mut predictor, &image, Views::All).unwrap();
        let single = predictor.probabilities(&image).unwrap();
        for view in View::all(Views::All) {
            let of_view = averaged_probabilities(&mut predictor, &transformed(&image, view), Views::All).unwrap();
            for (&i, p) in view.sources(40, 33).iter().zip(&of_view.data) {
                assert!((original.data[i] - p).abs() < 1e-5, "{} {p}", original.data[i]);
            }
        }
        let moved = original.data.iter().zip(&single.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(moved > 1e-3, "the network is not equivariant, so the mean differs from a single view: {moved}");
    }
}
