//! Convolutions with bf16 operands, where the precision and the shape allow.

use candle_core::{Result, Tensor};
use kernels::Buffer;
use kernels::bf16::{self, Bf16Convolution, Unit};
use kernels::geometry::Geometry;
use kernels::winograd::{Part, PartBuffer};
use models::graph::Conv;

use super::Cpu;
use super::convolution::Maps;
use super::tensors::{f32s, feature, tensor};
use crate::network::kernels::{ConvGradients, Source};

impl Cpu {
    /// The same kernels, with bf16 operands in the convolutions that [`bf16::pays`] for.
    ///
    /// `unit` must be among [`Unit::available`].
    #[must_use]
    pub fn in_bf16(self, unit: Unit) -> Self {
        assert!(Unit::available().contains(&unit), "this processor has no {unit:?}");
        Self { bf16: Some(unit), ..self }
    }

    /// What multiplies bf16 values, if anything does.
    pub fn bf16(&self) -> Option<Unit> {
        self.bf16
    }

    pub(super) fn bf16_convolution(&self, conv: &Conv, geometry: Geometry) -> Option<Bf16Convolution<'_>> {
        let unit = self.bf16.filter(|_| bf16::pays(conv))?;
        Some(Bf16Convolution { unit, pool: &self.pool, geometry, inputs: conv.inputs, outputs: conv.outputs })
    }

    pub(super) fn backward_in_bf16(
        &self,
        convolution: &Bf16Convolution,
        source: Source,
        maps: &Maps,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<ConvGradients> {
        let gradient = f32s(dy)?;
        let dweight = with_parts(source, maps, |parts| convolution.weight_gradient(parts, &gradient))?;
        let mut found = Vec::new();
        if wants_dx {
            let mut buffers: Vec<Buffer> = maps.parts.iter().map(|(shape, _)| self.pool.take(shape.len())).collect();
            let mut targets: Vec<PartBuffer> = buffers
                .iter_mut()
                .zip(&maps.parts)
                .map(|(values, (shape, halved))| PartBuffer { values, channels: shape.channels, halved: *halved })
                .collect();
            convolution.data_gradient(&gradient, &f32s(weight)?, &mut targets);
            for (values, (s, _)) in buffers.into_iter().zip(&maps.parts) {
                found.push(feature(values, s.batch, s.height, s.width, s.channels)?);
            }
        }
        let mut found = found.into_iter();
        Ok(ConvGradients { dx: found.next(), dskip: found.next(), dweight: tensor(dweight)?, dbias: None })
    }
}

/// Does `work` with what a convolution reads.
pub(super) fn with_parts<T>(source: Source, maps: &Maps, work: impl FnOnce(&[Part]) -> T) -> Result<T> {
    let values = super::convolution::tensors(source).into_iter().map(f32s).collect::<Result<Vec<_>>>()?;
    let parts: Vec<Part> = values
        .iter()
        .zip(&maps.parts)
        .map(|(values, (shape, halved))| Part { values, channels: shape.channels, halved: *halved })
        .collect();
    Ok(work(&parts))
}
