//! Averaged weights: an exponential moving average of the weights over the steps (Polyak and Juditsky, SIAM J. Control 1992; Tarvainen and
//! Valpola, `NeurIPS` 2017). Evaluation uses them because they fluctuate less than the weights themselves; training never reads them.

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, bail};
use rayon::prelude::*;

use crate::network::Network;

/// Averaged weights as a network of their own. Its `BatchNorm` statistics have to be recomputed before it is evaluated.
pub struct WeightAverage {
    /// Network with averaged weights.
    pub network: Network,
    /// Number of steps in the average.
    pub steps: u64,
    /// Asymptotic decay of the average, in [0, 1).
    decay: f64,
}

impl WeightAverage {
    /// Creates an average that starts as a copy of `network` and has the asymptotic decay `decay`.
    pub fn new(network: &Network, decay: f64) -> support::Result<Self> {
        let copy = Network::new(network.graph().clone(), &network.weights()?, network.kernels().clone())?;
        Ok(Self { network: copy, steps: 0, decay })
    }

    /// Updates the average with the weights after a step: `average = d average + (1 - d) weights`, with `d = min(decay, (1 + t) / (10 +
    /// t))` in step t. The decay is smaller in early steps, so that the random initialisation is soon forgotten.
    pub fn update(&mut self, network: &Network) -> Result<()> {
        self.steps += 1;
        let t = self.steps as f64;
        let decay = self.decay.min((1.0 + t) / (10.0 + t));
        let names: Vec<String> = network.learned().map(str::to_owned).collect();
        if let Some(fused) = network.kernels().fused() {
            let pair = |name: &String| (&self.network.parameters()[name], &network.parameters()[name], network.count(name));
            return fused.update_averages(&names.iter().map(pair).collect::<Vec<_>>(), decay as f32);
        }
        for name in names {
            let (average, now) = (&self.network.parameters()[&name], &network.parameters()[&name]);
            if matches!(average.device(), Device::Cpu) && average.dtype() == DType::F32 {
                average.inplace_op2(now, &Blend { decay: decay as f32 })?;
            } else {
                let moved = ((average * decay)? + (now * (1.0 - decay))?)?;
                self.network.set(&name, moved);
            }
        }
        Ok(())
    }
}

/// In-place operation `average = decay * average + (1 - decay) * now`.
struct Blend {
    decay: f32,
}

/// Number of values that one parallel task updates.
const VALUES_PER_TASK: usize = 1 << 16;

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        "weight-average"
    }

    fn cpu_fwd(&self, average: &mut CpuStorage, l1: &Layout, now: &CpuStorage, l2: &Layout) -> Result<()> {
        let (Some((a0, a1)), Some((n0, n1))) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            bail!("expected contiguous values")
        };
        let (CpuStorage::F32(average), CpuStorage::F32(now)) = (average, now) else { bail!("expected f32 values") };
        let (decay, new) = (self.decay, 1.0 - self.decay);
        let pairs = average[a0..a1].par_chunks_mut(VALUES_PER_TASK).zip(now[n0..n1].par_chunks(VALUES_PER_TASK));
        pairs.for_each(|(average, now)| average.iter_mut().zip(now).for_each(|(a, n)| *a = decay * *a + new * n));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::network::initial_weights;
    use crate::network::kernels::{Cpu, Kernels};

    #[test]
    fn the_average_is_the_recurrence_and_leaves_the_weights_alone() {
        let kernels: Arc<dyn Kernels> = Arc::new(Cpu::default());
        let config = models::unet::UNetConfig { encoder_width: 2, decoder_channels: [2; 5], ..models::unet::UNetConfig::default() };
        let graph = models::unet::unet(&config);
        let make = |seed| Network::new(graph.clone(), &initial_weights(&graph, seed), kernels.clone()).unwrap();
        let mut average = WeightAverage::new(&make(0), 0.5).unwrap();
        let mut expected = make(0).weights().unwrap();
        for (t, seed) in [(1.0f32, 1), (2.0, 2), (3.0, 3)] {
            let network = make(seed);
            let before = network.weights().unwrap();
            average.update(&network).unwrap();
            assert_eq!(network.weights().unwrap(), before);
            let decay = ((1.0 + t) / (10.0 + t)).min(0.5);
            for name in network.learned() {
                let now = &before[name].data;
                expected.get_mut(name).unwrap().data.iter_mut().zip(now).for_each(|(a, n)| *a = decay * *a + (1.0 - decay) * n);
            }
        }
        let found = average.network.weights().unwrap();
        for (name, array) in &expected {
            assert!(array.data.iter().zip(&found[name].data).all(|(a, b)| (a - b).abs() <= 1e-6), "{name}");
        }
    }
}
