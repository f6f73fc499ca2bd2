//! Synthetic pictures of bright discs, data folders of them, and the configuration of a small network.

use std::path::Path;

use models::plane::Plane;
use models::weights::WeightsFile;
use train::config::{Profile, RunConfig};
use train::data::image_file::{RgbImage, png_of_labels, png_of_rgb};
use train::make_scribbles::{Kind, write_scribbles};
use train::rng::CounterRng;

/// Draws six bright discs on a dark background; returns the picture and its instance labels.
pub fn picture(side: usize, seed: u64) -> (RgbImage, Plane<u32>) {
    let mut draw = CounterRng::new(seed, "picture", 0, 0, 0);
    let mut labels = Plane::filled(side, side, 0u32);
    for id in 1..=6 {
        let (cx, cy, r) = (draw.range(12.0, side as f64 - 12.0), draw.range(12.0, side as f64 - 12.0), draw.range(6.0, 10.0));
        for y in 0..side {
            for x in 0..side {
                if (x as f64 - cx).hypot(y as f64 - cy) < r {
                    labels.row_mut(y)[x] = id;
                }
            }
        }
    }
    let data = labels.data.iter().flat_map(|&id| [if id > 0 { 180 } else { 30 } + draw.below(40) as u8; 3]).collect();
    (RgbImage::new(side, side, data).unwrap(), labels)
}

pub fn data_folder(folder: &Path, images: u64) {
    folder_of_pictures(folder, images, 70);
}

pub fn folder_of_pictures(folder: &Path, images: u64, side: usize) {
    for i in 0..images {
        let (image, labels) = picture(side, i);
        support::durable::write(&folder.join(format!("images/p{i}.png")), &png_of_rgb(&image).unwrap()).unwrap();
        support::durable::write(&folder.join(format!("labels/p{i}.png")), &png_of_labels(&labels).unwrap()).unwrap();
    }
    write_scribbles(folder, Kind::Strokes(0.8), 1, false).unwrap();
}

pub fn config(data: &Path, sets: &[&str]) -> RunConfig {
    let text = format!(
        "[data]\nfolder = \"{}\"\n[network]\nencoder_width = 8\ndecoder_channels = [32, 16, 16, 16, 16]\n[method]\nname = \"both\"\nwarmup_iterations = 4\n\
         ema_period = 2\n[evaluation]\nviews = \"one\"\n[run]\niterations = 12\nbatch = 2\ncrop = 64\nvalidate_every = 3\nrecalibrate_batches = 2\noverlays = 2\ndevice = \"cpu\"\n",
        data.display()
    );
    RunConfig::from_toml(&text, Profile::Scratch, sets).unwrap()
}

pub fn arrays(run: &Path, name: &str) -> models::weights::Weights {
    WeightsFile::read(&run.join(name)).unwrap().arrays
}
