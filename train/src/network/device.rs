//! Which kernels run a network.

use std::sync::Arc;

use candle_core::{DType, Device};
use models::{Result, bail};

use super::kernels::{Cpu, Kernels, Reference, Unit};
use crate::config::{DeviceChoice, KernelChoice, Precision, RunSettings};

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
fn bf16_unit() -> Unit {
    let (unit, wrong) = Unit::best();
    for wrong in wrong {
        tracing::warn!(
            "{} multiplied some numbers wrongly and is not used; please report this with the model of your processor",
            wrong.name()
        );
    }
    if unit == Unit::Plain {
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
    use models::Context;

    pub fn is_there() -> bool {
        let found = Gpu::has_bf16(0);
        found.inspect_err(|error| tracing::debug!("no GPU: {error}")).is_ok()
    }

    pub fn kernels(choice: Choice) -> Result<Arc<dyn Kernels>> {
        if choice.kernels == KernelChoice::Reference {
            return Ok(super::reference(Device::new_cuda(0).doing(|| "opening CUDA device 0")?, "the first CUDA device"));
        }
        let bf16 = match choice.precision {
            Precision::Auto => Gpu::has_bf16(0)?,
            Precision::Bf16 => true,
            Precision::F32 => false,
        };
        let (map_type, name, tolerance) = if bf16 { (DType::BF16, "bf16", 5e-2) } else { (DType::F32, "f32", 1e-3) };
        let gpu = Gpu::new(0, map_type, choice.deterministic)?;
        tracing::info!("training on {} in {name}, fused kernels and cuDNN", gpu.name());
        let kernels: Arc<dyn Kernels> = Arc::new(Cuda::new(gpu));
        self_check(&kernels, tolerance)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_an_error_with_a_hint() {
        let cpu = Choice::from(DeviceChoice::Cpu);
        let choice = Choice { precision: Precision::Bf16, kernels: KernelChoice::Reference, ..cpu };
        let Err(error) = kernels(choice) else { panic!("{choice:?}") };
        assert!(error.to_string().contains("bf16") && error.hint_text().is_some(), "{error:?}");
        assert!(kernels(Choice { precision: Precision::Bf16, ..cpu }).is_ok());
        assert!(kernels(Choice { kernels: KernelChoice::Reference, ..cpu }).unwrap().fused().is_none());
    }
}
