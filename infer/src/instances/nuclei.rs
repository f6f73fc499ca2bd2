//! Decoding of a finished component to nuclei: filling of holes, splitting of touching nuclei, boundaries.

use models::colour::ColourSum;
use models::decode::Decoding;
use models::plane::Plane;
use models::split::{self, Split};

use super::Instance;
use super::boundary::{Ring, fill_holes, rings};
use super::open::Component;
use super::runs::Run;

/// Sums over the pixels of a nucleus above the threshold.
#[derive(Clone, Copy, Default)]
struct Sums {
    probability: u64,
    colour: ColourSum,
}

/// Decoder of components.
pub struct ComponentDecoder {
    /// Parameters of the model card.
    pub decoding: Decoding,
    /// Number of columns of the image.
    pub width: u32,
    /// Number of rows of the image.
    pub height: u32,
}

impl ComponentDecoder {
    /// Returns the nuclei of a component in raster order of their first pixels, with id 0; none if the component is below the least area.
    pub fn decode(&self, component: Component) -> Vec<Instance> {
        let foreground_px: u64 = component.runs.iter().map(Run::length).sum();
        if foreground_px < self.decoding.min_area_px as u64 {
            return Vec::new();
        }
        match (&self.decoding.split, component.values) {
            (Some(split), Some(values)) => {
                let corner = [component.left, component.top];
                let size = [component.right - component.left, component.last_row + 1 - component.top];
                self.split_apart(&component.runs, &values, corner, size, split)
            }
            _ => vec![self.without_split(component.runs, Sums { probability: component.probability_sum, colour: component.colour })],
        }
    }

    /// Returns a component as one nucleus.
    fn without_split(&self, mut runs: Vec<Run>, sums: Sums) -> Instance {
        runs.sort_unstable();
        let mut boundary: Vec<Ring> = rings(&runs);
        if self.decoding.fill_holes && boundary.len() > 1 {
            runs = fill_holes(&runs);
            boundary = rings(&runs);
        }
        self.instance(runs, boundary, sums)
    }

    /// Splits a component with the bounding box `corner`, `size`; `values` are [`Component::values`].
    fn split_apart(&self, runs: &[Run], values: &[[u8; 4]], corner: [u32; 2], size: [u32; 2], split: &Split) -> Vec<Instance> {
        let [width, height] = size.map(|side| side as usize);
        let mut mask = Plane::filled(width, height, false);
        for run in runs {
            mask.row_mut((run.y - corner[1]) as usize)[span(run, corner[0])].fill(true);
        }
        let labels = split::nuclei(mask, split, self.decoding.fill_holes);
        let count = labels.data.iter().copied().max().unwrap_or(0) as usize;
        let mut sums = vec![Sums::default(); count + 1];
        let mut values = values.iter();
        for run in runs {
            let row = &labels.row((run.y - corner[1]) as usize)[span(run, corner[0])];
            for (&label, &[value, ref colour @ ..]) in row.iter().zip(&mut values) {
                let sums = &mut sums[label as usize];
                sums.probability += u64::from(value);
                sums.colour.add(colour);
            }
        }
        let nuclei = runs_by_label(&labels, count, corner).into_iter().zip(sums).skip(1);
        nuclei
            .map(|(runs, sums)| {
                let boundary = rings(&runs);
                self.instance(runs, boundary, sums)
            })
            .collect()
    }

    /// Assembles an instance without an id.
    fn instance(&self, runs: Vec<Run>, rings: Vec<Ring>, sums: Sums) -> Instance {
        let Sums { probability: probability_sum, colour } = sums;
        let at_border = |run: &Run| run.y == 0 || run.y + 1 == self.height || run.x0 == 0 || run.x1 == self.width;
        let touches_border = runs.iter().any(at_border);
        Instance { id: 0, runs, rings, foreground_px: colour.pixels, probability_sum, colour, touches_border }
    }
}

/// Returns the columns of a run, relative to `left`.
fn span(run: &Run, left: u32) -> std::ops::Range<usize> {
    (run.x0 - left) as usize..(run.x1 - left) as usize
}

/// Returns the sorted runs of every label up to `count`; those of label 0 are empty.
fn runs_by_label(labels: &Plane<u32>, count: usize, corner: [u32; 2]) -> Vec<Vec<Run>> {
    let mut all = vec![Vec::new(); count + 1];
    for y in 0..labels.height {
        let mut x = corner[0];
        for equal in labels.row(y).chunk_by(|a, b| a == b) {
            let end = x + equal.len() as u32;
            if equal[0] > 0 {
                all[equal[0] as usize].push(Run { y: corner[1] + y as u32, x0: x, x1: end });
            }
            x = end;
        }
    }
    all
}
