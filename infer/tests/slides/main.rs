//! Segmentation of slides: properties over random images, damaged files, resuming and shards, and readers of other projects.

#[cfg(unix)]
mod changed;
mod cohort;
mod databases;
mod deep_tiles;
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
mod stored;
mod stores;
mod tiling;
mod write_faults;
