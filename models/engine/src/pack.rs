//! Construction of a [`Program`]: choice of a kernel for each fusion group, and packing of its weights.

use kernels::winograd::PackedFilter;
use kernels::{Activation, Isa, depthwise, panels};

use super::channel_layout::ChannelLayout;
use super::fuse::{self, FusionGroup, Source};
use super::fuse_steps;
use super::net::{Conv, Net, Op};
use super::program::{ConvAlgorithm, PackedConv, Program, Step, StepOp};
use super::transposition;

impl Program {
    /// Transposes and fuses a network and packs its weights; nothing here depends on the size of images.
    pub fn new(mut net: Net, isa: Isa) -> Self {
        transposition::transpose(&mut net);
        fuse::simplify(&mut net);
        let groups = fuse::fusion_groups(&net);
        let mut layouts: Vec<Option<ChannelLayout>> = vec![None; net.nodes.len()];
        let mut steps = Vec::with_capacity(groups.len());
        for (index, group) in groups.iter().enumerate() {
            let layout_of = |value: usize| layouts[value].as_ref().expect("a group follows its inputs");
            let inputs: Vec<&ChannelLayout> = group.sources.iter().map(|source| layout_of(source.value)).collect();
            let layout = output_layout(&net, &groups, group, &inputs, group.residual.map(layout_of));
            steps.push(Step {
                op: pack(&net, group, &inputs, &layout, isa),
                sources: group.sources.clone(),
                residual: group.residual,
                activation: group.activation,
                value: group.value,
                pixel_len: layout.pixel_len,
                last_uses: last_uses(&net, &groups, index),
            });
            layouts[group.value] = Some(layout);
        }
        fuse_steps::fuse_logit(&mut steps);
        let steps = fuse_steps::fuse_inverted_residuals(steps, isa);
        let mut pixel_lens = vec![0; net.nodes.len()];
        steps.iter().for_each(|step| pixel_lens[step.value] = step.pixel_len);
        Self { isa, steps, values: net.nodes.len(), pixel_lens, logit: net.logit }
    }
}

/// Returns the values whose last reader is the group at `index`.
fn last_uses(net: &Net, groups: &[FusionGroup], index: usize) -> Vec<usize> {
    let group = &groups[index];
    let mut last_uses: Vec<usize> = group.sources.iter().map(|source| source.value).chain(group.residual).collect();
    last_uses.sort_unstable();
    last_uses.dedup();
    last_uses.retain(|&value| value != net.logit && !groups[index + 1..].iter().any(|later| later.reads(value)));
    last_uses
}

/// Chooses the channel layout of a group's result.
///
/// A convolution takes the layout of its residual, so that the epilogue adds values at equal offsets; other sums take the layout of their
/// first operand.
fn output_layout(
    net: &Net,
    groups: &[FusionGroup],
    group: &FusionGroup,
    inputs: &[&ChannelLayout],
    residual: Option<&ChannelLayout>,
) -> ChannelLayout {
    match &net.nodes[group.anchor].op {
        Op::Image { .. } if is_read_by_im2col_only(net, groups, group.value) => ChannelLayout::dense(3),
        Op::Image { .. } => ChannelLayout::padded(3),
        Op::Conv(conv) if is_single_output(net, group, inputs) => ChannelLayout::dense(conv.outputs),
        Op::Conv(conv) => residual.cloned().unwrap_or_else(|| ChannelLayout::padded(conv.outputs)),
        Op::Depthwise(_) | Op::Affine { .. } | Op::Relu | Op::Relu6 | Op::Add | Op::MaxPool | Op::Upsample => inputs[0].clone(),
        Op::Concat => ChannelLayout::concat(inputs.iter().copied()),
        Op::Difference => ChannelLayout::dense(1),
    }
}

/// Returns true if the image is read only by convolutions that use im2col: larger than 1x1, with the image as their only operand.
fn is_read_by_im2col_only(net: &Net, groups: &[FusionGroup], image: usize) -> bool {
    groups.iter().filter(|group| group.reads(image)).all(|group| match &net.nodes[group.anchor].op {
        Op::Conv(conv) => conv.kernel > 1 && group.residual != Some(image) && group.sources == [Source { value: image, halved: false }],
        _ => false,
    })
}

/// Returns true if the group is the convolution to the one channel of the logit and has nothing fused to it.
fn is_single_output(net: &Net, group: &FusionGroup, inputs: &[&ChannelLayout]) -> bool {
    let has_full_vectors = inputs.len() == 1 && inputs[0].pixel_len.is_multiple_of(16) && !group.sources[0].halved;
    match &net.nodes[group.anchor].op {
        Op::Conv(conv) => {
            let is_plain = group.residual.is_none() && group.activation == Activation::None;
            conv.outputs == 1 && conv.stride == 1 && group.value == net.logit && is_plain && has_full_vectors
        }
        _ => false,
    }
}

/// Packs the weights of a group's anchor for the layouts of its inputs and of its result.
fn pack(net: &Net, group: &FusionGroup, inputs: &[&ChannelLayout], layout: &ChannelLayout, isa: Isa) -> StepOp {
    match &net.nodes[group.anchor].op {
        Op::Image { mean, scale } => StepOp::Image { mean: *mean, scale: *scale },
        Op::Conv(conv) => StepOp::Conv(pack_conv(conv, inputs, layout, is_single_output(net, group, inputs), isa)),
        Op::Affine { gain, offset } => StepOp::Affine { gain: layout.scatter(gain), offset: layout.scatter(offset) },
        Op::Depthwise(conv) => {
            let taps = depthwise::transposed(&conv.weight, conv.bias.len(), 9);
            let weights = taps.chunks_exact(conv.bias.len()).flat_map(|tap| layout.scatter(tap)).collect();
            StepOp::Depthwise { stride: conv.stride, weights, bias: layout.scatter(&conv.bias) }
        }
        Op::Relu | Op::Relu6 => StepOp::Activation,
        Op::Add => StepOp::Add([inputs[0].offsets.clone(), inputs[1].offsets.clone()]),
        Op::MaxPool => StepOp::MaxPool,
        Op::Upsample => StepOp::Upsample,
        Op::Concat => StepOp::Concat,
        Op::Difference => StepOp::Difference([inputs[0].offsets[0], inputs[0].offsets[1]]),
    }
}

/// Chooses the algorithm of a convolution and packs its weights.
fn pack_conv(conv: &Conv, inputs: &[&ChannelLayout], layout: &ChannelLayout, is_single_output: bool, isa: Isa) -> PackedConv {
    let input = ChannelLayout::concat(inputs.iter().copied());
    let (taps, input_len) = (conv.kernel * conv.kernel, input.pixel_len);
    let algorithm = if is_single_output {
        let mut weights = vec![0.0; taps * input_len];
        for (filter, offset) in conv.weight.chunks_exact(taps).zip(&input.offsets) {
            filter.iter().enumerate().for_each(|(tap, v)| weights[tap * input_len + offset] = *v);
        }
        ConvAlgorithm::SingleOutput(weights)
    } else {
        // Padding among the output channels gets zero weights and zero bias.
        let panels = panels::pack_at(&conv.weight, taps, (&layout.offsets, layout.pixel_len), (&input.offsets, input_len));
        if conv.kernel == 3 && conv.stride == 1 && inputs.iter().all(|layout| layout.pixel_len.is_multiple_of(16)) {
            ConvAlgorithm::Winograd(PackedFilter::new(isa, &panels, input_len, layout.pixel_len))
        } else if input_len < 16 {
            ConvAlgorithm::Im2col(panels)
        } else {
            ConvAlgorithm::Gather(panels)
        }
    };
    PackedConv { algorithm, kernel: conv.kernel, stride: conv.stride, inputs: input_len, bias: layout.scatter(&conv.bias) }
}
