//! Scribbles made from instance labels, for experiments on data with complete masks (`train scribble`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use models::plane::Plane;
use rayon::prelude::*;
use support::{Result, bail, durable};

use crate::data::image_file::{png_of_map, read_index};
use crate::data::{Counts, Folder};
use crate::rng::CounterRng;
use crate::scribble::auto::auto_scribbles;
use crate::scribble::strokes::strokes;

/// Method by which scribbles are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Automatic scribbles of the papers: this fraction of the skeletons, in per cent, 1 to 100.
    Auto(u32),
    /// Simulated strokes on this fraction of the nuclei, 0 to 1, and through the background.
    Strokes(f64),
}

impl Kind {
    /// Makes the scribble map of one image, a function of its instance labels, the seed and its id.
    pub fn make(self, labels: &Plane<u32>, seed: u64, id: &str) -> Plane<u8> {
        match self {
            Self::Auto(ratio) => {
                auto_scribbles(labels, ratio, &mut CounterRng::new(seed, &format!("automatic scribbles of {id}"), 0, 0, 0))
            }
            Self::Strokes(fraction) => strokes(labels, fraction, &mut CounterRng::new(seed, &format!("strokes of {id}"), 0, 0, 0)),
        }
    }
}

/// Writes `scribbles/ID.png`, each atomically, for every image with labels; returns id and pixel counts of each.
///
/// # Errors
/// No labels, or existing scribbles without `overwrite`.
pub fn write_scribbles(data: &Path, kind: Kind, seed: u64, overwrite: bool) -> Result<Vec<(String, Counts)>> {
    let folder = Folder::open(data)?;
    let labelled: Vec<(&String, &PathBuf)> = folder.labels.iter().filter(|(id, _)| folder.images.contains_key(*id)).collect();
    if labelled.is_empty() {
        bail!("{}: no labels found for the images", data.join("labels").display(); hint: "scribbles are made from instance maps labels/ID.png; without them, draw scribbles/ID.png");
    }
    let existing = labelled.iter().find_map(|(id, _)| folder.scribbles.get(*id));
    if let (Some(path), false) = (existing, overwrite) {
        bail!("{}: the scribbles exist already", path.display(); hint: "they may be drawn by hand: move the folder away, or pass --overwrite");
    }
    let one = |(id, path): &(&String, &PathBuf)| {
        let scribble = kind.make(&read_index(path)?, seed, id);
        durable::write(&data.join("scribbles").join(format!("{id}.png")), &png_of_map(&scribble)?)?;
        Ok(((*id).clone(), Counts::of(&scribble)))
    };
    labelled.par_iter().map(one).collect()
}

/// Formats the result of [`write_scribbles`]: number of images, labelled fraction, and images in which a class is missing.
pub fn summary(kind: Kind, counts: &[(String, Counts)]) -> String {
    let mut total = Counts::default();
    for (_, counts) in counts {
        total += *counts;
    }
    let made = match kind {
        Kind::Auto(ratio) => format!("automatic scribbles, {ratio} %"),
        Kind::Strokes(fraction) => format!("simulated strokes on {:.0} % of nuclei", 100.0 * fraction),
    };
    let mut text = String::new();
    let _ = writeln!(text, "{} images: {made}", counts.len()); // writing to a String cannot fail
    let _ = writeln!(
        text,
        "labelled pixels {:.3} %, of which {:.1} % nucleus",
        100.0 * total.labelled_share(),
        100.0 * total.foreground as f64 / total.labelled().max(1) as f64
    );
    for (id, _) in counts.iter().filter(|(_, counts)| counts.foreground == 0 || counts.background == 0) {
        let _ = writeln!(text, "note: {id} lacks scribbles of at least one class");
    }
    text
}
