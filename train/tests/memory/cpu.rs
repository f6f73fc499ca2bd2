//! Memory of a training step on the CPU: feature maps kept by the forward pass, weights, and a bounded overhead.

use crate::counted;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use models::unet::UNetConfig;
use models::weights::Weights;
use train::config::{Profile, RunConfig};
use train::network::Mode;
use train::network::kernels::{Bf16Isa, Cpu, Kernels};
use train::rng::CounterRng;
use train::step::{Batch, Stage, Trainer};

const CROP: usize = 256;

/// Returns the bytes that a forward pass retains, and the peak of two steps.
fn bytes(kernels: Cpu, batch: usize) -> [usize; 2] {
    let before = counted::live();
    let kernels: Arc<dyn Kernels> = Arc::new(kernels);
    let network = UNetConfig { encoder_width: 32, ..UNetConfig::default() };
    let config = RunConfig { network, ..Profile::Scratch.config() };
    let (mut trainer, _) = Trainer::new(&config, &Weights::new(), &kernels).unwrap();
    let pixels = batch * CROP * CROP;
    let label = |i: usize| u8::from((i / 64).is_multiple_of(2));
    let image = Tensor::zeros((batch, 3, CROP, CROP), DType::F32, &Device::Cpu).unwrap();
    let batch = Batch { image, scribble: (0..pixels).map(label).collect(), average: vec![0.0; pixels], updates: 1 };
    let tape = trainer.network.forward(&batch.image, Mode::Train).unwrap();
    let kept = counted::live() - before;
    drop(tape);
    counted::start();
    for step in 0..2 {
        trainer.step(&batch, Stage::WarmUp, 1.0, &mut CounterRng::new(0, "test", 0, step, 0)).unwrap();
    }
    [kept, counted::peak() - before]
}

/// Returns the bytes that one more image in the batch adds to the retained bytes and to the peak.
fn bytes_per_image(kernels: impl Fn() -> Cpu) -> [usize; 2] {
    let [few, many] = [4, 8].map(|batch| bytes(kernels(), batch));
    [0, 1].map(|i| (many[i] - few[i]) / 4)
}

/// The backward pass adds gradients to the retained feature maps: two or three buffers of each size.
#[test]
fn a_step_needs_little_more_memory_than_the_retained_feature_maps() {
    let _alone = crate::ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let unit = Bf16Isa::best().0;
    let (f32, bf16) = (bytes_per_image(Cpu::default), bytes_per_image(|| Cpu::default().in_bf16(unit)));
    println!("KiB an image, kept and at most: {:?} in f32, {:?} in bf16", f32.map(|n| n >> 10), bf16.map(|n| n >> 10));
    assert!(2 * f32[1] < 3 * f32[0] && 2 * bf16[1] < 3 * bf16[0], "{f32:?} and {bf16:?} bytes");
}
