//! Arguments that several commands share.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use infer::runtime::{Device, Precision};
use infer::segmenter::Options;

/// Device and runtime of the network.
#[derive(Args)]
pub struct DeviceArgs {
    /// Run on this device: auto, native (own f32 kernels), cpu (ONNX Runtime), openvino, cuda or tensorrt
    ///
    /// A device that is absent is an error. `auto` takes the first of tensorrt, cuda, openvino (on CPUs with AMX), native and cpu that is
    /// present and reproduces the model's golden tiles.
    #[arg(long, default_value = "auto", value_parser = device)]
    pub device: Device,
    /// Compute in f32 or bf16, which is several times faster on openvino with AMX [default: f32; bf16 if auto takes openvino]
    #[arg(long, value_parser = precision)]
    pub precision: Option<Precision>,
    /// Run the network on this number of threads; 0: all cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = count(0..=1024))]
    pub threads: usize,
    /// Load ONNX Runtime from this library or folder [default: NUCLEI_ONNXRUNTIME, ORT_DYLIB_PATH, lib/ beside the program, the cache]
    #[arg(long, value_name = "LIB")]
    pub runtime: Option<PathBuf>,
}

impl DeviceArgs {
    /// Returns the options of a session; the precision of `auto` is chosen with the device.
    pub fn options(&self) -> Options {
        Options {
            device: self.device,
            threads: self.threads,
            precision: self.precision.unwrap_or_default(),
            spin: false,
            runtime: self.runtime.clone(),
        }
    }
}

/// Parser of a number in a range.
pub fn count(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

fn precision(text: &str) -> Result<Precision, String> {
    text.parse().map_err(|error: support::Error| error.to_string())
}

fn device(text: &str) -> Result<Device, String> {
    text.parse().map_err(|error: support::Error| error.to_string())
}
