//! Catchment basins of the watershed: sets of pixels that grow downwards from the peaks of a distance map, stored as a union-find forest,
//! and the rule for merging two basins that meet.

use super::Split;
use crate::distance::UNITS;
use crate::plane::Plane;

/// Merge rule: [`Split`] in integer units.
pub struct MergeRule {
    /// Largest ratio of the neck's width to the nucleus' width, in 1 / 1024.
    neck: u32,
    /// Smallest difference of the half-widths, in [`UNITS`].
    depth: u32,
    /// Smallest half-width of a nucleus, in [`UNITS`].
    radius: u32,
}

impl MergeRule {
    /// Converts the parameters.
    pub fn new(split: &Split) -> Self {
        let whole = |value: f64| value.clamp(0.0, 1e6).round() as u32;
        let units = f64::from(UNITS);
        Self { neck: whole(split.neck * 1024.0), depth: whole(split.depth_px * units), radius: whole(split.radius_px * units) }
    }

    /// Reports whether a nucleus of half-width `peak` stays separate from a wider one behind a neck of half-width `height`.
    fn keeps_separate(&self, peak: u16, height: u16) -> bool {
        let (peak, height) = (u32::from(peak), u32::from(height));
        peak >= self.radius && peak - height >= self.depth && height * 1024 <= peak * self.neck
    }
}

/// Basins by number; number 0 is no basin.
pub struct Basins {
    /// Basin that each basin was merged into, or its own number.
    parent: Vec<u32>,
    /// Largest distance in each basin.
    peak: Vec<u16>,
}

impl Default for Basins {
    fn default() -> Self {
        Self { parent: vec![0], peak: vec![0] }
    }
}

impl Basins {
    /// Starts a basin at a pixel of distance `peak` and returns its number.
    pub fn start(&mut self, peak: u16) -> u32 {
        let number = self.parent.len() as u32;
        self.parent.push(number);
        self.peak.push(peak);
        number
    }

    /// Lists the different basins in the 8-neighbourhood of a pixel and their number. The first is that of the neighbour with the largest
    /// distance; among equal neighbours the first in raster order counts.
    pub fn neighbours(&mut self, labels: &Plane<u32>, distance: &Plane<u16>, pixel: usize) -> ([u32; 8], usize) {
        let (width, height) = (labels.width, labels.height);
        let (x, y) = ((pixel as u32 % width as u32) as usize, (pixel as u32 / width as u32) as usize);
        let (mut found, mut count, mut best) = ([0; 8], 0, 0);
        // Number of the previous neighbour, and the position of its basin in `found`.
        let mut previous = (0, 0);
        for ny in y.saturating_sub(1)..(y + 2).min(height) {
            for n in ny * width + x.saturating_sub(1)..ny * width + (x + 2).min(width) {
                let number = labels.data[n];
                if number == 0 {
                    continue;
                }
                if number != previous.0 {
                    let basin = self.find(number);
                    let at = found[..count].iter().position(|&other| other == basin).unwrap_or(count);
                    found[at] = basin;
                    count = count.max(at + 1);
                    previous = (number, at);
                }
                if distance.data[n] > best {
                    best = distance.data[n];
                    found.swap(0, previous.1);
                    previous.1 = 0;
                }
            }
        }
        (found, count)
    }

    /// Merges two basins that meet at distance `height`, unless the rule keeps them separate.
    pub fn meet(&mut self, own: u32, other: u32, height: u16, rule: &MergeRule) {
        let (own, other) = (self.find(own), self.find(other));
        let (high, low) = if self.peak[own as usize] >= self.peak[other as usize] { (own, other) } else { (other, own) };
        if own != other && !rule.keeps_separate(self.peak[low as usize], height) {
            self.parent[low as usize] = high;
        }
    }

    /// Returns the root of a basin, with path halving.
    pub fn find(&mut self, mut basin: u32) -> u32 {
        while self.parent[basin as usize] != basin {
            let above = self.parent[self.parent[basin as usize] as usize];
            self.parent[basin as usize] = above;
            basin = above;
        }
        basin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basins_that_meet_at_a_wide_neck_merge_and_others_stay_separate() {
        let rule = MergeRule::new(&Split::default());
        let [wide, narrow] = [9, 6].map(|px| px * UNITS as u16);
        let met_at = |height: u16| {
            let mut basins = Basins::default();
            let (a, b) = (basins.start(narrow), basins.start(wide));
            basins.meet(a, b, height, &rule);
            [a, b].map(|basin| basins.find(basin))
        };
        assert_eq!(met_at(narrow * 3 / 4), [1, 2]);
        assert_eq!(met_at(narrow * 9 / 10), [2, 2], "the narrower basin is merged into the wider one");
    }
}
