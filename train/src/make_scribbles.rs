//! `train scribble`: makes `scribbles/` from `labels/`, to try the method where complete masks exist.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use support::{Result, artifact, bail};

use crate::data::image_file::{png_of_map, read_index};
use crate::data::{Counts, Folder};
use crate::rng::CounterRng;
use crate::scribble::auto::auto_scribbles;
use crate::scribble::strokes::strokes;

/// Options of `train scribble`.
#[derive(Clone, Debug, clap::Args)]
pub struct ScribbleArgs {
    /// Data folder with images/ and labels/; scribbles/ is written there
    pub data: PathBuf,
    /// Automatic scribbles of the papers: this share of the nuclei's skeletons, in per cent (10, 30, 50, 100)
    #[arg(long, value_name = "PER CENT", value_parser = clap::value_parser!(u32).range(1..=100), required_unless_present = "strokes", conflicts_with = "strokes")]
    pub ratio: Option<u32>,
    /// Simulated strokes: curves along nuclei and through the background
    #[arg(long)]
    pub strokes: bool,
    /// With --strokes: the share of nuclei that get one, 0 to 1
    #[arg(long, default_value_t = 0.5, requires = "strokes")]
    pub share: f64,
    /// Seed; each image's scribbles depend on it and on the image's id only
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Replace scribbles that are there already
    #[arg(long)]
    pub overwrite: bool,
}

/// How scribbles are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Pieces of skeletons, for this share in per cent.
    Auto(u32),
    /// Strokes on this share of the nuclei.
    Strokes(f64),
}

impl Kind {
    /// The scribbles of one image.
    pub fn make(self, labels: &models::plane::Plane<u32>, seed: u64, id: &str) -> models::plane::Plane<u8> {
        match self {
            Self::Auto(ratio) => {
                auto_scribbles(labels, ratio, &mut CounterRng::new(seed, &format!("automatic scribbles of {id}"), 0, 0, 0))
            }
            Self::Strokes(share) => strokes(labels, share, &mut CounterRng::new(seed, &format!("strokes of {id}"), 0, 0, 0)),
        }
    }
}

/// Runs `train scribble`; returns what to print.
pub fn run(args: &ScribbleArgs) -> Result<String> {
    if !(0.0..=1.0).contains(&args.share) {
        bail!("--share: expected 0 to 1, found {}", args.share);
    }
    let kind = args.ratio.map_or(Kind::Strokes(args.share), Kind::Auto);
    let counts = write_scribbles(&args.data, kind, args.seed, args.overwrite)?;
    Ok(report(kind, &counts))
}

/// Writes `scribbles/ID.png` for every image with labels, each file whole or not at all; returns id and counts of each.
pub fn write_scribbles(data: &Path, kind: Kind, seed: u64, overwrite: bool) -> Result<Vec<(String, Counts)>> {
    let folder = Folder::open(data)?;
    let labelled: Vec<(&String, &PathBuf)> = folder.labels.iter().filter(|(id, _)| folder.images.contains_key(*id)).collect();
    if labelled.is_empty() {
        bail!("{}: no labels found for the images", data.join("labels").display(); hint: "scribbles are made from instance maps labels/ID.png; without them, draw scribbles/ID.png");
    }
    let existing = labelled.iter().find_map(|(id, _)| folder.scribbles.get(*id));
    if let (Some(path), false) = (existing, overwrite) {
        bail!("{}: there are scribbles already", path.display(); hint: "they may be somebody's work: move the folder away, or pass --overwrite");
    }
    let one = |(id, path): &(&String, &PathBuf)| {
        let scribble = kind.make(&read_index(path)?, seed, id);
        artifact::write(&data.join("scribbles").join(format!("{id}.png")), &png_of_map(&scribble)?)?;
        Ok(((*id).clone(), Counts::of(&scribble)))
    };
    labelled.par_iter().map(one).collect()
}

fn report(kind: Kind, counts: &[(String, Counts)]) -> String {
    let mut total = Counts::default();
    for (_, counts) in counts {
        total += *counts;
    }
    let what = match kind {
        Kind::Auto(ratio) => format!("automatic scribbles, {ratio} %"),
        Kind::Strokes(share) => format!("simulated strokes on {:.0} % of nuclei", 100.0 * share),
    };
    let mut text = String::new();
    let _ = writeln!(text, "{} images: {what}", counts.len()); // writing to a String cannot fail
    let _ = writeln!(
        text,
        "labelled pixels {:.3} %, of these {:.1} % nucleus",
        100.0 * total.labelled_share(),
        100.0 * total.foreground as f64 / total.labelled().max(1) as f64
    );
    for (id, _) in counts.iter().filter(|(_, counts)| counts.foreground == 0 || counts.background == 0) {
        let _ = writeln!(text, "note: {id} has scribbles of one class or none");
    }
    text
}
