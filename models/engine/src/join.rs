//! Steps that are run at once, so that the maps between them never exist.

use kernels::{Isa, depthwise};

use super::program::{Block, Convolution, Form, Step, Work};

/// The logit is computed along with the map that it alone reads, and the map is never written.
pub fn logit(steps: &mut Vec<Step>) {
    let can_be = match steps.as_slice() {
        [.., Step { work: Work::Conv(before), value, .. }, Step { work: Work::Conv(last), sources, ends, .. }] => {
            let is_pointwise = matches!(last.form, Form::Single(_)) && last.kernel == 1;
            let is_small = matches!(&before.form, Form::Winograd(filter) if filter.is_small());
            is_pointwise && is_small && sources[0].value == *value && ends.contains(value)
        }
        _ => false,
    };
    if !can_be {
        return;
    }
    let (last, before) = (steps.pop(), steps.pop());
    if let (
        Some(Step { work: Work::Conv(last), value, width, .. }),
        Some(Step { work: Work::Conv(before), sources, plus, activation, ends, .. }),
    ) = (last, before)
        && let (Form::Single(weights), Form::Winograd(filter)) = (last.form, before.form)
    {
        let conv = Convolution { form: Form::Logit(filter, weights, last.bias[0]), ..before };
        steps.push(Step { work: Work::Conv(conv), sources, plus, activation, value, width, ends });
    }
}

/// The blocks of `MobileNetV2`: convolutions between which maps of many channels would be written and read once.
pub fn inverted_residuals(steps: Vec<Step>, isa: Isa) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        joined.push(step);
        if let Some(expands) = is_block(&joined, isa) {
            let block = block(&mut joined, expands);
            joined.push(block);
        }
    }
    joined
}

/// Whether the last steps are such a block, and whether it begins with a convolution to many channels.
fn is_block(steps: &[Step], isa: Isa) -> Option<bool> {
    let [before @ .., depthwise, project] = steps else { return None };
    let (Work::Depthwise { .. }, Some(to)) = (&depthwise.work, pointwise(project)) else { return None };
    if !feeds(depthwise, project) {
        return None;
    }
    let expand = before.last().filter(|expand| expand.plus.is_none() && feeds(expand, depthwise));
    let from = expand.and_then(pointwise);
    let of = |(conv, width): (&Convolution, usize)| [conv.inputs, width];
    depthwise::pays(isa, from.map(of), of(to)).then_some(from.is_some())
}

/// Whether a step's map is read by the next one alone, as the only source.
fn feeds(step: &Step, next: &Step) -> bool {
    let [source] = next.sources.as_slice() else { return false };
    source.value == step.value && !source.halved && next.plus != Some(step.value) && next.ends.contains(&step.value)
}

/// A 1x1 convolution with stride 1 of one map, and the width of its result.
fn pointwise(step: &Step) -> Option<(&Convolution, usize)> {
    match &step.work {
        Work::Conv(conv) if conv.kernel == 1 && conv.stride == 1 && matches!(conv.form, Form::Gather(_)) && is_plain(step) => {
            Some((conv, step.width))
        }
        _ => None,
    }
}

fn is_plain(step: &Step) -> bool {
    matches!(step.sources.as_slice(), [source] if !source.halved)
}

/// Takes the last steps away and makes them one.
fn block(steps: &mut Vec<Step>, expands: bool) -> Step {
    let mut parts = steps.split_off(steps.len() - 2 - usize::from(expands)).into_iter();
    let first = if expands { parts.next() } else { None };
    let (Some(depthwise), Some(project)) = (parts.next(), parts.next()) else { unreachable!("two steps or three were taken") };
    let between = [first.as_ref().map(|step| step.value), Some(depthwise.value)];
    let steps = first.iter().chain([&depthwise, &project]);
    let mut ends: Vec<usize> = steps.flat_map(|step| step.ends.iter().copied()).filter(|value| !between.contains(&Some(*value))).collect();
    ends.sort_unstable();
    let sources = first.as_ref().map_or_else(|| depthwise.sources.clone(), |step| step.sources.clone());
    let expand = first.map(|step| match step.work {
        Work::Conv(conv) => (conv, step.activation),
        _ => unreachable!("a 1x1 convolution"),
    });
    let (Work::Depthwise { stride, weights, bias }, Work::Conv(conv)) = (depthwise.work, project.work) else {
        unreachable!("a convolution of each channel and a 1x1 convolution")
    };
    let work = Work::InvertedResidual(Box::new(Block { expand, stride, weights, bias, activation: depthwise.activation, project: conv }));
    Step { work, sources, ends, ..project }
}
