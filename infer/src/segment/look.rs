//! First looks at a slide: the slide made small, its tissue, the files it would be cut into.

use support::{Result, bail};

use super::Regions;
use crate::output::Outlines;
use crate::output::collections::MOST_SHARDS;
use crate::output::overlay::Overlay;
use crate::tissue::{Tissue, detect};
use slides::scaled::Scale;
use slides::{Rgb, Slide, small};

/// Too many files are refused before the first is made.
pub(super) fn check_shards(outlines: &Outlines, slide: &dyn Slide) -> Result<()> {
    let (Some(side), level) = (outlines.shard_px, slide.levels()[0]) else { return Ok(()) };
    let shards = level.width.div_ceil(u64::from(side.max(1))) * level.height.div_ceil(u64::from(side.max(1)));
    if shards > MOST_SHARDS {
        bail!("GeoJSON shards of {side} px would be {shards} files, expected at most {MOST_SHARDS}"; hint: "give a larger side with --geojson-shards");
    }
    Ok(())
}

/// The slide made small for the overlay, and where its tissue is, if that is asked for and it has a light background.
pub(super) fn make_small(slide: &dyn Slide, scale: &Scale, regions: &Regions) -> Result<(Rgb, Option<Tissue>)> {
    let image = scale.size_px;
    let overlay = small::size_of(image, Overlay::shrink(image));
    if *regions != Regions::Found {
        return Ok((small::read(slide, scale, overlay)?, None));
    }
    // The slide is read once: the smaller picture is made from the larger one.
    let seen = small::size_of(image, detect::SHRINK);
    let (picture, looked_at) = if overlay[0] * overlay[1] >= seen[0] * seen[1] {
        let picture = small::read(slide, scale, overlay)?;
        let looked_at = small::shrink(&picture, seen);
        (picture, looked_at)
    } else {
        let looked_at = small::read(slide, scale, seen)?;
        (small::shrink(&looked_at, overlay), looked_at)
    };
    let mut tissue = detect::tissue(&looked_at, image, slide.facts().background);
    if let Some(tissue) = &mut tissue {
        add_lost(tissue, slide, scale);
    }
    Ok((picture, tissue))
}

/// A tile that could not be read while looking for tissue may hold some.
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
