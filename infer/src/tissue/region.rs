//! A region of a slide: polygons with holes in level-0 pixels, as QuPath exports annotations.

use std::ops::Range;
use std::path::Path;

use geojson::{GeoJson, Geometry, GeometryValue, Position};
use support::{Context, Result, bail, durable};

use super::Tissue;

/// Size limit of a GeoJSON file in bytes.
const LIMIT: u64 = 256 << 20;
/// Distance in rows between the scan lines that find grid tiles inside of a polygon.
const SCAN_STEP: usize = 16;

/// A vertex in level-0 pixels.
pub(super) type Vertex = [f64; 2];

/// Polygons in level-0 pixels. Each polygon is a list of closed rings: the outer boundary, then holes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Region {
    polygons: Vec<Vec<Vec<Vertex>>>,
}

impl Region {
    /// Reads the polygons of a GeoJSON file (a feature collection, a feature or a geometry).
    ///
    /// # Errors
    /// A file that is no GeoJSON, a position that is not two finite numbers, or a file without polygons.
    pub fn from_geojson(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let region = Self::read(path).doing(|| format!("reading the region {}", path.display()))?;
        if region.polygons.is_empty() {
            bail!("{} has no polygons", path.display(); hint: "draw a closed annotation and export it as GeoJSON");
        }
        Ok(region)
    }

    /// A rectangle from the left upper to the right lower corner, in level-0 pixels.
    pub fn rectangle(left: f64, top: f64, right: f64, bottom: f64) -> Self {
        Self { polygons: vec![vec![vec![[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]]] }
    }

    /// Reports whether a position in level-0 pixels is inside of a polygon and outside of its holes (even-odd rule).
    pub fn contains(&self, position: [f64; 2]) -> bool {
        self.polygons.iter().any(|rings| rings.iter().filter(|ring| is_inside(ring, position)).count() % 2 == 1)
    }

    /// Returns the polygons, each a list of closed rings.
    pub(super) fn polygons(&self) -> &[Vec<Vec<Vertex>>] {
        &self.polygons
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = durable::read(path, LIMIT)?;
        let geometries = match serde_json::from_slice::<GeoJson>(&bytes)? {
            GeoJson::FeatureCollection(all) => all.features.into_iter().filter_map(|feature| feature.geometry).collect(),
            GeoJson::Feature(feature) => feature.geometry.into_iter().collect(),
            GeoJson::Geometry(geometry) => vec![geometry],
        };
        let mut polygons = Vec::new();
        for polygon in geometries.into_iter().flat_map(polygons_of) {
            let rings = polygon.iter().map(|ring| ring.iter().map(vertex).collect());
            polygons.push(rings.collect::<Result<Vec<_>>>()?);
        }
        Ok(Self { polygons })
    }

    /// Marks every grid tile of an image that the region touches.
    ///
    /// `image` is columns and rows at the model's scale, `slide_from_model` the level-0 pixels per model pixel along x and y.
    pub fn tissue(&self, image: [usize; 2], slide_from_model: [f64; 2]) -> Tissue {
        let mut tissue = Tissue::uniform(image, false);
        for polygon in &self.polygons {
            let to_model = |[x, y]: &Vertex| [x / slide_from_model[0], y / slide_from_model[1]];
            let rings: Vec<Vec<Vertex>> = polygon.iter().map(|ring| ring.iter().map(to_model).collect()).collect();
            add_polygon(&mut tissue, &rings, image);
        }
        tissue
    }
}

fn polygons_of(geometry: Geometry) -> Vec<Vec<Vec<Position>>> {
    match geometry.value {
        GeometryValue::Polygon { coordinates } => vec![coordinates],
        GeometryValue::MultiPolygon { coordinates } => coordinates,
        _ => Vec::new(),
    }
}

fn vertex(position: &Position) -> Result<Vertex> {
    match position.as_slice() {
        [x, y, ..] if x.is_finite() && y.is_finite() => Ok([*x, *y]),
        other => bail!("expected a position of two numbers, found {other:?}"),
    }
}

/// Counts the sides of a closed ring that cross the ray from the position to the right.
fn is_inside(ring: &[Vertex], [x, y]: [f64; 2]) -> bool {
    let crossings = ring.windows(2).filter(|side| {
        let ([x0, y0], [x1, y1]) = (side[0], side[1]);
        (y0 <= y) != (y1 <= y) && x < x0 + (x1 - x0) * (y - y0) / (y1 - y0)
    });
    crossings.count() % 2 == 1
}

/// Adds the grid tiles under the boundary, and the tiles with a pixel inside of the polygon in every 16th row (even-odd rule).
fn add_polygon(tissue: &mut Tissue, rings: &[Vec<Vertex>], image: [usize; 2]) {
    let sides: Vec<(Vertex, Vertex)> = rings.iter().flat_map(|ring| ring.windows(2).map(|side| (side[0], side[1]))).collect();
    sides.iter().for_each(|side| add_side(tissue, side, image));
    for row in (SCAN_STEP / 2..image[1]).step_by(SCAN_STEP) {
        let y = row as f64;
        let crossed = sides.iter().filter(|(a, b)| (a[1] <= y) != (b[1] <= y));
        let mut columns: Vec<f64> = crossed.map(|(a, b)| a[0] + (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1])).collect();
        columns.sort_by(f64::total_cmp);
        for pair in columns.chunks_exact(2) {
            tissue.add(clamped(pair[0], image[0])..clamped(pair[1], image[0]), one(row));
        }
    }
}

/// Adds the squares along one side of a polygon.
fn add_side(tissue: &mut Tissue, (from, to): &(Vertex, Vertex), image: [usize; 2]) {
    let longest = (to[0] - from[0]).abs().max((to[1] - from[1]).abs());
    let steps = ((longest / SCAN_STEP as f64).ceil() as usize).clamp(1, 1 << 20);
    for step in 0..=steps {
        let at = |axis: usize| from[axis] + (to[axis] - from[axis]) * step as f64 / steps as f64;
        if at(0) >= 0.0 && at(1) >= 0.0 {
            tissue.add(one(clamped(at(0), image[0])), one(clamped(at(1), image[1])));
        }
    }
}

fn clamped(at: f64, side: usize) -> usize {
    (at.max(0.0) as usize).min(side)
}

fn one(pixel: usize) -> Range<usize> {
    pixel..pixel + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_outside_and_touching_squares_are_marked() {
        let square = |from: f64, to: f64| vec![[from, from], [to, from], [to, to], [from, to], [from, from]];
        let region = Region { polygons: vec![vec![square(10.0, 90.0), square(40.0, 60.0)]] };
        assert!(region.contains([20.0, 20.0]) && !region.contains([50.0, 50.0]) && !region.contains([95.0, 20.0]));
        assert!(Region::rectangle(0.0, 0.0, 4.0, 2.0).contains([3.9, 1.9]));
        assert_eq!(region.tissue([300, 300], [0.5, 0.5]).area_px(), 4 * 128 * 128);
    }

    #[test]
    fn a_file_without_polygons_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points.geojson");
        std::fs::write(&path, r#"{"type":"Point","coordinates":[1,1]}"#).unwrap();
        let error = Region::from_geojson(&path).unwrap_err().to_string();
        assert!(error.contains("points.geojson") && error.contains("no polygons"), "{error}");
    }
}
