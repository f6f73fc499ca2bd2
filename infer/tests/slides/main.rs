//! Slides in, nuclei out: properties over random images, hostile files, and readers that are not ours.

mod cohort;
mod databases;
mod figures;
mod formats;
mod hostile;
mod instances;
mod library;
mod memory;
mod native;
mod openslide;
mod outlines;
mod outputs;
mod picture;
mod quality;
mod random;
mod readers;
mod regions;
mod resume;
mod scale;
mod tiling;
