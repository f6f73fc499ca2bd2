//! Cross-entropy and the contrastive term on the device: values and gradients.

use candle_core::{DType, Device, Result, Tensor};

use super::super::ContrastGroup;
use super::launch::{Arg, float, int, long, over};
use super::{Cuda, KernelArg, Machine};

/// Vector lengths for which a contrastive kernel is compiled; shorter vectors are padded with zeros.
pub const WIDTHS: [usize; 3] = [16, 32, 64];
/// Vectors per block, `ROWS` in `cu/contrast.cu`.
const ROWS: usize = 128;
/// Vectors in a shared-memory tile, `TILE` in `cu/contrast.cu`.
const TILE: usize = 32;
/// Approximate number of blocks of a contrastive term.
const BLOCKS: usize = 1024;
/// Maximum number of partial gradients that are summed.
const PARTS: usize = 16;
/// Maximum number of blocks of a cross-entropy.
const LOSS_BLOCKS: u32 = 512;

/// Converts `B C H W` to channels-last f32, `B H W C`.
fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()
}

impl<M: Machine> Cuda<M> {
    fn doubles(&self, n: usize) -> Result<Tensor> {
        self.machine.empty(&[n], DType::F64)
    }

    /// Sums `n` rows of `kinds` doubles to one row.
    fn sums(&self, parts: &Tensor, n: usize, kinds: usize) -> Result<Tensor> {
        let values = self.doubles(kinds)?;
        self.run("sum_parts", [1, 1], &[parts.into(), long(n), int(kinds), (&values).into()])?;
        Ok(values)
    }

    /// Computes [`Fused::cross_entropy`](super::super::Fused::cross_entropy).
    pub(super) fn cross_entropy_of_planes(&self, logits: &Tensor, planes: &[(&[u8], f64)]) -> Result<(Tensor, Tensor)> {
        let (b, classes, h, w) = logits.dims4()?;
        assert_eq!(classes, 2, "background and nucleus");
        assert!((1..=2).contains(&planes.len()), "one or two label planes");
        let n = b * h * w;
        let upload = |(labels, _): &(&[u8], f64)| self.machine.upload(&Tensor::from_slice(labels, n, &Device::Cpu)?);
        let labels = planes.iter().map(upload).collect::<Result<Vec<_>>>()?;
        let (a, b) = (&labels[0], labels.get(1));
        let weight = |i: usize| float(planes.get(i).map_or(0.0, |(_, weight)| *weight as f32));
        let grid = [over(n)[0].min(LOSS_BLOCKS), 1];
        let blocks = grid[0] as usize;
        let counts = self.doubles(2 * blocks)?;
        self.run("count_labels", grid, &[a.into(), b.into(), long(n), (&counts).into()])?;
        let logits_rows = channels_last(logits)?;
        let gradient = self.floats(logits_rows.dims())?;
        let values = self.doubles(2 * blocks)?;
        let args = [
            (&logits_rows).into(),
            a.into(),
            b.into(),
            weight(0),
            weight(1),
            (&counts).into(),
            int(blocks),
            long(n),
            (&gradient).into(),
            (&values).into(),
        ];
        self.run("cross_entropy", grid, &args)?;
        Ok((self.sums(&values, blocks, 2)?, gradient.permute((0, 3, 1, 2))?))
    }

    /// Computes [`Fused::contrast`](super::super::Fused::contrast).
    pub(super) fn contrast_all(&self, z: &Tensor, groups: &[ContrastGroup]) -> Result<(Vec<Tensor>, Tensor)> {
        let rows = channels_last(z)?;
        let gradient = rows.zeros_like()?;
        let values = groups.iter().map(|group| self.contrast_one(&rows, group, &gradient)).collect::<Result<_>>()?;
        Ok((values, gradient.permute((0, 3, 1, 2))?))
    }

    /// Computes the value of one group of vectors and adds its gradient to `gradient`, `B H W C` like `rows`.
    fn contrast_one(&self, rows: &Tensor, group: &ContrastGroup, gradient: &Tensor) -> Result<Tensor> {
        let (n, channels) = (group.rows.len(), rows.dim(3)?);
        let Some(width) = WIDTHS.into_iter().find(|width| *width >= channels) else {
            candle_core::bail!("vectors have {channels} values, expected at most {}", WIDTHS[WIDTHS.len() - 1]);
        };
        let index = Tensor::new(group.rows.as_slice(), self.machine.device())?;
        let (units, lengths) = (self.floats(&[n, width])?, self.floats(&[n])?);
        let args = [rows.into(), (&index).into(), long(n), int(channels), int(width), (&units).into(), (&lengths).into()];
        self.run("unit_vectors", over(n), &args)?;
        let blocks = n.div_ceil(ROWS);
        let part = n.div_ceil((BLOCKS / blocks).clamp(1, PARTS)).next_multiple_of(TILE);
        let parts = n.div_ceil(part);
        let (sums, values) = (self.floats(&[parts, n, width])?, self.doubles(parts * blocks)?);
        let mut args = vec![(&units).into(), int(group.zeros), int(n), int(part)];
        args.extend(pair_args(group));
        args.extend([Arg::Tensor(&sums), Arg::Tensor(&values)]);
        self.run_threads(&format!("contrast_{width}"), [blocks as u32, parts as u32], ROWS, &args)?;
        let args = [
            (&units).into(),
            (&lengths).into(),
            (&sums).into(),
            int(parts),
            (&index).into(),
            long(n),
            int(channels),
            int(width),
            float(group.gradient_weight),
            gradient.into(),
        ];
        self.run("scatter_vectors", over(n), &args)?;
        self.sums(&values, parts * blocks, 1)?.reshape(())
    }
}

/// Returns the kernel arguments of the three kinds of pairs: inverse temperature, signs, weights, gradient factors, and whether pairs of a
/// vector with itself are skipped.
fn pair_args(group: &ContrastGroup) -> Vec<Arg<'static>> {
    let [zeros, ones, between] = group.kinds;
    // The gradient at a vector collects both orders of a pair within a class, but the single order between classes.
    let factor = |(_, weight): (f32, f64), orders: f64| float((weight / group.tau * orders) as f32);
    let double = |v: f64| Arg::Scalar(KernelArg::Double(v));
    vec![
        float((1.0 / group.tau) as f32),
        float(zeros.0),
        float(ones.0),
        float(between.0),
        double(zeros.1),
        double(ones.1),
        double(between.1),
        factor(zeros, 2.0),
        factor(ones, 2.0),
        factor(between, 1.0),
        int(i32::from(group.skip_self)),
    ]
}
