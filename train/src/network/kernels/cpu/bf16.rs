//! Convolutions with bf16 operands, for the precisions and shapes that support them.

use candle_core::{Result, Tensor};
use kernels::bf16::{self, Bf16Convolution, Bf16Isa};
use kernels::geometry::Geometry;
use models::graph::Conv;

use super::Cpu;
use super::source_shapes::SourceShapes;
use super::tensors::{f32s, tensor};
use crate::network::kernels::{ConvGradients, Source};

impl Cpu {
    /// Rounds the operands to bf16 in the convolutions for which [`bf16::pays`] returns true; sums stay f32.
    #[must_use]
    pub fn in_bf16(self, isa: Bf16Isa) -> Self {
        assert!(Bf16Isa::available().contains(&isa), "this processor has no {isa:?}");
        Self { bf16: Some(isa), ..self }
    }

    /// Returns the unit that multiplies bf16 values, if convolutions use bf16.
    pub fn bf16(&self) -> Option<Bf16Isa> {
        self.bf16
    }

    /// Returns the bf16 form of a convolution if the precision and the shape allow it.
    pub(super) fn bf16_convolution(&self, conv: &Conv, geometry: Geometry) -> Option<Bf16Convolution<'_>> {
        let isa = self.bf16.filter(|_| bf16::pays(conv))?;
        let (pool, scratch, workspace_bytes) = (&self.pool, &self.scratch, bf16::WORKSPACE_BYTES);
        Some(Bf16Convolution { isa, pool, scratch, workspace_bytes, geometry, inputs: conv.inputs, outputs: conv.outputs })
    }

    pub(super) fn backward_in_bf16(
        &self,
        convolution: &Bf16Convolution,
        source: Source,
        shapes: &SourceShapes,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<ConvGradients> {
        let gradient = f32s(dy)?;
        let dweight = tensor(shapes.read(source, |parts| convolution.weight_gradient(parts, &gradient))?)?;
        let [dx, dskip] = if wants_dx {
            let weight = f32s(weight)?;
            shapes.gradients(&self.pool, |targets| convolution.data_gradient(&gradient, &weight, targets))?
        } else {
            [None, None]
        };
        Ok(ConvGradients { dx, dskip, dweight, dbias: None })
    }
}
