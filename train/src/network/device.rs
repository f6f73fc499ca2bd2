//! Selection of devices and kernels for a run.

use std::sync::Arc;

use candle_core::{DType, Device};
use support::{Result, bail};

use super::kernels::{Bf16Isa, Cpu, Kernels, Reference};
use crate::config::{DeviceChoice, KernelChoice, Precision, RunSettings};
use crate::parallel::{Communicator, SingleRank};

/// Settings that select the kernels of a network.
#[derive(Clone, Copy, Debug)]
pub struct KernelSelection {
    device: DeviceChoice,
    precision: Precision,
    kernels: KernelChoice,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the processor's kernels give the same bits in every run"))]
    deterministic: bool,
}

/// Selects fast f32 kernels, as predictions from trained weights use them.
impl From<DeviceChoice> for KernelSelection {
    fn from(device: DeviceChoice) -> Self {
        Self { device, precision: Precision::F32, kernels: KernelChoice::Fast, deterministic: false }
    }
}

impl From<&RunSettings> for KernelSelection {
    fn from(run: &RunSettings) -> Self {
        Self { device: run.device, precision: run.precision, kernels: run.kernels, deterministic: run.deterministic }
    }
}

/// One rank of data-parallel training: a device, and the communicator that links it to the other ranks.
pub struct Rank {
    /// Kernels of the device.
    pub kernels: Arc<dyn Kernels>,
    /// Communicator over all ranks of the run.
    pub communicator: Arc<dyn Communicator>,
}

/// Opens the devices of a run, one rank for each: a single device, or `run.devices` GPUs.
///
/// Fails if there are fewer devices than requested, or if the processor is asked for more than one.
pub fn ranks(run: &RunSettings) -> Result<Vec<Rank>> {
    if run.devices == 1 {
        return Ok(vec![Rank { kernels: kernels(run)?, communicator: Arc::new(SingleRank) }]);
    }
    let choice = KernelSelection::from(run);
    if choice.device == DeviceChoice::Cpu || (choice.device == DeviceChoice::Auto && !cuda::is_available()) {
        bail!("run.devices is {}, but training runs on the processor, which is one device", run.devices; hint: "use --set run.devices=1, or --set run.device=cuda on a machine with as many GPUs");
    }
    multi_gpu::ranks(choice, run.devices)
}

/// Opens the kernels for a device. `auto` takes a GPU if this program was built with the feature `cuda` and a GPU is available, else the
/// processor.
///
/// Fails if a device that was requested by name is missing, or if the device or the kernels do not support the precision.
pub fn kernels(choice: impl Into<KernelSelection>) -> Result<Arc<dyn Kernels>> {
    let choice = choice.into();
    if choice.kernels == KernelChoice::Reference && choice.precision == Precision::Bf16 {
        bail!("run.kernels is reference, which computes in f32, but run.precision is bf16"; hint: "use --set run.precision=f32 or --set run.kernels=fast");
    }
    match choice.device {
        DeviceChoice::Cuda => cuda::kernels(choice),
        DeviceChoice::Auto if cuda::is_available() => cuda::kernels(choice),
        DeviceChoice::Cpu | DeviceChoice::Auto => Ok(cpu(choice)),
    }
}

fn cpu(choice: KernelSelection) -> Arc<dyn Kernels> {
    if choice.kernels == KernelChoice::Reference {
        return reference(Device::Cpu, "the CPU");
    }
    let cpu = Cpu::default();
    let (isa, threads) = (cpu.isa(), rayon::current_num_threads());
    if choice.precision == Precision::Bf16 {
        let unit = bf16_unit();
        tracing::info!("training on the CPU in bf16 on {}, the rest in f32, kernels {isa:?}, {threads} threads", unit.name());
        return Arc::new(cpu.in_bf16(unit));
    }
    tracing::info!("training on the CPU in f32, kernels {isa:?}, {threads} threads");
    Arc::new(cpu)
}

/// Returns the fastest bf16 unit of the processor that passes its self-test.
fn bf16_unit() -> Bf16Isa {
    let (unit, wrong) = Bf16Isa::best();
    for wrong in wrong {
        tracing::warn!(
            "the bf16 unit {} failed its self-test and is not used; please report this with the model of your processor",
            wrong.name()
        );
    }
    if unit == Bf16Isa::Plain {
        tracing::warn!("this processor has no usable bf16 instructions: run.precision=f32 is faster");
    }
    unit
}

fn reference(device: Device, name: &str) -> Arc<dyn Kernels> {
    tracing::info!("training on {name} in f32, reference kernels");
    Arc::new(Reference::new(device, DType::F32))
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::super::kernels::cuda::{Cuda, Gpu, self_check};
    use super::{Arc, DType, Device, KernelChoice, KernelSelection, Kernels, Precision, Result};
    use support::Context;

    pub fn is_available() -> bool {
        let found = Gpu::has_bf16(0);
        found.inspect_err(|error| tracing::debug!("no GPU: {error}")).is_ok()
    }

    pub fn kernels(choice: KernelSelection) -> Result<Arc<dyn Kernels>> {
        if choice.kernels == KernelChoice::Reference {
            return Ok(super::reference(Device::new_cuda(0).doing(|| "opening CUDA device 0")?, "the first CUDA device"));
        }
        Ok(fused(choice, 0)?)
    }

    /// Opens the fused kernels on GPU `ordinal`, and checks them against the reference.
    pub fn fused(choice: KernelSelection, ordinal: usize) -> Result<Arc<Cuda<Gpu>>> {
        let bf16 = match choice.precision {
            Precision::Auto => Gpu::has_bf16(ordinal)?,
            Precision::Bf16 => true,
            Precision::F32 => false,
        };
        let (feature_dtype, name, tolerance) = if bf16 { (DType::BF16, "bf16", 5e-2) } else { (DType::F32, "f32", 1e-3) };
        let gpu = Gpu::new(ordinal, feature_dtype, choice.deterministic)?;
        tracing::info!("training on {} in {name}, fused kernels and cuDNN", gpu.name());
        let kernels = Arc::new(Cuda::new(gpu));
        self_check(&(kernels.clone() as Arc<dyn Kernels>), tolerance)?;
        Ok(kernels)
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::{Arc, KernelSelection, Kernels, Result, bail};

    pub fn is_available() -> bool {
        false
    }

    pub fn kernels(_: KernelSelection) -> Result<Arc<dyn Kernels>> {
        bail!("this program was built without CUDA"; hint: "build it with `cargo build --release -p train --features cuda`, or use --set run.device=cpu")
    }
}

#[cfg(feature = "nccl")]
mod multi_gpu {
    use super::super::kernels::cuda::{Gpu, Nccl};
    use super::{Arc, Communicator, KernelChoice, KernelSelection, Rank, Result, bail, cuda};
    use support::Context;

    pub fn ranks(choice: KernelSelection, devices: usize) -> Result<Vec<Rank>> {
        if choice.kernels == KernelChoice::Reference {
            bail!("run.kernels is reference, which trains on one device, but run.devices is {devices}"; hint: "use --set run.kernels=fast or --set run.devices=1");
        }
        let available = Gpu::count().hint(|| "--set run.device=cpu --set run.devices=1 works without a GPU")?;
        if available < devices {
            bail!("run.devices is {devices}, but {available} CUDA devices are available"; hint: "use --set run.devices={}; CUDA_VISIBLE_DEVICES may hide some", available.max(1));
        }
        let kernels = (0..devices).map(|ordinal| cuda::fused(choice, ordinal)).collect::<Result<Vec<_>>>()?;
        let communicators = Nccl::join(&kernels.iter().map(|kernels| kernels.machine()).collect::<Vec<_>>())?;
        tracing::info!("training on {devices} GPUs with a part of every batch each; NCCL averages the gradients");
        let ranks = kernels.into_iter().zip(communicators);
        Ok(ranks.map(|(kernels, communicator)| Rank { kernels, communicator: Arc::new(communicator) as Arc<dyn Communicator> }).collect())
    }
}

#[cfg(not(feature = "nccl"))]
mod multi_gpu {
    use super::{KernelSelection, Rank, Result, bail};

    pub fn ranks(_: KernelSelection, devices: usize) -> Result<Vec<Rank>> {
        bail!("run.devices is {devices}, but this program was built without NCCL, for one device"; hint: "build it with `cargo build --release -p train --features nccl`, or use --set run.devices=1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    #[test]
    fn a_precision_that_the_kernels_lack_is_an_error_with_a_hint() {
        let cpu = KernelSelection::from(DeviceChoice::Cpu);
        let choice = KernelSelection { precision: Precision::Bf16, kernels: KernelChoice::Reference, ..cpu };
        let Err(error) = kernels(choice) else { panic!("{choice:?}") };
        assert!(error.to_string().contains("bf16") && error.hint_text().is_some(), "{error:?}");
        assert!(kernels(KernelSelection { precision: Precision::Bf16, ..cpu }).is_ok());
        assert!(kernels(KernelSelection { kernels: KernelChoice::Reference, ..cpu }).unwrap().fused().is_none());
    }

    #[test]
    fn missing_devices_are_an_error_with_a_hint() {
        let mut run = Profile::Scratch.config().run;
        run.devices = 2;
        let mut message = |device| {
            run.device = device;
            let Err(error) = ranks(&run) else { panic!("{device:?}") };
            assert!(error.hint_text().is_some(), "{error:?}");
            format!("{error:?}")
        };
        assert!(message(DeviceChoice::Cpu).contains("the processor, which is one device"));
        if !cfg!(feature = "nccl") {
            assert!(message(DeviceChoice::Cuda).contains("built without NCCL"));
        }
        run.devices = 1;
        run.device = DeviceChoice::Cpu;
        assert_eq!(ranks(&run).unwrap().len(), 1);
    }
}
