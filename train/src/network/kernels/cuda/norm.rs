//! Batch normalisation: statistics and parameter gradients in two kernels each (partial sums and their reduction), the rest in one.

use candle_core::{Result, Tensor};

use super::super::{Moments, Norm, NormGradients, SavedNorm};
use super::launch::{Arg, float, int, long};
use super::{Cuda, Machine};

/// Channels per block in the kernels that reduce partial sums, as in `cu/norm.cu`.
const CHANNELS: usize = 32;

fn over_channels(channels: usize) -> [u32; 2] {
    [channels.div_ceil(CHANNELS) as u32, 1]
}

impl<M: Machine> Cuda<M> {
    /// Computes mean and biased variance of each channel by the parallel algorithm of Chan, Golub and `LeVeque` (1983).
    pub(super) fn moments_of(&self, x: &Tensor) -> Result<Moments> {
        let channels = x.dim(3)?;
        let rows = self.rows("moments_parts", x)?;
        let (chunk, chunks) = rows.parts();
        let count = x.elem_count() / channels;
        let (means, spreads) = (self.floats(&[chunks, channels])?, self.floats(&[chunks, channels])?);
        let args = [x.into(), long(count), int(channels), long(chunk), (&means).into(), (&spreads).into()];
        self.run(&rows.kernel, rows.part_grid(), &args)?;
        let (mean, variance) = (self.floats(&[channels])?, self.floats(&[channels])?);
        let args =
            [(&means).into(), (&spreads).into(), long(count), int(channels), long(chunk), int(chunks), (&mean).into(), (&variance).into()];
        self.run("moments_reduce", over_channels(channels), &args)?;
        Ok(Moments { mean, variance })
    }

    pub(super) fn normalise(&self, norm: Norm, x: &Tensor, residual: Option<&Tensor>, moments: &Moments) -> Result<Tensor> {
        let y = self.empty_feature(x.dims())?;
        let rows = self.rows("norm", x)?;
        let mut args = vec![x.into(), residual.into(), (&y).into()];
        args.extend(norm_args(norm, moments));
        args.extend(size(x)?);
        self.run(&rows.kernel, rows.grid(), &args)?;
        Ok(y)
    }

    pub(super) fn normalise_backward(&self, norm: Norm, at: SavedNorm, dy: &Tensor) -> Result<NormGradients> {
        let SavedNorm { x, y, moments, batch_statistics, wants_dresidual } = at;
        let channels = x.dim(3)?;
        // The kernels recompute the activation mask from x; with a residual they read it from y.
        let y = y.filter(|_| wants_dresidual);
        let rows = self.rows("norm_sums", x)?;
        let (chunk, chunks) = rows.parts();
        let (sums, products) = (self.floats(&[chunks, channels])?, self.floats(&[chunks, channels])?);
        let mut args: Vec<Arg> = vec![x.into(), y.into(), dy.into()];
        args.extend(norm_args(norm, moments));
        let mut first = args.clone();
        first.extend(size(x)?);
        first.extend([long(chunk), (&sums).into(), (&products).into()]);
        self.run(&rows.kernel, rows.part_grid(), &first)?;
        let (dshift, dscale) = (self.floats(&[channels])?, self.floats(&[channels])?);
        self.reduce_parts(&sums, Some(&products), &dshift, Some(&dscale))?;
        let dx = self.empty_feature(x.dims())?;
        let dresidual = wants_dresidual.then(|| self.empty_feature(x.dims())).transpose()?;
        args.extend([(&dshift).into(), (&dscale).into(), int(i32::from(batch_statistics))]);
        args.extend(size(x)?);
        args.extend([Arg::Tensor(&dx), Arg::Optional(dresidual.as_ref())]);
        let rows = self.rows("norm_backward", x)?;
        self.run(&rows.kernel, rows.grid(), &args)?;
        Ok(NormGradients { dx, dscale, dshift, dresidual })
    }

    /// Sums a gradient over its rows: the gradient of a bias, `C`.
    pub(super) fn bias_gradient(&self, dy: &Tensor) -> Result<Tensor> {
        let channels = dy.dim(3)?;
        let rows = self.rows("bias_sums", dy)?;
        let (chunk, chunks) = rows.parts();
        let sums = self.floats(&[chunks, channels])?;
        let mut args: Vec<Arg> = vec![dy.into()];
        args.extend(size(dy)?);
        args.extend([long(chunk), (&sums).into()]);
        self.run(&rows.kernel, rows.part_grid(), &args)?;
        let sum = self.floats(&[channels])?;
        self.reduce_parts(&sums, None, &sum, None)?;
        Ok(sum)
    }

    /// Reduces the partial sums `[part][channel]`, and the second set of partial sums if there is one.
    pub(super) fn reduce_parts(&self, sums: &Tensor, products: Option<&Tensor>, sum: &Tensor, product: Option<&Tensor>) -> Result<()> {
        let (chunks, channels) = sums.dims2()?;
        let args = [sums.into(), products.into(), int(channels), int(chunks), sum.into(), product.into()];
        self.run("reduce_sums", over_channels(channels), &args)
    }
}

/// Returns moments, scale, shift, eps and the activation (0 none, 1 ReLU, 2 `ReLU6`) in the order of the kernels' parameters.
fn norm_args<'a>(norm: Norm<'a>, moments: &'a Moments) -> [Arg<'a>; 6] {
    [
        (&moments.mean).into(),
        (&moments.variance).into(),
        norm.scale.into(),
        norm.shift.into(),
        float(norm.eps as f32),
        int(norm.activation as i32),
    ]
}

/// Returns the number of rows and of channels.
fn size(x: &Tensor) -> Result<[Arg<'static>; 2]> {
    let channels = x.dim(3)?;
    Ok([long(x.elem_count() / channels), int(channels)])
}
