//! Reduced images of a slide, for tissue detection and the overlay.

use support::{Result, bail};

use crate::output::Outlines;
use crate::output::collections::MAX_SHARDS;
use crate::output::overlay::Overlay;
use crate::tissue::{Tissue, detect};
use slides::scaled::Scale;
use slides::{Rgb, Slide, small};

/// Checks that GeoJSON shards are not too many files.
pub(super) fn check_shards(outlines: &Outlines, slide: &dyn Slide) -> Result<()> {
    let (Some(side), level) = (outlines.shard_px, slide.levels()[0]) else { return Ok(()) };
    let shards = level.width.div_ceil(u64::from(side.max(1))) * level.height.div_ceil(u64::from(side.max(1)));
    if shards > MAX_SHARDS {
        bail!("GeoJSON shards of {side} px would be {shards} files, expected at most {MAX_SHARDS}"; hint: "give a larger side with --geojson-shards");
    }
    Ok(())
}

/// Reads the reduced image of the slide on which nuclei are drawn.
pub(super) fn read_overview(slide: &dyn Slide, scale: &Scale) -> Result<Rgb> {
    small::read(slide, scale, small::size_of(scale.size_px, Overlay::shrink(scale.size_px)))
}

/// Reads the overview and detects tissue in it; `None` if the slide has no light background.
pub(super) fn find_tissue(slide: &dyn Slide, scale: &Scale) -> Result<(Rgb, Option<Tissue>)> {
    let image = scale.size_px;
    let overlay_size = small::size_of(image, Overlay::shrink(image));
    // The slide is read once: the smaller image is computed from the larger one.
    let detection_size = small::size_of(image, detect::SHRINK);
    let (overview, detection_image) = if overlay_size[0] * overlay_size[1] >= detection_size[0] * detection_size[1] {
        let overview = small::read(slide, scale, overlay_size)?;
        let detection_image = small::shrink(&overview, detection_size);
        (overview, detection_image)
    } else {
        let detection_image = small::read(slide, scale, detection_size)?;
        (small::shrink(&detection_image, overlay_size), detection_image)
    };
    let mut tissue = detect::tissue(&detection_image, image, slide.facts().background);
    if let Some(tissue) = &mut tissue {
        add_lost(tissue, slide, scale);
    }
    Ok((overview, tissue))
}

/// Marks lost tiles as tissue, because they may contain some.
fn add_lost(tissue: &mut Tissue, slide: &dyn Slide, scale: &Scale) {
    let base = slide.levels()[0];
    for tile in slide.lost_tiles() {
        let level = slide.levels()[tile.level];
        let factor = [base.width as f64 / level.width as f64, base.height as f64 / level.height as f64];
        let span = |axis: usize, from: u64, length: u64| {
            let model = |at: u64| at as f64 * factor[axis] / scale.slide_from_model[axis];
            model(from) as usize..model(from + length).ceil() as usize
        };
        tissue.add(span(0, tile.x, tile.width), span(1, tile.y, tile.height));
    }
}
