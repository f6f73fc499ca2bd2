//! Fusion of consecutive steps, so that the feature maps between them are never stored.

use kernels::{Isa, depthwise};

use super::program::{ConvAlgorithm, PackedConv, PackedInvertedResidual, Step, StepOp};

/// Fuses the 1x1 convolution to the logit with the Winograd convolution before it, if the logit is the only reader.
pub fn fuse_logit(steps: &mut Vec<Step>) {
    let can_fuse = match steps.as_slice() {
        [.., Step { op: StepOp::Conv(previous), value, .. }, Step { op: StepOp::Conv(last), sources, last_uses, .. }] => {
            let is_pointwise = matches!(last.algorithm, ConvAlgorithm::SingleOutput(_)) && last.kernel == 1;
            let is_small = matches!(&previous.algorithm, ConvAlgorithm::Winograd(filter) if filter.is_small());
            is_pointwise && is_small && sources[0].value == *value && last_uses.contains(value)
        }
        _ => false,
    };
    if !can_fuse {
        return;
    }
    let (last, previous) = (steps.pop(), steps.pop());
    if let (
        Some(Step { op: StepOp::Conv(last), value, pixel_len, .. }),
        Some(Step { op: StepOp::Conv(previous), sources, residual, activation, last_uses, .. }),
    ) = (last, previous)
        && let (ConvAlgorithm::SingleOutput(weights), ConvAlgorithm::Winograd(filter)) = (last.algorithm, previous.algorithm)
    {
        let conv = PackedConv { algorithm: ConvAlgorithm::WinogradLogit(filter, weights, last.bias[0]), ..previous };
        steps.push(Step { op: StepOp::Conv(conv), sources, residual, activation, value, pixel_len, last_uses });
    }
}

/// Fuses the inverted residual blocks of `MobileNetV2`, whose inner feature maps have many channels and one reader.
pub fn fuse_inverted_residuals(steps: Vec<Step>, isa: Isa) -> Vec<Step> {
    let mut fused: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        fused.push(step);
        if let Some(has_expansion) = inverted_residual_at_end(&fused, isa) {
            let block = take_inverted_residual(&mut fused, has_expansion);
            fused.push(block);
        }
    }
    fused
}

/// Returns `Some` if the last steps are an inverted residual block that is faster fused; the value is true if the block has an expansion.
fn inverted_residual_at_end(steps: &[Step], isa: Isa) -> Option<bool> {
    let [previous @ .., depthwise, project] = steps else { return None };
    let (StepOp::Depthwise { .. }, Some(project_conv)) = (&depthwise.op, pointwise(project)) else { return None };
    if !feeds(depthwise, project) {
        return None;
    }
    let expand = previous.last().filter(|expand| expand.residual.is_none() && feeds(expand, depthwise));
    let expand_conv = expand.and_then(pointwise);
    let sizes = |(conv, pixel_len): (&PackedConv, usize)| [conv.inputs, pixel_len];
    depthwise::pays(isa, expand_conv.map(sizes), sizes(project_conv)).then_some(expand_conv.is_some())
}

/// Returns true if the only reader of a step is `next`, which has no other source.
fn feeds(step: &Step, next: &Step) -> bool {
    let [source] = next.sources.as_slice() else { return false };
    source.value == step.value && !source.halved && next.residual != Some(step.value) && next.last_uses.contains(&step.value)
}

/// Returns the step as a 1x1 convolution with stride 1 of one source, and the pixel length of its result.
fn pointwise(step: &Step) -> Option<(&PackedConv, usize)> {
    match &step.op {
        StepOp::Conv(conv)
            if conv.kernel == 1 && conv.stride == 1 && matches!(conv.algorithm, ConvAlgorithm::Gather(_)) && has_one_full_source(step) =>
        {
            Some((conv, step.pixel_len))
        }
        _ => None,
    }
}

fn has_one_full_source(step: &Step) -> bool {
    matches!(step.sources.as_slice(), [source] if !source.halved)
}

/// Removes the last two or three steps and returns them as one step.
fn take_inverted_residual(steps: &mut Vec<Step>, has_expansion: bool) -> Step {
    let mut parts = steps.split_off(steps.len() - 2 - usize::from(has_expansion)).into_iter();
    let first = if has_expansion { parts.next() } else { None };
    let (Some(depthwise), Some(project)) = (parts.next(), parts.next()) else { unreachable!("two or three steps were removed") };
    let inner = [first.as_ref().map(|step| step.value), Some(depthwise.value)];
    let steps = first.iter().chain([&depthwise, &project]);
    let mut last_uses: Vec<usize> =
        steps.flat_map(|step| step.last_uses.iter().copied()).filter(|value| !inner.contains(&Some(*value))).collect();
    last_uses.sort_unstable();
    let sources = first.as_ref().map_or_else(|| depthwise.sources.clone(), |step| step.sources.clone());
    let expand = first.map(|step| match step.op {
        StepOp::Conv(conv) => (conv, step.activation),
        _ => unreachable!("a 1x1 convolution"),
    });
    let (StepOp::Depthwise { stride, weights, bias }, StepOp::Conv(conv)) = (depthwise.op, project.op) else {
        unreachable!("a depthwise convolution and a projection")
    };
    let op = StepOp::InvertedResidual(Box::new(PackedInvertedResidual {
        expand,
        stride,
        weights,
        bias,
        activation: depthwise.activation,
        project: conv,
    }));
    Step { op, sources, last_uses, ..project }
}
