//! Shapes of the inputs of a convolution, and their conversion to the slices that the kernels read and write: one feature map, or a small
//! one that is upsampled on the fly with a skip connection behind it.

use candle_core::{Result, Tensor};
use kernels::winograd::{Part, PartBuffer};
use kernels::{Buffer, HaloRows, Pool, Shape};

use super::tensors::{f32s, feature, shape};
use crate::network::kernels::Source;

/// Shapes of a convolution's inputs.
pub(super) struct SourceShapes {
    /// Shape of the assembled input: upsampled and concatenated.
    pub(super) whole: Shape,
    /// Shape of each input, and whether the convolution upsamples it by 2.
    pub(super) parts: Vec<(Shape, bool)>,
}

impl SourceShapes {
    /// Returns the shapes of a source.
    pub(super) fn of(source: Source) -> Result<Self> {
        match source {
            Source::FeatureMap(x) => Ok(Self { whole: shape(x)?, parts: vec![(shape(x)?, false)] }),
            Source::Upsampled { small, skip } => {
                let first = shape(small)?;
                let skip = skip.map(shape).transpose()?;
                let channels = first.channels + skip.map_or(0, |skip| skip.channels);
                let whole = Shape { batch: first.batch, height: 2 * first.height, width: 2 * first.width, channels };
                Ok(Self { whole, parts: [Some((first, true)), skip.map(|skip| (skip, false))].into_iter().flatten().collect() })
            }
        }
    }

    /// Runs `work` on the values of the inputs.
    pub(super) fn read<T>(&self, source: Source, work: impl FnOnce(&[Part]) -> T) -> Result<T> {
        let values = tensors(source).into_iter().map(f32s).collect::<Result<Vec<_>>>()?;
        let parts: Vec<Part> = values
            .iter()
            .zip(&self.parts)
            .map(|(values, (shape, halved))| Part { values, channels: shape.channels, halved: *halved, halo: HaloRows::NONE })
            .collect();
        Ok(work(&parts))
    }

    /// Allocates the gradients at the inputs and runs `work`, which writes them. The second gradient is none without a skip connection.
    pub(super) fn gradients(&self, pool: &Pool, work: impl FnOnce(&mut [PartBuffer])) -> Result<[Option<Tensor>; 2]> {
        let mut buffers: Vec<Buffer> = self.parts.iter().map(|(shape, _)| pool.take(shape.len())).collect();
        let mut targets: Vec<PartBuffer> = buffers
            .iter_mut()
            .zip(&self.parts)
            .map(|(values, (shape, halved))| PartBuffer { values, channels: shape.channels, halved: *halved })
            .collect();
        work(&mut targets);
        let mut found =
            buffers.into_iter().zip(&self.parts).map(|(values, (s, _))| feature(values, s.batch, s.height, s.width, s.channels));
        Ok([found.next().transpose()?, found.next().transpose()?])
    }
}

/// Returns the tensors of a source in the order of [`SourceShapes::parts`].
fn tensors(source: Source<'_>) -> Vec<&Tensor> {
    match source {
        Source::FeatureMap(x) => vec![x],
        Source::Upsampled { small, skip } => [Some(small), skip].into_iter().flatten().collect(),
    }
}
