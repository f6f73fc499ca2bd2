//! Speed of each stage of a slide on this machine, measured separately in about a minute; shows the stage that limits.

use std::path::Path;
use std::time::{Duration, Instant};

use support::console::Silent;
use support::durable::AtomicFile;
use support::{Context, Error, Result};

use crate::choose::open_proven;
use crate::model::Model;
use crate::network::Network;
use crate::pyramid::PyramidWriter;
use crate::runtime::{self, Device, Precision};
use crate::segment::{self, Halo, segment};
use crate::segmenter::Options;

/// Default side of the synthetic slide, in pixels.
pub const SIDE: usize = 4096;
/// Side of windows for the measurement of the other stages, in pixels.
const TILE: usize = 1024;
/// Default least time for which each device runs.
pub const MIN_DURATION: Duration = Duration::from_secs(4);

/// Speed of a stage or of a device.
#[derive(Debug)]
pub struct Speed {
    /// Name of the stage in `summary.json`, or flags that select the device.
    pub what: String,
    /// Megapixels at the model's scale per second, of all threads together; or the reason why the device does not run.
    pub rate: Result<f64, Error>,
}

/// Speeds of all stages and devices.
#[derive(Debug)]
pub struct Speeds {
    /// Stages other than the network: reading, extraction, nuclei, files.
    pub stages: Vec<Speed>,
    /// Network on every device.
    pub devices: Vec<Speed>,
}

impl Speeds {
    /// Returns the fastest device that runs.
    pub fn best_device(&self) -> Option<&Speed> {
        let rate = |speed: &&Speed| *speed.rate.as_ref().unwrap_or(&0.0);
        self.devices.iter().filter(|speed| speed.rate.is_ok()).max_by(|a, b| rate(a).total_cmp(&rate(b)))
    }

    /// Returns the slowest among the stages and the fastest device.
    pub fn limit(&self) -> Option<&Speed> {
        let rate = |speed: &&Speed| *speed.rate.as_ref().unwrap_or(&f64::INFINITY);
        self.stages.iter().chain(self.best_device()).min_by(|a, b| rate(a).total_cmp(&rate(b)))
    }
}

/// Measures every stage on a synthetic slide of `side * side` pixels in a temporary folder, and the network for at least `min_duration` on
/// every device.
pub fn measure(model: &Model, side: usize, min_duration: Duration) -> Result<Speeds> {
    let folder = tempfile::tempdir().doing(|| "creating a temporary folder")?;
    let slide = folder.path().join("speed.tif");
    make_slide(&slide, side, model.card.microns_per_pixel).doing(|| "writing a slide in the temporary folder")?;
    let stages = stages(&slide, side, model, folder.path())?;
    let speed = |(device, precision)| Speed { what: flags(device, precision), rate: network(model, device, precision, min_duration) };
    Ok(Speeds { stages, devices: combinations().into_iter().map(speed).collect() })
}

/// Returns all devices with their arithmetic, bf16 only if the CPU multiplies it in hardware.
fn combinations() -> Vec<(Device, Precision)> {
    let bf16 = runtime::has_amx().then_some((Device::OpenVino, Precision::Bf16));
    let f32 = |device| (device, Precision::F32);
    let on_cpus = [Device::Native, Device::Cpu, Device::OpenVino].map(f32);
    on_cpus.into_iter().chain(bf16).chain([Device::Cuda, Device::TensorRt].map(f32)).collect()
}

/// Returns the value of `--device` that selects a device, with the flag for its arithmetic.
fn flags(device: Device, precision: Precision) -> String {
    match precision {
        Precision::F32 => device.name().to_owned(),
        Precision::Bf16 => format!("{} --precision bf16", device.name()),
    }
}

/// Writes a synthetic slide: dark discs on a light background, as a pyramid of JPEG tiles, so that decoding costs as much as for real slides.
pub fn make_slide(path: &Path, side: usize, um_per_pixel: Option<f64>) -> Result<()> {
    let mut writer = PyramidWriter::of_jpeg(AtomicFile::create(path)?, side, side, um_per_pixel.map(|um| [um; 2]))?;
    for y in 0..side {
        let row: Vec<u8> = (0..side).flat_map(|x| pixel(x, y)).collect();
        writer.push(&row)?;
    }
    writer.finish()?.commit()
}

/// Returns the pixel of the synthetic slide at a position.
fn pixel(x: usize, y: usize) -> [u8; 3] {
    const SPACING: usize = 40;
    let noise = (x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77)).wrapping_mul(0xc2b2_ae3d) >> 24 & 15;
    let radius = 6 + (x / SPACING * 7 + y / SPACING * 13) % 9;
    let is_nucleus = (x % SPACING).abs_diff(SPACING / 2).pow(2) + (y % SPACING).abs_diff(SPACING / 2).pow(2) <= radius * radius;
    let [r, g, b] = if is_nucleus { [90, 60, 130] } else { [225, 170, 205] };
    [r + noise as u8, g + noise as u8, b + noise as u8]
}

/// Threshold of the red channel in place of a network, at almost no cost.
struct Dark;

impl Network for Dark {
    fn quantised(&mut self, images: &[u8], _: usize, _: usize, _: usize) -> Result<Vec<u8>> {
        Ok(images.as_chunks::<3>().0.iter().map(|pixel| if pixel[0] < 150 { 250 } else { 2 }).collect())
    }
}

/// Measures the stages other than the network; the threads of a stage are counted together.
fn stages(slide: &Path, side: usize, model: &Model, out: &Path) -> Result<Vec<Speed>> {
    let options = segment::Options { out: out.join("out"), tile: Some(TILE), halo: Halo::Px(64), ..segment::Options::default() };
    let summary = segment(slide, model, &mut [Box::new(Dark)], &options, &Silent)?;
    let megapixels = (side * side) as f64 / 1e6;
    let threads = |stage: &str| if stage == "read" { summary.run.readers as f64 } else { 1.0 };
    let timed = summary.timings.busy_seconds.iter().filter(|(stage, seconds)| *stage != "network" && **seconds > 0.0);
    Ok(timed.map(|(stage, seconds)| Speed { what: stage.clone(), rate: Ok(megapixels / seconds * threads(stage)) }).collect())
}

/// Measures the network on windows of the default size, on a device that reproduces the model's golden tiles.
fn network(model: &Model, device: Device, precision: Precision, min_duration: Duration) -> Result<f64> {
    if matches!(device, Device::Cuda | Device::TensorRt) && !runtime::has_nvidia() {
        return Err(Error::new("there is no NVIDIA driver"));
    }
    let mut segmenter = open_proven(model, Options { device, precision, ..Options::default() })?.segmenter;
    let side = Halo::Card.tile_px(&model.card, segmenter.windows()).next_multiple_of(model.card.stride);
    let image: Vec<u8> = (0..side * side).flat_map(|i| pixel(i % side, i / side)).collect();
    // The first run allocates memory and is not measured.
    segmenter.quantised(&image, 1, side, side)?;
    let (began, mut runs) = (Instant::now(), 0);
    while began.elapsed() < min_duration {
        segmenter.quantised(&image, 1, side, side)?;
        runs += 1;
    }
    Ok((runs * side * side) as f64 / 1e6 / began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_synthetic_slide_is_stored_as_jpeg_tiles_with_small_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("speed.tif");
        make_slide(&path, 1100, Some(0.5)).unwrap();
        let slide = slides::open(&path, None).unwrap();
        assert_eq!((slide.facts().reader, slide.levels().len()), ("tiff", 3));
        let seen = slide.read_region(0, 0, 0, 1100, 1100).unwrap();
        let drawn = (0..1100 * 1100).flat_map(|i| pixel(i % 1100, i / 1100));
        let total_difference: u64 = seen.data.iter().zip(drawn).map(|(a, b)| u64::from(a.abs_diff(b))).sum();
        let mean = total_difference as f64 / seen.data.len() as f64;
        assert!(mean > 0.1 && mean < 6.0, "JPEG changes a value by {mean:.2} in the mean");
    }

    #[test]
    fn every_stage_and_the_native_device_have_a_rate() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models/format-1.onnx");
        let speeds = measure(&Model::open(&model).unwrap(), 640, Duration::from_millis(50)).unwrap();
        for stage in ["read", "nuclei"] {
            let speed = speeds.stages.iter().find(|speed| speed.what.contains(stage)).unwrap_or_else(|| panic!("{stage}: {speeds:?}"));
            assert!(*speed.rate.as_ref().unwrap() > 0.0, "{speed:?}");
        }
        let native = speeds.devices.iter().find(|speed| speed.what == Device::Native.name()).unwrap();
        assert!(*native.rate.as_ref().unwrap() > 0.0, "{native:?}");
        assert!(speeds.stages.iter().all(|speed| speed.what != "network"), "the network is measured by itself");
        assert!(speeds.limit().is_some());
    }

    #[test]
    fn devices_are_named_by_their_flags() {
        assert_eq!(flags(Device::OpenVino, Precision::Bf16), "openvino --precision bf16");
        assert_eq!(flags(Device::Native, Precision::F32), "native");
        assert_eq!(combinations().contains(&(Device::OpenVino, Precision::Bf16)), runtime::has_amx());
    }

    #[test]
    fn the_limit_is_the_slowest_stage_or_the_fastest_device() {
        let speed = |what: &str, rate| Speed { what: what.into(), rate };
        let speeds = Speeds {
            stages: vec![speed("read", Ok(50.0)), speed("nuclei", Ok(20.0))],
            devices: vec![speed("native", Ok(6.0)), speed("cpu", Ok(2.0)), speed("cuda", Err(Error::new("none")))],
        };
        assert_eq!(speeds.best_device().unwrap().what, "native");
        assert_eq!(speeds.limit().unwrap().what, "native");
        let fast = Speeds { devices: vec![speed("cuda", Ok(90.0))], ..speeds };
        assert_eq!(fast.limit().unwrap().what, "nuclei");
    }
}
