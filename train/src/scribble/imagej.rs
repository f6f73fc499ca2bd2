//! Rasterisation of `ImageJ` selections: a single one (`.roi`) or many (`.zip` of the ROI manager).
//!
//! Selections have no class, so that the class is derived from their name (`nucleus`, `background-3`) or their group.

use std::io::{Cursor, Read as _};

use models::plane::Plane;
use support::{Context, Result, bail};

use super::raster::{draw_segment, fill};
use super::roi::{Selection, Shape, parse};
use super::{BACKGROUND, FOREGROUND, UNLABELLED};
use crate::config::ImageJConfig;

/// Size limit of a selection, in bytes.
const MAX_SELECTION_BYTES: u64 = 16 << 20;
/// Limit of the number of selections in a `.zip`.
const MAX_SELECTIONS: usize = 1 << 16;

/// Rasterises the selections of a `.roi` or `.zip` file into a scribble map of `width x height`.
///
/// The first bytes distinguish the two formats. Lines and points have the selection's stroke width, or else the configured one. Nuclei are
/// drawn over background.
///
/// # Errors
/// A damaged file, a selection of an unsupported type, or one whose class is unknown.
pub fn rasterise(bytes: &[u8], width: usize, height: usize, config: &ImageJConfig) -> Result<Plane<u8>> {
    let mut classed = Vec::new();
    for (entry, selection) in selections(bytes)? {
        classed.push((class_of(&selection, &entry, config)?, selection));
    }
    let mut map = Plane::filled(width, height, UNLABELLED);
    for class in [BACKGROUND, FOREGROUND] {
        for (_, selection) in classed.iter().filter(|(own, _)| *own == class) {
            draw(&mut map, selection, class, config.stroke_width_px);
        }
    }
    Ok(map)
}

/// Reads all selections with the names of their zip entries (empty for a single `.roi`).
fn selections(bytes: &[u8]) -> Result<Vec<(String, Selection)>> {
    if !bytes.starts_with(b"PK") {
        return Ok(vec![(String::new(), parse(bytes)?)]);
    }
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).hint(|| "save the selections again with the ROI manager")?;
    if archive.len() > MAX_SELECTIONS {
        bail!("{} selections, more than the {MAX_SELECTIONS} that are allowed", archive.len());
    }
    let mut found = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i)?;
        let name = entry.name()?.into_owned();
        let doing = || format!("entry {name}");
        let Some(stem) = name.strip_suffix(".roi") else {
            bail!("entry {name}: expected selections (.roi)"; hint: "save the selections with the ROI manager: More > Save");
        };
        let mut content = Vec::new();
        entry.by_ref().take(MAX_SELECTION_BYTES + 1).read_to_end(&mut content).doing(doing)?;
        if content.len() as u64 > MAX_SELECTION_BYTES {
            bail!("entry {name}: larger than {MAX_SELECTION_BYTES} bytes");
        }
        found.push((stem.to_owned(), parse(&content).doing(doing)?));
    }
    Ok(found)
}

/// Returns the class of a selection by its name (or else the name of its entry), or else by its group.
fn class_of(selection: &Selection, entry: &str, config: &ImageJConfig) -> Result<u8> {
    let name = if selection.name.is_empty() { entry } else { &selection.name };
    let is = |names: &[String]| names.iter().any(|known| is_named(name, known));
    match (is(&config.background), is(&config.foreground)) {
        (true, false) => return Ok(BACKGROUND),
        (false, true) => return Ok(FOREGROUND),
        _ => {}
    }
    if config.background_groups.contains(&selection.group) {
        return Ok(BACKGROUND);
    }
    if config.foreground_groups.contains(&selection.group) {
        return Ok(FOREGROUND);
    }
    let ImageJConfig { background, foreground, background_groups, foreground_groups, .. } = config;
    bail!("the selection {name:?} (group {}) has no class; background is {background:?} or groups {background_groups:?}, nucleus is {foreground:?} or groups {foreground_groups:?}", selection.group; hint: "rename the selections in the ROI manager (nucleus-1, background-1, ...), or assign groups and list them in data.imagej.background_groups and data.imagej.foreground_groups")
}

/// Reports whether `name` is `known`, possibly followed by a suffix that does not start with a letter: `Nucleus`, `nucleus-3`, `nucleus_3`.
fn is_named(name: &str, known: &str) -> bool {
    let (name, known) = (name.trim().to_lowercase(), known.trim().to_lowercase());
    name.strip_prefix(&known).is_some_and(|rest| !known.is_empty() && !rest.starts_with(char::is_alphabetic))
}

/// Draws a selection; `default_width_px` applies to lines and points without a stroke width.
fn draw(map: &mut Plane<u8>, selection: &Selection, class: u8, default_width_px: f64) {
    let radius = selection.width_px.unwrap_or(default_width_px) / 2.0;
    match &selection.shape {
        Shape::Points(points) => points.iter().for_each(|p| draw_segment(map, *p, *p, radius, class)),
        Shape::Line(points) => match points.as_slice() {
            [only] => draw_segment(map, *only, *only, radius, class),
            points => points.windows(2).for_each(|pair| draw_segment(map, pair[0], pair[1], radius, class)),
        },
        Shape::Area(ring) => fill(map, std::slice::from_ref(ring), class),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::roi::tests::written;
    use super::*;

    fn zipped(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn rows(map: &Plane<u8>) -> Vec<String> {
        let letter = |v: &u8| match *v {
            BACKGROUND => 'b',
            FOREGROUND => 'n',
            _ => '.',
        };
        (0..map.height).map(|y| map.row(y).iter().map(letter).collect()).collect()
    }

    #[test]
    fn selections_of_a_zip_are_classified_by_name_or_group_and_nuclei_are_drawn_over_background() {
        let config = ImageJConfig { stroke_width_px: 1.0, background_groups: vec![4], ..ImageJConfig::default() };
        let area = written(0, [1, 1], &[[1, 1], [4, 1], [4, 3], [1, 3]], "Nucleus-12", 0, 0);
        let line = written(5, [0, 2], &[[0, 2], [7, 2]], "0012-0345", 4, 0);
        let point = written(10, [6, 0], &[[6, 0]], "", 0, 0);
        let file = zipped(&[("0001-0001.roi", area), ("x.roi", line), ("positive_2.roi", point)]);
        let map = rasterise(&file, 8, 4, &config).unwrap();
        assert_eq!(rows(&map), ["......n.", ".nnn....", "bnnnbbbb", "........"]);
    }

    #[test]
    fn the_stroke_width_of_a_selection_overrides_the_configured_one() {
        let wide = written(5, [0, 1], &[[0, 1], [3, 1]], "background", 0, 3);
        assert_eq!(rows(&rasterise(&wide, 4, 3, &ImageJConfig { stroke_width_px: 1.0, ..ImageJConfig::default() }).unwrap()), ["bbbb"; 3]);
    }

    #[test]
    fn errors_name_selections_without_a_class_and_invalid_entries() {
        let message = |bytes: &[u8]| format!("{:?}", rasterise(bytes, 4, 4, &ImageJConfig::default()).unwrap_err());
        let text = message(&written(10, [0, 0], &[[0, 0]], "0012-0345", 3, 0));
        assert!(text.contains("\"0012-0345\" (group 3)") && text.contains("ROI manager"), "{text}");
        assert!(message(&written(10, [0, 0], &[[0, 0]], "nucleusoid", 0, 0)).contains("no class"));
        let text = message(&zipped(&[("a.txt", vec![1])]));
        assert!(text.contains("entry a.txt") && text.contains(".roi"), "{text}");
        assert!(message(&zipped(&[("a.roi", vec![1, 2, 3, 4])])).contains("entry a"));
        assert!(message(b"PK but no archive").contains("hint"));
        assert!(message(b"").contains("cut short"));
    }
}
