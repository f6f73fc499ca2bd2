//! Measurements on real images during export: effective reach, golden tiles, 8-bit ranges and parity of the chosen form.

use std::path::{Path, PathBuf};

use infer::network::Network;
use infer::runtime;
use infer::segmenter::{self, Segmenter};
use models::card::{ModelCard, Precision};
use onnx::golden::GoldenTile;
use support::console::Progress;
use support::{Context, Error, Result};

use super::{Options, ShippedForm, temporary_model};
use crate::checkpoint::ParityReference;
use crate::tiles::{self, Site, TileImages};
use crate::writer::Arithmetic;
use crate::{effective_reach, form, pass};

/// Number of golden tiles in a file.
const GOLDEN_TILES: usize = 2;
/// Number of sites for calibration and comparison together; each of the two gets half.
const FORM_SITES: usize = 16;

/// Returns the image files to measure on: [`Options::tiles`], or else the training images of the run if their folder still exists.
pub fn image_files(options: &Options, config: &str, checkpoint: &Path) -> Result<Vec<PathBuf>> {
    if !options.tiles.is_empty() {
        return tiles::find(&options.tiles);
    }
    let Some(folder) = data_folder(config) else {
        return Ok(Vec::new());
    };
    let beside = checkpoint.parent().map(|parent| parent.join(&folder));
    let existing = [Some(folder.clone()), beside].into_iter().flatten().map(|folder| folder.join("images")).find(|images| images.is_dir());
    if let Some(images) = existing {
        return tiles::find(&[images]);
    }
    tracing::warn!("the training images of the run are not in {} any more", folder.display());
    Ok(Vec::new())
}

/// Reads `[data] folder` from the TOML configuration of a run.
fn data_folder(config: &str) -> Option<PathBuf> {
    let table: toml::Table = config.parse().ok()?;
    Some(PathBuf::from(table.get("data")?.get("folder")?.as_str()?))
}

/// Reports whether there are images and ONNX Runtime to measure with; warns if not.
///
/// # Errors
/// Images or ONNX Runtime are missing, and the precision is 8 bits, which cannot be written without measured ranges.
pub fn is_possible(images: &TileImages, options: &Options) -> Result<bool> {
    let missing = if images.is_empty() {
        Some(Error::new("there are no images to measure on").hint("name some by --tiles"))
    } else if options.runtime.is_none() {
        runtime::load(None).err()
    } else {
        None
    };
    match missing {
        None => Ok(true),
        Some(error) if options.precision == Precision::Int8 => Err(error).doing(|| "measuring the value ranges that 8 bits need"),
        Some(error) => {
            tracing::warn!(
                "the effective reach is not measured, and the model carries no golden tiles: {error}; {}",
                error.hint_text().unwrap_or_default()
            );
            Ok(false)
        }
    }
}

/// Sites of one export, by the measurement that uses them.
struct Sites {
    halo: Vec<Site>,
    golden: Vec<Site>,
    calibration: Vec<Site>,
    /// Sites on which the form is compared with the plain graph; none of them took part in the calibration.
    comparison: Vec<Site>,
}

impl Sites {
    /// Selects all sites with cores of `core` pixels; each image file is decoded once.
    fn select(images: &mut TileImages, core: usize, with_golden: bool) -> Result<Self> {
        let halo = images.sites(effective_reach::TILES, core)?;
        let golden = images.sites(if with_golden { GOLDEN_TILES } else { 0 }, core)?;
        let (mut calibration, mut comparison) = (Vec::new(), Vec::new());
        for (i, site) in images.sites(FORM_SITES, core)?.into_iter().enumerate() {
            if i % 2 == 0 { calibration.push(site) } else { comparison.push(site) }
        }
        Ok(Self { halo, golden, calibration, comparison })
    }
}

/// Measures the effective reach, computes golden tiles with the plain graph, then lowers the graph to the requested form and compares
/// the two. The effective reach and the form's parity go into the card.
pub fn choose_form(
    plain: &pass::Model,
    card: &mut ModelCard,
    images: &mut TileImages,
    options: &Options,
    parity_reference: Option<&ParityReference>,
    progress: &dyn Progress,
) -> Result<ShippedForm> {
    let run = segmenter::Options { spin: true, runtime: options.runtime.clone(), ..segmenter::Options::default() };
    let mut plain_segmenter = Segmenter::new(&temporary_model(plain, &Arithmetic::F32, card)?, &run)?;
    let sites = Sites::select(images, effective_reach::core_px(card.stride), options.golden)?;
    card.effective_reach = effective_reach::measure(&mut plain_segmenter, &sites.halo, progress)?;
    let golden = golden_tiles(&mut plain_segmenter, &sites.golden, card)?;
    let ranges = form::ranges(plain, options.precision, &sites.calibration, &run)?;
    let (model, arithmetic) = form::lower(plain, options.target, options.precision, ranges);
    let formed = temporary_model(&model, &arithmetic, card)?;
    let compared = form::against_plain(&mut plain_segmenter, &formed, &sites.comparison, parity_reference, &run)?;
    card.form.training_parity = compared.training;
    form::record(card, options.target, options.precision, Some(compared.parity), options.max_flipped)?;
    Ok(ShippedForm { model, arithmetic, golden, speed: Some(compared.speed) })
}

/// Runs the plain graph on each site without a halo and packs image and probabilities as a golden tile.
fn golden_tiles(segmenter: &mut Segmenter, sites: &[Site], card: &ModelCard) -> Result<Vec<GoldenTile>> {
    let of = |site: &Site| {
        let (image, side) = (site.tile(0), site.side(0));
        GoldenTile::new(&image, &segmenter.quantised(&image, 1, side, side)?, [side, side], &card.decoding)
    };
    sites.iter().map(of).collect()
}
