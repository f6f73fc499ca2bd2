//! Export of scribble maps to GeoJSON for QuPath, from which [`super::geojson::rasterise`] restores the same pixels.

use models::plane::Plane;
use serde_json::{Value, json};

use super::outline::outlines;
use super::{BACKGROUND, FOREGROUND};
use crate::config::GeoJsonConfig;

/// Converts a scribble map to a GeoJSON `FeatureCollection` with one annotation per connected region.
///
/// Annotations have the first class name that `config` lists for their class.
pub fn to_geojson(map: &Plane<u8>, config: &GeoJsonConfig) -> String {
    let classes = [(BACKGROUND, &config.background, [40, 130, 255]), (FOREGROUND, &config.foreground, [255, 150, 0])];
    let features: Vec<Value> = classes
        .into_iter()
        .filter_map(|(class, names, colour)| Some((class, names.first()?, colour)))
        .flat_map(|(class, name, colour)| {
            let regions = outlines(map.width, map.height, |x, y| map.at(x, y) == class);
            regions.into_iter().map(move |rings| feature(name, colour, &rings))
        })
        .collect();
    json!({ "type": "FeatureCollection", "features": features }).to_string()
}

/// Returns the GeoJSON feature of one region.
fn feature(class: &str, colour: [u8; 3], rings: &[Vec<(usize, usize)>]) -> Value {
    json!({
        "type": "Feature",
        "geometry": { "type": "Polygon", "coordinates": rings },
        "properties": { "objectType": "annotation", "classification": { "name": class, "color": colour } },
    })
}

#[cfg(test)]
mod tests {
    use super::super::UNLABELLED;
    use super::super::geojson::rasterise;
    use super::*;
    use crate::rng::CounterRng;

    #[test]
    fn an_exported_map_reads_back_to_the_same_pixels() {
        let config = GeoJsonConfig::default();
        for seed in 0..40 {
            let mut rng = CounterRng::new(seed, "round trip", 0, 0, 0);
            let (width, height) = (1 + rng.below(17), 1 + rng.below(13));
            let density = rng.uniform();
            let value = |rng: &mut CounterRng| if rng.bool(density) { UNLABELLED } else { u8::from(rng.bool(0.5)) };
            let map = Plane { width, height, data: (0..width * height).map(|_| value(&mut rng)).collect() };
            assert_eq!(rasterise(&to_geojson(&map, &config), width, height, [0.0, 0.0], &config).unwrap(), map, "seed {seed}");
        }
    }
}
