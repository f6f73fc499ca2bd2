//! Halo rows of a row block: the rows of a larger feature map that a convolution reads above and below the block's own rows.

/// Number of halo rows in memory around the own rows of a row block.
///
/// Rows beyond the halo count as zero, like the padding of a whole feature map, which has no halo. A feature map with a halo holds one
/// image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HaloRows {
    /// Rows before the first own row.
    pub above: usize,
    /// Rows after the last own row.
    pub below: usize,
}

impl HaloRows {
    /// No halo: a whole feature map.
    pub const NONE: Self = Self { above: 0, below: 0 };

    /// Returns the number of rows in memory of a row block with `height` own rows.
    pub fn rows(self, height: usize) -> usize {
        self.above + height + self.below
    }

    /// Checks that only a single image has a halo.
    ///
    /// # Panics
    /// If `batch` is not 1 and there are halo rows.
    pub fn check(self, batch: usize) {
        assert!(batch == 1 || self == Self::NONE, "halo rows need a batch of one image, found {batch} images with {self:?}");
    }
}
