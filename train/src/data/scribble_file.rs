//! Reading of scribble files into scribble maps: index maps through the label map, QuPath GeoJSON, and `ImageJ` selections.

use std::path::Path;

use models::plane::Plane;
use support::{Context, Error, Result, bail, durable};

use super::image_file::read_index;
use crate::config::{DataConfig, LabelMap};
use crate::scribble::{BACKGROUND, FOREGROUND, UNLABELLED, geojson, imagej};

/// Size limit of a vector scribble file, in bytes.
const MAX_VECTOR_BYTES: u64 = 256 << 20;

/// Number of pixels of each class in scribble maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Pixels of background strokes.
    pub background: u64,
    /// Pixels of nucleus strokes.
    pub foreground: u64,
    /// Pixels without a stroke.
    pub unlabelled: u64,
}

impl Counts {
    /// Counts the pixels of a scribble map.
    pub fn of(scribble: &Plane<u8>) -> Self {
        scribble.data.iter().fold(Self::default(), |mut counts, &value| {
            match value {
                BACKGROUND => counts.background += 1,
                FOREGROUND => counts.foreground += 1,
                _ => counts.unlabelled += 1,
            }
            counts
        })
    }

    /// Returns the number of pixels with a stroke.
    pub fn labelled(self) -> u64 {
        self.background + self.foreground
    }

    /// Returns the fraction of pixels with a stroke, 0 to 1; 0 for an empty map.
    pub fn labelled_share(self) -> f64 {
        self.labelled() as f64 / (self.labelled() + self.unlabelled).max(1) as f64
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.background += other.background;
        self.foreground += other.foreground;
        self.unlabelled += other.unlabelled;
    }
}

/// Reads the scribbles of an image of `width x height`; the file name extension decides the format.
///
/// # Errors
/// A damaged file, an index map of another size or with a value that the label map lacks, or a stroke without a known class.
pub fn read_scribble(path: &Path, width: usize, height: usize, config: &DataConfig) -> Result<Plane<u8>> {
    let doing = || format!("reading {}", path.display());
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("geojson") => {
            let text = String::from_utf8(durable::read(path, MAX_VECTOR_BYTES)?).doing(doing)?;
            return geojson::rasterise(&text, width, height, [0.0, 0.0], &config.geojson).doing(doing);
        }
        Some("roi" | "zip") => {
            return imagej::rasterise(&durable::read(path, MAX_VECTOR_BYTES)?, width, height, &config.imagej).doing(doing);
        }
        _ => {}
    }
    let map = read_index(path)?;
    if (map.width, map.height) != (width, height) {
        bail!("{}: the scribbles are {} x {}, but the image is {width} x {height}", path.display(), map.width, map.height; hint: "draw the scribbles on the image at its own size, without scaling or cropping");
    }
    apply_label_map(&map, &config.label_map).doing(|| path.display().to_string())
}

/// Replaces each value by its class in `label_map`.
fn apply_label_map(map: &Plane<u32>, label_map: &LabelMap) -> Result<Plane<u8>> {
    let table = label_map.table();
    // Direct look-up for 8-bit values, which nearly all files have.
    let mut direct = [None; 256];
    for (&value, &class) in table.range(..256) {
        direct[value as usize] = Some(class);
    }
    let look_up = |value: &u32| direct.get(*value as usize).copied().unwrap_or_else(|| table.get(value).copied());
    let data: Option<Vec<u8>> = map.data.iter().map(look_up).collect();
    match data {
        Some(data) => Plane::new(map.width, map.height, data),
        None => Err(unmapped_values(map, label_map, |value| look_up(value).is_none())),
    }
}

/// Returns the error that lists and counts the values without a class.
fn unmapped_values(map: &Plane<u32>, label_map: &LabelMap, is_unmapped: impl Fn(&u32) -> bool) -> Error {
    let mut counts = std::collections::BTreeMap::new();
    map.data.iter().filter(|value| is_unmapped(value)).for_each(|&value| *counts.entry(value).or_insert(0u64) += 1);
    let listed: Vec<String> = counts.iter().take(8).map(|(value, count)| format!("{value} ({count} pixels)")).collect();
    let LabelMap { background, foreground, unlabelled } = label_map;
    let more = if counts.len() > 8 { format!(" and {} more", counts.len() - 8) } else { String::new() };
    Error::new(format!(
        "values that the label map lacks: {}{more}; its values are background {background:?}, foreground {foreground:?}, unlabelled {unlabelled:?}",
        listed.join(", ")
    ))
    .hint("add the values to [data.label_map]; 0 is background in some programs and unlabelled in napari, ilastik and Labkit, so the mapping is never guessed")
}

/// Converts instance labels to a scribble map without unlabelled pixels, for full supervision.
pub fn mask_as_scribble(labels: &Plane<u32>) -> Plane<u8> {
    labels.map(|&id| if id > 0 { FOREGROUND } else { BACKGROUND })
}

/// Returns a scribble map without strokes.
pub(super) fn unlabelled_map(width: usize, height: usize) -> Plane<u8> {
    Plane::filled(width, height, UNLABELLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_replaced_by_their_classes() {
        let napari = LabelMap { background: vec![1], foreground: vec![2, 900], unlabelled: vec![0] };
        let map = Plane::new(4, 1, vec![0, 1, 2, 900]).unwrap();
        let scribble = apply_label_map(&map, &napari).unwrap();
        assert_eq!(scribble.data, [UNLABELLED, BACKGROUND, FOREGROUND, FOREGROUND]);
        assert_eq!(Counts::of(&scribble), Counts { background: 1, foreground: 2, unlabelled: 1 });
        assert_eq!(Counts::of(&scribble).labelled_share(), 0.75);
    }

    #[test]
    fn an_unmapped_value_is_an_error_that_names_and_counts_it() {
        let map = Plane::new(4, 1, vec![0, 255, 255, 4000]).unwrap();
        let error = format!("{:?}", apply_label_map(&map, &LabelMap::default()).unwrap_err());
        for part in ["255 (2 pixels)", "4000 (1 pixels)", "background [0]", "unlabelled [250]", "napari"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
