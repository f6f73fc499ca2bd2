//! Changes of many parameters in one kernel: a table of addresses, and blocks dealt out to its rows.

use candle_core::{Result, Tensor};

use super::super::{Change, Following};
use super::launch::{float, int, long};
use super::{Cuda, Machine};

/// Values that a block changes.
const SHARE: usize = 4096;

/// The first block of each row, and the number of blocks behind the last one.
fn first_blocks(counts: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut first = vec![0];
    counts.for_each(|count| first.push(first[first.len() - 1] + count.div_ceil(SHARE) as u32));
    first
}

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

    pub(super) fn change_all(&self, changes: &[Change], keep: [f32; 2], eps: f32) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(8 * changes.len());
        for change in changes {
            assert_eq!(change.gradient.elem_count(), change.count, "a gradient has a value for each of the parameter's");
            let narrow = change.gradient.dtype() != candle_core::DType::F32;
            rows.extend([
                self.address_of(change.parameter)?,
                self.address_of(change.first)?,
                self.address_of(change.second)?,
                self.address_of(change.gradient)?,
                self.copy_address(change.parameter, change.count)? as i64,
                change.count as i64,
                two_floats(change.rate, change.decay),
                i64::from(change.adaptive) | i64::from(narrow) << 1,
            ]);
        }
        let first = first_blocks(changes.iter().map(|change| change.count));
        let (table, blocks) = (self.table(&rows)?, Tensor::new(first.as_slice(), self.machine.device())?);
        let args = [(&table).into(), (&blocks).into(), int(changes.len()), long(SHARE), float(keep[0]), float(keep[1]), float(eps)];
        self.run("radam", [first[changes.len()], 1], &args)
    }

    pub(super) fn blend_all(&self, pairs: &[(&Tensor, &Tensor, usize)], keep: f32) -> Result<()> {
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
        self.run("blend", [first[pairs.len()], 1], &[(&table).into(), (&blocks).into(), int(pairs.len()), long(SHARE), float(keep)])
    }

    pub(super) fn follow_all(&self, statistics: &[Following], momentum: f64) -> Result<()> {
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
        self.run("follow", [statistics.len() as u32, 1], &[(&table).into(), float(momentum as f32)])
    }
}
