//! Windows of an image: the pixels that the network reads and the core whose probabilities are kept.

/// Extent of a window along one axis, in pixels of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First pixel that the network reads.
    pub read: usize,
    /// Number of pixels that the network reads, a multiple of the stride.
    pub length: usize,
    /// First pixel of the core.
    pub core: usize,
    /// Number of pixels of the core.
    pub core_length: usize,
}

/// Rectangle that the network reads, with its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Columns.
    pub x: Span,
    /// Rows.
    pub y: Span,
}

/// Constraints of a network on its windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Windows {
    /// All windows have one size, because runtimes plan their memory, or build an engine, for one shape.
    #[default]
    OneSize,
    /// Windows may have any length, because memory does not grow with the length. Neighbours in a band are merged to one window, and no
    /// window reads more than it needs.
    Long,
}
