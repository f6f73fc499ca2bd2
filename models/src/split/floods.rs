//! Sets of pixels that grow downwards from the peaks of a distance map, and the rule by which two that meet become one.

use super::Split;
use crate::distance::UNITS;
use crate::plane::Plane;

/// [`Split`] in the units of distances.
pub struct Rule {
    /// In 1 / 1024.
    neck: u32,
    depth: u32,
    radius: u32,
}

impl Rule {
    /// The rule of some options.
    pub fn of(split: &Split) -> Self {
        let whole = |value: f64| value.clamp(0.0, 1e6).round() as u32;
        let units = f64::from(UNITS);
        Self { neck: whole(split.neck * 1024.0), depth: whole(split.depth_px * units), radius: whole(split.radius_px * units) }
    }

    /// Whether a nucleus of half-width `peak` stays apart from a wider one behind a neck of half-width `height`.
    fn keeps_apart(&self, peak: u16, height: u16) -> bool {
        let (peak, height) = (u32::from(peak), u32::from(height));
        peak >= self.radius && peak - height >= self.depth && height * 1024 <= peak * self.neck
    }
}

/// Sets of pixels that grow from peaks; number 0 is no flood.
pub struct Floods {
    /// The flood that a flood was merged into; itself otherwise.
    parent: Vec<u32>,
    /// The highest distance in each.
    peak: Vec<u16>,
}

impl Default for Floods {
    fn default() -> Self {
        Self { parent: vec![0], peak: vec![0] }
    }
}

impl Floods {
    /// A new flood around a peak; its number.
    pub fn start(&mut self, peak: u16) -> u32 {
        let number = self.parent.len() as u32;
        self.parent.push(number);
        self.peak.push(peak);
        number
    }

    /// Different floods next to a pixel; the one at the highest neighbour, the first of them in raster order, leads.
    pub fn around(&mut self, labels: &Plane<u32>, distance: &Plane<u16>, pixel: usize) -> ([u32; 8], usize) {
        let (width, height) = (labels.width, labels.height);
        let (x, y) = ((pixel as u32 % width as u32) as usize, (pixel as u32 / width as u32) as usize);
        let (mut found, mut count, mut best) = ([0; 8], 0, 0);
        // The number of the neighbour before, and where its flood stands in `found`.
        let mut before = (0, 0);
        for ny in y.saturating_sub(1)..(y + 2).min(height) {
            for n in ny * width + x.saturating_sub(1)..ny * width + (x + 2).min(width) {
                let number = labels.data[n];
                if number == 0 {
                    continue;
                }
                if number != before.0 {
                    let flood = self.find(number);
                    let at = found[..count].iter().position(|&other| other == flood).unwrap_or(count);
                    found[at] = flood;
                    count = count.max(at + 1);
                    before = (number, at);
                }
                if distance.data[n] > best {
                    best = distance.data[n];
                    found.swap(0, before.1);
                    before.1 = 0;
                }
            }
        }
        (found, count)
    }

    /// Two floods meet at `height`: both are one from now on, or stay apart.
    pub fn meet(&mut self, own: u32, other: u32, height: u16, rule: &Rule) {
        let (own, other) = (self.find(own), self.find(other));
        let (high, low) = if self.peak[own as usize] >= self.peak[other as usize] { (own, other) } else { (other, own) };
        if own != other && !rule.keeps_apart(self.peak[low as usize], height) {
            self.parent[low as usize] = high;
        }
    }

    /// The flood that a flood is part of by now.
    pub fn find(&mut self, mut flood: u32) -> u32 {
        while self.parent[flood as usize] != flood {
            let above = self.parent[self.parent[flood as usize] as usize];
            self.parent[flood as usize] = above;
            flood = above;
        }
        flood
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_that_meet_high_become_one_and_others_stay_apart() {
        let rule = Rule::of(&Split::default());
        let [wide, narrow] = [9, 6].map(|px| px * UNITS as u16);
        let met_at = |height: u16| {
            let mut floods = Floods::default();
            let (a, b) = (floods.start(narrow), floods.start(wide));
            floods.meet(a, b, height, &rule);
            [a, b].map(|flood| floods.find(flood))
        };
        assert_eq!(met_at(narrow * 3 / 4), [1, 2]);
        assert_eq!(met_at(narrow * 9 / 10), [2, 2], "the narrower one becomes part of the wider one");
    }
}
