//! Windows over an image: what the network reads and what each window contributes.
//!
//! The image is padded at the right and at the bottom to a multiple of the network's stride. Windows lie inside the padded image.
//! Where a window ends at the border of the padded image, the network's own zero padding is that of the whole image; elsewhere the
//! core keeps a halo away from the window's edge. What else windows have to keep to, the network says: [`Windows`].

use std::ops::Range;

use support::{Result, bail};

/// One window along one axis, in pixels of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First pixel that the network reads.
    pub read: usize,
    /// Pixels that it reads.
    pub length: usize,
    /// First pixel that the window contributes.
    pub core: usize,
    /// Pixels that it contributes.
    pub core_length: usize,
}

/// A window: what is read and what is kept of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Along x.
    pub x: Span,
    /// Along y.
    pub y: Span,
}

/// What a network asks of its windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Windows {
    /// All have one size: runtimes plan their memory, or build an engine, for it.
    #[default]
    OneSize,
    /// Nothing, and a long one takes no more memory than a short one: neighbours in a band are read and computed as one, and none reads
    /// more than it needs.
    Long,
}

/// All windows of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileGrid {
    /// Columns and rows of the image.
    pub image: [usize; 2],
    /// What the network asks for.
    pub windows: Windows,
    /// The halo that is kept, a multiple of the stride.
    pub halo: usize,
    columns: Vec<Span>,
    rows: Vec<Span>,
}

/// Columns of the cores of windows that may be joined: how finely they follow what is looked at.
const CORE: usize = 512;
/// Columns of joined windows at most: kernels begin and end seldom, and pixels of a window take some 50 MB.
const LONGEST: usize = 8192;

impl TileGrid {
    /// Windows of side `tile` at most (smaller where the padded image is) with `halo` pixels around each core; both are rounded up
    /// to multiples of `stride`.
    pub fn new(image: [usize; 2], stride: usize, tile: usize, halo: usize, windows: Windows) -> Result<Self> {
        assert!(stride > 0 && image[0] > 0 && image[1] > 0, "a stride and an image without pixels: {stride}, {image:?}");
        let (tile, halo) = (tile.max(1).next_multiple_of(stride), halo.next_multiple_of(stride));
        let padded = image.map(|side| side.next_multiple_of(stride));
        if tile <= 2 * halo && padded.iter().any(|&side| side > tile) {
            bail!("tiles of {tile} px leave no core inside a halo of {halo} px, expected at least {} px", 2 * halo + stride; hint: "choose larger tiles with --tile or a smaller halo with --halo");
        }
        let length = match windows {
            Windows::Long if padded[0] > tile => tile.min(2 * halo + CORE.next_multiple_of(stride)),
            Windows::Long | Windows::OneSize => tile,
        };
        let spans = |axis: usize, tile: usize| spans(image[axis], padded[axis], tile, halo, windows);
        Ok(Self { image, windows, halo, columns: spans(0, length), rows: spans(1, tile) })
    }

    /// The side of tiles that costs little beside the cores and fits in the memory of usual machines.
    ///
    /// Windows of one size compute `(T / (T - 2 h))²` pixels for each that they keep: 1.31 at 1024 px with a halo of 64, 1.22 at 2048 with
    /// 96. Long ones compute `T / (T - 2 h)` and a little more: 1.13 at 2048 px with a halo of 96, 1.8 at 3072 with 544.
    pub fn default_tile(halo: usize, windows: Windows) -> usize {
        match windows {
            Windows::OneSize if halo <= 64 => 1024,
            Windows::Long if halo > 128 => 3072,
            Windows::OneSize | Windows::Long => 2048,
        }
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.columns.len() * self.rows.len()
    }

    /// Whether there is no window; never, since images have pixels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Columns and rows of the first window, which is the largest; multiples of the stride.
    pub fn window_size(&self) -> [usize; 2] {
        [self.columns[0].length, self.rows[0].length]
    }

    /// Window `index` in raster order.
    pub fn window(&self, index: usize) -> Window {
        Window { x: self.columns[index % self.columns.len()], y: self.rows[index / self.columns.len()] }
    }

    /// Windows `of` a band, ascending, as groups of neighbours that are read and computed as one.
    pub fn groups(&self, of: &[usize]) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        for neighbours in of.chunk_by(|a, b| self.windows == Windows::Long && a + 1 == *b) {
            let (first, end) = (neighbours[0], neighbours[0] + neighbours.len());
            let columns = |of: Range<usize>| self.joined(&of).x.length;
            let fits = |parts: usize| (0..parts).all(|i| columns(part(first..end, i, parts)) <= LONGEST);
            let parts = (1..neighbours.len()).find(|&parts| fits(parts)).unwrap_or(neighbours.len());
            groups.extend((0..parts).map(|i| part(first..end, i, parts)));
        }
        groups
    }

    /// Neighbouring windows of a band as one.
    pub fn joined(&self, group: &Range<usize>) -> Window {
        let (first, last) = (self.window(group.start), self.window(group.end - 1));
        let [end, core_end] = [last.x.read + last.x.length, last.x.core + last.x.core_length];
        let x = Span { read: first.x.read, length: end - first.x.read, core: first.x.core, core_length: core_end - first.x.core };
        Window { x, y: first.y }
    }

    /// Windows in a row of windows.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Rows of windows; the cores of each make a band of full image width.
    pub fn bands(&self) -> &[Span] {
        &self.rows
    }

    /// Pixels read for one pixel of the image, where all of it is looked at.
    pub fn overlap(&self) -> f64 {
        let columns: Vec<usize> = (0..self.columns.len()).collect();
        let columns: usize = self.groups(&columns).iter().map(|group| self.joined(group).x.length).sum();
        let rows: usize = self.rows.iter().map(|span| span.length).sum();
        (columns * rows) as f64 / (self.image[0] * self.image[1]) as f64
    }
}

/// Part `index` of `count` about equal ones.
fn part(range: Range<usize>, index: usize, count: usize) -> Range<usize> {
    range.start + index * range.len() / count..range.start + (index + 1) * range.len() / count
}

fn spans(image: usize, padded: usize, tile: usize, halo: usize, windows: Windows) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut core = 0;
    while core < image {
        let inner = core.saturating_sub(halo);
        // Where all have one size, the last one begins earlier than it needs to.
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
        fn cores_partition_windows_lie_inside_and_halos_are_kept(
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
    fn the_last_windows_read_no_more_than_they_need() {
        let overlap = |windows| TileGrid::new([3072, 3072], 32, 1024, 96, windows).unwrap().overlap();
        assert!((overlap(Windows::OneSize) - (4.0_f64 / 3.0).powi(2)).abs() < 1e-9);
        // Four rows, and one window in each.
        assert!((overlap(Windows::Long) - (1.0 + 3.0 * 192.0 / 3072.0_f64)).abs() < 1e-9);
    }

    #[test]
    fn neighbours_are_joined_up_to_a_length() {
        let grid = TileGrid::new([40_000, 5000], 32, 2048, 96, Windows::Long).unwrap();
        let all: Vec<usize> = (0..grid.columns()).collect();
        let groups = grid.groups(&all);
        assert!(groups.iter().flat_map(Clone::clone).eq(all.iter().copied()));
        let mut core = 0;
        for group in &groups {
            let x = grid.joined(group).x;
            assert!(x.core == core && (6500..=8192).contains(&x.length), "{x:?}");
            assert!(x.read == 0 || x.core - x.read == 96);
            core += x.core_length;
        }
        assert_eq!(core, 40_000);
        assert!((1.08..1.12).contains(&grid.overlap()), "{}", grid.overlap());
        // What is not looked at divides, and so do the ends of bands, which never come together.
        assert_eq!(grid.groups(&[3, 4, 7, 9, 10]), [3..5, 7..8, 9..11]);
        let fixed = TileGrid::new([40_000, 5000], 32, 2048, 96, Windows::OneSize).unwrap();
        assert_eq!(fixed.groups(&[3, 4]), [3..4, 4..5]);
    }

    #[test]
    fn a_small_image_is_one_window() {
        let grid = TileGrid::new([100, 33], 32, 1024, 544, Windows::OneSize).unwrap();
        assert_eq!((grid.len(), grid.window_size()), (1, [128, 64]));
        assert_eq!(grid.window(0).x, Span { read: 0, length: 128, core: 0, core_length: 100 });
    }

    #[test]
    fn a_tile_without_a_core_is_refused_with_the_size_that_works() {
        let error = TileGrid::new([5000, 5000], 32, 1024, 544, Windows::OneSize).unwrap_err();
        assert!(error.to_string().contains("at least 1120 px") && error.hint_text().unwrap().contains("--tile"), "{error}");
    }
}
