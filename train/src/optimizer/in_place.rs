//! A `RAdam` step in place on f32 tensors in host memory: one pass over a parameter, its gradient and both moments.
//!
//! candle lends one tensor at a time for writing, so three in-place operations are nested: [`WithFirst`] borrows the first moment,
//! [`WithSecond`] the second moment, and [`OnParameter`] the parameter with its gradient.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use kernels::simd::vectorised;
use rayon::prelude::*;

use super::Slot;
use super::update::Update;

/// Number of values that one parallel task updates.
const VALUES_PER_TASK: usize = 1 << 14;

/// Updates `parameter` and the moments of `slot` in place. All tensors are contiguous, f32 and in host memory.
pub(super) fn step(slot: &Slot, parameter: &Tensor, gradient: &Tensor, update: Update) -> Result<()> {
    slot.first.inplace_op1(&WithFirst { slot, parameter, gradient, update })
}

/// Operation on the first moment.
struct WithFirst<'a> {
    slot: &'a Slot,
    parameter: &'a Tensor,
    gradient: &'a Tensor,
    update: Update,
}

/// Operation on the second moment, with the first one borrowed.
struct WithSecond<'a> {
    first: RefCell<&'a mut [f32]>,
    outer: &'a WithFirst<'a>,
}

/// Operation on the parameter and its gradient, with both moments borrowed.
struct OnParameter<'a> {
    first: RefCell<&'a mut [f32]>,
    second: RefCell<&'a mut [f32]>,
    update: Update,
}

impl InplaceOp1 for WithFirst<'_> {
    fn name(&self) -> &'static str {
        "radam-first"
    }

    fn cpu_fwd(&self, first: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.slot.second.inplace_op1(&WithSecond { first: RefCell::new(slice_mut(first, layout)?), outer: self })
    }
}

impl InplaceOp1 for WithSecond<'_> {
    fn name(&self) -> &'static str {
        "radam-second"
    }

    fn cpu_fwd(&self, second: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let mut first = self.first.borrow_mut();
        let second = RefCell::new(slice_mut(second, layout)?);
        let operation = OnParameter { first: RefCell::new(&mut first), second, update: self.outer.update };
        self.outer.parameter.inplace_op2(self.outer.gradient, &operation)
    }
}

impl InplaceOp2 for OnParameter<'_> {
    fn name(&self) -> &'static str {
        "radam-update"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, l1: &Layout, g: &CpuStorage, l2: &Layout) -> Result<()> {
        let (p, g) = (slice_mut(p, l1)?, slice(g, l2)?);
        let (mut m, mut v, update) = (self.first.borrow_mut(), self.second.borrow_mut(), self.update);
        let moments = m.par_chunks_mut(VALUES_PER_TASK).zip(v.par_chunks_mut(VALUES_PER_TASK));
        p.par_chunks_mut(VALUES_PER_TASK)
            .zip(g.par_chunks(VALUES_PER_TASK))
            .zip(moments)
            .for_each(|((p, g), (m, v))| vectorised(|| update.apply(p, g, m, v)));
        Ok(())
    }
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => bail!("expected contiguous f32 values"),
    }
}

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&mut values[from..to]),
        _ => bail!("expected contiguous f32 values"),
    }
}
