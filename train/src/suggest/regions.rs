//! Ranked list of square regions that do not overlap, from the need per pixel.

use models::plane::Plane;
use serde::{Deserialize, Serialize};

use super::Need;
use crate::scribble::UNLABELLED;

/// Square region of an image, clipped at the border, with means over its pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Region {
    /// Id of the image.
    pub id: String,
    /// Left column in pixels.
    pub x: usize,
    /// Upper row in pixels.
    pub y: usize,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Mean need, 0 to 1.
    pub need: f64,
    /// Fraction of pixels whose averaged prediction is too uncertain for a pseudo-label.
    pub unsure: f64,
    /// Mean absolute difference between the averaged and the current prediction.
    pub disagreement: f64,
    /// Mean distance to the nearest stroke in units of [`super::FAR_PX`], at most 1.
    pub untouched: f64,
}

/// Picks up to `count` squares of `side` pixels in descending order of need, greedily and without overlap. Candidates are half a side
/// apart. Ties are resolved by id, row and column.
pub fn ranked(needs: &[Need], side: usize, count: usize) -> Vec<Region> {
    let mut all: Vec<Region> = needs.iter().flat_map(|need| candidates(need, side)).collect();
    all.sort_by(|a, b| b.need.total_cmp(&a.need).then_with(|| (&a.id, a.y, a.x).cmp(&(&b.id, b.y, b.x))));
    let mut chosen: Vec<Region> = Vec::new();
    for region in all {
        if chosen.len() == count {
            break;
        }
        if region.need > 0.0 && chosen.iter().all(|other| !overlap(other, &region)) {
            chosen.push(region);
        }
    }
    chosen
}

/// Lists the squares on a grid of half a side, with the last ones moved to the border.
fn candidates(need: &Need, side: usize) -> Vec<Region> {
    let (width, height) = (need.total.width, need.total.height);
    let starts = |length: usize| (0..=length.saturating_sub(side)).step_by((side / 2).max(1)).chain([length.saturating_sub(side)]);
    let mut places: Vec<(usize, usize)> = starts(height).flat_map(|y| starts(width).map(move |x| (x, y))).collect();
    places.sort_unstable();
    places.dedup();
    let of = |(x, y)| {
        let (columns, rows) = (side.min(width), side.min(height));
        let mean = |plane: &Plane<f32>| {
            let sum: f64 = (y..y + rows).flat_map(|row| &plane.row(row)[x..x + columns]).map(|v| f64::from(*v)).sum();
            sum / (columns * rows) as f64
        };
        let [total, unsure, disagreement, untouched] = [&need.total, &need.unsure, &need.disagreement, &need.untouched].map(mean);
        Region { id: need.id.clone(), x, y, width: columns, height: rows, need: total, unsure, disagreement, untouched }
    };
    places.into_iter().map(of).collect()
}

fn overlap(a: &Region, b: &Region) -> bool {
    a.id == b.id && a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

/// Computes the chessboard distance of every pixel to the nearest stroke, at most `limit`.
pub(super) fn distances(scribble: &Plane<u8>, limit: usize) -> Plane<usize> {
    let (width, height) = (scribble.width, scribble.height);
    let mut distance = scribble.map(|&v| if v == UNLABELLED { limit } else { 0 });
    let relax = |distance: &mut Plane<usize>, x: usize, y: usize, neighbours: [(isize, isize); 4]| {
        for (dx, dy) in neighbours {
            let (nx, ny) = (x.wrapping_add_signed(dx), y.wrapping_add_signed(dy));
            if nx < width && ny < height {
                let via_neighbour = distance.at(nx, ny) + 1;
                let own = &mut distance.row_mut(y)[x];
                *own = via_neighbour.min(*own);
            }
        }
    };
    // A forward and a backward pass are exact for the chessboard distance (Rosenfeld and Pfaltz, J. ACM 1966).
    for y in 0..height {
        (0..width).for_each(|x| relax(&mut distance, x, y, [(-1, -1), (0, -1), (1, -1), (-1, 0)]));
    }
    for y in (0..height).rev() {
        (0..width).rev().for_each(|x| relax(&mut distance, x, y, [(1, 1), (0, 1), (-1, 1), (1, 0)]));
    }
    distance
}

#[cfg(test)]
mod tests {
    use super::super::need;
    use super::*;

    #[test]
    fn distances_are_chessboard_distances() {
        let mut scribble = Plane::filled(9, 7, UNLABELLED);
        (scribble.row_mut(2)[3], scribble.row_mut(6)[8]) = (1, 0);
        let found = distances(&scribble, 5);
        for y in 0..7isize {
            for x in 0..9isize {
                let to = |px: isize, py: isize| (x - px).abs().max((y - py).abs()) as usize;
                assert_eq!(found.at(x as usize, y as usize), to(3, 2).min(to(8, 6)).min(5), "{x} {y}");
            }
        }
    }

    #[test]
    fn the_most_uncertain_region_comes_first_and_regions_do_not_overlap() {
        let scribble = Plane::filled(100, 60, UNLABELLED);
        let mut averaged = Plane::filled(100, 60, 0.01f32);
        for y in 20..40 {
            averaged.row_mut(y)[60..80].fill(0.5);
        }
        let needs = [
            need("a", &scribble, &averaged, &averaged, 0.8),
            need("b", &scribble, &Plane::filled(100, 60, 0.0), &Plane::filled(100, 60, 0.0), 0.8),
        ];
        let found = ranked(&needs, 20, 100);
        assert_eq!((found[0].id.as_str(), found[0].x, found[0].y, found[0].unsure), ("a", 60, 20, 1.0));
        assert!(found.windows(2).all(|pair| pair[0].need >= pair[1].need));
        for (i, a) in found.iter().enumerate() {
            assert!(found[..i].iter().all(|b| !overlap(a, b)));
        }
        assert_eq!(found.len(), 30);
        assert_eq!(ranked(&needs, 20, 3).len(), 3);
    }

    #[test]
    fn scribbled_pixels_have_no_need_and_a_small_image_is_one_region() {
        let mut scribble = Plane::filled(10, 8, 0);
        let flat = Plane::filled(10, 8, 0.5f32);
        assert_eq!(ranked(&[need("a", &scribble, &flat, &flat, 0.8)], 64, 5), []);
        scribble.row_mut(0)[0] = UNLABELLED;
        let found = ranked(&[need("a", &scribble, &flat, &flat, 0.8)], 64, 5);
        assert_eq!((found.len(), found[0].width, found[0].height), (1, 10, 8));
    }
}
