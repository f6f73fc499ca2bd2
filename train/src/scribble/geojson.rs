//! Rasterisation of QuPath GeoJSON scribbles: features with `properties.classification.name` and coordinates in pixels.

use geojson::{Feature, GeoJson, GeometryValue, Position};
use models::plane::Plane;
use support::{Context, Result, bail};

use super::raster::{draw_segment, fill};
use super::{BACKGROUND, FOREGROUND, UNLABELLED};
use crate::config::GeoJsonConfig;
use crate::config::choice::nearest;

/// Rasterises the features of `text` into a scribble map of `width x height` whose upper left corner is at `origin` (x, y).
///
/// A pixel belongs to a line or point if the distance of its centre (x + .5, y + .5) is at most half the stroke width, and to a polygon if
/// its centre is inside by the even-odd rule. Nuclei are drawn over background.
///
/// # Errors
/// Text that is not GeoJSON, a feature without a class or with an unknown one, or coordinates that are not finite.
pub fn rasterise(text: &str, width: usize, height: usize, origin: [f64; 2], config: &GeoJsonConfig) -> Result<Plane<u8>> {
    let features = features_of(text)?;
    let mut classed = Vec::with_capacity(features.len());
    for (i, feature) in features.iter().enumerate() {
        classed.push((class_of(feature, config).doing(|| format!("feature {} of {}", i + 1, features.len()))?, feature));
    }
    let mut canvas = Canvas { map: Plane::filled(width, height, UNLABELLED), origin, radius: config.stroke_width_px / 2.0 };
    for class in [BACKGROUND, FOREGROUND] {
        for (_, feature) in classed.iter().filter(|(c, _)| *c == class) {
            if let Some(geometry) = &feature.geometry {
                canvas.draw(&geometry.value, class)?;
            }
        }
    }
    Ok(canvas.map)
}

/// Parses a `FeatureCollection`, a feature or a list of features.
fn features_of(text: &str) -> Result<Vec<Feature>> {
    // QuPath also exports a JSON array of features.
    let parsed = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<Feature>>(text).doing(|| "parsing a list of GeoJSON features")?
    } else {
        match text.parse::<GeoJson>().doing(|| "parsing GeoJSON")? {
            GeoJson::FeatureCollection(collection) => collection.features,
            GeoJson::Feature(feature) => vec![feature],
            GeoJson::Geometry(_) => {
                bail!("expected features with a class, found a bare geometry"; hint: "export annotations from QuPath as a FeatureCollection")
            }
        }
    };
    Ok(parsed)
}

/// Returns the class of a feature by its class name, which is compared without regard to case.
fn class_of(feature: &Feature, config: &GeoJsonConfig) -> Result<u8> {
    let classification = feature.properties.as_ref().and_then(|properties| properties.get("classification"));
    let name = match classification {
        Some(serde_json::Value::String(name)) => Some(name.clone()),
        Some(object) => object.get("name").and_then(|name| name.as_str()).map(str::to_owned).or_else(|| derived_name(object)),
        None => None,
    };
    let Some(name) = name else {
        bail!("expected properties.classification.name, found none"; hint: "assign a class to every stroke in QuPath before exporting");
    };
    let is = |names: &[String]| names.iter().any(|known| known.trim().eq_ignore_ascii_case(name.trim()));
    match (is(&config.background), is(&config.foreground)) {
        (true, _) => Ok(BACKGROUND),
        (_, true) => Ok(FOREGROUND),
        _ => {
            let known = config.background.iter().chain(&config.foreground).map(String::as_str);
            let near = nearest(&name, known).map_or(String::new(), |near| format!("did you mean {near:?}? otherwise "));
            bail!("unknown class {name:?}; background is {:?}, nucleus is {:?}", config.background, config.foreground; hint: "{near}add {name:?} to data.geojson.background or data.geojson.foreground")
        }
    }
}

/// Returns the name of a derived class, which QuPath 0.6 writes as a list `names`, in the form `A: B`.
fn derived_name(classification: &serde_json::Value) -> Option<String> {
    let parts: Option<Vec<&str>> = classification.get("names")?.as_array()?.iter().map(|part| part.as_str()).collect();
    Some(parts?.join(": "))
}

/// Scribble map under construction.
struct Canvas {
    map: Plane<u8>,
    /// Position (x, y) of the map's upper left corner in the coordinates of the drawing.
    origin: [f64; 2],
    /// Half the stroke width, in pixels.
    radius: f64,
}

impl Canvas {
    fn draw(&mut self, geometry: &GeometryValue, class: u8) -> Result<()> {
        match geometry {
            GeometryValue::Point { coordinates } => self.line(std::slice::from_ref(coordinates), class),
            GeometryValue::MultiPoint { coordinates } => {
                coordinates.iter().try_for_each(|point| self.line(std::slice::from_ref(point), class))
            }
            GeometryValue::LineString { coordinates } => self.line(coordinates, class),
            GeometryValue::MultiLineString { coordinates } => coordinates.iter().try_for_each(|line| self.line(line, class)),
            GeometryValue::Polygon { coordinates } => self.polygon(coordinates, class),
            GeometryValue::MultiPolygon { coordinates } => coordinates.iter().try_for_each(|rings| self.polygon(rings, class)),
            GeometryValue::GeometryCollection { geometries } => geometries.iter().try_for_each(|inner| self.draw(&inner.value, class)),
        }
    }

    /// Converts a position of the drawing to map coordinates.
    fn point(&self, position: &Position) -> Result<[f64; 2]> {
        match position.as_slice() {
            [x, y, ..] if x.is_finite() && y.is_finite() => Ok([x - self.origin[0], y - self.origin[1]]),
            other => bail!("expected a position of two numbers, found {other:?}"),
        }
    }

    fn line(&mut self, line: &[Position], class: u8) -> Result<()> {
        let points: Vec<[f64; 2]> = line.iter().map(|p| self.point(p)).collect::<Result<_>>()?;
        match points.as_slice() {
            [] => {}
            [only] => self.stroke(*only, *only, class),
            points => points.windows(2).for_each(|pair| self.stroke(pair[0], pair[1], class)),
        }
        Ok(())
    }

    fn stroke(&mut self, a: [f64; 2], b: [f64; 2], class: u8) {
        draw_segment(&mut self.map, a, b, self.radius, class);
    }

    fn polygon(&mut self, rings: &[Vec<Position>], class: u8) -> Result<()> {
        let rings: Vec<Vec<[f64; 2]>> = rings.iter().map(|ring| ring.iter().map(|p| self.point(p)).collect()).collect::<Result<_>>()?;
        fill(&mut self.map, &rings, class);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(class: &str, geometry: &str) -> String {
        format!(r#"{{"type":"Feature","properties":{{"classification":{{"name":"{class}"}}}},"geometry":{geometry}}}"#)
    }

    fn draw(features: &[String], width_px: f64) -> Result<Plane<u8>> {
        let text = format!(r#"{{"type":"FeatureCollection","features":[{}]}}"#, features.join(","));
        rasterise(&text, 8, 6, [100.0, 50.0], &GeoJsonConfig { stroke_width_px: width_px, ..GeoJsonConfig::default() })
    }

    fn rows(map: &Plane<u8>) -> Vec<String> {
        (0..map.height)
            .map(|y| {
                map.row(y)
                    .iter()
                    .map(|v| match v {
                        0 => 'b',
                        1 => 'n',
                        _ => '.',
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn polygons_contain_the_pixels_whose_centres_are_inside() {
        let square = feature(
            "Nucleus",
            r#"{"type":"Polygon","coordinates":[[[101,51],[106,51],[106,55],[101,55],[101,51]],[[103,52],[104,52],[104,54],[103,54],[103,52]]]}"#,
        );
        assert_eq!(rows(&draw(&[square], 1.0).unwrap()), ["........", ".nnnnn..", ".nn.nn..", ".nn.nn..", ".nnnnn..", "........"]);
    }

    #[test]
    fn lines_have_the_stroke_width_and_nuclei_are_drawn_over_background() {
        let line = feature("background", r#"{"type":"LineString","coordinates":[[98,52.5],[200,52.5]]}"#);
        let point = feature("nucleus", r#"{"type":"Point","coordinates":[102.5,52.5]}"#);
        assert_eq!(
            rows(&draw(&[point, line.clone()], 1.0).unwrap()),
            ["........", "........", "bbnbbbbb", "........", "........", "........"]
        );
        assert_eq!(rows(&draw(&[line], 3.0).unwrap())[1..4], ["bbbbbbbb", "bbbbbbbb", "bbbbbbbb"]);
    }

    #[test]
    fn errors_name_unknown_and_missing_classes() {
        let error = format!("{:?}", draw(&[feature("nucleos", r#"{"type":"Point","coordinates":[1,1]}"#)], 1.0).unwrap_err());
        assert!(error.contains("feature 1 of 1") && error.contains("\"nucleos\"") && error.contains("did you mean \"nucleus\""), "{error}");
        let bare = r#"{"type":"Feature","properties":{},"geometry":{"type":"Point","coordinates":[1,1]}}"#.to_owned();
        assert!(draw(&[bare], 1.0).unwrap_err().to_string().contains("classification.name"));
    }

    #[test]
    fn invalid_files_are_errors_and_distant_coordinates_are_clipped() {
        let config = GeoJsonConfig::default();
        for text in [
            "",
            "{",
            "[1]",
            r#"{"type":"Point","coordinates":[1,1]}"#,
            r#"{"type":"Feature","properties":{"classification":"nucleus"},"geometry":{"type":"Point","coordinates":[]}}"#,
        ] {
            assert!(rasterise(text, 4, 4, [0.0, 0.0], &config).is_err(), "{text}");
        }
        let list = format!("[{}]", feature("nucleus", r#"{"type":"MultiPoint","coordinates":[[1.5,1.5]]}"#));
        assert_eq!(rasterise(&list, 4, 4, [0.0, 0.0], &config).unwrap().at(1, 1), FOREGROUND);
        let far = format!("[{}]", feature("nucleus", r#"{"type":"LineString","coordinates":[[-1e300,1],[1e300,1]]}"#));
        assert!(rasterise(&far, 4, 4, [0.0, 0.0], &config).is_ok());
    }
}
