//! GPU memory of a training step, counted by running its orchestration on a device that computes nothing.
//!
//! Every feature map, weight and buffer is allocated and freed as on a GPU but never written, so the system backs none with pages.

use crate::counted;
use std::sync::Arc;

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};
use half::vec::HalfBitsVecExt;
use models::weights::Weights;
use train::config::{Profile, RunConfig};
use train::network::kernels::Kernels;
use train::network::kernels::cuda::{Cuda, Geometry, KernelArg, Machine, Pass};
use train::rng::CounterRng;
use train::step::{Batch, Stage, Trainer};

/// Device that allocates memory and ignores every launch.
struct Idle(DType);

impl Machine for Idle {
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn feature_dtype(&self) -> DType {
        self.0
    }

    fn empty(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let n = shape.iter().product();
        let storage = match dtype {
            DType::BF16 => CpuStorage::BF16(vec![0u16; n].reinterpret_into()),
            DType::F32 => CpuStorage::F32(vec![0.0; n]),
            DType::F64 => CpuStorage::F64(vec![0.0; n]),
            other => panic!("no kernel writes {other:?}"),
        };
        Ok(Tensor::from_storage(Storage::Cpu(storage), shape, BackpropOp::none(), false))
    }

    fn address(&self, _: &Tensor) -> Result<u64> {
        Ok(64)
    }

    fn upload(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.copy()
    }

    unsafe fn launch(&self, _: &str, _: [u32; 2], _: u32, _: &[KernelArg]) -> Result<()> {
        Ok(())
    }

    unsafe fn convolve(&self, _: Pass, _: &Geometry, _: u64, _: u64, _: u64) -> Result<bool> {
        Ok(true)
    }
}

const CROP: usize = 256;
/// Upper limit of cuDNN's workspace in bytes (`gpu/cudnn.rs`).
const WORKSPACE: usize = 256 << 20;
/// Estimated bytes of the driver's context, cuDNN and the loaded kernels, which this test cannot count; the value is not measured.
const CONTEXT: usize = 1 << 30;

/// Returns the peak bytes of the second of two steps with every loss term, prefetched batches included.
fn peak(feature_dtype: DType, batch: usize) -> usize {
    let before = counted::live();
    let config = RunConfig::from_toml("[method]\nname = \"both\"", Profile::Scratch, &[] as &[&str]).unwrap();
    let kernels: Arc<dyn Kernels> = Arc::new(Cuda::new(Idle(feature_dtype)));
    let (mut trainer, _) = Trainer::new(&config, &Weights::new(), &kernels).unwrap();
    let pixels = batch * CROP * CROP;
    let label = |i: usize| u8::from((i / 64).is_multiple_of(2));
    let image = || Tensor::zeros((batch, 3, CROP, CROP), DType::F32, &Device::Cpu).unwrap();
    let ahead: Vec<Tensor> = (0..config.run.prefetch).map(|_| image()).collect();
    for step in 0..2 {
        let batch = Batch { image: image(), scribble: (0..pixels).map(label).collect(), average: vec![0.0; pixels], updates: 1 };
        counted::start();
        let losses = trainer.step(&batch, Stage::Full, 1.0, &mut CounterRng::new(0, "test", 0, step, 0)).unwrap();
        assert_eq!(losses.contrast.len(), 2);
    }
    drop(ahead);
    counted::peak() - before
}

/// 30 images are the batch of the papers; 8 GB is the memory of a small GPU.
#[test]
fn a_step_of_30_images_in_bf16_fits_8_gb() {
    let _alone = crate::ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mib = |bytes: usize| bytes >> 20;
    let mut found = Vec::new();
    for (feature_dtype, batch) in [(DType::BF16, 30), (DType::BF16, 15), (DType::BF16, 4), (DType::F32, 30), (DType::F32, 4)] {
        let bytes = peak(feature_dtype, batch);
        println!("{feature_dtype:?}, batch {batch}: {} MiB, {} MiB with the workspace", mib(bytes), mib(bytes + WORKSPACE));
        found.push(bytes);
    }
    assert!(found[0] + WORKSPACE + CONTEXT < 8_000_000_000, "{} MiB and the workspace", mib(found[0]));
    // Feature maps grow with the batch and weights do not, so the difference shows that the batch was counted and nothing else is retained.
    let (per_image, fixed) = ((found[0] - found[1]) / 15, 2 * found[1] - found[0]);
    println!("bf16: {} MiB an image and {} MiB", mib(per_image), mib(fixed));
    assert!(per_image > 50 << 20 && fixed > 24_000_000 * 14, "{per_image} bytes an image and {fixed}");
    // Feature maps in f32 take twice the bytes.
    assert!(found[3] > found[0] * 3 / 2 && found[3] < found[0] * 2);
}
