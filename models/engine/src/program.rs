//! A network made ready: for each stage the kernel that runs it and its weights in that kernel's order.

use kernels::winograd::PackedFilter;
use kernels::{Activation, Buffer, Isa, depthwise, panels};

use super::fuse::{self, Source, Stage};
use super::join;
use super::layout::Layout;
use super::net::{Conv, Net, Op};
use super::transposed;

/// What is run, in order. Made once for a model, shared by all who run it.
pub struct Program {
    pub(super) isa: Isa,
    pub(super) steps: Vec<Step>,
    /// How many values there may be; each stands at the number of its node.
    pub(super) values: usize,
    /// Values in a pixel of each value's map.
    pub(super) widths: Vec<usize>,
    /// The value whose sigmoid is the probability.
    pub(super) logit: usize,
}

/// One stage.
pub(super) struct Step {
    pub work: Work,
    pub sources: Vec<Source>,
    pub plus: Option<usize>,
    pub activation: Activation,
    pub value: usize,
    /// Values in a pixel of the result.
    pub width: usize,
    /// Values that nothing reads after this step.
    pub ends: Vec<usize>,
}

/// What a step does.
pub(super) enum Work {
    Image {
        mean: [f32; 3],
        scale: [f32; 3],
    },
    Conv(Convolution),
    /// Weights `[tap][value of a pixel]`, and a bias for each value of a pixel.
    Depthwise {
        stride: usize,
        weights: Vec<f32>,
        bias: Vec<f32>,
    },
    /// Three convolutions at once; the last one's bias and activation come last, and `plus` between them.
    InvertedResidual(Box<Block>),
    Affine {
        gain: Vec<f32>,
        offset: Vec<f32>,
    },
    /// The step's activation and nothing else.
    Activate,
    /// With the places of each map's channels.
    Add([Vec<usize>; 2]),
    MaxPool,
    Upsample,
    Concat,
    /// With the places of channels 0 and 1.
    Difference([usize; 2]),
}

/// A convolution with its weights.
pub(super) struct Convolution {
    pub form: Form,
    pub kernel: usize,
    pub stride: usize,
    /// Values in a pixel of what it reads.
    pub inputs: usize,
    /// One for each value of a pixel of the result.
    pub bias: Vec<f32>,
}

/// How a convolution is computed. The choice does not depend on the size of maps.
pub(super) enum Form {
    /// 3x3 with stride 1.
    Winograd(PackedFilter),
    /// Few channels: panels, see [`kernels::im2col`].
    Im2col(Buffer),
    /// Any other: panels, see [`kernels::gather`].
    Gather(Buffer),
    /// One channel of output: `[tap][channel]`.
    Single(Vec<f32>),
    /// 3x3 with stride 1, and what reads it alone: the weights of one channel of output with 1x1, and its bias.
    Logit(PackedFilter, Vec<f32>, f32),
}

/// A 1x1 convolution to many channels, if there is one, a 3x3 convolution of each of them, and a 1x1 convolution back to few.
pub(super) struct Block {
    pub expand: Option<(Convolution, Activation)>,
    pub stride: usize,
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    pub activation: Activation,
    pub project: Convolution,
}

impl Program {
    /// Decides and prepares everything that does not depend on the size of images.
    pub fn new(mut net: Net, isa: Isa) -> Self {
        transposed::transpose(&mut net);
        fuse::simplify(&mut net);
        let stages = fuse::stages(&net);
        let mut layouts: Vec<Option<Layout>> = vec![None; net.nodes.len()];
        let mut steps = Vec::with_capacity(stages.len());
        for (at, stage) in stages.iter().enumerate() {
            let of = |value: usize| layouts[value].as_ref().expect("stages follow what they read");
            let reads: Vec<&Layout> = stage.sources.iter().map(|source| of(source.value)).collect();
            let layout = layout(&net, &stages, stage, &reads, stage.plus.map(of));
            steps.push(Step {
                work: work(&net, stage, &reads, &layout, isa),
                sources: stage.sources.clone(),
                plus: stage.plus,
                activation: stage.activation,
                value: stage.value,
                width: layout.width,
                ends: ends(&net, &stages, at),
            });
            layouts[stage.value] = Some(layout);
        }
        join::logit(&mut steps);
        let steps = join::inverted_residuals(steps, isa);
        let mut widths = vec![0; net.nodes.len()];
        steps.iter().for_each(|step| widths[step.value] = step.width);
        Self { isa, steps, values: net.nodes.len(), widths, logit: net.logit }
    }

    /// The instruction set that weights were prepared for.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// Values whose last reader is the stage at `at`.
fn ends(net: &Net, stages: &[Stage], at: usize) -> Vec<usize> {
    let reads = |stage: &Stage, value: usize| stage.plus == Some(value) || stage.sources.iter().any(|source| source.value == value);
    let own = &stages[at];
    let mut ends: Vec<usize> = own.sources.iter().map(|source| source.value).chain(own.plus).collect();
    ends.sort_unstable();
    ends.dedup();
    ends.retain(|&value| value != net.logit && !stages[at + 1..].iter().any(|stage| reads(stage, value)));
    ends
}

/// A convolution writes its channels to where those of the map lie that is added; any other sum lies as its first map.
fn layout(net: &Net, stages: &[Stage], stage: &Stage, reads: &[&Layout], plus: Option<&Layout>) -> Layout {
    match &net.nodes[stage.main].op {
        Op::Image { .. } if is_narrow(net, stages, stage.value) => Layout::tight(3),
        Op::Image { .. } => Layout::padded(3),
        Op::Conv(conv) if is_single(net, stage, reads) => Layout::tight(conv.outputs),
        Op::Conv(conv) => plus.cloned().unwrap_or_else(|| Layout::padded(conv.outputs)),
        Op::Depthwise(_) | Op::Affine { .. } | Op::Relu | Op::Relu6 | Op::Add | Op::MaxPool | Op::Upsample => reads[0].clone(),
        Op::Concat => Layout::of_all(reads.iter().copied()),
        Op::Difference => Layout::tight(1),
    }
}

/// Whether only convolutions read the image, each nothing else, from more than one pixel: they copy windows of few channels.
fn is_narrow(net: &Net, stages: &[Stage], image: usize) -> bool {
    let reads = |stage: &&Stage| stage.plus == Some(image) || stage.sources.iter().any(|source| source.value == image);
    stages.iter().filter(reads).all(|stage| match &net.nodes[stage.main].op {
        Op::Conv(conv) => conv.kernel > 1 && stage.plus != Some(image) && stage.sources == [Source { value: image, halved: false }],
        _ => false,
    })
}

/// Whether this is the logit's own convolution of one channel.
fn is_single(net: &Net, stage: &Stage, reads: &[&Layout]) -> bool {
    let whole = reads.len() == 1 && reads[0].width.is_multiple_of(16) && !stage.sources[0].halved;
    match &net.nodes[stage.main].op {
        Op::Conv(conv) => {
            let is_plain = stage.plus.is_none() && stage.activation == Activation::None;
            conv.outputs == 1 && conv.stride == 1 && stage.value == net.logit && is_plain && whole
        }
        _ => false,
    }
}

fn work(net: &Net, stage: &Stage, reads: &[&Layout], layout: &Layout, isa: Isa) -> Work {
    match &net.nodes[stage.main].op {
        Op::Image { mean, scale } => Work::Image { mean: *mean, scale: *scale },
        Op::Conv(conv) => Work::Conv(convolution(conv, reads, layout, is_single(net, stage, reads), isa)),
        Op::Affine { gain, offset } => Work::Affine { gain: layout.spread(gain), offset: layout.spread(offset) },
        Op::Depthwise(conv) => {
            let taps = depthwise::transposed(&conv.weight, conv.bias.len(), 9);
            let weights = taps.chunks_exact(conv.bias.len()).flat_map(|tap| layout.spread(tap)).collect();
            Work::Depthwise { stride: conv.stride, weights, bias: layout.spread(&conv.bias) }
        }
        Op::Relu | Op::Relu6 => Work::Activate,
        Op::Add => Work::Add([reads[0].places.clone(), reads[1].places.clone()]),
        Op::MaxPool => Work::MaxPool,
        Op::Upsample => Work::Upsample,
        Op::Concat => Work::Concat,
        Op::Difference => Work::Difference([reads[0].places[0], reads[0].places[1]]),
    }
}

fn convolution(conv: &Conv, reads: &[&Layout], layout: &Layout, is_single: bool, isa: Isa) -> Convolution {
    let read = Layout::of_all(reads.iter().copied());
    let (taps, inputs) = (conv.kernel * conv.kernel, read.width);
    let form = if is_single {
        let mut weights = vec![0.0; taps * inputs];
        for (filter, place) in conv.weight.chunks_exact(taps).zip(&read.places) {
            filter.iter().enumerate().for_each(|(tap, v)| weights[tap * inputs + place] = *v);
        }
        Form::Single(weights)
    } else {
        // Outputs that are padding have zero weights and zero bias.
        let panels = panels::pack_at(&conv.weight, taps, (&layout.places, layout.width), (&read.places, inputs));
        if conv.kernel == 3 && conv.stride == 1 && reads.iter().all(|layout| layout.width.is_multiple_of(16)) {
            Form::Winograd(PackedFilter::new(isa, &panels, inputs, layout.width))
        } else if inputs < 16 {
            Form::Im2col(panels)
        } else {
            Form::Gather(panels)
        }
    };
    Convolution { form, kernel: conv.kernel, stride: conv.stride, inputs, bias: layout.spread(&conv.bias) }
}
