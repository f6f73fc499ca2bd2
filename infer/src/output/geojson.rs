//! `nuclei.geojson.gz`: a `FeatureCollection` that QuPath imports by drag and drop.

use std::fmt::Write as _;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use models::card::Class;
use serde_json::json;
use support::Result;
use support::durable::AtomicFile;
use uuid::Uuid;

use super::Nucleus;

/// Returns the name space of nucleus ids: the version-5 UUID of this project's name in the DNS name space of RFC 9562.
fn name_space() -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"nucleus.scribbles-to-slides")
}

/// Formatter of nuclei as GeoJSON features.
pub struct Features {
    /// SHA-256 of slide and model, on which every id depends.
    source: String,
    classification: String,
    unit: &'static str,
}

/// Streaming writer of a feature collection.
pub struct Collection {
    gzip: GzEncoder<AtomicFile>,
    features: u64,
}

impl Features {
    /// Returns the formatter for a slide and a model; `unit` is `µm` or `px`.
    pub fn new(slide_sha256: &str, model_sha256: &str, class: &Class, unit: &'static str) -> Self {
        let classification = json!({ "name": class.name, "color": class.colour }).to_string();
        Self { source: format!("{slide_sha256} {model_sha256} "), classification, unit }
    }

    /// Returns a nucleus as a feature, with its id, which depends on the exact rings; `drawn` replaces the rings in the feature.
    pub fn feature(&self, nucleus: &Nucleus, drawn: Option<&[Vec<[f64; 2]>]>) -> (Uuid, String) {
        let geometry = polygon(&nucleus.rings);
        let id = Uuid::new_v5(&name_space(), format!("{}{geometry}", self.source).as_bytes());
        let geometry = drawn.map_or(geometry, polygon);
        let (shape, unit) = (&nucleus.shape, self.unit);
        let mut measurements = json!({
            format!("Area {unit}^2"): number(shape.area),
            format!("Perimeter {unit}"): number(shape.perimeter),
            format!("Major axis {unit}"): number(shape.major_axis),
            format!("Minor axis {unit}"): number(shape.minor_axis),
            "Eccentricity": number(shape.eccentricity),
            "Solidity": number(shape.solidity),
            "Probability": number(nucleus.mean_probability),
            "Mean red": number(nucleus.mean_rgb[0]),
            "Mean green": number(nucleus.mean_rgb[1]),
            "Mean blue": number(nucleus.mean_rgb[2]),
        });
        if let Some(density) = nucleus.hematoxylin {
            measurements["Hematoxylin OD mean"] = number(density);
        }
        let feature = format!(
            "{{\"type\":\"Feature\",\"id\":\"{id}\",\"geometry\":{geometry},\"properties\":{{\"objectType\":\"detection\",\"classification\":{},\"measurements\":{measurements}}}}}",
            self.classification
        );
        (id, feature)
    }
}

impl Collection {
    /// Creates a file.
    pub fn new(file: AtomicFile) -> Result<Self> {
        // A gzip header without time or name makes the bytes depend on the content only.
        let mut collection = Self { gzip: GzEncoder::new(file, Compression::new(3)), features: 0 };
        collection.write("{\"type\":\"FeatureCollection\",\"features\":[")?;
        Ok(collection)
    }

    /// Adds a feature.
    pub fn add(&mut self, feature: &str) -> Result<()> {
        self.write(if self.features == 0 { "\n" } else { ",\n" })?;
        self.features += 1;
        self.write(feature)
    }

    /// Finishes the file.
    pub fn finish(mut self) -> Result<AtomicFile> {
        self.write("\n]}\n")?;
        self.gzip.try_finish().map_err(|error| self.gzip.get_ref().failed(error))?;
        let path = self.gzip.get_ref().path().to_owned();
        self.gzip.finish().map_err(|error| support::Error::from(error).during(format!("writing {}", path.display())))
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.gzip.write_all(text.as_bytes()).map_err(|error| self.gzip.get_ref().failed(error))
    }
}

/// Returns a GeoJSON polygon of closed rings, in level-0 pixels with two decimals.
fn polygon(rings: &[Vec<[f64; 2]>]) -> String {
    let mut text = String::from("{\"type\":\"Polygon\",\"coordinates\":[");
    for (i, ring) in rings.iter().enumerate() {
        text.push_str(if i == 0 { "[" } else { ",[" });
        for (k, [x, y]) in ring.iter().chain(ring.first()).enumerate() {
            text.push_str(if k == 0 { "[" } else { ",[" });
            push_number(&mut text, *x);
            text.push(',');
            push_number(&mut text, *y);
            text.push(']');
        }
        text.push(']');
    }
    text.push_str("]}");
    text
}

/// Appends a number with at most two decimals, without trailing zeros and without `-0`.
fn push_number(text: &mut String, value: f64) {
    let hundredths = (value * 100.0).round() as i64;
    let (sign, whole, rest) = (if hundredths < 0 { "-" } else { "" }, hundredths.abs() / 100, hundredths.abs() % 100);
    let _ = match (rest, rest % 10) {
        (0, _) => write!(text, "{sign}{whole}"),
        (_, 0) => write!(text, "{sign}{whole}.{}", rest / 10),
        _ => write!(text, "{sign}{whole}.{rest:02}"),
    };
}

/// Returns a number with four decimals; NaN becomes the text `NaN`, as QuPath writes it.
fn number(value: f64) -> serde_json::Value {
    if value.is_finite() { json!((value * 1e4).round() / 1e4) } else { json!("NaN") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_have_two_decimals_at_most() {
        let text = |value| {
            let mut text = String::new();
            push_number(&mut text, value);
            text
        };
        let values = [0.0, -0.001, 12.0, 12.5, 12.25, 12.049, -3.1, -0.25, 99_999.999];
        assert_eq!(values.map(text), ["0", "0", "12", "12.5", "12.25", "12.05", "-3.1", "-0.25", "100000"]);
        assert_eq!(number(f64::NAN), json!("NaN"));
    }
}
