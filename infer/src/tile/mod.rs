//! Tile grid: windows over an image, each with the pixels that the network reads and the core that is kept.
//!
//! The image is padded at the right and at the bottom to a multiple of the network's stride, and windows lie inside the padded image.
//! At the border of the padded image, the zero padding of the network is that of the whole image; elsewhere a halo separates the core from
//! the edge of the window. Further constraints come from the network: [`Windows`].

mod window;

use std::ops::Range;

use support::{Result, bail};

pub use window::{Span, Window, Windows};

/// Grid of the windows of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileGrid {
    /// Columns and rows of the image.
    pub image: [usize; 2],
    /// Constraints of the network.
    pub windows: Windows,
    /// Halo in pixels, a multiple of the stride.
    pub halo: usize,
    columns: Vec<Span>,
    rows: Vec<Span>,
}

/// Columns of the core of a window that can be merged with neighbours: the granularity at which inactive parts of a band are left out.
const LONG_CORE_COLUMNS: usize = 512;
/// Maximum number of columns of a merged window, whose pixels take about 50 MB.
const MAX_LONG_COLUMNS: usize = 8192;

impl TileGrid {
    /// Creates a grid of windows with sides of at most `tile` pixels and `halo` pixels around each core; both are rounded up to multiples of
    /// `stride`. `image` is columns and rows.
    ///
    /// # Errors
    /// Tiles without a core inside the halo.
    pub fn new(image: [usize; 2], stride: usize, tile: usize, halo: usize, windows: Windows) -> Result<Self> {
        assert!(stride > 0 && image[0] > 0 && image[1] > 0, "a stride and an image without pixels: {stride}, {image:?}");
        let (tile, halo) = (tile.max(1).next_multiple_of(stride), halo.next_multiple_of(stride));
        let padded = image.map(|side| side.next_multiple_of(stride));
        if tile <= 2 * halo && padded.iter().any(|&side| side > tile) {
            bail!("tiles of {tile} px leave no core inside a halo of {halo} px, expected at least {} px", 2 * halo + stride; hint: "choose larger tiles with --tile or a smaller halo with --halo");
        }
        let length = match windows {
            Windows::Long if padded[0] > tile => tile.min(2 * halo + LONG_CORE_COLUMNS.next_multiple_of(stride)),
            Windows::Long | Windows::OneSize => tile,
        };
        let spans = |axis: usize, tile: usize| spans(image[axis], padded[axis], tile, halo, windows);
        Ok(Self { image, windows, halo, columns: spans(0, length), rows: spans(1, tile) })
    }

    /// Returns the default side of windows: a compromise between the overhead of halos and memory.
    ///
    /// Windows of one size compute `(T / (T - 2 h))²` pixels per pixel kept, with side T and halo h: 1.31 at 1024 px with a halo of 64, 1.22
    /// at 2048 px with 96. Long windows compute slightly more than `T / (T - 2 h)`: 1.13 at 2048 px with a halo of 96, 1.8 at 3072 px with 544.
    pub fn default_tile(halo: usize, windows: Windows) -> usize {
        match windows {
            Windows::OneSize if halo <= 64 => 1024,
            Windows::Long if halo > 128 => 3072,
            Windows::OneSize | Windows::Long => 2048,
        }
    }

    /// Returns the number of windows.
    pub fn len(&self) -> usize {
        self.columns.len() * self.rows.len()
    }

    /// Returns false, because every image has pixels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns columns and rows of the first window, which is the largest.
    pub fn window_size(&self) -> [usize; 2] {
        [self.columns[0].length, self.rows[0].length]
    }

    /// Returns window `index` in raster order.
    pub fn window(&self, index: usize) -> Window {
        Window { x: self.columns[index % self.columns.len()], y: self.rows[index / self.columns.len()] }
    }

    /// Groups windows of one band, given by ascending indices, to neighbours that are read and computed as one window.
    pub fn groups(&self, indices: &[usize]) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        for neighbours in indices.chunk_by(|a, b| self.windows == Windows::Long && a + 1 == *b) {
            let (first, end) = (neighbours[0], neighbours[0] + neighbours.len());
            let columns = |indices: Range<usize>| self.merged(&indices).x.length;
            let fits = |parts: usize| (0..parts).all(|i| columns(part(first..end, i, parts)) <= MAX_LONG_COLUMNS);
            let parts = (1..neighbours.len()).find(|&parts| fits(parts)).unwrap_or(neighbours.len());
            groups.extend((0..parts).map(|i| part(first..end, i, parts)));
        }
        groups
    }

    /// Returns neighbouring windows of a band as one window.
    pub fn merged(&self, group: &Range<usize>) -> Window {
        let (first, last) = (self.window(group.start), self.window(group.end - 1));
        let [end, core_end] = [last.x.read + last.x.length, last.x.core + last.x.core_length];
        let x = Span { read: first.x.read, length: end - first.x.read, core: first.x.core, core_length: core_end - first.x.core };
        Window { x, y: first.y }
    }

    /// Returns the number of windows per band.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Returns the rows of every band; the cores of a band cover the full width of the image.
    pub fn bands(&self) -> &[Span] {
        &self.rows
    }

    /// Returns the number of pixels read per pixel of the image, if the whole image is analysed.
    pub fn overlap(&self) -> f64 {
        let columns: Vec<usize> = (0..self.columns.len()).collect();
        let columns: usize = self.groups(&columns).iter().map(|group| self.merged(group).x.length).sum();
        let rows: usize = self.rows.iter().map(|span| span.length).sum();
        (columns * rows) as f64 / (self.image[0] * self.image[1]) as f64
    }
}

/// Returns part `index` of `count` parts of about equal length.
fn part(range: Range<usize>, index: usize, count: usize) -> Range<usize> {
    range.start + index * range.len() / count..range.start + (index + 1) * range.len() / count
}

/// Returns the windows along one axis.
fn spans(image: usize, padded: usize, tile: usize, halo: usize, windows: Windows) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut core = 0;
    while core < image {
        let inner = core.saturating_sub(halo);
        // If all windows have one size, the last window begins earlier than its halo requires.
        let read = if windows == Windows::OneSize { inner.min(padded.saturating_sub(tile)) } else { inner };
        let length = tile.min(padded - read);
        let end = if read + length == padded { image } else { (read + length - halo).min(image) };
        spans.push(Span { read, length, core, core_length: end - core });
        core = end;
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cores_partition_the_image_and_windows_keep_their_halos_inside_it(
            width in 1usize..700, height in 1usize..300, stride in prop::sample::select(vec![1usize, 2, 8, 32]), tiles in 1usize..12, halos in 0usize..5,
            long: bool,
        ) {
            let halo = halos * stride;
            let windows = if long { Windows::Long } else { Windows::OneSize };
            let tile = (2 * halos + tiles) * stride;
            let grid = TileGrid::new([width, height], stride, tile, halo, windows).unwrap();
            let mut covered = vec![0u8; width * height];
            for i in 0..grid.len() {
                let window = grid.window(i);
                for (span, side, first) in [(window.x, width, grid.columns[0]), (window.y, height, grid.rows[0])] {
                    let padded = side.next_multiple_of(stride);
                    let (read, length) = (span.read, span.length);
                    prop_assert!(read % stride == 0 && length % stride == 0 && length <= tile);
                    prop_assert!(length == first.length || (long && read + length == padded));
                    prop_assert!(read + length <= padded && span.core_length > 0);
                    prop_assert!(read == 0 || span.core >= read + halo);
                    prop_assert!(span.core >= read && span.core + span.core_length <= read + length);
                    prop_assert!(read + length == padded || span.core + span.core_length + halo <= read + length);
                }
                for y in window.y.core..window.y.core + window.y.core_length {
                    for x in window.x.core..window.x.core + window.x.core_length {
                        covered[y * width + x] += 1;
                    }
                }
            }
            prop_assert!(covered.iter().all(|&n| n == 1));
        }
    }

    #[test]
    fn long_windows_overlap_less_than_windows_of_one_size() {
        let overlap = |windows| TileGrid::new([3072, 3072], 32, 1024, 96, windows).unwrap().overlap();
        assert!((overlap(Windows::OneSize) - (4.0_f64 / 3.0).powi(2)).abs() < 1e-9);
        // There are four bands with one merged window each.
        assert!((overlap(Windows::Long) - (1.0 + 3.0 * 192.0 / 3072.0_f64)).abs() < 1e-9);
    }

    #[test]
    fn neighbours_are_merged_up_to_the_maximum_length() {
        let grid = TileGrid::new([40_000, 5000], 32, 2048, 96, Windows::Long).unwrap();
        let all: Vec<usize> = (0..grid.columns()).collect();
        let groups = grid.groups(&all);
        assert!(groups.iter().flat_map(Clone::clone).eq(all.iter().copied()));
        let mut core = 0;
        for group in &groups {
            let x = grid.merged(group).x;
            assert!(x.core == core && (6500..=8192).contains(&x.length), "{x:?}");
            assert!(x.read == 0 || x.core - x.read == 96);
            core += x.core_length;
        }
        assert_eq!(core, 40_000);
        assert!((1.08..1.12).contains(&grid.overlap()), "{}", grid.overlap());
        // Inactive windows separate groups. Windows 4 and 7 are not neighbours.
        assert_eq!(grid.groups(&[3, 4, 7, 9, 10]), [3..5, 7..8, 9..11]);
        let fixed = TileGrid::new([40_000, 5000], 32, 2048, 96, Windows::OneSize).unwrap();
        assert_eq!(fixed.groups(&[3, 4]), [3..4, 4..5]);
    }

    #[test]
    fn an_image_smaller_than_a_tile_is_one_window() {
        let grid = TileGrid::new([100, 33], 32, 1024, 544, Windows::OneSize).unwrap();
        assert_eq!((grid.len(), grid.window_size()), (1, [128, 64]));
        assert_eq!(grid.window(0).x, Span { read: 0, length: 128, core: 0, core_length: 100 });
    }

    #[test]
    fn a_tile_without_a_core_is_an_error_that_names_the_least_size() {
        let error = TileGrid::new([5000, 5000], 32, 1024, 544, Windows::OneSize).unwrap_err();
        assert!(error.to_string().contains("at least 1120 px") && error.hint_text().unwrap().contains("--tile"), "{error}");
    }
}
