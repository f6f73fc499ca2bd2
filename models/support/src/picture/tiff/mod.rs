//! Reader of TIFF and `BigTIFF` files: the images of a file in tiles or strips, part by part or as a whole, as 8-bit RGB.
//!
//! | module | contents |
//! |---|---|
//! | [`mod@file`] | positioned reads within the bounds of the file |
//! | [`directory`] | chain of image file directories (IFDs) and their fields |
//! | [`tag`] | numbers of the fields |
//! | [`mod@format`] | storage format of an image: compression, colour, samples |
//! | [`compression`] | decompression of tiles and strips |
//! | [`layout`] | size of an image and the position of its tiles or strips |
//! | [`part`] | decoding of one tile or strip |
//! | [`samples`] | conversion of samples to 8-bit RGB |
//! | [`whole`] | an image as a whole |
//! | [`description`] | metadata of OME-TIFF and `ImageJ` |
//! | [`selection`] | image of the file that is read: the largest, and its channel |
//!
//! Reference: TIFF 6.0 (Adobe, 1992); the BigTIFF design of libtiff; TIFF Technical Note 2 for JPEG.

pub mod compression;
pub mod description;
pub mod directory;
pub mod file;
pub mod format;
pub mod layout;
pub mod part;
pub mod samples;
pub mod selection;
pub mod tag;
pub mod whole;

pub use directory::Directory;
pub use file::BoundedFile;
pub use layout::Layout;
pub use selection::Selection;
