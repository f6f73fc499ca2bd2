//! How fast each stage of a slide is on this machine, each by itself: a minute that says what limits.

use std::path::Path;
use std::time::{Duration, Instant};

use support::artifact::AtomicFile;
use support::console::Silent;
use support::{Context, Error, Result};

use crate::choose::proven;
use crate::output::pyramid::PyramidWriter;
use crate::runtime::{self, Device, Precision};
use crate::segment::{self, Halo, segment};
use crate::segmenter::{Model, Network, Options};

/// Side of the slide that is made for it, unless another is asked for.
pub const SIDE: usize = 4096;
/// Side of windows where the network costs nothing.
const TILE: usize = 1024;
/// How long each device runs at least, unless another time is asked for.
pub const LONG_ENOUGH: Duration = Duration::from_secs(4);

/// What a stage or a device does.
#[derive(Debug)]
pub struct Speed {
    /// The stage, as `summary.json` calls it, or the device.
    pub what: String,
    /// Megapixels at the model's scale a second, all threads together, or why there are none.
    pub rate: Result<f64, Error>,
}

/// What was measured.
#[derive(Debug)]
pub struct Speeds {
    /// Everything but the network: reading, decoding, nuclei, files.
    pub stages: Vec<Speed>,
    /// The network on every device.
    pub devices: Vec<Speed>,
}

impl Speeds {
    /// The fastest device that works.
    pub fn best_device(&self) -> Option<&Speed> {
        let rate = |speed: &&Speed| *speed.rate.as_ref().unwrap_or(&0.0);
        self.devices.iter().filter(|speed| speed.rate.is_ok()).max_by(|a, b| rate(a).total_cmp(&rate(b)))
    }

    /// The slowest among the stages and the best device.
    pub fn limit(&self) -> Option<&Speed> {
        let rate = |speed: &&Speed| *speed.rate.as_ref().unwrap_or(&f64::INFINITY);
        self.stages.iter().chain(self.best_device()).min_by(|a, b| rate(a).total_cmp(&rate(b)))
    }
}

/// Measures every stage on a slide of `side * side` pixels made for it in a temporary folder, and the model for `long_enough` on every
/// device that is here.
pub fn measure(model: &Path, side: usize, long_enough: Duration) -> Result<Speeds> {
    let model = Model::open(model)?;
    let folder = tempfile::tempdir().doing(|| "making a temporary folder")?;
    let slide = folder.path().join("speed.tif");
    make_slide(&slide, side, model.card.microns_per_pixel).doing(|| "making a slide in the temporary folder")?;
    let stages = stages(&slide, side, &model, folder.path())?;
    let speed = |(device, precision)| Speed { what: flags(device, precision), rate: network(&model, device, precision, long_enough) };
    Ok(Speeds { stages, devices: tried().into_iter().map(speed).collect() })
}

/// Devices with what they compute in: bf16 too where the CPU multiplies it in hardware.
fn tried() -> Vec<(Device, Precision)> {
    let bf16 = runtime::has_amx().then_some((Device::OpenVino, Precision::Bf16));
    let f32 = |device| (device, Precision::F32);
    let on_cpus = [Device::Native, Device::Cpu, Device::OpenVino].map(f32);
    on_cpus.into_iter().chain(bf16).chain([Device::Cuda, Device::TensorRt].map(f32)).collect()
}

/// The device as `--device` asks for it.
fn flags(device: Device, precision: Precision) -> String {
    match precision {
        Precision::F32 => device.name().to_owned(),
        Precision::Bf16 => format!("{} --precision bf16", device.name()),
    }
}

/// Dark discs on a light ground, each pixel a function of its place, as a pyramid of JPEG tiles: decoding them is what reading real slides
/// costs.
pub fn make_slide(path: &Path, side: usize, um_per_pixel: Option<f64>) -> Result<()> {
    let mut writer = PyramidWriter::of_jpeg(AtomicFile::create(path)?, side, side, um_per_pixel.map(|um| [um; 2]))?;
    for y in 0..side {
        let row: Vec<u8> = (0..side).flat_map(|x| pixel(x, y)).collect();
        writer.push(&row)?;
    }
    writer.finish()?.commit()
}

fn pixel(x: usize, y: usize) -> [u8; 3] {
    const CELL: usize = 40;
    let noise = (x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77)).wrapping_mul(0xc2b2_ae3d) >> 24 & 15;
    let radius = 6 + (x / CELL * 7 + y / CELL * 13) % 9;
    let is_nucleus = (x % CELL).abs_diff(CELL / 2).pow(2) + (y % CELL).abs_diff(CELL / 2).pow(2) <= radius * radius;
    let [r, g, b] = if is_nucleus { [90, 60, 130] } else { [225, 170, 205] };
    [r + noise as u8, g + noise as u8, b + noise as u8]
}

/// Dark is nucleus: costs next to nothing.
struct Dark;

impl Network for Dark {
    fn quantised(&mut self, images: &[u8], _: usize, _: usize, _: usize) -> Result<Vec<u8>> {
        Ok(images.as_chunks::<3>().0.iter().map(|pixel| if pixel[0] < 150 { 250 } else { 2 }).collect())
    }
}

/// Rates of what a run does beside the network; each stage's threads are counted together.
fn stages(slide: &Path, side: usize, model: &Model, out: &Path) -> Result<Vec<Speed>> {
    let options = segment::Options { out: out.join("out"), tile: Some(TILE), halo: Halo::Px(64), ..segment::Options::default() };
    let summary = segment(slide, model, &mut [Box::new(Dark)], &options, &Silent)?;
    let megapixels = (side * side) as f64 / 1e6;
    let threads = |stage: &str| if stage == "read" { summary.run.readers as f64 } else { 1.0 };
    let timed = summary.timings.busy_seconds.iter().filter(|(stage, seconds)| *stage != "network" && **seconds > 0.0);
    Ok(timed.map(|(stage, seconds)| Speed { what: stage.clone(), rate: Ok(megapixels / seconds * threads(stage)) }).collect())
}

/// The rate in windows as large as a slide's, of a device on which the model's golden tiles come out right.
fn network(model: &Model, device: Device, precision: Precision, long_enough: Duration) -> Result<f64> {
    if matches!(device, Device::Cuda | Device::TensorRt) && !runtime::has_nvidia() {
        return Err(Error::new("there is no NVIDIA driver here"));
    }
    let mut segmenter = proven(model, Options { device, precision, ..Options::default() })?.segmenter;
    let side = Halo::Card.tile_px(&model.card, segmenter.windows()).next_multiple_of(model.card.stride);
    let image: Vec<u8> = (0..side * side).flat_map(|i| pixel(i % side, i / side)).collect();
    // The first run plans and allocates.
    segmenter.quantised(&image, 1, side, side)?;
    let (began, mut runs) = (Instant::now(), 0);
    while began.elapsed() < long_enough {
        segmenter.quantised(&image, 1, side, side)?;
        runs += 1;
    }
    Ok((runs * side * side) as f64 / 1e6 / began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slide_is_made_of_jpeg_tiles_that_show_what_was_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("speed.tif");
        make_slide(&path, 1100, Some(0.5)).unwrap();
        let slide = slides::open(&path, None).unwrap();
        assert_eq!((slide.facts().reader, slide.levels().len()), ("tiff", 3));
        let seen = slide.read_region(0, 0, 0, 1100, 1100).unwrap();
        let drawn = (0..1100 * 1100).flat_map(|i| pixel(i % 1100, i / 1100));
        let off: u64 = seen.data.iter().zip(drawn).map(|(a, b)| u64::from(a.abs_diff(b))).sum();
        let mean = off as f64 / seen.data.len() as f64;
        assert!(mean > 0.1 && mean < 6.0, "JPEG changes a value by {mean:.2} in the mean");
    }

    #[test]
    fn every_stage_and_our_own_device_have_a_rate() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models/format-1.onnx");
        let speeds = measure(&model, 640, Duration::from_millis(50)).unwrap();
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
    fn devices_are_named_as_they_are_asked_for() {
        assert_eq!(flags(Device::OpenVino, Precision::Bf16), "openvino --precision bf16");
        assert_eq!(flags(Device::Native, Precision::F32), "native");
        assert_eq!(tried().contains(&(Device::OpenVino, Precision::Bf16)), runtime::has_amx());
    }

    #[test]
    fn the_slowest_stage_or_the_best_device_limits() {
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
