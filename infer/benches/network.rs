//! The network alone: this program's kernels and ONNX Runtime's, in f32 on the CPU, alternately.
//!
//! `cargo bench -p infer --bench network -- [--tile 1024] [--width TILE] [--batch 1] [--rounds 5] [--threads 0] MODEL.onnx ...`

use std::path::Path;
use std::time::Instant;

use infer::model::Model;
use infer::network::Network;
use infer::runtime::Device;
use infer::segmenter::{Options, Segmenter};

fn main() {
    let (mut tile, mut width, mut batch, mut rounds, mut threads, mut only) = (1024, 0, 1, 5, 0, String::new());
    let mut models = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number after the option");
        match argument.as_str() {
            "--tile" => tile = number(),
            "--width" => width = number(),
            "--batch" => batch = number(),
            "--rounds" => rounds = number(),
            "--threads" => threads = number(),
            "--only" => only = arguments.next().expect("a device after --only"),
            "--bench" => {}
            path => models.push(path.to_owned()),
        }
    }
    for path in models {
        compare(Path::new(&path), [batch, tile, if width == 0 { tile } else { width }], rounds, threads, &only);
    }
}

fn compare(path: &Path, [batch, tile, width]: [usize; 3], rounds: usize, threads: usize, only: &str) {
    let model = Model::open(path).expect("a model");
    let devices = [Device::Native, Device::Cpu].into_iter().filter(|device| only.is_empty() || device.name() == only);
    let mut networks: Vec<(Device, Segmenter, Vec<f64>)> = devices
        .map(|device| (device, Segmenter::new(&model, &Options { device, threads, ..Options::default() }).expect("a session"), Vec::new()))
        .collect();
    let image = picture(batch, tile, width);
    let megapixels = (batch * tile * width) as f64 / 1e6;
    let mut answers = Vec::new();
    for round in 0..=rounds {
        for (_, network, times) in &mut networks {
            let began = Instant::now();
            let answer = network.quantised(&image, batch, tile, width).expect("an answer");
            // The first round warms up.
            if round > 0 {
                times.push(1e3 * began.elapsed().as_secs_f64() / megapixels);
            } else {
                answers.push(answer);
            }
        }
    }
    let worst = answers.iter().flat_map(|answer| answer.iter().zip(&answers[0]).map(|(a, b)| a.abs_diff(*b))).max().unwrap_or(0);
    print!("{} {batch} x {tile} x {width}:", path.display());
    let medians: Vec<f64> = networks.iter_mut().map(|(device, _, times)| report(*device, times)).collect();
    if let [ours, theirs] = medians[..] {
        print!(" ratio {:.2}, answers differ by at most {worst} of 255", theirs / ours);
    }
    println!();
}

fn report(device: Device, times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    print!(" {device} {median:.0} ms/Mpx ({:.0} to {:.0});", times[0], times[times.len() - 1]);
    median
}

/// Smooth blobs with noise on them, so that no kernel meets denormal numbers.
fn picture(batch: usize, height: usize, width: usize) -> Vec<u8> {
    let wave = |at: usize, period: f32| (at as f32 / period).sin();
    let pixel = |i: usize| {
        let (y, x, c) = (i / 3 / width % height, i / 3 % width, i % 3);
        (140.0 + 60.0 * wave(y, 9.0) * wave(x, 7.0 + c as f32) + ((i * 2_654_435_761) >> 7 & 31) as f32) as u8
    };
    (0..batch * height * width * 3).map(pixel).collect()
}
