//! Decoding fitted at the end of a run: to masks, or to image edges and strokes; one for scores and one for slides.

use crate::support::pictures;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::support::pictures::data_folder;
use models::decode::Decoding;
use models::plane::Plane;
use models::weights::WeightsFile;
use support::console::Silent;
use train::alignment::{Density, Flux, clearly_better_threshold, thresholds};
use train::checkpoint::{ModelFacts, open_network};
use train::config::{DeviceChoice, RunConfig, Views};
use train::data::{Dataset, Sample, Split};
use train::fit::fit;
use train::network::Network;
use train::predict::views::averaged_probabilities;
use train::predict::{Predictor, quantised};

/// Trains a run; returns the network of its best checkpoint, its configuration, and its decoding of slides.
fn trained(folder: &Path, sets: &[&str]) -> (Network, RunConfig, Decoding) {
    let data = folder.join("data");
    data_folder(&data, 6);
    let mut all = vec!["method.name=s2l", "run.iterations=24", "evaluation.views=flips"];
    all.extend(sets);
    let out = folder.join("run");
    fit(&pictures::config(&data, &all), &out, false, &Silent, &AtomicBool::new(false)).unwrap();
    let (network, config) = open_network(&out, DeviceChoice::Cpu).unwrap();
    let file = WeightsFile::read(&out.join("best.safetensors")).unwrap();
    let facts: ModelFacts = serde_json::from_str(&file.metadata["model"]).unwrap();
    (network, config, facts.decoding)
}

fn levels(network: &Network, samples: &[&Sample], views: Views) -> Vec<Plane<u8>> {
    let mut predictor = Predictor::new(network).unwrap();
    samples.iter().map(|sample| quantised(&averaged_probabilities(&mut predictor, &sample.image, views).unwrap())).collect()
}

fn iou(samples: &[&Sample], levels: &[Plane<u8>], threshold: f64) -> f64 {
    let level = Decoding { threshold, ..Decoding::default() }.first_foreground_level();
    let of = |(sample, levels): (&&Sample, &Plane<u8>)| {
        let pairs = || sample.labels.as_ref().unwrap().data.iter().map(|&id| id > 0).zip(levels.data.iter().map(|&p| p >= level));
        let (both, any) = (pairs().filter(|(a, b)| *a && *b).count(), pairs().filter(|(a, b)| *a || *b).count());
        both as f64 / any.max(1) as f64
    };
    samples.iter().zip(levels).map(of).sum::<f64>() / samples.len() as f64
}

#[test]
fn masks_fit_the_threshold_of_scores_to_the_mean_of_views_and_that_of_slides_to_one_view() {
    let folder = tempfile::tempdir().unwrap();
    let (network, config, slides) = trained(folder.path(), &[]);
    let dataset = Dataset::load(&config).unwrap();
    let samples: Vec<&Sample> = dataset.of(Split::Val).map(|(_, sample)| sample).collect();
    assert_ne!(config.evaluation.threshold, slides.threshold, "equal thresholds would make this test meaningless");
    for (views, fitted) in [(Views::Flips, config.evaluation.threshold), (Views::One, slides.threshold)] {
        let levels = levels(&network, &samples, views);
        let best = thresholds().map(|threshold| iou(&samples, &levels, threshold)).fold(0.0, f64::max);
        assert!(best > 0.0 && (iou(&samples, &levels, fitted) - best).abs() < 1e-12, "{views}: {fitted} is not the best");
    }
}

#[test]
fn without_masks_edges_fit_the_threshold_and_strokes_the_least_area() {
    let folder = tempfile::tempdir().unwrap();
    let sets = ["data.validation=scribbles", "run.iterations=300", "method.edge_alignment=false", "evaluation.min_area_px=400"];
    let (network, config, slides) = trained(folder.path(), &sets);
    let dataset = Dataset::load(&config).unwrap();
    // Six images are fewer than calibration asks for, so validation images come first and training images fill up.
    let held: Vec<&Sample> = dataset.of(Split::Val).map(|(_, sample)| sample).collect();
    let samples: Vec<&Sample> = held.iter().copied().chain(dataset.of(Split::Train).map(|(_, sample)| sample)).collect();
    assert!(!held.is_empty() && samples.len() == 6);
    for (views, fitted) in [(Views::Flips, config.evaluation.decoding()), (Views::One, slides)] {
        let levels = levels(&network, &samples, views);
        let flux: Vec<Flux> = samples.iter().zip(&levels).map(|(s, p)| Flux::of(p, &Density::of(&s.image))).collect();
        assert!(thresholds().any(|now| clearly_better_threshold(&flux, now).is_some()), "discs have edges, and the network has found some");
        assert_eq!(fitted.threshold, clearly_better_threshold(&flux, 0.5).unwrap_or(0.5), "{views}");
        assert!(fitted.min_area_px < 113, "{}: discs have 113 to 314 px, and strokes on most of them", fitted.min_area_px);
    }
}

#[test]
fn nothing_is_fitted_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let sets = ["data.validation=scribbles", "evaluation.calibrate=false", "evaluation.threshold=0.35", "evaluation.min_area_px=400"];
    let (_, config, slides) = trained(folder.path(), &sets);
    assert_eq!((config.evaluation.threshold, slides.threshold), (0.35, 0.35));
    assert_eq!((config.evaluation.min_area_px, slides.min_area_px), (400, 400));
}
