//! Drawn regions to the pixel: nuclei are kept by their centroid, and areas are those of the drawing.
//!
//! The grid tiles of [`super::Tissue`] only decide which parts of a slide are computed.

use super::region::{Region, Vertex};

/// Runs of a row: half-open intervals in pixels at the model's scale, in ascending order and without overlap.
type Runs = Vec<[f64; 2]>;

/// Drawn region of an image at the model's scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    image: [usize; 2],
    /// Runs of each row of polygons at the model's scale, or of each row of a mask.
    rows: Vec<Runs>,
    /// Polygons and the number of level-0 pixels per model pixel; `None` for a mask.
    region: Option<(Region, [f64; 2])>,
}

impl Drawn {
    /// Returns the region of polygons; `slide_from_model` is the number of level-0 pixels per model pixel along x and y.
    pub fn of_region(region: &Region, image: [usize; 2], slide_from_model: [f64; 2]) -> Self {
        let mut rows = vec![Runs::new(); image[1]];
        for polygon in region.polygons() {
            let rings: Vec<Vec<Vertex>> =
                polygon.iter().map(|ring| ring.iter().map(|[x, y]| [x / slide_from_model[0], y / slide_from_model[1]]).collect()).collect();
            add_polygon(&mut rows, &rings, image[0] as f64);
        }
        rows.iter_mut().for_each(join);
        Self { image, rows, region: Some((region.clone(), slide_from_model)) }
    }

    /// Returns the region of a mask over the whole image, of `size` columns and rows; `is_marked` is called with column and row.
    pub fn of_mask(size: [usize; 2], image: [usize; 2], is_marked: impl Fn(usize, usize) -> bool) -> Self {
        let scale = image[0] as f64 / size[0] as f64;
        let row = |y: usize| {
            let marked = (0..size[0]).filter(|&x| is_marked(x, y));
            let mut runs: Runs = marked.map(|x| [x as f64 * scale, (x + 1) as f64 * scale]).collect();
            join(&mut runs);
            runs
        };
        Self { image, rows: (0..size[1]).map(row).collect(), region: None }
    }

    /// Reports whether a position in pixels at the model's scale lies in the region.
    pub fn contains(&self, [x, y]: [f64; 2]) -> bool {
        match &self.region {
            Some((region, factor)) if self.is_near_border([x, y]) => region.contains([x * factor[0], y * factor[1]]),
            _ => self.row_at(y).is_some_and(|runs| is_inside(runs, x)),
        }
    }

    /// Returns the number of pixels at the model's scale whose centre lies in the region.
    pub fn area_px(&self) -> u64 {
        let first = |x: f64| (x - 0.5).ceil().clamp(0.0, self.image[0] as f64) as u64;
        let length = |runs: &Runs| runs.iter().map(|run| first(run[1]) - first(run[0])).sum::<u64>();
        let lengths: Vec<u64> = self.rows.iter().map(length).collect();
        (0..self.image[1]).map(|y| lengths[self.index(y as f64 + 0.5)]).sum()
    }

    /// Returns bytes that differ for different regions.
    pub fn bytes(&self) -> Vec<u8> {
        let row = |runs: &Runs| runs.iter().flatten().flat_map(|x| x.to_le_bytes()).chain(f64::NAN.to_le_bytes()).collect::<Vec<u8>>();
        self.rows.iter().flat_map(row).collect()
    }

    /// Returns the index of the row of runs at height `y`.
    fn index(&self, y: f64) -> usize {
        ((y * self.rows.len() as f64 / self.image[1] as f64) as usize).min(self.rows.len() - 1)
    }

    fn row_at(&self, y: f64) -> Option<&Runs> {
        (y >= 0.0 && y < self.image[1] as f64).then(|| &self.rows[self.index(y)])
    }

    /// Reports whether the boundary may lie within a pixel of a position, so that the polygons decide.
    fn is_near_border(&self, [x, y]: [f64; 2]) -> bool {
        let around = [-1.0, 0.0, 1.0].map(|dy| self.row_at(y + dy));
        let inside = |runs: Option<&Runs>, x: f64| runs.is_some_and(|runs| is_inside(runs, x));
        let here = inside(around[1], x);
        around.iter().any(|&runs| [-1.0, 0.0, 1.0].iter().any(|dx| inside(runs, x + dx) != here))
    }
}

/// Adds the inside of a polygon to the rows, sampled at the centre of each row (even-odd rule).
fn add_polygon(rows: &mut [Runs], rings: &[Vec<Vertex>], width: f64) {
    let mut crossings = std::collections::BTreeMap::<usize, Vec<f64>>::new();
    for (a, b) in rings.iter().flat_map(|ring| ring.windows(2).map(|side| (side[0], side[1]))) {
        let (top, bottom) = if a[1] <= b[1] { (a, b) } else { (b, a) };
        let row = |y: f64| (y - 0.5).ceil().clamp(0.0, rows.len() as f64) as usize;
        for y in row(top[1])..row(bottom[1]) {
            let x = top[0] + (bottom[0] - top[0]) * (y as f64 + 0.5 - top[1]) / (bottom[1] - top[1]);
            crossings.entry(y).or_default().push(x);
        }
    }
    for (y, mut columns) in crossings {
        columns.sort_by(f64::total_cmp);
        let runs = columns.chunks_exact(2).map(|pair| [pair[0].clamp(0.0, width), pair[1].clamp(0.0, width)]);
        rows[y].extend(runs.filter(|run| run[0] < run[1]));
    }
}

/// Sorts runs and joins those that overlap or touch.
fn join(runs: &mut Runs) {
    runs.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let mut joined: Runs = Vec::with_capacity(runs.len());
    for &run in runs.iter() {
        match joined.last_mut() {
            Some(last) if run[0] <= last[1] => last[1] = last[1].max(run[1]),
            _ => joined.push(run),
        }
    }
    *runs = joined;
}

fn is_inside(runs: &Runs, x: f64) -> bool {
    let after = runs.partition_point(|run| run[0] <= x);
    after > 0 && x < runs[after - 1][1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygons_and_masks_have_the_area_that_was_drawn() {
        // 200.5 x 100 pixels of level 0, of two pixels per model pixel, and the same again, overlapping.
        let region = Region::rectangle(20.0, 40.0, 221.0, 140.0);
        let drawn = Drawn::of_region(&region, [300, 200], [2.0, 2.0]);
        assert_eq!(drawn.area_px(), 100 * 50);
        assert!(
            drawn.contains([10.1, 20.1])
                && drawn.contains([110.4, 69.9])
                && !drawn.contains([110.6, 30.0])
                && !drawn.contains([50.0, 70.1])
        );
        let mask = Drawn::of_mask([3, 2], [300, 200], |x, y| x == 1 && y == 1);
        assert_eq!(mask.area_px(), 100 * 100);
        assert!(
            mask.contains([100.0, 100.0])
                && !mask.contains([99.9, 150.0])
                && !mask.contains([150.0, 99.9])
                && !mask.contains([150.0, 201.0])
        );
        assert_ne!(drawn.bytes(), mask.bytes());
    }

    #[test]
    fn overlapping_polygons_count_once() {
        let mut runs = vec![[5.0, 9.0], [1.0, 3.0], [2.0, 6.0], [12.0, 13.0]];
        join(&mut runs);
        assert_eq!(runs, [[1.0, 9.0], [12.0, 13.0]]);
    }
}
