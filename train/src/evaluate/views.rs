//! Predictions averaged over views of an image: as it is, flipped, turned by 90 degrees.

use std::sync::atomic::{AtomicBool, Ordering};

use models::plane::Plane;
use support::Result;

use super::probabilities;
use crate::config::Views;
use crate::data::RgbImage;
use crate::network::Network;

/// A symmetry of the square: rows and columns exchanged or not, then each axis reversed or not.
#[derive(Clone, Copy)]
struct View {
    transposed: bool,
    reversed_x: bool,
    reversed_y: bool,
}

impl View {
    fn all(views: Views) -> Vec<Self> {
        let of = |transposed| {
            [(false, false), (true, false), (false, true), (true, true)].map(|(reversed_x, reversed_y)| Self {
                transposed,
                reversed_x,
                reversed_y,
            })
        };
        match views {
            Views::One => of(false)[..1].to_vec(),
            Views::Flips => of(false).to_vec(),
            Views::All => [of(false), of(true)].concat(),
        }
    }

    /// For each pixel of the view, row by row, the index of the pixel of the image that it shows.
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

    fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.transposed { (height, width) } else { (width, height) }
    }
}

/// Probabilities of nucleus for every pixel of an image.
pub struct Prediction {
    /// Of the image as it is: what `infer` computes on slides.
    pub one: Plane<f32>,
    /// The mean over the views.
    pub mean: Plane<f32>,
}

/// Probability of nucleus for every pixel, the mean over the views. Each view is padded by itself, as in [`probabilities`].
pub fn averaged_probabilities(network: &Network, image: &RgbImage, views: Views) -> Result<Plane<f32>> {
    let all = predict_unless(network, image, views, &AtomicBool::new(false))?;
    Ok(all.expect("nothing asks it to stop").mean)
}

/// [`averaged_probabilities`] and those of the image as it is, or `None` if `stop` came before the last view.
pub fn predict_unless(network: &Network, image: &RgbImage, views: Views, stop: &AtomicBool) -> Result<Option<Prediction>> {
    let one = probabilities(network, image)?;
    let all = View::all(views);
    let mut sum = one.clone();
    for view in &all[1..] {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let sources = view.sources(image.width, image.height);
        let pixels = image.data.as_chunks::<3>().0;
        let (width, height) = view.size(image.width, image.height);
        let seen = RgbImage { width, height, data: sources.iter().flat_map(|&i| pixels[i]).collect() };
        let p = probabilities(network, &seen)?;
        sources.iter().zip(&p.data).for_each(|(&i, p)| sum.data[i] += p);
    }
    let n = all.len() as f32;
    Ok(Some(Prediction { one, mean: sum.map(|p| p / n) }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::network::initial_weights;
    use crate::network::kernels::Cpu;
    use crate::rng::CounterRng;

    fn shown(image: &RgbImage, view: View) -> RgbImage {
        let (width, height) = view.size(image.width, image.height);
        let pixels = image.data.as_chunks::<3>().0;
        RgbImage { width, height, data: view.sources(image.width, image.height).iter().flat_map(|&i| pixels[i]).collect() }
    }

    #[test]
    fn there_are_1_4_and_8_views_and_all_differ() {
        let image = RgbImage::new(3, 2, (0..18).collect()).unwrap();
        for (views, count) in [(Views::One, 1), (Views::Flips, 4), (Views::All, 8)] {
            let seen: std::collections::BTreeSet<_> =
                View::all(views).into_iter().map(|view| shown(&image, view)).map(|i| (i.width, i.data)).collect();
            assert_eq!(seen.len(), count);
        }
    }

    #[test]
    fn a_turned_image_gets_the_turned_prediction() {
        let config = models::unet::UNetConfig { encoder_width: 4, decoder_channels: [4; 5], ..models::unet::UNetConfig::default() };
        let graph = models::unet::unet(&config);
        let network = Network::new(graph.clone(), &initial_weights(&graph, 3), Arc::new(Cpu::default())).unwrap();
        let mut draw = CounterRng::new(1, "noise", 0, 0, 0);
        let image = RgbImage::new(40, 33, (0..3 * 40 * 33).map(|_| draw.below(256) as u8).collect()).unwrap();
        let straight = averaged_probabilities(&network, &image, Views::All).unwrap();
        let single = probabilities(&network, &image).unwrap();
        for view in View::all(Views::All) {
            let turned = averaged_probabilities(&network, &shown(&image, view), Views::All).unwrap();
            for (&i, p) in view.sources(40, 33).iter().zip(&turned.data) {
                assert!((straight.data[i] - p).abs() < 1e-5, "{} {p}", straight.data[i]);
            }
        }
        let moved = straight.data.iter().zip(&single.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(moved > 1e-3, "the network itself is not symmetric, so the mean must differ: {moved}");
    }
}
