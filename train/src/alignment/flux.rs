//! Flux of the density gradient through the contours of a probability map, at every level.
//!
//! By the divergence theorem (Gauss), the flux of a gradient through a closed contour is the integral of the Laplacian over the enclosed
//! area. No contour has to be traced: summing the Laplacian over the pixels of each level gives the flux of all levels. The flux is largest
//! if the contour runs along zero crossings of the Laplacian, the edges of Marr and Hildreth, 1980 (Kimmel and Bruckstein, *Regularized
//! Laplacian zero crossings as optimal edge integrators*, IJCV 2003). Unlike the gradient magnitude the flux is signed, so that texture
//! inside nuclei or background cancels out.

use models::plane::Plane;

use super::Density;

/// Flux statistics of one image for the masks `p >= level` of all 256 levels: flux through the contours, and their length in pixels.
pub struct Flux {
    /// Sum of the flux through the contours, positive from nucleus to background.
    pub(super) flux: [f64; 256],
    /// Number of contour pixels.
    pub(super) length: [i64; 256],
}

impl Flux {
    /// Accumulates the statistics of all levels in one pass over the image.
    ///
    /// A pixel lies on the contour of a mask if the mask contains the pixel but not all of its four neighbours; the image border is no
    /// contour. `levels` are quantised probabilities (`round(255 p)`), of the size of the image. The sign of the flux is chosen such that
    /// flux from nuclei to background is positive, whichever of the two is denser in this image.
    pub fn of(levels: &Plane<u8>, density: &Density) -> Self {
        let (w, h) = (levels.width, levels.height);
        assert_eq!((w, h), (density.0.width, density.0.height), "probabilities and density of one image");
        let mut sums = Self { flux: [0.0; 256], length: [0; 256] };
        for y in 0..h {
            let [above, row, below] = [y.saturating_sub(1), y, (y + 1).min(h - 1)].map(|y| levels.row(y));
            for x in 0..w {
                let lowest_neighbour = above[x].min(below[x]).min(row[x.saturating_sub(1)]).min(row[(x + 1).min(w - 1)]);
                sums.flux[usize::from(row[x])] += f64::from(density.negative_laplacian(x, y));
                // The pixel is on the contours of all levels above its lowest neighbour's level, up to its own.
                sums.length[usize::from(row[x])] += 1;
                sums.length[usize::from(lowest_neighbour.min(row[x]))] -= 1;
            }
        }
        let sign = if nuclei_are_denser(levels, density) { 1.0 } else { -1.0 };
        for level in (0..255).rev() {
            sums.flux[level] += sums.flux[level + 1];
            sums.length[level] += sums.length[level + 1];
        }
        sums.flux.iter_mut().for_each(|flux| *flux *= sign);
        sums
    }
}

/// Reports whether the density is higher in nuclei than in background: the sign of the covariance of density and probability.
fn nuclei_are_denser(levels: &Plane<u8>, density: &Density) -> bool {
    let mean = levels.data.iter().map(|&level| f64::from(level)).sum::<f64>() / levels.data.len().max(1) as f64;
    levels.data.iter().zip(&density.0.data).map(|(&level, &value)| (f64::from(level) - mean) * f64::from(value)).sum::<f64>() >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    /// Sums the fall of the density from each pixel of a mask to each of its neighbours outside the mask.
    #[test]
    fn the_flux_is_the_fall_of_the_density_across_the_contour() {
        let mut rng = CounterRng::new(3, "contours", 0, 0, 0);
        let levels = Plane { width: 13, height: 9, data: (0..13 * 9).map(|_| rng.below(256) as u8).collect() };
        let density = Density(levels.map(|_| rng.below(100) as f32));
        let flux = Flux::of(&levels, &density);
        let sign = if nuclei_are_denser(&levels, &density) { 1.0 } else { -1.0 };
        for level in [1, 60, 128, 200, 255u8] {
            let (mut length, mut sum) = (0, 0.0);
            for (x, y) in (0..13usize).flat_map(|x| (0..9usize).map(move |y| (x, y))).filter(|&(x, y)| levels.at(x, y) >= level) {
                let mut is_on_contour = false;
                for (dx, dy) in [(1, 0), (-1, 0), (0, 1), (0, -1)] {
                    let (to_x, to_y) = (x.wrapping_add_signed(dx), y.wrapping_add_signed(dy));
                    if to_x < 13 && to_y < 9 && levels.at(to_x, to_y) < level {
                        is_on_contour = true;
                        sum += f64::from(density.0.at(x, y) - density.0.at(to_x, to_y));
                    }
                }
                length += i64::from(is_on_contour);
            }
            assert_eq!((flux.length[usize::from(level)], flux.flux[usize::from(level)]), (length, sign * sum), "{level}");
        }
    }

    #[test]
    fn flux_from_nucleus_to_background_is_positive_for_both_contrast_polarities() {
        let levels = Plane { width: 6, height: 1, data: vec![10, 10, 10, 200, 200, 200] };
        for denser in [1.0, -1.0] {
            let density = Density(levels.map(|&level| if level > 100 { denser } else { 0.0 }));
            assert_eq!(Flux::of(&levels, &density).flux[128], 1.0, "{denser}");
        }
    }
}
