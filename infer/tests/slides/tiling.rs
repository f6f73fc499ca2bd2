//! Windows with the exact halo give the result of the whole image, bit for bit, with a network of known reach.

use infer::network::Network;
use infer::tile::{TileGrid, Windows};
use support::Result;

use crate::random::Random;

/// Network of stride 2: pooling by 2 and an integer stencil with zero padding, so that results depend on the position in the window.
pub struct Stencil {
    /// Radius of the stencil; its side at half resolution is `2 * radius + 1`.
    pub radius: usize,
}

impl Stencil {
    /// Returns the reach in pixels: 2 for the pooled pair, and `2 radius` for the stencil at half resolution.
    pub fn reach(&self) -> usize {
        2 * self.radius + 2
    }

    fn predict(&self, image: &[u8], height: usize, width: usize) -> Vec<u8> {
        let (h, w) = (height / 2, width / 2);
        let pooled = |x: usize, y: usize| {
            let pixel = |dx: usize, dy: usize| -> u32 {
                let at = ((2 * y + dy) * width + 2 * x + dx) * 3;
                u32::from(image[at]) + 3 * u32::from(image[at + 1]) + 7 * u32::from(image[at + 2])
            };
            pixel(0, 0) + 2 * pixel(1, 0) + 5 * pixel(0, 1) + 11 * pixel(1, 1)
        };
        let coarse: Vec<u32> = (0..h * w).map(|i| pooled(i % w, i / w)).collect();
        let r = self.radius as isize;
        let stencil = |x: usize, y: usize| {
            let mut sum = 1u32;
            for dy in -r..=r {
                for dx in -r..=r {
                    let (sx, sy) = (x as isize + dx, y as isize + dy);
                    let inside = sx >= 0 && sy >= 0 && sx < w as isize && sy < h as isize;
                    let value = if inside { coarse[sy as usize * w + sx as usize] } else { 0 };
                    sum = sum.wrapping_mul(31).wrapping_add(value);
                }
            }
            sum
        };
        let features: Vec<u32> = (0..h * w).map(|i| stencil(i % w, i / w)).collect();
        let output = |x: usize, y: usize| (features[y / 2 * w + x / 2] ^ u32::from(image[(y * width + x) * 3])) as u8;
        (0..height * width).map(|i| output(i % width, i / width)).collect()
    }
}

impl Network for Stencil {
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>> {
        assert_eq!(images.len(), batch * height * width * 3);
        Ok(images.chunks_exact(height * width * 3).flat_map(|image| self.predict(image, height, width)).collect())
    }
}

#[test]
fn windows_with_the_reach_as_halo_equal_the_whole_image() {
    let mut random = Random(3);
    for round in 0..60 {
        let mut network = Stencil { radius: random.between(0, 3) };
        let (width, height) = (random.between(1, 40) * 2, random.between(1, 40) * 2);
        let (halo, stride) = (network.reach(), 2);
        let windows = if round % 2 == 0 { Windows::OneSize } else { Windows::Long };
        let tile = 2 * halo.next_multiple_of(2) + 2 * random.between(2, 8);
        let image = random.bytes(width * height * 3);
        let whole = network.predict(&image, height, width);
        let grid = TileGrid::new([width, height], stride, tile, halo, windows).unwrap();
        let bands = (0..grid.bands().len()).map(|band| (band * grid.columns()..(band + 1) * grid.columns()).collect::<Vec<_>>());
        // Windows are merged to whole bands, which are short here, or stay separate.
        let groups = |band: Vec<usize>| if round % 4 == 3 { band.iter().map(|i| *i..i + 1).collect() } else { grid.groups(&band) };
        for (i, group) in bands.flat_map(groups).enumerate() {
            let window = grid.merged(&group);
            let (w, h) = (window.x.length, window.y.length);
            let rows = (window.y.read..window.y.read + h).flat_map(|y| {
                let at = (y * width + window.x.read) * 3;
                image[at..at + w * 3].to_vec()
            });
            let prediction = network.quantised(&rows.collect::<Vec<_>>(), 1, h, w).unwrap();
            for y in window.y.core..window.y.core + window.y.core_length {
                let (from, to) = ((y - window.y.read) * w + window.x.core - window.x.read, y * width + window.x.core);
                let n = window.x.core_length;
                assert_eq!(prediction[from..from + n], whole[to..to + n], "round {round}: window {i} row {y}");
            }
        }
    }
}
