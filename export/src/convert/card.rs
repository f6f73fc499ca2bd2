//! The model card as it follows from the checkpoint and the options, before any measurement.

use std::path::Path;

use models::card::{Class, FORMAT_VERSION, Form, Images, MICRONS_PER_PIXEL, ModelCard, Normalisation};
use support::{Result, bail, durable};

use super::Options;
use crate::checkpoint::{Checkpoint, ModelInfo};

/// Returns the default name of a model: the stem of the checkpoint's file name, or the name of its folder if the stem is `best` or
/// `last`, because training runs use these names.
pub fn default_name(checkpoint: &Path) -> String {
    let path = std::path::absolute(checkpoint).unwrap_or_else(|_| checkpoint.to_owned());
    let file = path.file_stem();
    let run = path.parent().and_then(Path::file_name).filter(|_| file.is_some_and(|file| file == "best" || file == "last"));
    run.or(file).map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

/// Fills the card from the checkpoint, then applies [`Options::about`].
///
/// # Errors
/// A scale outside 0.05 to 5 microns per pixel.
pub fn from_checkpoint(checkpoint: &Checkpoint, options: &Options, default_name: &str) -> Result<ModelCard> {
    let ModelInfo { name, microns_per_pixel, classes, decoding, licence, intended_use } = checkpoint.info.clone();
    let class = |name: &str, colour| Class { name: name.to_owned(), colour };
    let mut training = checkpoint.training.clone();
    training.config = without_folders(&training.config);
    training.config_sha256 = durable::sha256(training.config.as_bytes());
    let mut card = ModelCard {
        format_version: FORMAT_VERSION,
        name: name.unwrap_or_else(|| default_name.to_owned()),
        version: None,
        classes: classes.unwrap_or_else(|| vec![class("background", [0, 0, 0]), class("nucleus", [220, 60, 40])]),
        microns_per_pixel,
        images: Images::default(),
        normalisation: Normalisation::IMAGENET,
        stride: checkpoint.graph.stride(),
        reach_px: checkpoint.graph.reach(),
        effective_reach: None,
        decoding: decoding.unwrap_or_default(),
        form: Form::default(),
        training,
        licence: licence.unwrap_or_else(|| "not stated".into()),
        intended_use: intended_use.unwrap_or_else(|| "Research on images like those it was trained on; not for diagnosis.".into()),
        limits: None,
        written_by: format!("export {}", env!("CARGO_PKG_VERSION")),
    };
    options.about.clone().apply(&mut card);
    if let Some(mpp) = card.microns_per_pixel.filter(|mpp| !MICRONS_PER_PIXEL.contains(mpp)) {
        bail!("expected 0.05 to 5 microns per pixel, found {mpp}"; hint: "give the scale of the training images by --microns-per-pixel");
    }
    card.check()?;
    Ok(card)
}

/// Leaves only the last part of the paths in a configuration: folders of the training machine can name people and projects.
fn without_folders(config: &str) -> String {
    let shorten = |line: &str| match line.split_once(" = ") {
        Some((key @ ("folder" | "init"), path)) => {
            let path = path.trim_matches(['"', '\'']);
            format!("{key} = \"{}\"\n", path.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default())
        }
        _ => format!("{line}\n"),
    };
    config.lines().map(shorten).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_training_machine_are_left_out_of_the_card() {
        let config = "[data]\nfolder = \"/home/ann/patient-7/data/\"\nformat = \"png\"\n\n[run]\ninit = 'C:\\runs\\best.safetensors'\n";
        let expected = "[data]\nfolder = \"data\"\nformat = \"png\"\n\n[run]\ninit = \"best.safetensors\"\n";
        assert_eq!(without_folders(config), expected);
        assert_eq!(without_folders("init = \"imagenet\"\n"), "init = \"imagenet\"\n");
    }

    #[test]
    fn best_and_last_checkpoints_are_named_after_their_run_folder() {
        let here = std::env::current_dir().unwrap();
        let here = here.file_name().unwrap().to_string_lossy();
        for (checkpoint, name) in
            [("runs/liver/best.safetensors", "liver"), ("/last.safetensors", "last"), ("runs/liver/unet.safetensors", "unet")]
        {
            assert_eq!(default_name(Path::new(checkpoint)), name, "{checkpoint}");
        }
        assert_eq!(default_name(Path::new("best.safetensors")), here);
    }
}
