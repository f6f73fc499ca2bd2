//! Emulated GPU: the CUDA kernels compiled as C++ for the CPU, host memory as device memory, and convolutions as plain sums.

mod convolution;

use std::ffi::c_void;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};
use libloading::Library;
use train::network::kernels::cuda::source;
use train::network::kernels::cuda::{Geometry, KernelArg, Machine, Pass};

/// Lock that lets one kernel run at a time, because the fibres of its threads use global variables.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Emulated CUDA device.
pub struct Emulator {
    feature_dtype: DType,
    /// If true, threads of a block run from the last to the first.
    pub backwards: bool,
    /// If true, convolutions are wrong by a factor of two, for tests of the self-check.
    pub broken: bool,
    /// If true, convolutions run on the plain CUDA kernels, as on a GPU without cuDNN.
    pub direct: bool,
}

impl Emulator {
    /// Creates the device for feature maps of this type; without a C++ compiler returns `None` and says so on stderr.
    pub fn new(feature_dtype: DType) -> Option<Self> {
        library(feature_dtype)?;
        Some(Self { feature_dtype, backwards: false, broken: false, direct: false })
    }
}

/// Returns the library of kernels, which is compiled once per process.
fn library(feature_dtype: DType) -> Option<&'static Library> {
    static F32: OnceLock<Option<Library>> = OnceLock::new();
    static BF16: OnceLock<Option<Library>> = OnceLock::new();
    let cell = if feature_dtype == DType::BF16 { &BF16 } else { &F32 };
    cell.get_or_init(|| compile(feature_dtype)).as_ref()
}

fn compile(feature_dtype: DType) -> Option<Library> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    if !cfg!(target_os = "linux") || Command::new(&compiler).arg("--version").output().is_err() {
        eprintln!("SKIPPED: the CUDA kernels are not emulated on the CPU: this needs Linux and a C++ compiler ({compiler} was tried)");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (text, library) = (folder.path().join("kernels.cpp"), folder.path().join("kernels.so"));
    let exports: String = source::kernels().iter().flat_map(|name| ["EXPORT(", name.as_str(), ")\n"]).collect();
    std::fs::write(&text, format!("{}\n{}\n{exports}", include_str!("shim.h"), source::program(feature_dtype))).unwrap();
    let output =
        Command::new(&compiler).args(["-O2", "-std=c++17", "-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(&text).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // SAFETY: the library was just compiled from this project's sources and has no initialisers.
    Some(unsafe { Library::new(&library) }.unwrap())
}

impl Machine for Emulator {
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn feature_dtype(&self) -> DType {
        self.feature_dtype
    }

    /// Fills new memory with NaN, so that values which no kernel writes are detected.
    fn empty(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        Tensor::full(f32::NAN, shape, &Device::Cpu)?.to_dtype(dtype)
    }

    fn address(&self, tensor: &Tensor) -> Result<u64> {
        let (storage, layout) = tensor.storage_and_layout();
        assert!(layout.is_contiguous(), "a kernel is given a tensor that is not contiguous: {layout:?}");
        let Storage::Cpu(storage) = &*storage else { panic!("a tensor in memory") };
        let base = match storage {
            CpuStorage::U8(v) => v.as_ptr() as u64,
            CpuStorage::U32(v) => v.as_ptr() as u64,
            CpuStorage::I64(v) => v.as_ptr() as u64,
            CpuStorage::BF16(v) => v.as_ptr() as u64,
            CpuStorage::F32(v) => v.as_ptr() as u64,
            CpuStorage::F64(v) => v.as_ptr() as u64,
            _ => panic!("no kernel reads {:?}", tensor.dtype()),
        };
        Ok(base + (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64)
    }

    unsafe fn launch(&self, kernel: &str, grid: [u32; 2], threads: u32, values: &[KernelArg]) -> Result<()> {
        type Run = unsafe extern "C" fn(*const u32, u32, bool, *const *const c_void);
        let library = library(self.feature_dtype).expect("an emulator has a library");
        let places: Vec<*const c_void> = values.iter().map(KernelArg::as_ptr).collect();
        let _guard = ONE_AT_A_TIME.lock().unwrap();
        // SAFETY: the shim exports every kernel with this signature and unpacks one value per parameter.
        unsafe {
            let run = library.get::<Run>(format!("run_{kernel}").as_bytes()).unwrap_or_else(|error| panic!("{kernel}: {error}"));
            run(grid.as_ptr(), threads, self.backwards, places.as_ptr());
        }
        Ok(())
    }

    unsafe fn convolve(&self, pass: Pass, geometry: &Geometry, x: u64, w: u64, y: u64) -> Result<bool> {
        if self.direct {
            return Ok(false);
        }
        // SAFETY: the caller guarantees arrays of the geometry's sizes.
        unsafe { convolution::run(self.feature_dtype, pass, geometry, [x, w, y], if self.broken { 2.0 } else { 1.0 }) };
        Ok(true)
    }
}
