//! Where a convolution writes: one map, or several that share its channels.

use super::transform::PartMut;
use crate::scratch::Shared;

/// A map to be written: all of it is.
pub struct PartBuffer<'a> {
    /// Its values.
    pub values: &'a mut [f32],
    /// A multiple of 16.
    pub channels: usize,
    /// Whether each pixel is the sum of 2x2.
    pub halved: bool,
}

/// A map that tasks write to.
#[derive(Clone, Copy)]
pub struct Target {
    values: Shared,
    channels: usize,
    halved: bool,
}

impl PartBuffer<'_> {
    /// The same map, for tasks.
    pub fn target(&mut self) -> Target {
        Target { values: Shared::new(self.values), channels: self.channels, halved: self.halved }
    }
}

impl Target {
    /// The whole map.
    pub fn part(&self) -> PartMut {
        PartMut { values: self.values.get(), channels: self.channels, halved: self.halved }
    }
}

/// The part that a channel of the result belongs to, and which channel of it that is.
pub fn find(targets: &[Target], mut channel: usize) -> (PartMut, usize) {
    for target in targets {
        if channel < target.channels {
            return (target.part(), channel);
        }
        channel -= target.channels;
    }
    unreachable!("channels of all targets were counted")
}
