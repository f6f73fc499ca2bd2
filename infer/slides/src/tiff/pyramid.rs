//! Selection of the directories of a TIFF file that are levels of the slide.

use support::picture::tiff::{BoundedFile, Directory, Layout, Selection, layout::size, tag};
use support::{Context, Result};

/// Maximum relative difference of a level's downsamples along x and y, in addition to one pixel of rounding.
const ASPECT_WITHIN: f64 = 0.01;

/// Tiled image of a file.
pub struct TiledImage {
    /// Size, format and tiles.
    pub layout: Layout,
    /// Number of level-0 pixels per pixel of the image, the mean of both axes.
    pub downsample: f64,
}

impl TiledImage {
    /// Reports whether an image is read tile by tile: whole-number samples in tiles, upright.
    ///
    /// Floats are read as a whole, because their range decides about the conversion; turned images, because they are turned upright.
    pub fn is_candidate(layout: &Layout) -> bool {
        layout.is_tiled && !layout.format.is_float && layout.orientation == 1
    }
}

/// Reads the layout of an image of the selected channel.
pub fn layout(directory: &Directory, file: &BoundedFile, selection: &Selection) -> Result<Layout> {
    let mut layout = Layout::read(directory, file)?;
    if let Some(white) = selection.white.filter(|_| layout.format.white == u16::MAX) {
        layout.format.white = white;
    }
    Ok(layout)
}

/// Returns the levels of the slide, the finest first: the selected image, and all smaller images of the same field of view among its
/// sub-directories (`SubIFDs`, as in OME-TIFF) and the later directories.
///
/// If every level has a page per channel, the page of the selected channel is taken. Thumbnails, labels and macro photographs are not
/// levels: they are stored in strips or have another aspect ratio.
pub fn levels(base: Layout, directories: &[Directory], selection: &Selection, file: &BoundedFile) -> Result<Vec<TiledImage>> {
    let within = directories[selection.directory].children(file)?;
    let later = pages_of_channel(&directories[selection.base..], selection.directory - selection.base, file);
    let mut levels = vec![TiledImage { layout: base, downsample: 1.0 }];
    for (i, directory) in within.iter().chain(later).enumerate() {
        if !directory.has(tag::TILE_OFFSETS) || is_unreadable(directory, file) {
            continue;
        }
        let layout = layout(directory, file, selection).doing(|| format!("directory {}", i + 1))?;
        let (base, last) = (&levels[0].layout, &levels[levels.len() - 1].layout);
        let is_smaller = layout.width < last.width && layout.height < last.height;
        let same_samples = layout.format.samples == base.format.samples && layout.format.bits == base.format.bits;
        if is_smaller && same_samples && TiledImage::is_candidate(&layout) && has_same_aspect(base, &layout) {
            let downsample = f64::midpoint(base.width as f64 / layout.width as f64, base.height as f64 / layout.height as f64);
            levels.push(TiledImage { layout, downsample });
        }
    }
    Ok(levels)
}

/// Reports whether a directory has a format that is not read, such as a label of another vendor.
fn is_unreadable(directory: &Directory, file: &BoundedFile) -> bool {
    support::picture::tiff::format::Format::read(directory, file).is_err()
}

/// Returns page `channel` of each run of directories of one size, or the last page of a shorter run.
fn pages_of_channel<'a>(directories: &'a [Directory], channel: usize, file: &BoundedFile) -> impl Iterator<Item = &'a Directory> {
    let size = |directory: &Directory| size(directory, file).unwrap_or_default();
    let runs: Vec<_> = directories.chunk_by(|a, b| size(a) == size(b)).map(|run| &run[channel.min(run.len() - 1)]).collect();
    runs.into_iter().skip(1)
}

/// Reports whether two images have the same aspect ratio, up to rounding.
fn has_same_aspect(base: &Layout, image: &Layout) -> bool {
    let (x, y) = (base.width as f64 / image.width as f64, base.height as f64 / image.height as f64);
    let rounding = 1.0 / image.width as f64 + 1.0 / image.height as f64;
    (x - y).abs() <= (ASPECT_WITHIN + rounding) * x.max(y)
}
