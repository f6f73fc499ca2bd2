//! 3x3 convolutions with stride 1 by F(4x4, 3x3): forward, backward-data and backward-weight with a quarter of the products.
//!
//! Which form runs is decided by shapes alone, and so is the order of every sum: the same bits for any number of threads.

mod convolve;
mod filter;
mod matrices;
mod prepared;
mod result;
mod target;
mod transform;
mod weight_gradient;

use std::ops::Range;

use models::graph::Conv;
use rayon::prelude::*;

use super::scratch::{Buffer, Pool, Shared};
use super::simd::{Isa, run_on};
pub use convolve::Logit;
use matrices::{PLACES, SIDE};
pub use prepared::Prepared;
pub use target::PartBuffer;
pub use transform::{Grid, Part};
use transform::{OfMap, Places, len, stride};

/// A convolution over images of one size.
pub struct Winograd<'a> {
    /// Instruction set.
    pub isa: Isa,
    /// Where large buffers come from.
    pub pool: &'a Pool,
    /// Size of the map and of the result.
    pub grid: Grid,
}

/// A filter as panels `[panel][tap][input][16]`.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    /// The panels.
    pub panels: &'a [f32],
    /// Channels read, a multiple of 16.
    pub inputs: usize,
    /// Channels written, a multiple of 16.
    pub outputs: usize,
    /// Whether it is turned by half a turn.
    pub turned: bool,
}

/// Panels that are worked on together.
#[derive(Clone, Copy)]
struct Group {
    panel: usize,
    count: usize,
}

/// Products of channel numbers up to which all places of a filter (2.25 MiB) stay near while tiles pass by; with larger filters,
/// tiles stay and filters pass by.
const SMALL_FILTER: usize = 16384;
/// Tiles that stay while large filters pass by.
const TILES: usize = 128;

/// Whether this form is worth its transforms for the convolution.
pub fn pays(conv: &Conv, grid: &Grid) -> bool {
    let whole = conv.inputs.is_multiple_of(16) && conv.outputs.is_multiple_of(16);
    let pixels = grid.batch * grid.height * grid.width;
    conv.kernel == 3 && conv.stride == 1 && !conv.bias && whole && grid.tiles() >= 4 && 8 * grid.tiles() <= pixels
}

impl Winograd<'_> {
    /// The map of a part has the size that the grid asks for.
    fn check_part(&self, part: &Part) {
        part.margin.check(self.grid.batch);
        let around = (part.margin.above + part.margin.below) * (self.grid.width >> usize::from(part.halved)) * part.channels;
        assert!(part.values.len() >= around);
        self.check(part.values.len() - around, part.channels, part.halved);
    }

    fn check(&self, len: usize, channels: usize, halved: bool) {
        let Grid { batch, height, width } = self.grid;
        assert!(channels.is_multiple_of(16));
        assert!(!halved || (height.is_multiple_of(2) && width.is_multiple_of(2)));
        let half = usize::from(halved);
        assert_eq!(len, batch * (height >> half) * (width >> half) * channels);
    }

    /// Panels in groups that fill the registers.
    fn groups(&self, channels: usize) -> Vec<Group> {
        let together = if self.isa == Isa::Plain { 1 } else { 2 };
        (0..channels / 16).step_by(together).map(|panel| Group { panel, count: together.min(channels / 16 - panel) }).collect()
    }

    /// Tiles `part * count ..`, filled up to a multiple of four by tiles past the last.
    fn range(&self, part: usize, count: usize) -> Range<usize> {
        let from = part * count;
        from..from + (self.grid.tiles() - from).min(count).next_multiple_of(4)
    }

    /// Places of the tiles of all sources, in a buffer of the pool.
    fn places_of(&self, sources: &[Part], inputs: usize, tiles: Range<usize>) -> Buffer {
        let rows = tiles.len();
        let mut map = self.pool.take(len(rows, inputs));
        let zeros = vec![0.0; inputs];
        let all = Shared::new(&mut map);
        (0..rows / 4).into_par_iter().for_each(|task| {
            // SAFETY: tasks write different rows of the places.
            let first = unsafe { all.get().add(4 * task * inputs) };
            let some = tiles.start + 4 * task..tiles.start + 4 * task + 4;
            self.fill_places(sources, &zeros, some, Places { first, stride: stride(rows, inputs), row: inputs });
        });
        map
    }

    fn fill(&self, sources: &[Part], zeros: &[f32], tiles: Range<usize>, map: &mut [f32]) {
        let inputs = sources.iter().map(|part| part.channels).sum();
        assert!(map.len() >= len(tiles.len(), inputs));
        let places = Places { first: map.as_mut_ptr(), stride: stride(tiles.len(), inputs), row: inputs };
        self.fill_places(sources, zeros, tiles, places);
    }

    fn fill_places(&self, sources: &[Part], zeros: &[f32], tiles: Range<usize>, places: Places) {
        let mut channel = 0;
        for part in sources {
            // SAFETY: the channels of a part come after those of the parts before it.
            let first = unsafe { places.first.add(channel) };
            run_on(self.isa, OfMap { grid: self.grid, part: *part, tiles: tiles.clone(), zeros, places: Places { first, ..places } });
            channel += part.channels;
        }
    }
}

/// Groups that a task takes along while the places of a map pass by: as many as leave no thread idle and stay, filters and
/// places, in the second-level cache. This depends on the number of threads, but results do not: every one is a sum within
/// its group.
fn together(isa: Isa, groups: usize, inputs: usize, rows: usize) -> usize {
    let values = (filter::TAPS + SIDE) * inputs * 32 + len(rows, 32);
    (groups / rayon::current_num_threads()).min(isa.second_level_cache() * 7 / 32 / values).max(1)
}

/// Tiles whose places stay in the second-level cache together with those of one group of results; evenly many for all tasks.
fn tiles_at_a_time(isa: Isa, inputs: usize, outputs: usize, tiles: usize) -> usize {
    // A filter that fills the cache by itself comes from farther away: more tiles for each of its visits.
    let share = if inputs * outputs > 12288 { 3 } else { 1 };
    let values = isa.second_level_cache() / 16 * share;
    let most = (values / (PLACES * (inputs + 32))).clamp(12, 96);
    tiles.div_ceil(tiles.div_ceil(most)).next_multiple_of(4)
}
