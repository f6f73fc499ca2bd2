//! 8-bit arithmetic as pairs of `QuantizeLinear` and `DequantizeLinear`, which runtimes fuse with the operators between them (QDQ format).
//!
//! Feature maps are u8 with one scale and zero point each; weights are i8, symmetric, with one scale per output channel; biases are i32 with
//! the product of both scales (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
//! Inference", CVPR 2018).

use models::graph::{Graph, NodeId, Op};

use super::Arithmetic;
use super::node::Writer;
use onnx::build::{byte, bytes, floats, int, words};

/// Largest level of a weight; the smallest is its negative.
const WEIGHT_LEVELS: f64 = 127.0;
/// Largest level of a feature value; the smallest is 0.
const VALUE_LEVELS: f64 = 255.0;

/// Returns scale and zero point for values in `low..=high`, extended to contain 0: `value = scale (level - zero point)`.
fn scale_and_zero([low, high]: [f32; 2]) -> (f32, u8) {
    let (low, high) = (f64::from(low.min(0.0)), f64::from(high.max(0.0)));
    let scale = ((high - low) / VALUE_LEVELS).max(1e-12) as f32;
    (scale, (-low / f64::from(scale)).round().clamp(0.0, VALUE_LEVELS) as u8)
}

/// Returns the nodes whose values are stored in 8 bits: all but the logits, and but those that only one activation reads, because then the
/// activation's value is stored instead.
pub fn integer_values(graph: &Graph) -> Vec<NodeId> {
    let readers = |id: NodeId| graph.nodes.iter().filter(move |node| node.inputs.contains(&id));
    let only_relu = |id| readers(id).count() == 1 && readers(id).all(|node| matches!(node.op, Op::Relu | Op::Relu6));
    let is_logit = |id| id == graph.output || readers(id).any(|node| matches!(node.op, Op::Probability));
    let is_stored = |(id, node): (NodeId, &models::graph::Node)| match &node.op {
        Op::InputImage { .. } | Op::MaxPool | Op::Upsample | Op::Concat | Op::Relu | Op::Relu6 => !is_logit(id),
        Op::Conv(_) | Op::Depthwise(_) | Op::UpConv(_) | Op::BatchNorm { .. } | Op::Add => !is_logit(id) && !only_relu(id),
        Op::Input { .. } | Op::Probability | Op::Quantise => false,
    };
    graph.iter().filter(|&(id, node)| is_stored((id, node))).map(|(id, _)| id).collect()
}

impl Writer<'_> {
    /// Calibrated range of a node's values; `None` if they stay in floats.
    fn range(&self, id: NodeId) -> Option<[f32; 2]> {
        match self.arithmetic {
            Arithmetic::Int8(ranges) => ranges.get(&self.graph.node(id).name).copied(),
            Arithmetic::F32 | Arithmetic::F16 => None,
        }
    }

    /// Name under which other nodes read a node's value: in 8-bit arithmetic, that of the dequantised value.
    pub(super) fn input_name(&self, id: NodeId) -> String {
        let name = self.output_name(id);
        if self.range(id).is_some() { format!("{name}.value") } else { name }
    }

    /// Appends quantisation and dequantisation of a node's value if it is stored in 8 bits.
    pub(super) fn quantise_dequantise(&mut self, id: NodeId) {
        let Some(range) = self.range(id) else { return };
        let name = self.output_name(id);
        let [scale_name, zero_name, levels, value] = ["scale", "zero", "levels", "value"].map(|suffix| format!("{name}.{suffix}"));
        let (scale, zero) = scale_and_zero(range);
        self.constants.push(floats(&scale_name, &[], &[scale]));
        self.constants.push(byte(&zero_name, zero));
        self.node("QuantizeLinear", &[&name, &scale_name, &zero_name], &levels, vec![]);
        self.node("DequantizeLinear", &[&levels, &scale_name, &zero_name], &value, vec![]);
    }

    /// Writes weights and bias of a convolution as integers and returns the names of the dequantised arrays; `None` if the convolution stays
    /// in floats, because its input does or because its output is logits.
    pub(super) fn integer_weights(&mut self, id: NodeId) -> Option<Vec<String>> {
        let node = self.graph.node(id);
        let (input_scale, _) = scale_and_zero(self.range(node.inputs[0])?);
        let is_logits = self.range(id).is_none()
            && !self.graph.nodes.iter().any(|reader| reader.inputs == [id] && matches!(reader.op, Op::Relu | Op::Relu6));
        if is_logits {
            return None;
        }
        let weights = self.weights;
        let kernel = &weights[&format!("{}.weight", node.name)];
        let outputs = kernel.shape[0];
        let rows = || kernel.data.chunks(kernel.data.len() / outputs);
        let scales: Vec<f32> = rows().map(weight_scale).collect();
        let levels: Vec<i8> = rows().zip(&scales).flat_map(|(row, scale)| row.iter().map(move |w| (w / scale).round() as i8)).collect();
        let mut names = vec![self.dequantised(
            &format!("{}.weight", node.name),
            &scales,
            |name| bytes(name, &kernel.shape, &levels),
            |name| bytes(name, &[outputs], &vec![0; outputs]),
        )];
        if let Some(bias) = weights.get(&format!("{}.bias", node.name)) {
            let scales: Vec<f32> = scales.iter().map(|scale| input_scale * scale).collect();
            let levels: Vec<i32> =
                bias.data.iter().zip(&scales).map(|(b, scale)| (f64::from(*b) / f64::from(*scale)).round() as i32).collect();
            names.push(self.dequantised(
                &format!("{}.bias", node.name),
                &scales,
                |name| words(name, &levels),
                |name| words(name, &vec![0; outputs]),
            ));
        }
        Some(names)
    }

    /// Writes an integer constant with its scales along axis 0 and returns the name of the dequantised array.
    fn dequantised(
        &mut self,
        name: &str,
        scales: &[f32],
        levels: impl Fn(&str) -> onnx::proto::TensorProto,
        zeros: impl Fn(&str) -> onnx::proto::TensorProto,
    ) -> String {
        let [scale_name, zero_name, value] = ["scale", "zero", "value"].map(|suffix| format!("{name}.{suffix}"));
        self.constants.extend([levels(name), floats(&scale_name, &[scales.len()], scales), zeros(&zero_name)]);
        self.node("DequantizeLinear", &[name, &scale_name, &zero_name], &value, vec![int("axis", 0)]);
        value
    }
}

/// Returns the scale that maps the largest absolute weight to the last level; 1 for a row of zeros.
fn weight_scale(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0, |m: f32, w| m.max(w.abs()));
    if largest > 0.0 { (f64::from(largest) / WEIGHT_LEVELS) as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_a_level_and_the_range_is_covered_to_half_a_step() {
        for range in [[0.0, 6.0], [-1.0, 3.0], [-5.0, 0.0], [0.0, 0.0]] {
            let (scale, zero) = scale_and_zero(range);
            let real = |level: f32| scale * (level - f32::from(zero));
            assert!(real(0.0) <= range[0] + 0.51 * scale && real(255.0) >= range[1] - 0.51 * scale, "{range:?}: {scale} {zero}");
        }
        assert_eq!(scale_and_zero([0.0, 255.0]), (1.0, 0));
    }
}
