//! Planes of labels (0 background, k the k-th region): flood fill, numbering in raster order, bounding boxes.

use crate::plane::Plane;

/// Offsets (column, row) of the 8-neighbourhood, which connects foreground.
pub(crate) const NEIGHBOURS_8: [(isize, isize); 8] = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)];
/// Offsets (column, row) of the 4-neighbourhood, which connects background.
#[cfg(test)]
pub(crate) const NEIGHBOURS_4: [(isize, isize); 4] = [(0, -1), (-1, 0), (1, 0), (0, 1)];

/// Labels with `id` all unlabelled pixels that satisfy `inside` and are connected to `start`; returns their number.
pub(crate) fn flood_fill(
    labels: &mut Plane<u32>,
    start: usize,
    id: u32,
    neighbours: &[(isize, isize)],
    inside: impl Fn(usize) -> bool,
) -> usize {
    let (width, height) = (labels.width as isize, labels.height as isize);
    let mut stack = vec![start];
    let mut count = 0;
    labels.data[start] = id;
    while let Some(i) = stack.pop() {
        count += 1;
        let (x, y) = (i as isize % width, i as isize / width);
        for (dx, dy) in neighbours {
            let (nx, ny) = (x + dx, y + dy);
            if nx < 0 || ny < 0 || nx >= width || ny >= height {
                continue;
            }
            let n = (ny * width + nx) as usize;
            if labels.data[n] == 0 && inside(n) {
                labels.data[n] = id;
                stack.push(n);
            }
        }
    }
    count
}

/// Renumbers labels from 1 in raster order of their first pixels.
pub(crate) fn relabel_in_raster_order(labels: &mut Plane<u32>) {
    let mut number = vec![0; labels.data.iter().max().map_or(0, |&id| id as usize) + 1];
    let mut next = 0;
    for label in labels.data.iter_mut().filter(|label| **label > 0) {
        let number = &mut number[*label as usize];
        if *number == 0 {
            next += 1;
            *number = next;
        }
        *label = *number;
    }
}

/// Half-open bounding box of a label in pixels, `[first, end)` along each axis; empty for a label without pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundingBox {
    x: [usize; 2],
    y: [usize; 2],
}

/// Returns the bounding boxes of labels 1, 2, …
pub(crate) fn bounding_boxes(labels: &Plane<u32>) -> Vec<BoundingBox> {
    let count = labels.data.iter().max().map_or(0, |&id| id as usize);
    let mut all = vec![BoundingBox { x: [usize::MAX, 0], y: [usize::MAX, 0] }; count];
    for y in 0..labels.height {
        for (x, &label) in labels.row(y).iter().enumerate().filter(|(_, label)| **label > 0) {
            let bounds = &mut all[label as usize - 1];
            bounds.x = [bounds.x[0].min(x), bounds.x[1].max(x + 1)];
            bounds.y = [bounds.y[0].min(y), bounds.y[1].max(y + 1)];
        }
    }
    all
}

impl BoundingBox {
    /// Area in pixels.
    pub(crate) fn area(&self) -> usize {
        self.x[1].saturating_sub(self.x[0]) * self.y[1].saturating_sub(self.y[0])
    }

    /// Crops the box to a mask of the labels that satisfy `inside`.
    pub(crate) fn crop(&self, labels: &Plane<u32>, inside: impl Fn(u32) -> bool) -> Plane<bool> {
        let rows = (self.y[0]..self.y[1]).flat_map(|y| &labels.row(y)[self.x[0]..self.x[1]]);
        Plane { width: self.x[1] - self.x[0], height: self.y[1] - self.y[0], data: rows.map(|&label| inside(label)).collect() }
    }

    /// Copies the non-zero labels of a cropped map into `labels`.
    pub(crate) fn paint(&self, labels: &mut Plane<u32>, own: &Plane<u32>) {
        for y in 0..own.height {
            let row = &mut labels.row_mut(self.y[0] + y)[self.x[0]..self.x[1]];
            row.iter_mut().zip(own.row(y)).filter(|(_, own)| **own > 0).for_each(|(label, own)| *label = *own);
        }
    }
}
