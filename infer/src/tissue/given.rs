//! Regions given by the user: a mask image over the whole slide, or polygons in level-0 pixels.

use std::path::Path;

use support::{Context, Result, bail, picture};

use super::Tissue;
use super::region::Region;

/// Size limit of a decoded mask in bytes.
const MAX_MASK_BYTES: u64 = 512 << 20;

/// Returns the grid tiles that a mask (PNG, JPEG or TIFF; nonzero pixels) or the polygons of a GeoJSON file touch.
///
/// `image` is columns and rows at the model's scale, `slide_from_model` the level-0 pixels per model pixel along x and y.
///
/// # Errors
/// A file that cannot be read, a mask of another aspect ratio, or no marked tile.
pub fn tissue(path: &Path, image: [usize; 2], slide_from_model: [f64; 2]) -> Result<Tissue> {
    let doing = || format!("reading the regions {}", path.display());
    let is_geojson = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("geojson") || e.eq_ignore_ascii_case("json"));
    let marked = if is_geojson { Region::read(path).map(|region| region.tissue(image, slide_from_model)) } else { from_mask(path, image) };
    let marked = marked.doing(doing).hint(|| "give a mask image over the whole slide, or GeoJSON polygons in level-0 pixels")?;
    if marked.area_px() == 0 {
        bail!("{} marks no part of the slide", path.display(); hint: "polygons count from the corner of level 0; is this the file for this slide?");
    }
    Ok(marked)
}

fn from_mask(path: &Path, image: [usize; 2]) -> Result<Tissue> {
    let mask = picture::decode(picture::open(path)?, MAX_MASK_BYTES, |_| Ok(()))?.into_luma8();
    let size = [mask.width() as usize, mask.height() as usize];
    let (wide, tall) = (size[0] * image[1], size[1] * image[0]);
    if wide.abs_diff(tall) * 20 > wide.max(tall) {
        bail!("the mask has {} x {} px, the slide {} x {}: their shapes differ", size[0], size[1], image[0], image[1]);
    }
    let mut tissue = Tissue::uniform(image, false);
    for (x, y, _) in mask.enumerate_pixels().filter(|(.., value)| value[0] > 0) {
        let span = |at: u32, axis: usize| at as usize * image[axis] / size[axis]..((at as usize + 1) * image[axis]).div_ceil(size[axis]);
        tissue.add(span(x, 0), span(y, 1));
    }
    Ok(tissue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygons_with_holes_and_masks_mark_the_tiles_that_they_touch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.geojson");
        // A square of 8 x 8 tiles with a hole of 4 x 4, in level-0 pixels of half the model's pixel size.
        let square = |from: i32, to: i32| serde_json::json!([[from, from], [to, from], [to, to], [from, to], [from, from]]);
        let polygon = serde_json::json!({ "type": "Polygon", "coordinates": [square(512 + 8, 512 + 2040), square(1000, 2060)] });
        std::fs::write(&path, polygon.to_string()).unwrap();
        let marked = tissue(&path, [2000, 2000], [2.0, 2.0]).unwrap();
        assert_eq!(marked.area_px(), (8 * 8 - 4 * 4) * 128 * 128);
        std::fs::write(&path, r#"{"type":"Point","coordinates":[1,1]}"#).unwrap();
        assert!(tissue(&path, [2000, 2000], [2.0; 2]).unwrap_err().to_string().contains("marks no part"));
        let mask = folder.path().join("m.png");
        image::GrayImage::from_fn(20, 20, |x, y| image::Luma([u8::from(x == 3 && y == 19)])).save(&mask).unwrap();
        let marked = tissue(&mask, [2000, 2000], [1.0; 2]).unwrap();
        assert!(marked.any(300..301, 1999..2000) && marked.area_px() == 2 * 128 * (2000 - 14 * 128));
        let whole = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/pictures/grey.jpg")).unwrap();
        let mask = folder.path().join("m.jpg");
        std::fs::write(&mask, &whole).unwrap();
        assert!(tissue(&mask, [960, 800], [1.0; 2]).is_ok());
        std::fs::write(&mask, &whole[..whole.len() / 2]).unwrap();
        let error = tissue(&mask, [960, 800], [1.0; 2]).unwrap_err();
        assert!(error.to_string().contains("m.jpg") && error.hint_text().is_some_and(|hint| hint.contains("cut short")), "{error:?}");
    }
}
