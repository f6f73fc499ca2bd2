//! The reverse interpreter: gradients of every parameter from gradients at the output and at taps.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};
use models::graph::{NodeId, Op};

use super::Network;
use super::forward::{Mode, Tape};

/// Gradients by parameter name, in the layout of the kernels.
pub struct Gradients {
    /// Learned parameters.
    pub parameters: BTreeMap<String, Tensor>,
    /// At the image, `B C H W`, if it was asked for.
    pub image: Option<Tensor>,
}

/// Gradients that have arrived at nodes so far.
struct Arrived<'a> {
    network: &'a Network,
    at: Vec<Option<Tensor>>,
}

impl Arrived<'_> {
    fn add(&mut self, id: NodeId, gradient: Tensor) -> Result<()> {
        let sum = match self.at[id.0].take() {
            Some(earlier) => self.network.kernels.add(&earlier, &gradient)?,
            None => gradient,
        };
        self.at[id.0] = Some(sum);
        Ok(())
    }
}

impl Network {
    /// Gradients of `sum(output * doutput) + sum over taps (tap * dtap)`; all given as `B C H W`.
    pub fn backward(&self, tape: &Tape, doutput: Option<&Tensor>, dtaps: &[(&str, Tensor)], wants_image: bool) -> Result<Gradients> {
        if tape.mode == Mode::Eval {
            bail!("a forward pass in Mode::Eval keeps no tape");
        }
        let mut arrived = Arrived { network: self, at: vec![None; self.graph.nodes.len()] };
        if let Some(gradient) = doutput {
            arrived.add(self.graph.output, self.kernels.import_feature(gradient)?)?;
        }
        for (name, gradient) in dtaps {
            let Some(id) = self.graph.tap(name) else { bail!("the network has no tap {name:?}") };
            arrived.add(id, self.kernels.import_feature(gradient)?)?;
        }
        let mut gradients = Gradients { parameters: BTreeMap::new(), image: None };
        for (id, node) in self.graph.iter().rev() {
            if let Some(dy) = arrived.at[id.0].take() {
                match self.schedule.fused[id.0] {
                    Some(norm) => self.back_norm(norm, id, &dy, tape, &mut arrived, &mut gradients)?,
                    None => self.back(id, &node.op, &dy, tape, wants_image, &mut arrived, &mut gradients)?,
                }
            }
        }
        Ok(gradients)
    }

    #[allow(clippy::too_many_arguments)] // the state of one walk, passed down one level
    fn back(
        &self,
        id: NodeId,
        op: &Op,
        dy: &Tensor,
        tape: &Tape,
        wants_image: bool,
        arrived: &mut Arrived,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let k = &self.kernels;
        let inputs = &self.graph.node(id).inputs;
        match op {
            Op::Input { .. } if wants_image => gradients.image = Some(k.export_feature(dy)?),
            Op::Input { .. } => {}
            Op::Conv(conv) => {
                let wants_dx = wants_image || !matches!(self.graph.node(inputs[0]).op, Op::Input { .. });
                let g = k.conv_backward(conv, tape.value(inputs[0]), self.parameter(id, "weight"), dy, wants_dx)?;
                self.keep(id, "weight", g.dweight, gradients);
                if let Some(dbias) = g.dbias {
                    self.keep(id, "bias", dbias, gradients);
                }
                if let Some(dx) = g.dx {
                    arrived.add(inputs[0], dx)?;
                }
            }
            Op::BatchNorm { .. } => self.back_norm(id, id, dy, tape, arrived, gradients)?,
            Op::Relu => arrived.add(inputs[0], k.relu_backward(tape.value(id), dy)?)?,
            Op::Add => {
                arrived.add(inputs[0], dy.clone())?;
                arrived.add(inputs[1], dy.clone())?;
            }
            Op::MaxPool => arrived.add(inputs[0], k.max_pool_backward(tape.value(inputs[0]), tape.value(id), dy)?)?,
            Op::Upsample => arrived.add(inputs[0], k.upsample_backward(dy)?)?,
            Op::Concat => {
                let (a, b) = k.split(dy, self.channels[inputs[0].0])?;
                arrived.add(inputs[0], a)?;
                arrived.add(inputs[1], b)?;
            }
            Op::UpConv(_) | Op::InputImage { .. } | Op::Probability | Op::Quantise => {
                bail!("{} is for deployment only", self.graph.node(id).name)
            }
        }
        Ok(())
    }

    /// Through the normalisation `id`, whose result (after a fused ReLU) is the value of `result`.
    fn back_norm(
        &self,
        id: NodeId,
        result: NodeId,
        dy: &Tensor,
        tape: &Tape,
        arrived: &mut Arrived,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let input = self.graph.node(id).inputs[0];
        let norm = self.norm_at(id, result != id);
        let own = tape.mode == Mode::Train;
        let g = self.kernels.norm_backward(norm, tape.value(input), tape.value(result), dy, &tape.moments[&id], own)?;
        self.keep(id, "weight", g.dscale, gradients);
        self.keep(id, "bias", g.dshift, gradients);
        arrived.add(input, g.dx)
    }

    fn keep(&self, id: NodeId, suffix: &str, gradient: Tensor, gradients: &mut Gradients) {
        gradients.parameters.insert(format!("{}.{suffix}", self.graph.node(id).name), gradient);
    }
}
