//! The reverse interpreter: gradients of every parameter from gradients at the output and at taps.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use kernels::Activation;
use models::graph::{Conv, Depthwise, NodeId, Op};

use super::Network;
use super::forward::{Mode, Tape, Values};
use super::kernels::NormPoint;
use super::schedule::Step;
use super::value::Value;

/// Gradients by parameter name, in the layout of the kernels.
pub struct Gradients {
    /// Learned parameters.
    pub parameters: BTreeMap<String, Value>,
    /// At the image, `B C H W`, if it was asked for.
    pub image: Option<Tensor>,
}

/// A walk from the last node to the first.
struct Walk<'a> {
    network: &'a Network,
    tape: &'a Tape,
    values: Values,
    wants_image: bool,
    /// Gradients that have arrived at nodes so far.
    arrived: Vec<Option<Arc<Value>>>,
    gradients: Gradients,
}

impl Network {
    /// Gradients of `sum(output * doutput) + sum over taps (tap * dtap)`; all given as `B C H W`.
    pub fn backward(&self, tape: &Tape, doutput: Option<&Tensor>, dtaps: &[(&str, Tensor)], wants_image: bool) -> Result<Gradients> {
        self.walk(tape, tape.values.clone(), doutput, dtaps, wants_image)
    }

    /// The same, but every value goes as soon as no gradient reads it any more, and makes room for those to come: of the tape only
    /// its moments are left.
    pub fn backward_and_release(
        &self,
        tape: &mut Tape,
        doutput: Option<&Tensor>,
        dtaps: &[(&str, Tensor)],
        wants_image: bool,
    ) -> Result<Gradients> {
        let values = std::mem::take(&mut tape.values);
        self.walk(tape, values, doutput, dtaps, wants_image)
    }

    fn walk(
        &self,
        tape: &Tape,
        values: Values,
        doutput: Option<&Tensor>,
        dtaps: &[(&str, Tensor)],
        wants_image: bool,
    ) -> Result<Gradients> {
        if tape.mode == Mode::Eval {
            bail!("a forward pass in Mode::Eval keeps no tape");
        }
        let gradients = Gradients { parameters: BTreeMap::new(), image: None };
        let arrived = vec![None; self.graph.nodes.len()];
        let mut walk = Walk { network: self, tape, values, wants_image, arrived, gradients };
        let last_read = &self.schedule.first_read_back;
        walk.values.release(|id| last_read[id].is_none());
        if let Some(gradient) = doutput {
            walk.arrive(self.graph.output, self.kernels.import_feature(gradient)?)?;
        }
        for (name, gradient) in dtaps {
            let Some(id) = self.graph.feature_tap(name) else { bail!("the network has no tap {name:?}") };
            walk.arrive(id, self.kernels.import_feature(gradient)?)?;
        }
        for (id, node) in self.graph.iter().rev() {
            if let Some(dy) = walk.arrived[id.0].take() {
                match self.schedule.steps[id.0] {
                    Step::NormRelu { norm, plus, activation } => walk.norm(norm, id, (plus, activation), &dy)?,
                    step => walk.back(id, &node.op, step, &dy)?,
                }
            }
            walk.values.release(|done| last_read[done] == Some(id.0));
        }
        Ok(walk.gradients)
    }
}

impl Walk<'_> {
    fn arrive(&mut self, id: NodeId, gradient: Tensor) -> Result<()> {
        self.arrive_shared(id, Arc::new(Value::new(gradient, &self.network.kernels)))
    }

    fn arrive_shared(&mut self, id: NodeId, gradient: Arc<Value>) -> Result<()> {
        let sum = match self.arrived[id.0].take() {
            Some(earlier) => Arc::new(Value::new(self.network.kernels.add(&earlier, &gradient)?, &self.network.kernels)),
            None => gradient,
        };
        self.arrived[id.0] = Some(sum);
        Ok(())
    }

    fn back(&mut self, id: NodeId, op: &Op, step: Step, dy: &Arc<Value>) -> Result<()> {
        let k = &self.network.kernels;
        let inputs = &self.network.graph.node(id).inputs;
        match op {
            Op::Input { .. } if self.wants_image => self.gradients.image = Some(k.export_feature(dy)?),
            Op::Input { .. } => {}
            Op::Conv(conv) => self.conv(id, conv, step, dy)?,
            Op::Depthwise(conv) => self.depthwise(id, conv, dy)?,
            Op::BatchNorm { .. } => self.norm(id, id, (None, Activation::None), dy)?,
            Op::Relu => self.arrive(inputs[0], k.activate_backward(Activation::Relu, self.values.value(id), dy)?)?,
            Op::Relu6 => self.arrive(inputs[0], k.activate_backward(Activation::Relu6, self.values.value(id), dy)?)?,
            Op::Add => {
                self.arrive_shared(inputs[0], dy.clone())?;
                self.arrive_shared(inputs[1], dy.clone())?;
            }
            Op::MaxPool => self.arrive(inputs[0], k.max_pool_backward(self.values.value(inputs[0]), self.values.value(id), dy)?)?,
            Op::Upsample => self.arrive(inputs[0], k.upsample_backward(dy)?)?,
            Op::Concat => {
                let (a, b) = k.split(dy, self.network.channels[inputs[0].0])?;
                self.arrive(inputs[0], a)?;
                self.arrive(inputs[1], b)?;
            }
            Op::UpConv(_) | Op::InputImage { .. } | Op::Probability | Op::Quantise => {
                bail!("{} is for deployment only", self.network.graph.node(id).name)
            }
        }
        Ok(())
    }

    fn conv(&mut self, id: NodeId, conv: &Conv, step: Step, dy: &Tensor) -> Result<()> {
        let network = self.network;
        let input = network.graph.node(id).inputs[0];
        let wants_dx = self.wants_gradient(input);
        let source = self.values.source(input, step);
        let g = network.kernels.conv_backward(conv, source, network.parameter(id, "weight"), dy, wants_dx)?;
        self.keep(id, "weight", g.dweight);
        if let Some(dbias) = g.dbias {
            self.keep(id, "bias", dbias);
        }
        let (of_dx, of_dskip) = match step {
            Step::Upsampled { small, skip } => (small, skip),
            _ => (input, None),
        };
        if let Some(dx) = g.dx {
            self.arrive(of_dx, dx)?;
        }
        if let (Some(dskip), Some(skip)) = (g.dskip, of_dskip) {
            self.arrive(skip, dskip)?;
        }
        Ok(())
    }

    fn depthwise(&mut self, id: NodeId, conv: &Depthwise, dy: &Tensor) -> Result<()> {
        let network = self.network;
        let input = network.graph.node(id).inputs[0];
        let wants_dx = self.wants_gradient(input);
        let g = network.kernels.depthwise_backward(conv, self.values.value(input), network.parameter(id, "weight"), dy, wants_dx)?;
        self.keep(id, "weight", g.dweight);
        g.dbias.into_iter().for_each(|dbias| self.keep(id, "bias", dbias));
        g.dx.map_or(Ok(()), |dx| self.arrive(input, dx))
    }

    fn wants_gradient(&self, id: NodeId) -> bool {
        self.wants_image || !matches!(self.network.graph.node(id).op, Op::Input { .. })
    }

    /// Through the normalisation `id`, whose result (after the addition of `plus` and the activation) is the value of `result`.
    fn norm(&mut self, id: NodeId, result: NodeId, (plus, activation): (Option<NodeId>, Activation), dy: &Tensor) -> Result<()> {
        let (network, tape, values) = (self.network, self.tape, &self.values);
        let input = network.graph.node(id).inputs[0];
        let norm = network.norm_at(id, activation);
        let at = NormPoint {
            x: values.value(input),
            y: (activation != Activation::None).then(|| values.value(result)),
            moments: &tape.moments[&id],
            batch_statistics: tape.mode == Mode::Train,
            wants_dplus: plus.is_some(),
        };
        let g = network.kernels.norm_backward(norm, at, dy)?;
        self.keep(id, "weight", g.dscale);
        self.keep(id, "bias", g.dshift);
        if let (Some(dplus), Some(plus)) = (g.dplus, plus) {
            self.arrive(plus, dplus)?;
        }
        self.arrive(input, g.dx)
    }

    fn keep(&mut self, id: NodeId, suffix: &str, gradient: Tensor) {
        let name = format!("{}.{suffix}", self.network.graph.node(id).name);
        self.gradients.parameters.insert(name, Value::new(gradient, &self.network.kernels));
    }
}
