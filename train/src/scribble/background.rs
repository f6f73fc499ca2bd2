//! Simulated background strokes: long smooth curves along the skeleton of the background.

use std::collections::VecDeque;

use models::plane::Plane;

use super::raster::{Point, WIDTH_PX, draw_segment, pixels_within};
use super::skeleton::skeleton;
use super::{BACKGROUND, UNLABELLED};
use crate::rng::CounterRng;

/// Smallest distance of strokes from nuclei, in pixels.
const CLEARANCE_PX: isize = 3;

/// Draws 1 to 3 curves with a length of 40 to 90 % of the mean image side, or less if the skeleton component is shorter.
pub(super) fn background_strokes(labels: &Plane<u32>, scribble: &mut Plane<u8>, rng: &mut CounterRng) {
    let allowed = clear_background(labels);
    let mut skeleton = skeleton(&allowed);
    for _ in 0..=rng.below(3) {
        let length = (rng.range(0.4, 0.9) * (labels.width + labels.height) as f64 / 2.0) as usize;
        let radius = rng.range(WIDTH_PX.0, WIDTH_PX.1) / 2.0;
        let path = random_path(&skeleton, length.max(1), rng);
        draw_clipped(&smoothed(&path), radius, &allowed, scribble);
        for (x, y) in path {
            skeleton.row_mut(y)[x] = false;
        }
    }
}

/// Returns the mask of background pixels at a distance of at least [`CLEARANCE_PX`] from every nucleus.
pub(super) fn clear_background(labels: &Plane<u32>) -> Plane<bool> {
    let mut clear = Plane::filled(labels.width, labels.height, true);
    for y in 0..labels.height {
        for x in 0..labels.width {
            if labels.at(x, y) > 0 {
                pixels_within(labels, x, y, CLEARANCE_PX * CLEARANCE_PX - 1).for_each(|(nx, ny)| clear.row_mut(ny)[nx] = false);
            }
        }
    }
    clear
}

/// Returns a random section of at most `length` pixels of a longest path through a random component of the skeleton.
///
/// As in the computation of a tree's diameter, a first search finds one end of the path, and a second one from there the other end.
fn random_path(skeleton: &Plane<bool>, length: usize, rng: &mut CounterRng) -> Vec<(usize, usize)> {
    let pixels: Vec<usize> = (0..skeleton.data.len()).filter(|&i| skeleton.data[i]).collect();
    if pixels.is_empty() {
        return Vec::new();
    }
    let one_end = *breadth_first(skeleton, pixels[rng.below(pixels.len())]).0.last().expect("the start is reached");
    let (reached, predecessors) = breadth_first(skeleton, one_end);
    let mut path = vec![*reached.last().expect("the start is reached")];
    while let Some(previous) = predecessors[path[path.len() - 1]] {
        path.push(previous);
    }
    let excess = path.len().saturating_sub(length);
    let start = rng.below(excess + 1);
    path[start..].iter().take(length).map(|i| (i % skeleton.width, i / skeleton.width)).collect()
}

/// Searches the 8-connected skeleton breadth-first; returns the pixels in the order of their discovery, and the predecessor of each pixel.
fn breadth_first(skeleton: &Plane<bool>, start: usize) -> (Vec<usize>, Vec<Option<usize>>) {
    let mut predecessors = vec![None; skeleton.data.len()];
    let mut seen = vec![false; skeleton.data.len()];
    seen[start] = true;
    let (mut queue, mut order) = (VecDeque::from([start]), Vec::new());
    while let Some(i) = queue.pop_front() {
        order.push(i);
        for (x, y) in pixels_within(skeleton, i % skeleton.width, i / skeleton.width, 2) {
            let next = y * skeleton.width + x;
            if skeleton.data[next] && !seen[next] {
                seen[next] = true;
                predecessors[next] = Some(i);
                queue.push_back(next);
            }
        }
    }
    (order, predecessors)
}

/// Smooths a path by a moving average over up to 15 points.
fn smoothed(path: &[(usize, usize)]) -> Vec<Point> {
    let mean = |window: &[(usize, usize)]| {
        let (x, y) = window.iter().fold((0, 0), |(sx, sy), (x, y)| (sx + x, sy + y));
        [x as f64 / window.len() as f64 + 0.5, y as f64 / window.len() as f64 + 0.5]
    };
    (0..path.len()).map(|i| i.min(path.len() - 1 - i).min(7)).enumerate().map(|(i, half)| mean(&path[i - half..=i + half])).collect()
}

/// Draws a curve clipped to the mask `allowed`.
fn draw_clipped(curve: &[Point], radius: f64, allowed: &Plane<bool>, scribble: &mut Plane<u8>) {
    let mut drawn = Plane::filled(scribble.width, scribble.height, UNLABELLED);
    if let [only] = curve {
        draw_segment(&mut drawn, *only, *only, radius, BACKGROUND);
    }
    curve.windows(2).for_each(|pair| draw_segment(&mut drawn, pair[0], pair[1], radius, BACKGROUND));
    for ((out, drawn), _) in scribble.data.iter_mut().zip(drawn.data).zip(&allowed.data).filter(|(_, allowed)| **allowed) {
        if drawn == BACKGROUND {
            *out = BACKGROUND;
        }
    }
}
