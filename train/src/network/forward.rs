//! The forward interpreter, and the tape it leaves for the reverse pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use kernels::Activation;
use models::graph::{NodeId, Op};

use super::Network;
use super::kernels::{Moments, Norm, Source};
use super::schedule::Step;
use super::value::Value;

/// Whose statistics batch normalisation uses, and whether values are kept for a reverse pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The batch's own statistics; a tape is kept.
    Train,
    /// Running statistics; a tape is kept.
    Frozen,
    /// Running statistics; nothing is kept.
    Eval,
}

/// Values of nodes that are kept.
#[derive(Clone, Default)]
pub(super) struct Values(Vec<Option<Arc<Value>>>);

impl Values {
    pub(super) fn value(&self, id: NodeId) -> &Tensor {
        self.0[id.0].as_ref().unwrap_or_else(|| panic!("the value of node {} was kept", id.0))
    }

    /// What a convolution reads in this step.
    pub(super) fn source(&self, input: NodeId, step: Step) -> Source<'_> {
        match step {
            Step::Upsampled { small, skip } => Source::Upsampled { small: self.value(small), skip: skip.map(|skip| self.value(skip)) },
            _ => Source::Map(self.value(input)),
        }
    }

    /// Lets the values go that `done` says so of.
    pub(super) fn release(&mut self, done: impl Fn(usize) -> bool) {
        self.0.iter_mut().enumerate().filter(|(id, _)| done(*id)).for_each(|(_, value)| *value = None);
    }
}

/// Values of a forward pass.
pub struct Tape {
    pub(super) values: Values,
    pub(super) moments: BTreeMap<NodeId, Moments>,
    pub(super) mode: Mode,
    pixels: BTreeMap<NodeId, usize>,
}

impl Tape {
    /// Statistics of the batch at each normalisation; empty unless the mode was [`Mode::Train`].
    pub fn moments(&self) -> impl Iterator<Item = (&NodeId, &Moments)> {
        self.moments.iter().filter(|_| self.mode == Mode::Train)
    }

    /// Pixels over which the statistics of this normalisation were taken.
    pub(super) fn pixels(&self, id: NodeId) -> usize {
        self.pixels[&id]
    }

    fn value(&self, id: NodeId) -> &Tensor {
        self.values.value(id)
    }
}

impl Network {
    /// Runs `image` (`B C H W`) through the graph.
    pub fn forward(&self, image: &Tensor, mode: Mode) -> Result<Tape> {
        let n = self.graph.nodes.len();
        let values = Values(vec![None; n]);
        let mut tape = Tape { values, moments: BTreeMap::new(), mode, pixels: BTreeMap::new() };
        for (id, node) in self.graph.iter() {
            let value = match self.schedule.steps[id.0] {
                Step::Absorbed => continue,
                Step::NormRelu { norm, plus, activation } => self.run_norm(norm, plus, activation, &mut tape)?,
                step => self.run(id, &node.op, step, image, &mut tape)?,
            };
            tape.values.0[id.0] = Some(Arc::new(Value::new(value, &self.kernels)));
            let needed_later = |done: usize| mode != Mode::Eval && self.schedule.first_read_back[done].is_some();
            tape.values.release(|done| self.schedule.last_use[done] == id.0 && !needed_later(done));
        }
        Ok(tape)
    }

    /// The graph's result, `B C H W`.
    pub fn output(&self, tape: &Tape) -> Result<Tensor> {
        self.kernels.export_feature(tape.value(self.graph.output))
    }

    /// A tap's value, `B C H W`.
    pub fn tap(&self, tape: &Tape, name: &str) -> Result<Tensor> {
        let Some(id) = self.graph.feature_tap(name) else { bail!("the network has no tap {name:?}") };
        self.kernels.export_feature(tape.value(id))
    }

    fn run(&self, id: NodeId, op: &Op, step: Step, image: &Tensor, tape: &mut Tape) -> Result<Tensor> {
        let k = &self.kernels;
        let inputs = &self.graph.node(id).inputs;
        match op {
            Op::Input { .. } => k.import_feature(image),
            Op::Conv(conv) => k.conv(conv, tape.values.source(inputs[0], step), self.parameter(id, "weight"), self.bias(id, conv.bias)),
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

    fn run_norm(&self, id: NodeId, plus: Option<NodeId>, activation: Activation, tape: &mut Tape) -> Result<Tensor> {
        let x = tape.value(self.graph.node(id).inputs[0]);
        let moments = match tape.mode {
            Mode::Train => self.kernels.moments(x)?,
            Mode::Frozen | Mode::Eval => self.running_moments(id)?,
        };
        let y = self.kernels.norm(self.norm_at(id, activation), x, plus.map(|plus| tape.value(plus)), &moments)?;
        let pixels = x.elem_count() / self.parameter(id, "weight").elem_count();
        tape.pixels.insert(id, pixels);
        tape.moments.insert(id, moments);
        Ok(y)
    }

    pub(super) fn norm_at(&self, id: NodeId, activation: Activation) -> Norm<'_> {
        let Op::BatchNorm { eps, .. } = self.graph.node(id).op else { panic!("node {} is a normalisation", id.0) };
        Norm { scale: self.parameter(id, "weight"), shift: self.parameter(id, "bias"), eps, activation }
    }

    fn running_moments(&self, id: NodeId) -> Result<Moments> {
        let of = |suffix| self.kernels.moments_from(self.parameter(id, suffix));
        Ok(Moments { mean: of("running_mean")?, variance: of("running_var")? })
    }
}
