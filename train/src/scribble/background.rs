//! Simulated background strokes: long smooth curves along the middle of the background.

use std::collections::VecDeque;

use models::plane::Plane;

use super::pen::{Point, WIDTH_PX, around, stroke};
use super::skeleton::skeleton;
use super::{BACKGROUND, UNLABELLED};
use crate::rng::CounterRng;

/// Strokes keep this far from nuclei, in pixels.
const CLEARANCE_PX: isize = 3;

/// Draws 1 to 3 curves, each 40 to 90 % of the mean side long where the background is that long.
pub(super) fn background_strokes(labels: &Plane<u32>, scribble: &mut Plane<u8>, draw: &mut CounterRng) {
    let allowed = clear_background(labels);
    let mut net = skeleton(&allowed);
    for _ in 0..=draw.below(3) {
        let length = (draw.range(0.4, 0.9) * (labels.width + labels.height) as f64 / 2.0) as usize;
        let radius = draw.range(WIDTH_PX.0, WIDTH_PX.1) / 2.0;
        let path = long_path(&net, length.max(1), draw);
        draw_clipped(&smoothed(&path), radius, &allowed, scribble);
        for (x, y) in path {
            net.row_mut(y)[x] = false;
        }
    }
}

/// Background pixels at least [`CLEARANCE_PX`] from every nucleus.
pub(super) fn clear_background(labels: &Plane<u32>) -> Plane<bool> {
    let mut clear = Plane::filled(labels.width, labels.height, true);
    for y in 0..labels.height {
        for x in 0..labels.width {
            if labels.at(x, y) > 0 {
                around(labels, x, y, CLEARANCE_PX * CLEARANCE_PX - 1).for_each(|(nx, ny)| clear.row_mut(ny)[nx] = false);
            }
        }
    }
    clear
}

/// A path of at most `length` pixels through the piece of the net that a random pixel of it lies on: from one far end towards the other.
fn long_path(net: &Plane<bool>, length: usize, draw: &mut CounterRng) -> Vec<(usize, usize)> {
    let pixels: Vec<usize> = (0..net.data.len()).filter(|&i| net.data[i]).collect();
    if pixels.is_empty() {
        return Vec::new();
    }
    let one_end = *walk(net, pixels[draw.below(pixels.len())]).0.last().expect("the start is reached");
    let (reached, came_from) = walk(net, one_end);
    let mut path = vec![*reached.last().expect("the start is reached")];
    while let Some(previous) = came_from[path[path.len() - 1]] {
        path.push(previous);
    }
    let spare = path.len().saturating_sub(length);
    let start = draw.below(spare + 1);
    path[start..].iter().take(length).map(|i| (i % net.width, i / net.width)).collect()
}

/// Breadth first over the 8-connected net: pixels in the order in which they are reached, and where each was reached from.
fn walk(net: &Plane<bool>, start: usize) -> (Vec<usize>, Vec<Option<usize>>) {
    let mut came_from = vec![None; net.data.len()];
    let mut seen = vec![false; net.data.len()];
    seen[start] = true;
    let (mut queue, mut order) = (VecDeque::from([start]), Vec::new());
    while let Some(i) = queue.pop_front() {
        order.push(i);
        for (x, y) in around(net, i % net.width, i / net.width, 2) {
            let next = y * net.width + x;
            if net.data[next] && !seen[next] {
                seen[next] = true;
                came_from[next] = Some(i);
                queue.push_back(next);
            }
        }
    }
    (order, came_from)
}

/// The path with each point replaced by the mean of up to 15 around it.
fn smoothed(path: &[(usize, usize)]) -> Vec<Point> {
    let mean = |window: &[(usize, usize)]| {
        let (x, y) = window.iter().fold((0, 0), |(sx, sy), (x, y)| (sx + x, sy + y));
        [x as f64 / window.len() as f64 + 0.5, y as f64 / window.len() as f64 + 0.5]
    };
    (0..path.len()).map(|i| i.min(path.len() - 1 - i).min(7)).enumerate().map(|(i, half)| mean(&path[i - half..=i + half])).collect()
}

fn draw_clipped(curve: &[Point], radius: f64, allowed: &Plane<bool>, scribble: &mut Plane<u8>) {
    let mut drawn = Plane::filled(scribble.width, scribble.height, UNLABELLED);
    if let [only] = curve {
        stroke(&mut drawn, *only, *only, radius, BACKGROUND);
    }
    curve.windows(2).for_each(|pair| stroke(&mut drawn, pair[0], pair[1], radius, BACKGROUND));
    for ((out, drawn), _) in scribble.data.iter_mut().zip(drawn.data).zip(&allowed.data).filter(|(_, allowed)| **allowed) {
        if drawn == BACKGROUND {
            *out = BACKGROUND;
        }
    }
}
