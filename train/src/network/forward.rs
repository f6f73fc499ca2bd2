//! Forward pass over the graph, which records a tape of activations for the backward pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use kernels::Activation;
use models::graph::{NodeId, Op};

use super::Network;
use super::kernels::{Moments, Norm, Source};
use super::pooled_tensor::PooledTensor;
use super::schedule::FusedStep;

/// Source of the statistics of batch normalisation, and whether activations are kept for a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics; activations are kept.
    Train,
    /// Running statistics; activations are kept, so that gradients flow through fixed statistics.
    Frozen,
    /// Running statistics; each activation is freed after its last use.
    Eval,
}

/// Activations by node; none where a node is fused into another one, or where its activation was released.
#[derive(Clone, Default)]
pub(super) struct Activations(Vec<Option<Arc<PooledTensor>>>);

impl Activations {
    pub(super) fn value(&self, id: NodeId) -> &Tensor {
        self.0[id.0].as_ref().unwrap_or_else(|| panic!("the activation of node {} was released or never computed", id.0))
    }

    /// Returns the input of a convolution: one feature map, or an upsampled one with its skip connection.
    pub(super) fn source(&self, input: NodeId, step: FusedStep) -> Source<'_> {
        match step {
            FusedStep::UpsampledConv { small, skip } => {
                Source::Upsampled { small: self.value(small), skip: skip.map(|skip| self.value(skip)) }
            }
            _ => Source::FeatureMap(self.value(input)),
        }
    }

    /// Releases the activations of the nodes for which `done` returns true.
    pub(super) fn release(&mut self, done: impl Fn(usize) -> bool) {
        self.0.iter_mut().enumerate().filter(|(id, _)| done(*id)).for_each(|(_, value)| *value = None);
    }
}

/// Tape of a forward pass: activations, and the statistics that each normalisation used.
pub struct Tape {
    pub(super) activations: Activations,
    pub(super) moments: BTreeMap<NodeId, Moments>,
    pub(super) mode: Mode,
    pixels: BTreeMap<NodeId, usize>,
}

impl Tape {
    /// Iterates over the batch statistics of each normalisation; empty unless the mode was [`Mode::Train`].
    pub fn moments(&self) -> impl Iterator<Item = (&NodeId, &Moments)> {
        self.moments.iter().filter(|_| self.mode == Mode::Train)
    }

    /// Returns the number of pixels over which the statistics of normalisation `id` were taken, `B * H * W`.
    pub(super) fn pixels(&self, id: NodeId) -> usize {
        self.pixels[&id]
    }

    fn value(&self, id: NodeId) -> &Tensor {
        self.activations.value(id)
    }
}

impl Network {
    /// Runs `image` (`B C H W`) through the graph and returns the tape.
    pub fn forward(&self, image: &Tensor, mode: Mode) -> Result<Tape> {
        let n = self.graph.nodes.len();
        let activations = Activations(vec![None; n]);
        let mut tape = Tape { activations, moments: BTreeMap::new(), mode, pixels: BTreeMap::new() };
        for (id, node) in self.graph.iter() {
            let value = match self.schedule.steps[id.0] {
                FusedStep::Absorbed => continue,
                FusedStep::NormActivation { norm, residual, activation } => self.run_norm(norm, residual, activation, &mut tape)?,
                step => self.run(id, &node.op, step, image, &mut tape)?,
            };
            tape.activations.0[id.0] = Some(Arc::new(PooledTensor::new(value, &self.kernels)));
            let needed_later = |done: usize| mode != Mode::Eval && self.schedule.last_gradient_use[done].is_some();
            tape.activations.release(|done| self.schedule.last_use[done] == id.0 && !needed_later(done));
        }
        Ok(tape)
    }

    /// Returns the output of the graph, `B C H W`.
    pub fn output(&self, tape: &Tape) -> Result<Tensor> {
        self.kernels.export_feature(tape.value(self.graph.output))
    }

    /// Returns the activation at a feature tap, `B C H W`.
    pub fn feature_tap(&self, tape: &Tape, name: &str) -> Result<Tensor> {
        let Some(id) = self.graph.feature_tap(name) else { bail!("the network has no tap {name:?}") };
        self.kernels.export_feature(tape.value(id))
    }

    fn run(&self, id: NodeId, op: &Op, step: FusedStep, image: &Tensor, tape: &mut Tape) -> Result<Tensor> {
        let k = &self.kernels;
        let inputs = &self.graph.node(id).inputs;
        match op {
            Op::Input { .. } => k.import_feature(image),
            Op::Conv(conv) => {
                k.conv(conv, tape.activations.source(inputs[0], step), self.parameter(id, "weight"), self.bias(id, conv.bias))
            }
            Op::Depthwise(conv) => k.depthwise(conv, tape.value(inputs[0]), self.parameter(id, "weight"), self.bias(id, conv.bias)),
            Op::BatchNorm { .. } => self.run_norm(id, None, Activation::None, tape),
            Op::Relu => k.activate(Activation::Relu, tape.value(inputs[0])),
            Op::Relu6 => k.activate(Activation::Relu6, tape.value(inputs[0])),
            Op::Add => k.add(tape.value(inputs[0]), tape.value(inputs[1])),
            Op::MaxPool => k.max_pool(tape.value(inputs[0])),
            Op::Upsample => k.upsample(tape.value(inputs[0])),
            Op::Concat => k.concat(tape.value(inputs[0]), tape.value(inputs[1])),
            Op::UpConv(_) | Op::InputImage { .. } | Op::Probability | Op::Quantise => {
                bail!("{} is for deployment only", self.graph.node(id).name)
            }
        }
    }

    fn bias(&self, id: NodeId, has_bias: bool) -> Option<&Tensor> {
        has_bias.then(|| self.parameter(id, "bias"))
    }

    fn run_norm(&self, id: NodeId, residual: Option<NodeId>, activation: Activation, tape: &mut Tape) -> Result<Tensor> {
        let x = tape.value(self.graph.node(id).inputs[0]);
        let moments = match tape.mode {
            Mode::Train => self.kernels.moments(x)?,
            Mode::Frozen | Mode::Eval => self.running_moments(id)?,
        };
        let y = self.kernels.norm(self.norm_at(id, activation), x, residual.map(|residual| tape.value(residual)), &moments)?;
        let pixels = x.elem_count() / self.parameter(id, "weight").elem_count();
        tape.pixels.insert(id, pixels);
        tape.moments.insert(id, moments);
        Ok(y)
    }

    pub(super) fn norm_at(&self, id: NodeId, activation: Activation) -> Norm<'_> {
        let Op::BatchNorm { eps, .. } = self.graph.node(id).op else { panic!("node {} is no normalisation", id.0) };
        Norm { scale: self.parameter(id, "weight"), shift: self.parameter(id, "bias"), eps, activation }
    }

    fn running_moments(&self, id: NodeId) -> Result<Moments> {
        let of = |suffix| self.kernels.moments_from(self.parameter(id, suffix));
        Ok(Moments { mean: of("running_mean")?, variance: of("running_var")? })
    }
}
