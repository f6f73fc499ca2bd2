//! `RAdam` (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020, algorithm 2), with decoupled weight
//! decay and one step counter per parameter, in the variant of the published code: momentum alone while `rho_t < 5`.
//!
//! Step `t` of parameter `p` with gradient `g`, learning rate `lr` and weight decay `wd`:
//! ```text
//! m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
//! p -= lr wd p
//! p -= lr r_t / (1 - beta1^t) * m / (sqrt(v) + eps)      if rho_t >= 5 (t >= 6), else
//! p -= lr / (1 - beta1^t) * m
//! ```
//! `eps` is added to the uncorrected `sqrt(v)`; the correction `sqrt(1 - beta2^t)` is part of the factor `r_t` (`update.rs`).

mod in_place;
mod update;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use kernels::Pool;

use self::update::Update;
use crate::network::Network;
use crate::network::kernels::{Fused, RAdamUpdate, tensor};

/// Decay of the first moment.
const BETA1: f64 = 0.9;
/// Decay of the second moment.
const BETA2: f64 = 0.999;
/// Constant added to `sqrt(v)`.
const EPS: f64 = 1e-8;

/// Optimiser state of one parameter.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Step counter `t`: number of steps in which the parameter had a gradient.
    pub steps: u64,
    /// First moment `m`: exponential moving average of the gradient, in the parameter's layout.
    pub first: Tensor,
    /// Second moment `v`: exponential moving average of the squared gradient.
    pub second: Tensor,
}

/// Learning rate and weight decay of one parameter in one step.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay: the parameter shrinks by the fraction `lr * decay` in every step.
    pub decay: f64,
}

/// The `RAdam` optimiser, which consists of its state alone.
#[derive(Default)]
pub struct RAdam {
    /// State by parameter name; an entry is created when its parameter first has a gradient.
    pub slots: BTreeMap<String, Slot>,
}

/// One parameter's input to a fused step over many parameters.
pub struct ParameterGradient<'a> {
    /// Name of the parameter.
    pub name: &'a str,
    /// The parameter, in the layout of the kernels.
    pub parameter: &'a Tensor,
    /// Gradient at the parameter.
    pub gradient: &'a Tensor,
    /// Number of values of the parameter, without padding or copies.
    pub count: usize,
    /// Learning rate and weight decay.
    pub rate: Rate,
}

impl RAdam {
    /// Takes one step of one parameter and returns its new value, which f32 parameters in host memory share with the old one.
    ///
    /// A parameter without a gradient is not stepped, and its step counter stays as it is.
    pub fn step(&mut self, name: &str, parameter: &Tensor, gradient: &Tensor, rate: Rate) -> Result<Tensor> {
        if !self.slots.contains_key(name) {
            let slot = Slot { steps: 0, first: zeros(parameter)?, second: zeros(parameter)? };
            self.slots.insert(name.to_owned(), slot);
        }
        let slot = self.slots.get_mut(name).expect("was just inserted");
        slot.steps += 1;
        let update = Update::at(slot.steps, rate);
        if matches!(parameter.device(), Device::Cpu) && parameter.dtype() == DType::F32 {
            in_place::step(slot, parameter, gradient, update)?;
            return Ok(parameter.clone());
        }
        slot.first = ((&slot.first * BETA1)? + (gradient * (1.0 - BETA1))?)?;
        slot.second = ((&slot.second * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?;
        let direction = if update.adaptive { (&slot.first / (slot.second.sqrt()? + EPS)?)? } else { slot.first.clone() };
        (parameter * update.shrink)? - (direction * update.rate)?
    }

    /// Takes [`RAdam::step`] of many parameters in one fused kernel of the device; the parameters change in place.
    pub fn step_fused(&mut self, fused: &dyn Fused, parts: &[ParameterGradient]) -> Result<()> {
        for part in parts {
            if !self.slots.contains_key(part.name) {
                let zeros = || Tensor::zeros(part.count, DType::F32, part.parameter.device());
                self.slots.insert(part.name.to_owned(), Slot { steps: 0, first: zeros()?, second: zeros()? });
            }
            self.slots.get_mut(part.name).expect("was just inserted").steps += 1;
        }
        let updates: Vec<RAdamUpdate> = parts.iter().map(|part| self.update(part)).collect();
        fused.radam(&updates, [BETA1 as f32, BETA2 as f32], EPS as f32)
    }

    /// Describes the update of a parameter at the current step counter of its slot.
    fn update<'a>(&'a self, part: &ParameterGradient<'a>) -> RAdamUpdate<'a> {
        let slot = &self.slots[part.name];
        let update = Update::at(slot.steps, part.rate);
        RAdamUpdate {
            parameter: part.parameter,
            gradient: part.gradient,
            first: &slot.first,
            second: &slot.second,
            count: part.count,
            decay: (1.0 - update.shrink) as f32,
            rate: update.rate as f32,
            adaptive: update.adaptive,
        }
    }

    /// Copies the state of the parameters of `from` into `copies`, in the layout and on the device of `to`.
    pub fn copy_state(&self, from: &Network, to: &Network, copies: &mut Self) -> support::Result<()> {
        for name in from.learned() {
            if let Some(slot) = self.slots.get(name) {
                let moved = |moment: &Tensor| to.import(name, &from.export(name, moment)?);
                let slot = Slot { steps: slot.steps, first: moved(&slot.first)?, second: moved(&slot.second)? };
                copies.slots.insert(name.to_owned(), slot);
            }
        }
        Ok(())
    }
}

fn zeros(like: &Tensor) -> Result<Tensor> {
    match like.device() {
        // These zeros are written, and aligned to a cache line: pages that the system only reserves would fault at their first use.
        Device::Cpu if like.dtype() == DType::F32 => tensor(Pool::new().zeros(like.elem_count()))?.reshape(like.shape()),
        _ => like.zeros_like(),
    }
}
