//! Pieces of maps: a convolution of some rows reads a few rows beyond them.

/// How many rows of a larger map are there above and below those that a piece stands for. What lies beyond them counts as zero, as
/// beyond the border of a whole map, which has no margin. Maps with a margin are of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HaloRows {
    /// Rows before the first one of the piece.
    pub above: usize,
    /// Rows after its last one.
    pub below: usize,
}

impl HaloRows {
    /// None: a whole map.
    pub const NONE: Self = Self { above: 0, below: 0 };

    /// Rows in memory of a piece of `height` rows.
    pub fn rows(self, height: usize) -> usize {
        self.above + height + self.below
    }

    /// # Panics
    /// If there is one around a piece of more than one image.
    pub fn check(self, batch: usize) {
        assert!(batch == 1 || self == Self::NONE, "{batch} images with {self:?}");
    }
}
