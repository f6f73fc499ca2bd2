//! Network with parameters on a device: the interpreter of a [`Graph`] that runs its forward and its backward pass.
//!
//! The backward pass walks the same graph as the forward pass, with an explicit gradient for each operation. Gradients enter at `logits`
//! and at feature taps, where the losses compute them; candle's automatic differentiation is not used.

mod backward;
pub mod device;
mod forward;
mod initial;
pub mod kernels;
mod pooled_tensor;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use models::graph::{Conv, Graph, NodeId, Op, Parameter, Role};
use models::weights::{Array, Weights};

use self::kernels::{Kernels, Moments, RunningStatistics};
pub use backward::Gradients;
pub use forward::{Mode, Tape};
pub use initial::initial_weights;
pub use pooled_tensor::PooledTensor;

/// Kind of operation that a parameter belongs to, because kernels store filters in layouts of their own.
#[derive(Clone, Copy)]
enum Layout {
    /// Filter of a dense convolution.
    Conv(Conv),
    /// Filter of a depthwise convolution.
    Depthwise,
    /// Vector: bias, scale, shift or running statistic.
    Plain,
}

/// Network whose parameters live on the device of its kernels.
pub struct Network {
    graph: Graph,
    kernels: Arc<dyn Kernels>,
    parameters: BTreeMap<String, Tensor>,
    roles: BTreeMap<String, (Role, Layout)>,
    schedule: schedule::Schedule,
    /// Number of channels of each node's feature map.
    channels: Vec<usize>,
}

impl Network {
    /// Puts `weights` on the device of `kernels`. `weights` must hold every parameter of the graph (see [`models::weights::select`]).
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

    /// Returns the graph that this network interprets.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns the number of channels of a feature tap, or an error that lists the taps if there is none of this name.
    pub fn feature_tap_channels(&self, name: &str) -> support::Result<usize> {
        let names = || self.graph.feature_taps.iter().map(|tap| tap.name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(id) = self.graph.feature_tap(name) else {
            support::bail!("the network has no tap {name:?}"; hint: "its taps are {}", names())
        };
        Ok(self.channels[id.0])
    }

    /// Returns the kernels that run this network.
    pub fn kernels(&self) -> &Arc<dyn Kernels> {
        &self.kernels
    }

    /// Returns the device of the parameters.
    pub fn device(&self) -> &Device {
        self.kernels.device()
    }

    /// Returns every parameter by name, in the layout of the kernels. The optimiser changes the learned ones in place.
    pub fn parameters(&self) -> &BTreeMap<String, Tensor> {
        &self.parameters
    }

    /// Returns the names of the parameters that the optimiser changes, in alphabetical order.
    pub fn learned(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().filter(|(_, (role, _))| role.is_learned()).map(|(name, _)| name.as_str())
    }

    /// Replaces a parameter by `value`, which has the same shape in the layout of the kernels. Panics on an unknown name.
    pub fn set(&mut self, name: &str, value: Tensor) {
        let old = self.parameters.get_mut(name).unwrap_or_else(|| panic!("{name} is no parameter"));
        assert_eq!(old.shape(), value.shape(), "{name}");
        *old = value;
    }

    /// Returns the number of values of a parameter, without the padding or the copies of the kernels' layout.
    pub fn count(&self, name: &str) -> usize {
        match self.roles[name] {
            (Role::Weight, Layout::Conv(conv)) => conv.outputs * conv.inputs * conv.kernel * conv.kernel,
            _ => self.parameters[name].elem_count(),
        }
    }

    /// Returns every parameter as an array in host memory, convolution weights as `O I K K`.
    pub fn weights(&self) -> Result<Weights> {
        self.parameters.iter().map(|(name, tensor)| Ok((name.clone(), self.export(name, tensor)?))).collect()
    }

    /// Converts a tensor in the layout of parameter `name` (the parameter, its gradient or a moment) to an array, weights as `O I K K`.
    pub fn export(&self, name: &str, tensor: &Tensor) -> Result<Array> {
        let tensor = match self.roles[name] {
            (Role::Weight, Layout::Conv(conv)) => self.kernels.export_weight(&conv, tensor)?,
            (Role::Weight, Layout::Depthwise) => self.kernels.export_depthwise(tensor)?,
            _ => tensor.clone(),
        };
        let shape = tensor.dims().to_vec();
        Ok(Array { shape, data: tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()? })
    }

    /// Converts an array to a tensor on the device, in the layout of parameter `name`; the inverse of [`Network::export`].
    pub fn import(&self, name: &str, array: &Array) -> Result<Tensor> {
        let tensor = Tensor::from_slice(&array.data, array.shape.as_slice(), &Device::Cpu)?;
        match self.roles[name] {
            (Role::Weight, Layout::Conv(conv)) => self.kernels.import_weight(&conv, &tensor),
            (Role::Weight, Layout::Depthwise) => self.kernels.import_depthwise(&tensor),
            _ => tensor.to_device(self.device())?.to_dtype(self.kernels.dtype()),
        }
    }

    /// Updates the running statistics of batch normalisation from the batch on the tape: `r += momentum (b - r)`, variances unbiased.
    ///
    /// `momentum` is `PyTorch`'s: 0.1 during training, 1 to replace the running statistics.
    pub fn update_running_statistics(&mut self, tape: &Tape, momentum: f64) -> Result<()> {
        if let Some(fused) = self.kernels.fused() {
            return fused.update_running_statistics(&self.following(tape), momentum);
        }
        for (id, moments) in tape.moments() {
            let pixels = tape.pixels(*id) as f64;
            let name = &self.graph.node(*id).name;
            let unbiased = (&moments.variance * (pixels / (pixels - 1.0).max(1.0)))?;
            for (suffix, batch) in [("running_mean", moments.mean.clone()), ("running_var", unbiased)] {
                let key = format!("{name}.{suffix}");
                let running = &self.parameters[&key];
                let batch = batch.to_dtype(running.dtype())?;
                // With momentum 1 the old value must not contribute, not even through rounding.
                let value = if momentum == 1.0 { batch } else { (running + ((batch - running)? * momentum)?)? };
                self.parameters.insert(key, value);
            }
        }
        Ok(())
    }

    /// Pairs the running statistics of every normalisation with those of the batch.
    fn following<'a>(&'a self, tape: &'a Tape) -> Vec<RunningStatistics<'a>> {
        let following = |(id, batch): (&NodeId, &'a Moments)| {
            let pixels = tape.pixels(*id) as f64;
            let unbias = (pixels / (pixels - 1.0).max(1.0)) as f32;
            RunningStatistics { batch, mean: self.parameter(*id, "running_mean"), variance: self.parameter(*id, "running_var"), unbias }
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
