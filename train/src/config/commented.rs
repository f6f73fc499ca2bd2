//! The configuration with a comment on every key: what `train init` writes.

use super::RunConfig;

/// What stands above each key; sections and lists of sections by their header.
const COMMENTS: &[(&str, &str)] = &[
    ("data.folder", "images/ID.png, scribbles/ID.png (or ID.geojson), labels/ID.png and index.csv (both optional)"),
    ("data.modality", "only images of this modality (column of index.csv)"),
    ("data.microns_per_pixel", "the images' scale; slides are matched to it"),
    ("data.validation", "the best checkpoint is chosen by: masks (needs labels/), scribbles, none"),
    ("data.validation_share", "held out of the training images where index.csv names no validation images"),
    (
        "data.augment",
        "auto (by each image's colours), brightness (fluorescence, bright-field), colour_jitter or stain_jitter (hematoxylin and eosin)",
    ),
    ("data.gamma", "brightness curves v^gamma on half of the patches, log2(gamma) up to this on both sides; 0: none"),
    ("data.zoom", "patches are enlarged or shrunk by up to this share"),
    ("data.sides", "sides that are no multiples of 32: pad, or crop (the published code)"),
    ("data.folds", "parts for cross-validation; data.fold = K validates on part K"),
    ("data.fold_seed", "seed by which images are dealt into parts"),
    ("data.label_map", "what the values in scribble files mean; in napari, ilastik and Labkit 0 is unlabelled"),
    ("data.geojson", "strokes drawn in QuPath: width of lines, and the class names that mean background and nucleus"),
    ("data.imagej", "ImageJ selections (.roi, .zip): the names, or the groups, that mean background and nucleus"),
    ("network", "U-Net; encoder = \"resnet34\" or \"mobilenet_v2\", encoder_width = 64 is the published one"),
    ("method.name", "pce (scribbles only), s2l (and pseudo-labels), r1, r4, both (and contrast), full (complete masks)"),
    ("method.warmup_iterations", "stage 1, scribbles only; in the unit of run.count"),
    ("method.ema_period", "distance of two updates of the pseudo-label maps"),
    ("method.ema_alpha", "weight of the newest prediction in a map"),
    ("method.threshold", "a pseudo-label is used above this, or below 1 minus this"),
    ("method.ema_start", "corrected, or zero (the papers)"),
    ("method.pseudo_weight", "factor of the pseudo-label loss"),
    ("method.edge_alignment", "shift predictions so that their contours lie on edges of the images before they become pseudo-labels"),
    ("method.max_per_class", "vectors of each class in a contrastive term: a number, none or even"),
    ("method.pair_rule", "pairs that are pulled together: same, and, or"),
    ("method.self_pairs", "whether a vector is paired with itself"),
    ("method.reduction", "sum3 (the published code) or pair_mean (Eq. 4)"),
    ("method.scope", "pairs within a batch or within an image"),
    ("method.block_rule", "a block has a class if all its pixels have it (all16), or if its scribbles do (scribble_wins)"),
    ("method.label_source", "pseudo+scribble or scribble_only"),
    ("method.contrast", "a contrastive term: feature map, block side, temperature, factor, projection head"),
    ("optimizer.lr_encoder", "learning rates of RAdam; with pretrained weights (run.init) lr_encoder = 0.0003 changes less of them"),
    ("optimizer.weight_decay", "decoupled, on every parameter"),
    ("optimizer.schedule", "constant (the papers), cosine, cosine_restarts, poly; down to lr_floor"),
    (
        "optimizer.weight_average",
        "evaluate averaged weights: the share of the old average that stays in a step, as 0.99; 0: the weights themselves",
    ),
    ("optimizer.groups", "rates of parameters whose names begin with a prefix"),
    ("evaluation.views", "average predictions over views of the image: one, flips, all (flips and turns)"),
    ("evaluation.split_touching", "cut touching nuclei apart; part of the model card"),
    ("evaluation.threshold", "a pixel belongs to a nucleus above this probability; part of the model card"),
    (
        "evaluation.calibrate",
        "fit threshold and min_area_px to the validation images' masks; without masks the threshold to the images' edges, the area to strokes",
    ),
    ("evaluation.min_area_px", "smaller components are no nuclei; part of the model card (the papers: 64)"),
    ("evaluation.paper_clip", "for mdice_paper only: ids above this become it (the published code for DSB2018: 255); 0 leaves them"),
    ("run.seed", "every random draw follows from it"),
    ("run.count", "what lengths and periods count: iterations, epochs"),
    ("run.iterations", "length of the run"),
    ("run.minutes", "stop after this time"),
    ("run.batch", "images in a batch"),
    ("run.crop", "side of the square crops in pixels, a multiple of 32"),
    ("run.threads", "0: one per core"),
    ("run.device", "auto, cpu, cuda"),
    ("run.devices", "GPUs that share every batch (needs a build with the feature nccl)"),
    (
        "run.precision",
        "auto (bf16 on GPUs that have it, else f32), f32, bf16: on GPUs of feature maps, on the CPU of what convolutions multiply",
    ),
    ("run.kernels", "fast, or reference (slow, to compare with)"),
    ("run.deterministic", "on a GPU: only algorithms that give the same bits in every run"),
    ("run.prefetch", "batches made ahead of the step"),
    ("run.validate_every", "0: once, at the end"),
    ("run.save_minutes", "distance of two saves by the clock"),
    (
        "run.recalibrate_batches",
        "batches over which BatchNorm statistics are measured anew before an evaluation; 0 keeps the running averages",
    ),
    ("run.overlays", "pictures to look at"),
    ("run.tensorboard", "losses, scores and overlays for TensorBoard, too: tensorboard/ in the run's folder"),
    (
        "run.init",
        "safetensors file to start from, \"\" for none, or \"imagenet\": the encoder's pretrained weights (mobilenet_v2), fetched once",
    ),
];

impl RunConfig {
    /// [`RunConfig::to_toml`] with comments; reads back as the same configuration.
    pub fn to_commented_toml(&self) -> String {
        let mut section = String::new();
        let mut text = String::new();
        let mut said = std::collections::BTreeSet::new();
        for line in self.to_toml().lines() {
            let key = if line.starts_with('[') {
                line.trim_matches(['[', ']']).clone_into(&mut section);
                Some(section.clone())
            } else {
                line.split_once(" = ").map(|(key, _)| format!("{section}.{key}"))
            };
            let comment = key.and_then(|key| COMMENTS.iter().find(|(known, _)| *known == key));
            if let Some((_, comment)) = comment.filter(|(key, _)| said.insert(*key)) {
                text.extend(["# ", comment, "\n"]);
            }
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    #[test]
    fn comments_change_nothing_and_every_one_is_used() {
        let mut config = Profile::Scratch.config();
        config.data.modality = Some("fluorescence".into());
        config.data.microns_per_pixel = Some(0.5);
        config.optimizer.groups = vec![crate::config::Group { prefix: "encoder".into(), lr: Some(0.0), weight_decay: None }];
        config.run.minutes = Some(30.0);
        config.run.init = Some("encoder.safetensors".into());
        let text = config.to_commented_toml();
        assert_eq!(RunConfig::from_toml(&text, Profile::Paper, &[] as &[&str]).unwrap(), config);
        for (key, comment) in COMMENTS {
            assert!(text.contains(&format!("# {comment}\n")), "{key}: {text}");
        }
    }
}
