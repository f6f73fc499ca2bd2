//! The forward interpreter, and the tape it leaves for the reverse pass.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};
use models::graph::{Graph, NodeId, Op};

use super::Network;
use super::kernels::{Moments, Norm};

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

/// What can be known before any value is: which ReLUs are fused into the normalisation before them, and when values may go.
pub(super) struct Schedule {
    /// For a fused ReLU: the normalisation it completes.
    pub fused: Vec<Option<NodeId>>,
    /// Whether the node is a normalisation that its ReLU computes.
    pub absorbed: Vec<bool>,
    /// The last node that reads each value; itself for outputs and taps, which stay.
    last_use: Vec<usize>,
    /// Whether the reverse pass reads the value.
    kept: Vec<bool>,
}

impl Schedule {
    pub fn new(graph: &Graph) -> Self {
        let n = graph.nodes.len();
        let mut users = vec![Vec::new(); n];
        graph.iter().for_each(|(id, node)| node.inputs.iter().for_each(|input| users[input.0].push(id)));
        let stays = |id: NodeId| id == graph.output || graph.taps.iter().any(|tap| tap.node == id);
        let mut schedule = Self { fused: vec![None; n], absorbed: vec![false; n], last_use: vec![usize::MAX; n], kept: vec![false; n] };
        for (id, node) in graph.iter() {
            let is_norm = |id: NodeId| matches!(graph.node(id).op, Op::BatchNorm { .. });
            if node.op == Op::Relu && is_norm(node.inputs[0]) && users[node.inputs[0].0].len() == 1 && !stays(node.inputs[0]) {
                schedule.fused[id.0] = Some(node.inputs[0]);
                schedule.absorbed[node.inputs[0].0] = true;
            }
        }
        for (id, node) in graph.iter() {
            let source = schedule.fused[id.0].map_or(node.inputs.clone(), |norm| graph.node(norm).inputs.clone());
            for input in source {
                schedule.last_use[input.0] = id.0;
                schedule.kept[input.0] |= reads_input(&node.op) || schedule.fused[id.0].is_some();
            }
            schedule.kept[id.0] |= reads_output(&node.op);
        }
        graph.iter().filter(|(id, _)| stays(*id)).for_each(|(id, _)| schedule.last_use[id.0] = usize::MAX);
        schedule
    }
}

/// Whether an operation's gradient needs what went in.
fn reads_input(op: &Op) -> bool {
    match op {
        Op::Conv(_) | Op::UpConv(_) | Op::BatchNorm { .. } | Op::MaxPool => true,
        Op::Input { .. } | Op::InputImage { .. } | Op::Relu | Op::Add | Op::Upsample | Op::Concat | Op::Probability | Op::Quantise => false,
    }
}

/// Whether an operation's gradient needs what came out.
fn reads_output(op: &Op) -> bool {
    match op {
        Op::Relu | Op::MaxPool | Op::BatchNorm { .. } => true,
        Op::Conv(_)
        | Op::UpConv(_)
        | Op::Input { .. }
        | Op::InputImage { .. }
        | Op::Add
        | Op::Upsample
        | Op::Concat
        | Op::Probability
        | Op::Quantise => false,
    }
}

/// Values of a forward pass.
pub struct Tape {
    pub(super) values: Vec<Option<Tensor>>,
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

    pub(super) fn value(&self, id: NodeId) -> &Tensor {
        self.values[id.0].as_ref().unwrap_or_else(|| panic!("the value of node {} was kept", id.0))
    }
}

impl Network {
    /// Runs `image` (`B C H W`) through the graph.
    pub fn forward(&self, image: &Tensor, mode: Mode) -> Result<Tape> {
        let n = self.graph.nodes.len();
        let mut tape = Tape { values: vec![None; n], moments: BTreeMap::new(), mode, pixels: BTreeMap::new() };
        for (id, node) in self.graph.iter() {
            if self.schedule.absorbed[id.0] {
                continue;
            }
            let value = match self.schedule.fused[id.0] {
                Some(norm) => self.run_norm(norm, true, &mut tape)?,
                None => self.run(id, &node.op, image, &mut tape)?,
            };
            tape.values[id.0] = Some(value);
            for done in 0..=id.0 {
                let needed_later = mode != Mode::Eval && self.schedule.kept[done];
                if self.schedule.last_use[done] == id.0 && !needed_later {
                    tape.values[done] = None;
                }
            }
        }
        Ok(tape)
    }

    /// The graph's result, `B C H W`.
    pub fn output(&self, tape: &Tape) -> Result<Tensor> {
        self.kernels.export_feature(tape.value(self.graph.output))
    }

    /// A tap's value, `B C H W`.
    pub fn tap(&self, tape: &Tape, name: &str) -> Result<Tensor> {
        let Some(id) = self.graph.tap(name) else { bail!("the network has no tap {name:?}") };
        self.kernels.export_feature(tape.value(id))
    }

    fn run(&self, id: NodeId, op: &Op, image: &Tensor, tape: &mut Tape) -> Result<Tensor> {
        let k = &self.kernels;
        let inputs = &self.graph.node(id).inputs;
        match op {
            Op::Input { .. } => k.import_feature(image),
            Op::Conv(conv) => {
                let bias = conv.bias.then(|| self.parameter(id, "bias"));
                k.conv(conv, tape.value(inputs[0]), self.parameter(id, "weight"), bias)
            }
            Op::BatchNorm { .. } => self.run_norm(id, false, tape),
            Op::Relu => k.relu(tape.value(inputs[0])),
            Op::Add => k.add(tape.value(inputs[0]), tape.value(inputs[1])),
            Op::MaxPool => k.max_pool(tape.value(inputs[0])),
            Op::Upsample => k.upsample(tape.value(inputs[0])),
            Op::Concat => k.concat(tape.value(inputs[0]), tape.value(inputs[1])),
            Op::UpConv(_) | Op::InputImage { .. } | Op::Probability | Op::Quantise => {
                bail!("{} is for deployment only", self.graph.node(id).name)
            }
        }
    }

    fn run_norm(&self, id: NodeId, relu: bool, tape: &mut Tape) -> Result<Tensor> {
        let x = tape.value(self.graph.node(id).inputs[0]);
        let moments = match tape.mode {
            Mode::Train => self.kernels.moments(x)?,
            Mode::Frozen | Mode::Eval => self.running_moments(id)?,
        };
        let y = self.kernels.norm(self.norm_at(id, relu), x, &moments)?;
        let pixels = x.elem_count() / self.parameter(id, "weight").elem_count();
        tape.pixels.insert(id, pixels);
        tape.moments.insert(id, moments);
        Ok(y)
    }

    pub(super) fn norm_at(&self, id: NodeId, relu: bool) -> Norm<'_> {
        let Op::BatchNorm { eps, .. } = self.graph.node(id).op else { panic!("node {} is a normalisation", id.0) };
        Norm { scale: self.parameter(id, "weight"), shift: self.parameter(id, "bias"), eps, relu }
    }

    fn running_moments(&self, id: NodeId) -> Result<Moments> {
        let of = |suffix| self.kernels.moments_from(self.parameter(id, suffix));
        Ok(Moments { mean: of("running_mean")?, variance: of("running_var")? })
    }
}
