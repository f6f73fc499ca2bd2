//! A [`Graph`] made live: parameters on a device, forward and backward.
//!
//! The reverse pass walks the same graph as the forward pass, with its own gradient for each operation; losses start
//! from `logits` and taps as leaves. candle's automatic differentiation has no part in it.

mod backward;
pub mod device;
mod forward;
mod initial;
pub mod kernels;
mod schedule;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use models::graph::{Conv, Graph, NodeId, Op, Parameter, Role};
use models::weights::{Array, Weights};

use self::kernels::{Following, Kernels, Moments};
pub use backward::Gradients;
pub use forward::{Mode, Tape};
pub use initial::initial_weights;
pub use value::Value;

/// Whose weight a parameter is: kernels keep them in orders of their own.
#[derive(Clone, Copy)]
enum Layout {
    /// Of a convolution.
    Conv(Conv),
    /// Of a convolution of each channel by itself.
    Depthwise,
    /// No filter.
    Plain,
}

/// A network on a device.
pub struct Network {
    graph: Graph,
    kernels: Arc<dyn Kernels>,
    parameters: BTreeMap<String, Tensor>,
    roles: BTreeMap<String, (Role, Layout)>,
    schedule: schedule::Schedule,
    /// Channels of every node's value.
    channels: Vec<usize>,
}

impl Network {
    /// The graph with these weights, which must hold every parameter (see [`models::weights::select`]).
    pub fn new(graph: Graph, weights: &Weights, kernels: Arc<dyn Kernels>) -> support::Result<Self> {
        let selected = models::weights::select(&graph, weights)?;
        let roles = roles(&graph);
        let schedule = schedule::Schedule::new(&graph);
        let side = graph.stride();
        let channels = graph.shapes(side, side)?.into_iter().map(|shape| shape.channels).collect();
        let mut network = Self { graph, kernels, parameters: BTreeMap::new(), roles, schedule, channels };
        for (name, array) in selected {
            let tensor = network.import(&name, &array)?;
            network.parameters.insert(name, tensor);
        }
        Ok(network)
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Channels of a tap.
    pub fn tap_channels(&self, name: &str) -> support::Result<usize> {
        let names = || self.graph.feature_taps.iter().map(|tap| tap.name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(id) = self.graph.feature_tap(name) else {
            support::bail!("the network has no tap {name:?}"; hint: "its taps are {}", names())
        };
        Ok(self.channels[id.0])
    }

    /// The device's operations.
    pub fn kernels(&self) -> &Arc<dyn Kernels> {
        &self.kernels
    }

    /// Where tensors live.
    pub fn device(&self) -> &Device {
        self.kernels.device()
    }

    /// Every parameter in the layout of the kernels; learned ones are changed by the optimiser.
    pub fn parameters(&self) -> &BTreeMap<String, Tensor> {
        &self.parameters
    }

    /// Names of the parameters that the optimiser changes, in their order.
    pub fn learned(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().filter(|(_, (role, _))| role.is_learned()).map(|(name, _)| name.as_str())
    }

    /// Puts a new value, in the layout of the kernels, in the place of a parameter.
    pub fn set(&mut self, name: &str, value: Tensor) {
        let old = self.parameters.get_mut(name).unwrap_or_else(|| panic!("{name} is a parameter"));
        assert_eq!(old.shape(), value.shape(), "{name}");
        *old = value;
    }

    /// Values of a parameter; in the layout of the kernels there may be more.
    pub fn count(&self, name: &str) -> usize {
        match self.roles[name] {
            (Role::Weight, Layout::Conv(conv)) => conv.outputs * conv.inputs * conv.kernel * conv.kernel,
            _ => self.parameters[name].elem_count(),
        }
    }

    /// Every parameter as an array, convolution weights as `O I K K`.
    pub fn weights(&self) -> Result<Weights> {
        self.parameters.iter().map(|(name, tensor)| Ok((name.clone(), self.export(name, tensor)?))).collect()
    }

    /// A value of a parameter's shape (its gradient, the optimiser's state) as an array, weights as `O I K K`.
    pub fn export(&self, name: &str, tensor: &Tensor) -> Result<Array> {
        let tensor = match self.roles[name] {
            (Role::Weight, Layout::Conv(conv)) => self.kernels.export_weight(&conv, tensor)?,
            (Role::Weight, Layout::Depthwise) => self.kernels.export_depthwise(tensor)?,
            _ => tensor.clone(),
        };
        let shape = tensor.dims().to_vec();
        Ok(Array { shape, data: tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()? })
    }

    /// The opposite of [`Network::export`].
    pub fn import(&self, name: &str, array: &Array) -> Result<Tensor> {
        let tensor = Tensor::from_slice(&array.data, array.shape.as_slice(), &Device::Cpu)?;
        match self.roles[name] {
            (Role::Weight, Layout::Conv(conv)) => self.kernels.import_weight(&conv, &tensor),
            (Role::Weight, Layout::Depthwise) => self.kernels.import_depthwise(&tensor),
            _ => tensor.to_device(self.device())?.to_dtype(self.kernels.dtype()),
        }
    }

    /// Moves the running statistics towards those of the batch on the tape: `r += momentum (b - r)`, variances unbiased.
    pub fn follow_statistics(&mut self, tape: &Tape, momentum: f64) -> Result<()> {
        if let Some(fused) = self.kernels.fused() {
            return fused.follow(&self.following(tape), momentum);
        }
        for (id, moments) in tape.moments() {
            let pixels = tape.pixels(*id) as f64;
            let name = &self.graph.node(*id).name;
            let unbiased = (&moments.variance * (pixels / (pixels - 1.0).max(1.0)))?;
            for (suffix, batch) in [("running_mean", moments.mean.clone()), ("running_var", unbiased)] {
                let key = format!("{name}.{suffix}");
                let running = &self.parameters[&key];
                let batch = batch.to_dtype(running.dtype())?;
                // With momentum 1 nothing of the old value may be left, not even by rounding.
                let value = if momentum == 1.0 { batch } else { (running + ((batch - running)? * momentum)?)? };
                self.parameters.insert(key, value);
            }
        }
        Ok(())
    }

    /// Every normalisation's running statistics beside the batch's.
    fn following<'a>(&'a self, tape: &'a Tape) -> Vec<Following<'a>> {
        let following = |(id, batch): (&NodeId, &'a Moments)| {
            let pixels = tape.pixels(*id) as f64;
            let unbias = (pixels / (pixels - 1.0).max(1.0)) as f32;
            Following { batch, mean: self.parameter(*id, "running_mean"), variance: self.parameter(*id, "running_var"), unbias }
        };
        tape.moments().map(following).collect()
    }

    fn parameter(&self, id: NodeId, suffix: &str) -> &Tensor {
        &self.parameters[&format!("{}.{suffix}", self.graph.node(id).name)]
    }
}

fn roles(graph: &Graph) -> BTreeMap<String, (Role, Layout)> {
    let layout = |op: &Op| match op {
        Op::Conv(conv) => Layout::Conv(*conv),
        Op::Depthwise(_) => Layout::Depthwise,
        _ => Layout::Plain,
    };
    let layouts: BTreeMap<&str, Layout> = graph.nodes.iter().map(|node| (node.name.as_str(), layout(&node.op))).collect();
    let of = |parameter: &Parameter| parameter.name.rsplit_once('.').map_or(Layout::Plain, |(node, _)| layouts[node]);
    graph.parameters().into_iter().map(|parameter| (parameter.name.clone(), (parameter.role, of(&parameter)))).collect()
}
