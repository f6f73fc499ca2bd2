//! Updates of many parameters in one kernel launch: a table of addresses with one row per parameter, and a list that assigns consecutive
//! blocks to rows.

use candle_core::{Result, Tensor};

use super::super::{RAdamUpdate, RunningStatistics};
use super::launch::{float, int, long};
use super::{Cuda, Machine};

/// Number of values that a block updates.
const VALUES_PER_BLOCK: usize = 4096;

/// Returns the first block of each row, followed by the total number of blocks.
fn first_blocks(counts: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut first = vec![0];
    counts.for_each(|count| first.push(first[first.len() - 1] + count.div_ceil(VALUES_PER_BLOCK) as u32));
    first
}

/// Packs the bits of two floats into one table entry.
fn two_floats(low: f32, high: f32) -> i64 {
    (u64::from(low.to_bits()) | u64::from(high.to_bits()) << 32) as i64
}

impl<M: Machine> Cuda<M> {
    fn address_of(&self, tensor: &Tensor) -> Result<i64> {
        Ok(self.machine.address(tensor)? as i64)
    }

    fn table(&self, values: &[i64]) -> Result<Tensor> {
        Tensor::new(values, self.machine.device())
    }

    pub(super) fn radam_all(&self, updates: &[RAdamUpdate], betas: [f32; 2], eps: f32) -> Result<()> {
        if updates.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(8 * updates.len());
        for update in updates {
            assert_eq!(update.gradient.elem_count(), update.count, "a gradient has as many values as its parameter");
            let narrow = update.gradient.dtype() != candle_core::DType::F32;
            rows.extend([
                self.address_of(update.parameter)?,
                self.address_of(update.first)?,
                self.address_of(update.second)?,
                self.address_of(update.gradient)?,
                self.copy_address(update.parameter, update.count)? as i64,
                update.count as i64,
                two_floats(update.rate, update.decay),
                i64::from(update.adaptive) | i64::from(narrow) << 1,
            ]);
        }
        let first = first_blocks(updates.iter().map(|update| update.count));
        let (table, blocks) = (self.table(&rows)?, Tensor::new(first.as_slice(), self.machine.device())?);
        let args =
            [(&table).into(), (&blocks).into(), int(updates.len()), long(VALUES_PER_BLOCK), float(betas[0]), float(betas[1]), float(eps)];
        self.run("radam", [first[updates.len()], 1], &args)
    }

    pub(super) fn update_all_averages(&self, pairs: &[(&Tensor, &Tensor, usize)], decay: f32) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(4 * pairs.len());
        for (average, now, count) in pairs {
            let copy = self.copy_address(average, *count)? as i64;
            rows.extend([self.address_of(average)?, self.address_of(now)?, copy, *count as i64]);
        }
        let first = first_blocks(pairs.iter().map(|(_, _, count)| *count));
        let (table, blocks) = (self.table(&rows)?, Tensor::new(first.as_slice(), self.machine.device())?);
        self.run(
            "update_averages",
            [first[pairs.len()], 1],
            &[(&table).into(), (&blocks).into(), int(pairs.len()), long(VALUES_PER_BLOCK), float(decay)],
        )
    }

    pub(super) fn update_all_statistics(&self, statistics: &[RunningStatistics], momentum: f64) -> Result<()> {
        if statistics.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(6 * statistics.len());
        for one in statistics {
            rows.extend([
                self.address_of(&one.batch.mean)?,
                self.address_of(&one.batch.variance)?,
                self.address_of(one.mean)?,
                self.address_of(one.variance)?,
                one.mean.elem_count() as i64,
                i64::from(one.unbias.to_bits()),
            ]);
        }
        let table = self.table(&rows)?;
        self.run("update_running_statistics", [statistics.len() as u32, 1], &[(&table).into(), float(momentum as f32)])
    }
}
