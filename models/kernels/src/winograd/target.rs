//! Destinations of a Winograd convolution: one feature map, or several that share the output channels.

use super::input_transform::PartMut;
use crate::scratch::SharedMut;

/// A destination feature map, all of whose values are overwritten.
pub struct PartBuffer<'a> {
    /// Values, `B H W C`.
    pub values: &'a mut [f32],
    /// Channels, a multiple of 16.
    pub channels: usize,
    /// True for a feature map of half the height and width, in which 2x2 results are summed into one pixel (the gradient of upsampling).
    pub halved: bool,
}

/// A [`PartBuffer`] that tasks share.
#[derive(Clone, Copy)]
pub struct Target {
    values: SharedMut,
    channels: usize,
    halved: bool,
}

impl PartBuffer<'_> {
    /// Shares the feature map among tasks.
    pub fn target(&mut self) -> Target {
        Target { values: SharedMut::new(self.values), channels: self.channels, halved: self.halved }
    }
}

impl Target {
    /// Returns a view of the whole feature map.
    pub fn part(&self) -> PartMut {
        PartMut { values: self.values.get(), channels: self.channels, halved: self.halved }
    }
}

/// Returns the destination that an output channel belongs to, and the index of the channel in the destination.
pub fn find(targets: &[Target], mut channel: usize) -> (PartMut, usize) {
    for target in targets {
        if channel < target.channels {
            return (target.part(), channel);
        }
        channel -= target.channels;
    }
    unreachable!("channels of all targets were counted")
}
