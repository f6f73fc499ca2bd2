//! Backward pass over the graph: gradients of every parameter from gradients at the output and at feature taps.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use kernels::Activation;
use models::graph::{Conv, Depthwise, NodeId, Op};

use super::Network;
use super::forward::{Activations, Mode, Tape};
use super::kernels::SavedNorm;
use super::pooled_tensor::PooledTensor;
use super::schedule::FusedStep;

/// Gradients of one backward pass.
pub struct Gradients {
    /// Gradients of the learned parameters by name, in the layout of the kernels.
    pub parameters: BTreeMap<String, PooledTensor>,
    /// Gradient at the image, `B C H W`, if it was requested.
    pub image: Option<Tensor>,
}

/// State of a backward pass, which visits the nodes from the last to the first.
struct ReversePass<'a> {
    network: &'a Network,
    tape: &'a Tape,
    activations: Activations,
    wants_image_gradient: bool,
    /// Gradient at each node's output, summed over the readers visited so far.
    at_nodes: Vec<Option<Arc<PooledTensor>>>,
    gradients: Gradients,
}

impl Network {
    /// Computes the gradients of `sum(output * output_gradient) + sum over taps (tap * tap_gradient)`; all tensors are `B C H W`.
    ///
    /// Fails on a tape of [`Mode::Eval`], which holds no activations, and on the name of an unknown feature tap.
    pub fn backward(
        &self,
        tape: &Tape,
        output_gradient: Option<&Tensor>,
        tap_gradients: &[(&str, Tensor)],
        wants_image_gradient: bool,
    ) -> Result<Gradients> {
        self.reverse(tape, tape.activations.clone(), output_gradient, tap_gradients, wants_image_gradient)
    }

    /// Computes [`Network::backward`] and releases each activation after its last use, so that its memory serves the gradients to come.
    /// Afterwards the tape holds only the statistics of the normalisations.
    pub fn backward_and_release(
        &self,
        tape: &mut Tape,
        output_gradient: Option<&Tensor>,
        tap_gradients: &[(&str, Tensor)],
        wants_image_gradient: bool,
    ) -> Result<Gradients> {
        let activations = std::mem::take(&mut tape.activations);
        self.reverse(tape, activations, output_gradient, tap_gradients, wants_image_gradient)
    }

    /// Visits the nodes in reverse order and releases each activation after its last use.
    fn reverse(
        &self,
        tape: &Tape,
        activations: Activations,
        output_gradient: Option<&Tensor>,
        tap_gradients: &[(&str, Tensor)],
        wants_image_gradient: bool,
    ) -> Result<Gradients> {
        if tape.mode == Mode::Eval {
            bail!("a forward pass in Mode::Eval keeps no tape");
        }
        let gradients = Gradients { parameters: BTreeMap::new(), image: None };
        let at_nodes = vec![None; self.graph.nodes.len()];
        let mut pass = ReversePass { network: self, tape, activations, wants_image_gradient, at_nodes, gradients };
        let last_gradient_use = &self.schedule.last_gradient_use;
        pass.activations.release(|id| last_gradient_use[id].is_none());
        if let Some(gradient) = output_gradient {
            pass.accumulate(self.graph.output, self.kernels.import_feature(gradient)?)?;
        }
        for (name, gradient) in tap_gradients {
            let Some(id) = self.graph.feature_tap(name) else { bail!("the network has no tap {name:?}") };
            pass.accumulate(id, self.kernels.import_feature(gradient)?)?;
        }
        for (id, node) in self.graph.iter().rev() {
            if let Some(dy) = pass.at_nodes[id.0].take() {
                match self.schedule.steps[id.0] {
                    FusedStep::NormActivation { norm, residual, activation } => pass.norm(norm, id, (residual, activation), &dy)?,
                    step => pass.node(id, &node.op, step, &dy)?,
                }
            }
            pass.activations.release(|done| last_gradient_use[done] == Some(id.0));
        }
        Ok(pass.gradients)
    }
}

impl ReversePass<'_> {
    /// Adds a gradient at the output of node `id`.
    fn accumulate(&mut self, id: NodeId, gradient: Tensor) -> Result<()> {
        self.accumulate_shared(id, Arc::new(PooledTensor::new(gradient, &self.network.kernels)))
    }

    /// Adds a gradient that several nodes may share.
    fn accumulate_shared(&mut self, id: NodeId, gradient: Arc<PooledTensor>) -> Result<()> {
        let sum = match self.at_nodes[id.0].take() {
            Some(earlier) => Arc::new(PooledTensor::new(self.network.kernels.add(&earlier, &gradient)?, &self.network.kernels)),
            None => gradient,
        };
        self.at_nodes[id.0] = Some(sum);
        Ok(())
    }

    /// Backpropagates through one operation, given the gradient `dy` at its output.
    fn node(&mut self, id: NodeId, op: &Op, step: FusedStep, dy: &Arc<PooledTensor>) -> Result<()> {
        let k = &self.network.kernels;
        let inputs = &self.network.graph.node(id).inputs;
        match op {
            Op::Input { .. } if self.wants_image_gradient => self.gradients.image = Some(k.export_feature(dy)?),
            Op::Input { .. } => {}
            Op::Conv(conv) => self.conv(id, conv, step, dy)?,
            Op::Depthwise(conv) => self.depthwise(id, conv, dy)?,
            Op::BatchNorm { .. } => self.norm(id, id, (None, Activation::None), dy)?,
            Op::Relu => self.accumulate(inputs[0], k.activate_backward(Activation::Relu, self.activations.value(id), dy)?)?,
            Op::Relu6 => self.accumulate(inputs[0], k.activate_backward(Activation::Relu6, self.activations.value(id), dy)?)?,
            Op::Add => {
                self.accumulate_shared(inputs[0], dy.clone())?;
                self.accumulate_shared(inputs[1], dy.clone())?;
            }
            Op::MaxPool => {
                let dx = k.max_pool_backward(self.activations.value(inputs[0]), self.activations.value(id), dy)?;
                self.accumulate(inputs[0], dx)?;
            }
            Op::Upsample => self.accumulate(inputs[0], k.upsample_backward(dy)?)?,
            Op::Concat => {
                let (a, b) = k.split(dy, self.network.channels[inputs[0].0])?;
                self.accumulate(inputs[0], a)?;
                self.accumulate(inputs[1], b)?;
            }
            Op::UpConv(_) | Op::InputImage { .. } | Op::Probability | Op::Quantise => {
                bail!("{} is for deployment only", self.network.graph.node(id).name)
            }
        }
        Ok(())
    }

    fn conv(&mut self, id: NodeId, conv: &Conv, step: FusedStep, dy: &Tensor) -> Result<()> {
        let network = self.network;
        let input = network.graph.node(id).inputs[0];
        let wants_dx = self.wants_gradient(input);
        let source = self.activations.source(input, step);
        let g = network.kernels.conv_backward(conv, source, network.parameter(id, "weight"), dy, wants_dx)?;
        self.record(id, "weight", g.dweight);
        if let Some(dbias) = g.dbias {
            self.record(id, "bias", dbias);
        }
        let (dx_node, skip_node) = match step {
            FusedStep::UpsampledConv { small, skip } => (small, skip),
            _ => (input, None),
        };
        if let Some(dx) = g.dx {
            self.accumulate(dx_node, dx)?;
        }
        if let (Some(dskip), Some(skip)) = (g.dskip, skip_node) {
            self.accumulate(skip, dskip)?;
        }
        Ok(())
    }

    fn depthwise(&mut self, id: NodeId, conv: &Depthwise, dy: &Tensor) -> Result<()> {
        let network = self.network;
        let input = network.graph.node(id).inputs[0];
        let wants_dx = self.wants_gradient(input);
        let g = network.kernels.depthwise_backward(conv, self.activations.value(input), network.parameter(id, "weight"), dy, wants_dx)?;
        self.record(id, "weight", g.dweight);
        g.dbias.into_iter().for_each(|dbias| self.record(id, "bias", dbias));
        g.dx.map_or(Ok(()), |dx| self.accumulate(input, dx))
    }

    /// Reports whether a gradient at the output of `id` is needed: always, except at the image.
    fn wants_gradient(&self, id: NodeId) -> bool {
        self.wants_image_gradient || !matches!(self.network.graph.node(id).op, Op::Input { .. })
    }

    /// Backpropagates through normalisation `id`, whose output (after the residual addition and the activation) is the activation of node
    /// `result`.
    fn norm(&mut self, id: NodeId, result: NodeId, (residual, activation): (Option<NodeId>, Activation), dy: &Tensor) -> Result<()> {
        let (network, tape, activations) = (self.network, self.tape, &self.activations);
        let input = network.graph.node(id).inputs[0];
        let norm = network.norm_at(id, activation);
        let at = SavedNorm {
            x: activations.value(input),
            y: (activation != Activation::None).then(|| activations.value(result)),
            moments: &tape.moments[&id],
            batch_statistics: tape.mode == Mode::Train,
            wants_dresidual: residual.is_some(),
        };
        let g = network.kernels.norm_backward(norm, at, dy)?;
        self.record(id, "weight", g.dscale);
        self.record(id, "bias", g.dshift);
        if let (Some(dresidual), Some(residual)) = (g.dresidual, residual) {
            self.accumulate(residual, dresidual)?;
        }
        self.accumulate(input, g.dx)
    }

    /// Stores the gradient of the parameter `suffix` of node `id`.
    fn record(&mut self, id: NodeId, suffix: &str, gradient: Tensor) {
        let name = format!("{}.{suffix}", self.network.graph.node(id).name);
        self.gradients.parameters.insert(name, PooledTensor::new(gradient, &self.network.kernels));
    }
}
