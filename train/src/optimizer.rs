//! `RAdam` (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020), with decoupled weight decay
//! and one step counter per parameter, in the variant of the published code: momentum alone while `rho_t < 5`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use kernels::Pool;
use kernels::simd::vectorised;
use rayon::prelude::*;

use crate::network::Network;
use crate::network::kernels::{Change, Fused, tensor};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

/// State of one parameter.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Steps in which it had a gradient.
    pub steps: u64,
    /// Running mean of the gradient.
    pub first: Tensor,
    /// Running mean of its square.
    pub second: Tensor,
}

/// Learning rate and decay of one parameter in one step.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay; the weight shrinks by `lr * decay` of itself in every step.
    pub decay: f64,
}

/// The optimiser: nothing but its state, by parameter name.
#[derive(Default)]
pub struct RAdam {
    /// Created when a parameter first has a gradient.
    pub slots: BTreeMap<String, Slot>,
}

/// What one step does to a parameter: `p = shrink * p - momentum_rate * m` or `... - adaptive_rate * m / (sqrt(v) + eps)`.
#[derive(Clone, Copy)]
struct Update {
    shrink: f64,
    adaptive: bool,
    rate: f64,
}

impl Update {
    fn at(step: u64, rate: Rate) -> Self {
        let (c1, b2t) = (1.0 - BETA1.powi(step as i32), BETA2.powi(step as i32));
        let c2 = 1.0 - b2t;
        let rho_inf = 2.0 / (1.0 - BETA2) - 1.0;
        let rho = rho_inf - 2.0 * step as f64 * b2t / c2;
        let adaptive = rho >= 5.0;
        let rectification =
            if adaptive { (c2 * (rho - 4.0) / (rho_inf - 4.0) * (rho - 2.0) / rho * rho_inf / (rho_inf - 2.0)).sqrt() } else { 1.0 };
        Self { shrink: 1.0 - rate.lr * rate.decay, adaptive, rate: rate.lr * rectification / c1 }
    }
}

impl RAdam {
    /// One step of one parameter; the new value. A parameter without a gradient is simply not stepped: its counter stays.
    pub fn step(&mut self, name: &str, parameter: &Tensor, gradient: &Tensor, rate: Rate) -> Result<Tensor> {
        if !self.slots.contains_key(name) {
            let slot = Slot { steps: 0, first: zeros(parameter)?, second: zeros(parameter)? };
            self.slots.insert(name.to_owned(), slot);
        }
        let slot = self.slots.get_mut(name).expect("was just inserted");
        slot.steps += 1;
        let update = Update::at(slot.steps, rate);
        if matches!(parameter.device(), Device::Cpu) && parameter.dtype() == DType::F32 {
            slot.first.inplace_op1(&OnFirst { slot, parameter, gradient, update })?;
            return Ok(parameter.clone());
        }
        slot.first = ((&slot.first * BETA1)? + (gradient * (1.0 - BETA1))?)?;
        slot.second = ((&slot.second * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?;
        let direction = if update.adaptive { (&slot.first / (slot.second.sqrt()? + EPS)?)? } else { slot.first.clone() };
        (parameter * update.shrink)? - (direction * update.rate)?
    }
}

impl RAdam {
    /// Gives `to`, on other kernels, the state of a network's parameters.
    pub fn copy_slots(&self, from: &Network, to: &Network, copies: &mut Self) -> support::Result<()> {
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

/// One parameter's part of a step that changes many together.
pub struct Part<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, in the layout of the kernels.
    pub parameter: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// How many values it has.
    pub count: usize,
    /// Learning rate and decay.
    pub rate: Rate,
}

impl RAdam {
    /// [`RAdam::step`] of many parameters at one stroke of the device; they are changed in place.
    pub fn step_together(&mut self, fused: &dyn Fused, parts: &[Part]) -> Result<()> {
        for part in parts {
            if !self.slots.contains_key(part.name) {
                let zeros = || Tensor::zeros(part.count, DType::F32, part.parameter.device());
                self.slots.insert(part.name.to_owned(), Slot { steps: 0, first: zeros()?, second: zeros()? });
            }
            self.slots.get_mut(part.name).expect("was just inserted").steps += 1;
        }
        let changes: Vec<Change> = parts.iter().map(|part| self.change(part)).collect();
        fused.radam(&changes, [BETA1 as f32, BETA2 as f32], EPS as f32)
    }

    /// What the step that a parameter's slot stands at does to it.
    fn change<'a>(&'a self, part: &Part<'a>) -> Change<'a> {
        let slot = &self.slots[part.name];
        let update = Update::at(slot.steps, part.rate);
        Change {
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
}

fn zeros(like: &Tensor) -> Result<Tensor> {
    match like.device() {
        // Written zeros, from the beginning of a cache line on: those that the system only promises cost twice when first met.
        Device::Cpu if like.dtype() == DType::F32 => tensor(Pool::new().zeros(like.elem_count()))?.reshape(like.shape()),
        _ => like.zeros_like(),
    }
}

/// Values that one task handles.
const TASK: usize = 1 << 14;

/// One pass over a parameter, its state and its gradient. candle lends one tensor at a time for writing: this borrows the mean,
/// then [`OnSecond`] the mean square, and that the parameter.
struct OnFirst<'a> {
    slot: &'a Slot,
    parameter: &'a Tensor,
    gradient: &'a Tensor,
    update: Update,
}

struct OnSecond<'a> {
    first: RefCell<&'a mut [f32]>,
    on: &'a OnFirst<'a>,
}

struct OnParameter<'a> {
    first: RefCell<&'a mut [f32]>,
    second: RefCell<&'a mut [f32]>,
    update: Update,
}

impl InplaceOp1 for OnFirst<'_> {
    fn name(&self) -> &'static str {
        "radam-first"
    }

    fn cpu_fwd(&self, first: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.slot.second.inplace_op1(&OnSecond { first: RefCell::new(whole_mut(first, layout)?), on: self })
    }
}

impl InplaceOp1 for OnSecond<'_> {
    fn name(&self) -> &'static str {
        "radam-second"
    }

    fn cpu_fwd(&self, second: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let mut first = self.first.borrow_mut();
        let second = RefCell::new(whole_mut(second, layout)?);
        let on = OnParameter { first: RefCell::new(&mut first), second, update: self.on.update };
        self.on.parameter.inplace_op2(self.on.gradient, &on)
    }
}

impl InplaceOp2 for OnParameter<'_> {
    fn name(&self) -> &'static str {
        "radam-update"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, l1: &Layout, g: &CpuStorage, l2: &Layout) -> Result<()> {
        let (p, g) = (whole_mut(p, l1)?, whole(g, l2)?);
        let (mut m, mut v, update) = (self.first.borrow_mut(), self.second.borrow_mut(), self.update);
        let state = m.par_chunks_mut(TASK).zip(v.par_chunks_mut(TASK));
        p.par_chunks_mut(TASK).zip(g.par_chunks(TASK)).zip(state).for_each(|((p, g), (m, v))| vectorised(|| update.apply(p, g, m, v)));
        Ok(())
    }
}

impl Update {
    #[inline(always)]
    fn apply(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let (keep1, keep2) = (BETA1 as f32, BETA2 as f32);
        let (new1, new2) = (1.0 - keep1, 1.0 - keep2);
        // 1 - lr * decay is not representable near 1 in f32: the decay is subtracted instead of multiplied in.
        let (decay, rate, eps) = ((1.0 - self.shrink) as f32, self.rate as f32, EPS as f32);
        let values = p.iter_mut().zip(g).zip(m.iter_mut().zip(v));
        if self.adaptive {
            for ((p, g), (m, v)) in values {
                *m = keep1 * *m + new1 * g;
                *v = keep2 * *v + new2 * (g * g);
                *p -= decay * *p + rate * *m / (v.sqrt() + eps);
            }
        } else {
            for ((p, g), (m, v)) in values {
                *m = keep1 * *m + new1 * g;
                *v = keep2 * *v + new2 * (g * g);
                *p -= decay * *p + rate * *m;
            }
        }
    }
}

fn whole<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => bail!("expected contiguous f32 values"),
    }
}

fn whole_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&mut values[from..to]),
        _ => bail!("expected contiguous f32 values"),
    }
}
