//! Data folders: images, scribbles, instance labels and splits.
//!
//! ```text
//! DATA/images/ID.png      png, tif or jpg        DATA/scribbles/ID.png   index map, or ID.geojson (QuPath), ID.roi, ID.zip (ImageJ)
//! DATA/labels/ID.png      instances, optional    DATA/index.csv          id, split, modality; optional
//! ```

mod folder;
pub mod image_file;
pub mod index;
pub mod modality;
mod sample;
mod scribble_file;
mod sides;
pub mod split;
mod tiff_index;

pub use folder::Folder;
pub(crate) use folder::abbreviated_list;
pub use image_file::RgbImage;
pub use index::Split;
pub(crate) use sample::read_labels;
pub use sample::{Dataset, Sample};
pub use scribble_file::{Counts, mask_as_scribble, read_scribble};
