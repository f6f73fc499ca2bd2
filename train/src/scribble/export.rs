//! Scribble maps as GeoJSON that QuPath opens, and that [`super::geojson::rasterise`] reads back to the same pixels.

use models::plane::Plane;
use serde_json::{Value, json};

use super::outline::outlines;
use super::{BACKGROUND, FOREGROUND};
use crate::config::GeoJsonConfig;

/// One annotation for each connected region of strokes, with the first class name that `config` knows for its class.
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
    fn what_is_exported_is_read_back_to_the_same_pixels() {
        let config = GeoJsonConfig::default();
        for seed in 0..40 {
            let mut draw = CounterRng::new(seed, "round trip", 0, 0, 0);
            let (width, height) = (1 + draw.below(17), 1 + draw.below(13));
            let density = draw.uniform();
            let value = |draw: &mut CounterRng| if draw.bool(density) { UNLABELLED } else { u8::from(draw.bool(0.5)) };
            let map = Plane { width, height, data: (0..width * height).map(|_| value(&mut draw)).collect() };
            assert_eq!(rasterise(&to_geojson(&map, &config), width, height, [0.0, 0.0], &config).unwrap(), map, "seed {seed}");
        }
    }
}
