//! Which kernels run a network.

use std::sync::Arc;

use candle_core::{DType, Device};
use support::{Result, bail};

use super::kernels::{Bf16Isa, Cpu, Kernels, Reference};
use crate::config::{DeviceChoice, KernelChoice, Precision, RunSettings};
use crate::parallel::{Alone, Rank};

/// What decides which kernels run a network.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    device: DeviceChoice,
    precision: Precision,
    kernels: KernelChoice,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the processor's kernels give the same bits in every run"))]
    deterministic: bool,
}

/// For predictions from finished weights: in f32.
impl From<DeviceChoice> for Choice {
    fn from(device: DeviceChoice) -> Self {
        Self { device, precision: Precision::F32, kernels: KernelChoice::Fast, deterministic: false }
    }
}

impl From<&RunSettings> for Choice {
    fn from(run: &RunSettings) -> Self {
        Self { device: run.device, precision: run.precision, kernels: run.kernels, deterministic: run.deterministic }
    }
}

/// The devices of a run: one, or `run.devices` GPUs.
pub fn ranks(run: &RunSettings) -> Result<Vec<Rank>> {
    if run.devices == 1 {
        return Ok(vec![Rank { kernels: kernels(run)?, group: Arc::new(Alone) }]);
    }
    let choice = Choice::from(run);
    if choice.device == DeviceChoice::Cpu || (choice.device == DeviceChoice::Auto && !cuda::is_there()) {
        bail!("run.devices is {}, but training runs on the processor, which is one device", run.devices; hint: "use --set run.devices=1, or --set run.device=cuda on a machine with as many GPUs");
    }
    several::ranks(choice, run.devices)
}

/// The kernels for a device. `auto` takes a GPU if this program was built for one and one is there; asked for by name and
/// not there, it is an error. So is a precision that the device or the kernels do not have.
pub fn kernels(choice: impl Into<Choice>) -> Result<Arc<dyn Kernels>> {
    let choice = choice.into();
    if choice.kernels == KernelChoice::Reference && choice.precision == Precision::Bf16 {
        bail!("run.kernels is reference, which computes in f32, but run.precision is bf16"; hint: "use --set run.precision=f32 or --set run.kernels=fast");
    }
    match choice.device {
        DeviceChoice::Cuda => cuda::kernels(choice),
        DeviceChoice::Auto if cuda::is_there() => cuda::kernels(choice),
        DeviceChoice::Cpu | DeviceChoice::Auto => Ok(cpu(choice)),
    }
}

fn cpu(choice: Choice) -> Arc<dyn Kernels> {
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

/// The best unit that passes its test.
fn bf16_unit() -> Bf16Isa {
    let (unit, wrong) = Bf16Isa::best();
    for wrong in wrong {
        tracing::warn!(
            "{} multiplied some numbers wrongly and is not used; please report this with the model of your processor",
            wrong.name()
        );
    }
    if unit == Bf16Isa::Plain {
        tracing::warn!("this processor has no bf16 instructions that can be used: run.precision=f32 is faster");
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
    use super::{Arc, Choice, DType, Device, KernelChoice, Kernels, Precision, Result};
    use support::Context;

    pub fn is_there() -> bool {
        let found = Gpu::has_bf16(0);
        found.inspect_err(|error| tracing::debug!("no GPU: {error}")).is_ok()
    }

    pub fn kernels(choice: Choice) -> Result<Arc<dyn Kernels>> {
        if choice.kernels == KernelChoice::Reference {
            return Ok(super::reference(Device::new_cuda(0).doing(|| "opening CUDA device 0")?, "the first CUDA device"));
        }
        Ok(fused(choice, 0)?)
    }

    /// The fast kernels of the GPU of this number, tried out.
    pub fn fused(choice: Choice, ordinal: usize) -> Result<Arc<Cuda<Gpu>>> {
        let bf16 = match choice.precision {
            Precision::Auto => Gpu::has_bf16(ordinal)?,
            Precision::Bf16 => true,
            Precision::F32 => false,
        };
        let (map_type, name, tolerance) = if bf16 { (DType::BF16, "bf16", 5e-2) } else { (DType::F32, "f32", 1e-3) };
        let gpu = Gpu::new(ordinal, map_type, choice.deterministic)?;
        tracing::info!("training on {} in {name}, fused kernels and cuDNN", gpu.name());
        let kernels = Arc::new(Cuda::new(gpu));
        self_check(&(kernels.clone() as Arc<dyn Kernels>), tolerance)?;
        Ok(kernels)
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::{Arc, Choice, Kernels, Result, bail};

    pub fn is_there() -> bool {
        false
    }

    pub fn kernels(_: Choice) -> Result<Arc<dyn Kernels>> {
        bail!("this program was built without CUDA"; hint: "build it with `cargo build --release -p train --features cuda`, or use --set run.device=cpu")
    }
}

#[cfg(feature = "nccl")]
mod several {
    use super::super::kernels::cuda::{Gpu, Nccl};
    use super::{Choice, KernelChoice, Rank, Result, bail, cuda};
    use crate::parallel::Group;
    use std::sync::Arc;
    use support::Context;

    pub fn ranks(choice: Choice, devices: usize) -> Result<Vec<Rank>> {
        if choice.kernels == KernelChoice::Reference {
            bail!("run.kernels is reference, which trains on one device, but run.devices is {devices}"; hint: "use --set run.kernels=fast or --set run.devices=1");
        }
        let there = Gpu::count().hint(|| "--set run.device=cpu --set run.devices=1 works without a GPU")?;
        if there < devices {
            bail!("run.devices is {devices}, but {there} CUDA devices are there"; hint: "use --set run.devices={}; CUDA_VISIBLE_DEVICES may hide some", there.max(1));
        }
        let kernels = (0..devices).map(|ordinal| cuda::fused(choice, ordinal)).collect::<Result<Vec<_>>>()?;
        let groups = Nccl::join(&kernels.iter().map(|kernels| kernels.machine()).collect::<Vec<_>>())?;
        tracing::info!("{devices} GPUs share every batch; their gradients are averaged by NCCL");
        Ok(kernels.into_iter().zip(groups).map(|(kernels, group)| Rank { kernels, group: Arc::new(group) as Arc<dyn Group> }).collect())
    }
}

#[cfg(not(feature = "nccl"))]
mod several {
    use super::{Choice, Rank, Result, bail};

    pub fn ranks(_: Choice, devices: usize) -> Result<Vec<Rank>> {
        bail!("run.devices is {devices}, but this program was built for one"; hint: "build it with `cargo build --release -p train --features nccl`, or use --set run.devices=1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    #[test]
    fn what_cannot_be_had_is_an_error_with_a_hint() {
        let cpu = Choice::from(DeviceChoice::Cpu);
        let choice = Choice { precision: Precision::Bf16, kernels: KernelChoice::Reference, ..cpu };
        let Err(error) = kernels(choice) else { panic!("{choice:?}") };
        assert!(error.to_string().contains("bf16") && error.hint_text().is_some(), "{error:?}");
        assert!(kernels(Choice { precision: Precision::Bf16, ..cpu }).is_ok());
        assert!(kernels(Choice { kernels: KernelChoice::Reference, ..cpu }).unwrap().fused().is_none());
    }

    #[test]
    fn several_devices_that_are_not_there_are_an_error_with_a_hint() {
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
            assert!(message(DeviceChoice::Cuda).contains("built for one"));
        }
        run.devices = 1;
        run.device = DeviceChoice::Cpu;
        assert_eq!(ranks(&run).unwrap().len(), 1);
    }
}
