//! Execution of a [`Program`] on one image, block by block along the stream axis.
//!
//! Each block appends rows of the image. Every step then computes the rows of its feature map whose receptive field has become available,
//! and rows that no later block reads are discarded. Memory is therefore bounded by the rows of a few blocks, for an image of any length,
//! and no row is computed twice.

use std::ops::Range;

use kernels::{Pool, sigmoid};

use super::program::{Program, Step, StepOp};
use super::receptive_field::ReceptiveField;
use super::row_ring::RowRing;
use super::step::StepInputs;
use super::transposition;
use super::workspace::Workspace;

/// Approximate number of image pixels per block. Twice as many make networks of full width some per cent faster and take 200 MB more.
const BLOCK_PIXELS: usize = 1 << 19;
/// Granularity of the default block length in image rows: four rows, one Winograd tile, of a feature map at a stride of 32.
const BLOCK_ALIGNMENT: usize = 128;

/// Returns the default number of image rows per block, for an image of `rows` rows of `row_pixels` pixels.
///
/// An image that is at most half a block longer than one block is computed as a single block.
pub fn default_block_rows(rows: usize, row_pixels: usize) -> usize {
    let block_rows = (BLOCK_PIXELS / row_pixels / BLOCK_ALIGNMENT * BLOCK_ALIGNMENT).max(BLOCK_ALIGNMENT);
    if rows <= block_rows + block_rows / 2 { rows } else { block_rows }
}

/// Spatial size of an image or of a feature map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MapSize {
    /// Number of rows along the stream axis.
    pub rows: usize,
    /// Number of pixels in each row.
    pub row_pixels: usize,
}

impl Program {
    /// Computes the probabilities of an image in blocks of `block_rows` rows.
    ///
    /// `image` is u8 RGB, not transposed, with `rows` pixels in each image line; both extents are multiples of the network's stride.
    /// `emit` receives finished rows in ascending order: the number of the first row, and probabilities `[row][pixel]`.
    pub fn run(&self, image: &[u8], rows: usize, block_rows: usize, workspace: &mut Workspace, mut emit: impl FnMut(usize, &[f32])) {
        let size = MapSize { rows, row_pixels: image.len() / 3 / rows };
        workspace.prepare(block_rows * size.row_pixels);
        let mut run = ImageRun::new(self, image, size, block_rows);
        while run.feature_maps[self.logit].end() < rows {
            for (index, step) in self.steps.iter().enumerate() {
                let new_rows = run.computable_rows(step, &|value| run.feature_maps[value].end());
                if !new_rows.is_empty() {
                    run.compute(step, new_rows.clone(), workspace);
                }
                if step.value == self.logit {
                    run.emit(step, new_rows, workspace, &mut emit);
                }
                run.discard_unneeded(index, &workspace.pool);
            }
        }
        run.feature_maps.iter_mut().for_each(|ring| ring.clear(&workspace.pool));
    }

    /// Returns the size of every value's feature map; values that no step computes have size 0.
    fn map_sizes(&self, image: MapSize) -> Vec<MapSize> {
        let mut sizes = vec![MapSize::default(); self.values];
        for step in &self.steps {
            sizes[step.value] = match step.sources.first() {
                None => image,
                Some(source) => {
                    let (input, ReceptiveField { stride, halved, .. }) = (sizes[source.value], ReceptiveField::of(step, source));
                    let output = |n: usize| (n << usize::from(halved)).div_ceil(stride);
                    MapSize { rows: output(input.rows), row_pixels: output(input.row_pixels) }
                }
            };
        }
        sizes
    }
}

/// State of the run of a program on one image; vectors are indexed by value.
struct ImageRun<'a> {
    program: &'a Program,
    image: &'a [u8],
    sizes: Vec<MapSize>,
    /// Maximum number of rows computed per block; the average over all blocks is the same.
    max_new_rows: Vec<usize>,
    feature_maps: Vec<RowRing>,
    /// Maximum number of rows retained between two blocks.
    retained_rows: Vec<usize>,
}

impl<'a> ImageRun<'a> {
    fn new(program: &'a Program, image: &'a [u8], size: MapSize, block_rows: usize) -> Self {
        let sizes = program.map_sizes(size);
        let max_new_rows = sizes.iter().map(|map| (block_rows * map.rows).div_ceil(size.rows).next_multiple_of(4)).collect();
        let feature_maps = sizes.iter().zip(&program.pixel_lens).map(|(map, len)| RowRing::new(map.row_pixels * len)).collect();
        let mut run = Self { program, image, sizes, max_new_rows, feature_maps, retained_rows: vec![0; program.values] };
        run.retained_rows = run.dry_run();
        run
    }

    /// Dry run over all blocks that computes how many rows of each feature map must be retained between blocks.
    ///
    /// # Panics
    /// If a block adds no row to any feature map, because the run would never end.
    fn dry_run(&self) -> Vec<usize> {
        let mut live = vec![0..0; self.program.values];
        let mut retained = vec![0; live.len()];
        while live[self.program.logit].end < self.sizes[self.program.logit].rows {
            let before: usize = live.iter().map(|rows| rows.end).sum();
            for step in &self.program.steps {
                live[step.value].end = self.computable_rows(step, &|value| live[value].end).end;
                for &value in &step.last_uses {
                    live[value].start = self.first_needed(value, &|value| live[value].end).min(live[value].end);
                    retained[value] = retained[value].max(live[value].len());
                }
            }
            assert!(live.iter().map(|rows| rows.end).sum::<usize>() > before, "a block adds rows to a feature map");
        }
        retained
    }

    /// Returns the rows that a step can compute in this block; `available(value)` is the number of rows of a value computed so far.
    fn computable_rows(&self, step: &Step, available: &dyn Fn(usize) -> usize) -> Range<usize> {
        let (done, total) = (available(step.value), self.sizes[step.value].rows);
        let computable = |(value, field): (usize, ReceptiveField)| field.computable_rows(available(value), self.sizes[value].rows, total);
        let end = step.reads().map(computable).min().unwrap_or(total);
        done..end.min(done + self.max_new_rows[step.value]).max(done)
    }

    /// Appends `new_rows` to the feature map of a step.
    fn compute(&mut self, step: &Step, new_rows: Range<usize>, workspace: &Workspace) {
        let mut output = std::mem::replace(&mut self.feature_maps[step.value], RowRing::new(0));
        let size = self.sizes[step.value];
        let max_new_rows = self.max_new_rows[step.value].min(size.rows.next_multiple_of(4));
        output.reserve(&workspace.pool, self.retained_rows[step.value], max_new_rows);
        let row_len = size.row_pixels * step.pixel_len;
        while output.end() < new_rows.end {
            let first = output.end();
            let out = output.extend(new_rows.end - first);
            let rows = first..first + out.len() / row_len;
            match &step.op {
                StepOp::Image { mean, scale } => {
                    transposition::read_rows(self.image, size.rows, first, [*mean, *scale], step.pixel_len, out);
                }
                op => {
                    let inputs = StepInputs { step, rows: &rows, feature_maps: &self.feature_maps, sizes: &self.sizes };
                    self.program.compute_step(op, &inputs, workspace, out);
                }
            }
        }
        self.feature_maps[step.value] = output;
    }

    /// Gives the probabilities of the logit's new rows to the caller and discards these rows.
    fn emit(&mut self, step: &Step, new_rows: Range<usize>, workspace: &Workspace, emit: &mut impl FnMut(usize, &[f32])) {
        let logits = self.feature_maps[step.value].get(&workspace.pool, new_rows.clone());
        let mut values = workspace.pool.take(logits.len() / step.pixel_len);
        // The one channel of the logit may be followed by zero padding.
        values.iter_mut().zip(logits.iter().step_by(step.pixel_len)).for_each(|(out, value)| *out = *value);
        sigmoid::sigmoid(self.program.isa, &mut values);
        emit(new_rows.start, &values);
        workspace.pool.give(values);
        drop(logits);
        self.feature_maps[step.value].discard_before(&workspace.pool, new_rows.end);
    }

    /// Discards rows that no later block reads, of the values whose last reader is step `index`.
    fn discard_unneeded(&mut self, index: usize, pool: &Pool) {
        for &value in &self.program.steps[index].last_uses {
            let first = self.first_needed(value, &|value| self.feature_maps[value].end());
            self.feature_maps[value].discard_before(pool, first);
        }
    }

    /// Returns the first row of a value that a later block still reads, `usize::MAX` if there is none; `available` as in
    /// [`ImageRun::computable_rows`].
    fn first_needed(&self, value: usize, available: &dyn Fn(usize) -> usize) -> usize {
        let first_read = |step: &Step| {
            let next = available(step.value);
            let is_done = next == self.sizes[step.value].rows;
            let reads = step.reads().filter(|(read, _)| *read == value && !is_done);
            reads.map(|(_, field)| field.input_rows(&(next..next), self.sizes[value].rows).0.start).min()
        };
        self.program.steps.iter().filter_map(first_read).min().unwrap_or(usize::MAX)
    }
}
