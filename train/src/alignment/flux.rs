//! How much of an image's change flows through the contours of a probability map, at every level.
//!
//! Gauss: the flux of a gradient through a closed contour is the sum of the Laplacian over what it encloses. So no contour is followed: the
//! Laplacian is summed over the pixels of every level. The flux is most where the contour runs along zero crossings of the Laplacian, which is
//! what Marr and Hildreth (1980) call an edge (Kimmel and Bruckstein, *Regularized Laplacian zero crossings as optimal edge integrators*,
//! IJCV 2003). Unlike the magnitude of the gradient it has a sign: texture inside of nuclei or of the ground cancels out.

use models::plane::Plane;

use super::Density;

/// For one image, of `p >= level` for every level: the flux through its contours, and their length in pixels.
pub struct Flux {
    pub(super) through: [f64; 256],
    pub(super) length: [i64; 256],
}

impl Flux {
    /// A pixel lies on the contour of a mask if it belongs to it and one of its four neighbours does not; the border of the image is no
    /// contour. `levels` are quantised probabilities, of the size of the image. The flux counts from what is likelier nucleus to what is
    /// likelier ground, whichever of the two is denser in this image.
    pub fn of(levels: &Plane<u8>, density: &Density) -> Self {
        let (w, h) = (levels.width, levels.height);
        assert_eq!((w, h), (density.0.width, density.0.height), "probabilities and density of one image");
        let mut flux = Self { through: [0.0; 256], length: [0; 256] };
        for y in 0..h {
            let [above, row, below] = [y.saturating_sub(1), y, (y + 1).min(h - 1)].map(|y| levels.row(y));
            for x in 0..w {
                let lowest = above[x].min(below[x]).min(row[x.saturating_sub(1)]).min(row[(x + 1).min(w - 1)]);
                flux.through[usize::from(row[x])] += f64::from(density.bulge(x, y));
                // On the contours of the levels above its lowest neighbour's, up to its own.
                flux.length[usize::from(row[x])] += 1;
                flux.length[usize::from(lowest.min(row[x]))] -= 1;
            }
        }
        let sign = if nuclei_are_denser(levels, density) { 1.0 } else { -1.0 };
        for level in (0..255).rev() {
            flux.through[level] += flux.through[level + 1];
            flux.length[level] += flux.length[level + 1];
        }
        flux.through.iter_mut().for_each(|flux| *flux *= sign);
        flux
    }
}

/// Whether density is higher where nuclei are likelier: the sign of their covariance.
fn nuclei_are_denser(levels: &Plane<u8>, density: &Density) -> bool {
    let mean = levels.data.iter().map(|&level| f64::from(level)).sum::<f64>() / levels.data.len().max(1) as f64;
    levels.data.iter().zip(&density.0.data).map(|(&level, &value)| (f64::from(level) - mean) * f64::from(value)).sum::<f64>() >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    /// Gauss, pixel by pixel: what the density falls by from each pixel of a mask to each of its neighbours outside.
    #[test]
    fn the_flux_is_what_the_density_falls_by_across_the_contour() {
        let mut draw = CounterRng::new(3, "contours", 0, 0, 0);
        let levels = Plane { width: 13, height: 9, data: (0..13 * 9).map(|_| draw.below(256) as u8).collect() };
        let density = Density(levels.map(|_| draw.below(100) as f32));
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
            assert_eq!((flux.length[usize::from(level)], flux.through[usize::from(level)]), (length, sign * sum), "{level}");
        }
    }

    /// Where it is likelier that there is a nucleus the image may be the denser one or the other.
    #[test]
    fn the_flux_counts_from_nucleus_to_ground() {
        let levels = Plane { width: 6, height: 1, data: vec![10, 10, 10, 200, 200, 200] };
        for denser in [1.0, -1.0] {
            let density = Density(levels.map(|&level| if level > 100 { denser } else { 0.0 }));
            assert_eq!(Flux::of(&levels, &density).through[128], 1.0, "{denser}");
        }
    }
}
