//! Slides in, nuclei out: properties over random images, hostile files, and readers that are not ours.

mod instances;
mod random;
mod tiling;
