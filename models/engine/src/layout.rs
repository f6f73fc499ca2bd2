//! Where channels lie in a pixel of memory. Kernels take sixteen at a time, so that maps have gaps of zeros behind their last channels.

/// The place of each channel, and how many values a pixel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The place of each channel, ascending.
    pub places: Vec<usize>,
    /// Values of a pixel; those at no channel's place are 0.
    pub width: usize,
}

impl Layout {
    /// Channels without gaps.
    pub fn tight(channels: usize) -> Self {
        Self { places: (0..channels).collect(), width: channels }
    }

    /// Channels, and zeros up to a multiple of sixteen.
    pub fn padded(channels: usize) -> Self {
        Self { places: (0..channels).collect(), width: channels.next_multiple_of(16) }
    }

    /// Pixels of several maps, one behind the other.
    pub fn of_all<'a>(layouts: impl IntoIterator<Item = &'a Layout>) -> Self {
        let mut all = Self { places: Vec::new(), width: 0 };
        for layout in layouts {
            all.places.extend(layout.places.iter().map(|place| all.width + place));
            all.width += layout.width;
        }
        all
    }

    /// Values of channels at their places, zeros elsewhere.
    pub fn spread(&self, values: &[f32]) -> Vec<f32> {
        let mut spread = vec![0.0; self.width];
        self.places.iter().zip(values).for_each(|(&place, value)| spread[place] = *value);
        spread
    }
}
