//! Renderings of the model card: Markdown for people, and the configuration files of other programs.

use std::fmt::Write;

use models::card::{ModelCard, Precision, Target};
use models::unet::Encoder;
use serde_json::{Value, json};

/// Renders the card as Markdown.
pub fn markdown(card: &ModelCard) -> String {
    let mut text = format!("# {}{}\n\n", card.name, card.version.as_deref().map_or_else(String::new, |version| format!(" {version}")));
    let mut row = |key: &str, value: String| writeln!(text, "- **{key}**: {value}").expect("text grows");
    row("intended use", card.intended_use.clone());
    row("limits", card.limits.clone().unwrap_or_else(|| "not stated".into()));
    row("licence", card.licence.clone());
    row("classes", card.classes.iter().map(|class| class.name.as_str()).collect::<Vec<_>>().join(", "));
    row("images", images(card));
    row("scale", card.microns_per_pixel.map_or_else(|| "not given".into(), |mpp| format!("{mpp} µm per pixel")));
    row("tiles", format!("multiples of {} px, halo {} px by default, {} px exact", card.stride, card.default_halo_px(), card.reach_px));
    row("decoding", decoding(card));
    row("form", form(card));
    row("training", training(card));
    row("encoder", card.training.encoder_weights.clone().unwrap_or_else(|| "from scratch".into()));
    row("checkpoint", format!("sha256 {}", card.training.checkpoint_sha256));
    row("configuration", format!("sha256 {}", card.training.config_sha256));
    row("written by", format!("{}, card version {}", card.written_by, card.format_version));
    text + &metrics(card) + &halos(card)
}

fn images(card: &ModelCard) -> String {
    let images = &card.images;
    let kind: Vec<&str> = [images.modality.as_deref(), images.stain.as_deref()].into_iter().flatten().collect();
    let kind = if kind.is_empty() { "modality and stain not stated".to_owned() } else { kind.join(", ") };
    format!("{kind}; {}, 8 bits a channel; colour profiles {}", images.channel_order, images.icc_profile)
}

fn decoding(card: &ModelCard) -> String {
    let decoding = &card.decoding;
    format!(
        "probability > {}, at least {} px, holes {}, touching nuclei {}",
        decoding.threshold,
        decoding.min_area_px,
        if decoding.fill_holes { "filled" } else { "kept" },
        if decoding.split.is_some() { "split" } else { "not split" }
    )
}

fn form(card: &ModelCard) -> String {
    let form = &card.form;
    let plain = form.target == Target::Cpu && form.precision == Precision::F32;
    let parity = match form.parity {
        Some(parity) => format!(
            "; relative to the plain graph in f32, probabilities differ by at most {:.5} and by {:.6} on average, {:.4} % of {} pixels change side",
            parity.max_change,
            parity.mean_change,
            100.0 * parity.flipped_share,
            parity.pixels
        ),
        None if plain => String::new(),
        None => "; not compared with the plain graph".to_owned(),
    };
    let training = form.training_parity.map_or_else(String::new, |parity| {
        format!("; relative to the training program, probabilities differ by at most {:.2e}", parity.max_change)
    });
    format!("for {}, {}{parity}{training}", form.target, form.precision)
}

fn training(card: &ModelCard) -> String {
    let training = &card.training;
    format!("{} iterations on {} images, {:.2} % labelled", training.iterations, training.images, 100.0 * training.labelled_share)
}

fn metrics(card: &ModelCard) -> String {
    if card.training.metrics.is_empty() {
        return "\nNo scores were recorded.\n".into();
    }
    let mut text = "\n| score | value | 95 % interval | measured on |\n|---|---|---|---|\n".to_owned();
    for metric in &card.training.metrics {
        let interval = metric.interval.map_or_else(|| "-".into(), |[low, high]| format!("{low:.4} to {high:.4}"));
        writeln!(text, "| {} | {:.4} | {interval} | {} |", metric.name, metric.value, metric.measured_on).expect("text grows");
    }
    text
}

fn halos(card: &ModelCard) -> String {
    let Some(reach) = &card.effective_reach else { return String::new() };
    let mut text = format!(
        "\nError by halo ({} tiles, core {} px):\n\n| halo px | largest change | pixels that change side |\n|---|---|---|\n",
        reach.tiles, reach.core_px
    );
    for figures in &reach.curve {
        writeln!(text, "| {} | {:.6} | {:.4} % |", figures.px, figures.max_change, 100.0 * figures.flipped_share).expect("text grows");
    }
    text
}

/// Returns the encoder that the training's configuration names; older configurations name none and mean ResNet-34.
fn encoder(card: &ModelCard) -> &str {
    let named = card.training.config.lines().find_map(|line| line.strip_prefix("encoder = "));
    named.map_or(Encoder::ResNet34.name(), |name| name.trim().trim_matches('"'))
}

/// Returns the entries of `WSInfer`'s `config.json` that the card can fill. `tile` is the side of the windows in pixels.
pub fn wsinfer(card: &ModelCard, tile: usize) -> Value {
    let names: Vec<&str> = card.classes.iter().map(|class| class.name.as_str()).collect();
    json!({
        "spec_version": "1.0",
        "architecture": format!("unet-{}", encoder(card)),
        "num_classes": names.len(),
        "class_names": names,
        "name": card.name,
        "patch_size_pixels": tile,
        "spacing_um_px": card.microns_per_pixel,
        "transform": [
            { "name": "ToTensor" },
            { "name": "Normalize", "arguments": { "mean": card.normalisation.mean, "std": card.normalisation.std } },
        ],
    })
}

/// Returns the entries of a MONAI bundle's `metadata.json` that the card can fill.
pub fn monai(card: &ModelCard) -> Value {
    let side = format!("{}*n", card.stride);
    json!({
        "version": card.version.as_deref().unwrap_or("0.0.0"),
        "name": card.name,
        "task": "segmentation of nuclei",
        "description": format!("U-Net trained on {} images with scribbles", card.training.images),
        "copyright": card.licence,
        "intended_use": card.intended_use,
        "eval_metrics": card.training.metrics.iter().map(|metric| (metric.name.clone(), metric.value.into())).collect::<serde_json::Map<String, Value>>(),
        "network_data_format": {
            "inputs": { "image": {
                "type": "image", "format": card.images.channel_order, "modality": card.images.modality, "num_channels": 3,
                "spatial_shape": [side, side], "dtype": "uint8", "value_range": [0, 255], "is_patch_data": true,
                "channel_def": { "0": "red", "1": "green", "2": "blue" },
            } },
            "outputs": { "probability": {
                "type": "probability", "format": "segmentation", "num_channels": 1, "spatial_shape": [side, side],
                "dtype": "float32", "value_range": [0, 1], "is_patch_data": true,
                "channel_def": { "0": card.classes.last().map(|class| class.name.clone()) },
            } },
        },
    })
}
