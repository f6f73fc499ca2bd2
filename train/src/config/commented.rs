//! Commented configuration file: the text that `train init` writes.

use super::RunConfig;

/// Comment above each key, or above the header of each section or list of sections.
///
/// Values in `[default: VALUE]` are those of the profile `default`; `not set` stands for an absent optional key.
const COMMENTS: &[(&str, &str)] = &[
    (
        "data.folder",
        "data folder: images/ID.png, scribbles/ID.png (or ID.geojson, ID.roi, ID.zip); optional labels/ID.png and index.csv [default: data]",
    ),
    (
        "data.channel",
        "channel of TIFF images of several channels, as a number from 1 or a name; not set takes a nuclear stain (DAPI, Hoechst) by its OME name, else 1 [default: not set]",
    ),
    ("data.modality", "use only images of this modality (column of index.csv) [default: not set]"),
    ("data.microns_per_pixel", "pixel size of the images in micrometres; slides are resampled to it [default: not set]"),
    ("data.validation", "select the best checkpoint by masks (needs labels/), by scribbles, or not at all (none) [default: masks]"),
    ("data.validation_share", "fraction of the training images held out if index.csv names no validation images, 0 to 0.9 [default: 0.2]"),
    (
        "data.augment",
        "colour augmentation: auto (by each image's colours), brightness (fluorescence, bright-field), colour_jitter, or stain_jitter (hematoxylin and eosin) [default: auto]",
    ),
    (
        "data.gamma",
        "limit of |log2(gamma)| of the gamma curves v^gamma applied to half of the patches, 0 to 3; 0 disables them [default: 0.0]",
    ),
    ("data.zoom", "limit of the scale augmentation, factors of 1 +- zoom, 0 to 0.9 [default: 0.1]"),
    ("data.sides", "images whose sides are not multiples of 32: pad, or crop (the published code) [default: pad]"),
    ("data.folds", "number of folds for cross-validation; data.fold = K validates on fold K [default: 5]"),
    ("data.fold_seed", "seed of the assignment of images to folds [default: 0]"),
    ("data.label_map", "classes of the values in scribble files; in napari, ilastik and Labkit 0 is unlabelled"),
    ("data.geojson", "scribbles drawn in QuPath: stroke width in pixels, and the class names of background and nucleus"),
    ("data.imagej", "ImageJ selections (.roi, .zip): stroke width in pixels, and the names or groups of background and nucleus"),
    ("network", "U-Net; encoder = \"resnet34\" or \"mobilenet_v2\"; encoder_width = 64 is the published width"),
    (
        "method.name",
        "objective: pce (scribbles), s2l (adds pseudo-labels), r1, r4 or both (add contrastive terms), full (complete masks) [default: s2l]",
    ),
    ("method.warmup_iterations", "length of stage 1, scribbles only, in the unit of run.count [default: 400]"),
    ("method.ema_period", "interval between updates of the pseudo-labels, in the unit of run.count [default: 40]"),
    ("method.ema_alpha", "weight of the newest prediction in the moving average of pseudo-labels, 0 to 1 [default: 0.2]"),
    ("method.threshold", "confidence threshold: use pseudo-labels above it or below 1 minus it, 0.5 to 1 [default: 0.8]"),
    ("method.ema_start", "start of the moving average: corrected (bias-corrected), or zero (the papers) [default: corrected]"),
    ("method.pseudo_weight", "weight of the pseudo-label loss [default: 0.5]"),
    (
        "method.edge_alignment",
        "shift predictions before they become pseudo-labels, so that their contours lie on edges of the images [default: true]",
    ),
    (
        "method.max_per_class",
        "vectors per class in a contrastive term: a number, none (all) or even (all of the rarer class) [default: 6000]",
    ),
    ("method.pair_rule", "positive pairs: same (of one class), and (two nuclei), or (at least one nucleus) [default: same]"),
    ("method.self_pairs", "pair each vector with itself, too [default: false]"),
    ("method.reduction", "reduction of the pairwise costs: sum3 (the published code) or pair_mean (Eq. 4 of the paper) [default: sum3]"),
    ("method.scope", "form pairs within the batch or within each image [default: batch]"),
    ("method.block_rule", "class of a block: of all its pixels (all16), or also of its scribbles alone (scribble_wins) [default: all16]"),
    ("method.label_source", "labels of the contrastive terms: pseudo+scribble or scribble_only [default: pseudo+scribble]"),
    ("method.contrast", "contrastive term: feature map, block side in pixels, temperature, weight, projection head"),
    (
        "optimizer.lr_encoder",
        "learning rates of RAdam; lr_encoder = 0.0003 preserves pretrained weights (run.init) better than 0.001 [default: 0.0003]",
    ),
    ("optimizer.weight_decay", "decoupled weight decay of all parameters [default: 0.00005]"),
    (
        "optimizer.schedule",
        "learning-rate schedule down to lr_floor: constant (the papers), cosine, cosine_restarts, poly [default: cosine]",
    ),
    (
        "optimizer.weight_average",
        "decay per step of the averaged weights used for evaluation, such as 0.99; 0 evaluates the weights themselves [default: 0.0]",
    ),
    ("optimizer.groups", "learning rate and weight decay of the parameters whose names begin with a prefix"),
    ("evaluation.views", "test-time augmentation: one, flips (4 views), all (8 views: flips and rotations) [default: flips]"),
    ("evaluation.split_touching", "split touching nuclei; recorded in the model card [default: true]"),
    ("evaluation.threshold", "probability above which a pixel belongs to a nucleus, 0 to 1; recorded in the model card [default: 0.5]"),
    (
        "evaluation.calibrate",
        "fit threshold and min_area_px to the validation masks; without masks, threshold to image edges and min_area_px to scribbles [default: true]",
    ),
    ("evaluation.min_area_px", "smallest nucleus in pixels; recorded in the model card [default: 64]"),
    (
        "evaluation.paper_clip",
        "largest instance id in mdice_paper, which the published code for DSB2018 clips to 255; 0 disables clipping [default: 0]",
    ),
    ("run.seed", "seed of all random numbers [default: 0]"),
    ("run.count", "unit of lengths and periods: iterations or epochs [default: iterations]"),
    ("run.iterations", "length of the run, in the unit of run.count [default: 1000]"),
    ("run.minutes", "time limit in minutes [default: not set]"),
    ("run.batch", "images per batch [default: 4]"),
    ("run.crop", "side of the square crops in pixels, a multiple of 32 [default: 256]"),
    ("run.threads", "worker threads; 0 is one per core [default: 0]"),
    ("run.device", "auto, cpu or cuda [default: auto]"),
    ("run.devices", "number of GPUs that each batch is divided among (needs a build with the feature nccl) [default: 1]"),
    (
        "run.precision",
        "auto (bf16 on GPUs that support it, else f32), f32, or bf16: of feature maps on GPUs, of the operands of convolutions on the CPU [default: auto]",
    ),
    ("run.kernels", "fast, or reference (slow, for comparison) [default: fast]"),
    ("run.deterministic", "on GPUs, use only algorithms with bitwise reproducible results [default: false]"),
    ("run.prefetch", "batches prepared ahead of the optimiser step [default: 2]"),
    ("run.validate_every", "interval between validations, in the unit of run.count; 0 validates once, at the end [default: 100]"),
    ("run.save_minutes", "interval between saves of last.safetensors, in minutes [default: 5.0]"),
    (
        "run.recalibrate_batches",
        "batches from which BatchNorm statistics are recomputed before each evaluation; 0 keeps the running averages [default: 20]",
    ),
    ("run.overlays", "number of overlay pictures [default: 8]"),
    ("run.tensorboard", "write losses, scores and overlays for TensorBoard to tensorboard/ in the run's folder [default: false]"),
    (
        "run.init",
        "initial weights: a safetensors file, \"\" (random), or \"imagenet\" (pretrained mobilenet_v2 encoder, downloaded once) [default: imagenet]",
    ),
];

impl RunConfig {
    /// Returns [`RunConfig::to_toml`] with a comment above the first occurrence of each key; reads back as the same configuration.
    pub fn to_commented_toml(&self) -> String {
        let mut section = String::new();
        let mut text = String::new();
        let mut explained = std::collections::BTreeSet::new();
        for line in self.to_toml().lines() {
            let key = if line.starts_with('[') {
                line.trim_matches(['[', ']']).clone_into(&mut section);
                Some(section.clone())
            } else {
                line.split_once(" = ").map(|(key, _)| format!("{section}.{key}"))
            };
            let comment = key.and_then(|key| COMMENTS.iter().find(|(known, _)| *known == key));
            if let Some((_, comment)) = comment.filter(|(key, _)| explained.insert(*key)) {
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
    fn comments_do_not_change_the_configuration_and_all_are_used() {
        let mut config = Profile::Scratch.config();
        config.data.modality = Some("fluorescence".into());
        config.data.channel = Some("DAPI".into());
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

    #[test]
    fn defaults_in_comments_are_those_of_the_default_profile() {
        let table = toml::Table::try_from(Profile::Default.config()).unwrap();
        let mut compared = 0;
        for (key, comment) in COMMENTS {
            let Some((_, text)) = comment.split_once("[default: ") else { continue };
            let (section, name) = key.split_once('.').unwrap();
            let value =
                table[section].get(name).map_or("not set".to_owned(), |value| value.as_str().map_or(value.to_string(), str::to_owned));
            assert_eq!(text, format!("{value}]"), "{key}");
            compared += 1;
        }
        assert!(compared > 50, "{compared} defaults");
    }
}
