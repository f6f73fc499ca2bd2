//! Position of channels in the f32 of one pixel. Kernels read vectors of 16 channels, so pixels are padded with zeros to a multiple of 16.

/// Offsets of the channels of a pixel, and its length with padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelLayout {
    /// Offset of each channel from the start of the pixel, ascending.
    pub offsets: Vec<usize>,
    /// Number of f32 per pixel; those that belong to no channel are 0.
    pub pixel_len: usize,
}

impl ChannelLayout {
    /// Returns the layout without padding.
    pub fn dense(channels: usize) -> Self {
        Self { offsets: (0..channels).collect(), pixel_len: channels }
    }

    /// Returns the layout with zeros up to a multiple of 16.
    pub fn padded(channels: usize) -> Self {
        Self { offsets: (0..channels).collect(), pixel_len: channels.next_multiple_of(16) }
    }

    /// Returns the layout of concatenated pixels; padding between the parts remains.
    pub fn concat<'a>(layouts: impl IntoIterator<Item = &'a ChannelLayout>) -> Self {
        let mut all = Self { offsets: Vec::new(), pixel_len: 0 };
        for layout in layouts {
            all.offsets.extend(layout.offsets.iter().map(|offset| all.pixel_len + offset));
            all.pixel_len += layout.pixel_len;
        }
        all
    }

    /// Scatters one value per channel to the channels' offsets; padding becomes 0.
    pub fn scatter(&self, values: &[f32]) -> Vec<f32> {
        let mut pixel = vec![0.0; self.pixel_len];
        self.offsets.iter().zip(values).for_each(|(&offset, value)| pixel[offset] = *value);
        pixel
    }
}
