//! A network ready to run: steps in execution order, each with its kernel and its packed weights.

use kernels::winograd::PackedFilter;
use kernels::{Activation, Buffer, Isa};

use super::fuse::Source;

/// Steps of a network; built once for a model and shared by all engines that run it.
///
/// Every step computes one **value**, a feature map that is numbered like its node in the `Net`.
pub struct Program {
    pub(super) isa: Isa,
    pub(super) steps: Vec<Step>,
    /// Number of nodes in the net, so that vectors can be indexed by value.
    pub(super) values: usize,
    /// Number of f32 per pixel of each value, channel padding included; 0 for nodes that no step computes.
    pub(super) pixel_lens: Vec<usize>,
    /// Value whose sigmoid is the probability.
    pub(super) logit: usize,
}

/// One kernel call per block, with operands and epilogue.
pub(super) struct Step {
    pub op: StepOp,
    pub sources: Vec<Source>,
    /// Value that is added before the activation.
    pub residual: Option<usize>,
    pub activation: Activation,
    /// Value that the step computes.
    pub value: usize,
    /// Number of f32 per pixel of the result, channel padding included.
    pub pixel_len: usize,
    /// Values that no later step reads.
    pub last_uses: Vec<usize>,
}

/// Operation of a step with its packed weights. Channel vectors have one entry per f32 of a pixel, zero for padding.
pub(super) enum StepOp {
    /// Normalisation of the u8 image: `(v - mean) * scale`.
    Image {
        mean: [f32; 3],
        scale: [f32; 3],
    },
    Conv(PackedConv),
    /// Depthwise 3x3 convolution with weights `[tap][channel]`.
    Depthwise {
        stride: usize,
        weights: Vec<f32>,
        bias: Vec<f32>,
    },
    InvertedResidual(Box<PackedInvertedResidual>),
    Affine {
        gain: Vec<f32>,
        offset: Vec<f32>,
    },
    /// The activation of the step alone.
    Activation,
    /// Sum of two values, with the channel offsets of each.
    Add([Vec<usize>; 2]),
    MaxPool,
    Upsample,
    Concat,
    /// Channel 1 minus channel 0, with the offsets of channels 0 and 1.
    Difference([usize; 2]),
}

/// Convolution with weights packed for its algorithm.
pub(super) struct PackedConv {
    pub algorithm: ConvAlgorithm,
    pub kernel: usize,
    pub stride: usize,
    /// Number of f32 per input pixel, over all sources.
    pub inputs: usize,
    /// One entry per f32 of an output pixel.
    pub bias: Vec<f32>,
}

/// Algorithm of a convolution with its packed weights. The choice is independent of the size of feature maps.
pub(super) enum ConvAlgorithm {
    /// Winograd F(4x4, 3x3), for 3x3 kernels with stride 1.
    Winograd(PackedFilter),
    /// [`kernels::im2col`] on packed panels, for inputs of few channels.
    Im2col(Buffer),
    /// [`kernels::gather`] on packed panels, for all other shapes.
    Gather(Buffer),
    /// Convolution to one channel of output, with weights `[tap][channel]`.
    SingleOutput(Vec<f32>),
    /// Winograd convolution followed by a 1x1 convolution to one channel, given by its weights and its bias.
    WinogradLogit(PackedFilter, Vec<f32>, f32),
}

/// Inverted residual block of `MobileNetV2`: 1x1 expansion (absent in the first block), depthwise 3x3 convolution, 1x1 projection.
///
/// The residual and the activation of the step apply to the projection.
pub(super) struct PackedInvertedResidual {
    pub expand: Option<(PackedConv, Activation)>,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// Weights of the depthwise convolution, `[tap][channel]`.
    pub weights: Vec<f32>,
    /// Bias of the depthwise convolution.
    pub bias: Vec<f32>,
    /// Activation after the depthwise convolution.
    pub activation: Activation,
    pub project: PackedConv,
}

impl Program {
    /// Returns the instruction set that the weights are packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}
