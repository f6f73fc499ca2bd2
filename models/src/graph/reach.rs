//! Stride and theoretical receptive field of a graph, which determine the grid of tiles and their exact halo.

use super::{Graph, Op};

/// Range of rows (or columns) of a feature map, both ends included.
#[derive(Clone, Copy)]
struct Span {
    low: i64,
    high: i64,
}

impl Span {
    /// Smallest span that contains both.
    fn with(self, other: Option<Span>) -> Span {
        other.map_or(self, |o| Span { low: self.low.min(o.low), high: self.high.max(o.high) })
    }
}

impl Graph {
    /// Returns the total stride: the ratio of the input's extents to those of the smallest feature map. Tiles and padded images have extents
    /// that are multiples of the stride.
    pub fn stride(&self) -> usize {
        let mut scale: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let of = |i: usize| scale[node.inputs[i].0];
            scale.push(match &node.op {
                Op::Input { .. } | Op::InputImage { .. } => 1,
                Op::Conv(conv) => of(0) * conv.stride,
                Op::Depthwise(conv) => of(0) * conv.stride,
                Op::MaxPool => of(0) * 2,
                Op::Upsample | Op::UpConv(_) => (of(0) / 2).max(1),
                Op::BatchNorm { .. } | Op::Relu | Op::Relu6 | Op::Add | Op::Concat | Op::Probability | Op::Quantise => of(0),
            });
        }
        scale.into_iter().max().unwrap_or(1)
    }

    /// Returns the exact halo: the number of pixels around a stride-aligned block of the output that its values can depend on, rounded up to
    /// a multiple of the stride.
    ///
    /// A tile with this halo has the values of the whole image in its core. The number is computed by propagating a span of rows backwards
    /// through the graph (Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019).
    pub fn reach(&self) -> usize {
        let stride = self.stride() as i64;
        let mut needed: Vec<Option<Span>> = vec![None; self.nodes.len()];
        needed[self.output.0] = Some(Span { low: 0, high: stride - 1 });
        let mut reach = 0;
        for (id, node) in self.iter().rev() {
            let Some(Span { low, high }) = needed[id.0] else { continue };
            let before = match &node.op {
                Op::Input { .. } | Op::InputImage { .. } => {
                    reach = (-low).max(high - (stride - 1)).max(reach);
                    continue;
                }
                Op::Conv(conv) => window(low, high, conv.kernel as i64, conv.stride as i64),
                Op::Depthwise(conv) => window(low, high, 3, conv.stride as i64),
                Op::MaxPool => window(low, high, 3, 2),
                Op::Upsample => Span { low: low.div_euclid(2), high: high.div_euclid(2) },
                Op::UpConv(_) => Span { low: (low - 1).div_euclid(2), high: (high + 1).div_euclid(2) },
                Op::BatchNorm { .. } | Op::Relu | Op::Relu6 | Op::Add | Op::Concat | Op::Probability | Op::Quantise => Span { low, high },
            };
            for input in &node.inputs {
                needed[input.0] = Some(before.with(needed[input.0]));
            }
        }
        (reach.max(0) as usize).next_multiple_of(stride as usize)
    }
}

/// Input rows that a convolution or pooling needs for the output rows `low..=high`.
fn window(low: i64, high: i64, kernel: i64, stride: i64) -> Span {
    let padding = kernel / 2;
    Span { low: low * stride - padding, high: high * stride - padding + kernel - 1 }
}
