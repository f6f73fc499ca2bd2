//! Source text of all kernels as one program, which is compiled at run time for the GPU at hand.

use candle_core::DType;

use crate::scribble::UNLABELLED;

const PARTS: [&str; 10] = [
    include_str!("cu/common.cu"),
    include_str!("cu/maps.cu"),
    include_str!("cu/pool.cu"),
    include_str!("cu/norm.cu"),
    include_str!("cu/step.cu"),
    include_str!("cu/running_statistics.cu"),
    include_str!("cu/contrast.cu"),
    include_str!("cu/direct.cu"),
    include_str!("cu/depthwise.cu"),
    include_str!("cu/phases.cu"),
];

/// Returns the program for feature maps of this type, f32 or bf16.
pub fn program(feature_dtype: DType) -> String {
    let map = if feature_dtype == DType::BF16 { "bf16" } else { "float" };
    format!("#define MAP {map}\n#define IGNORE {UNLABELLED}\n{}", PARTS.join("\n"))
}

/// Names of the kernels that have a single form.
const SINGLE: [&str; 22] = [
    "import_map",
    "export_map",
    "copy_weight",
    "add_bias",
    "moments_reduce",
    "reduce_sums",
    "radam",
    "update_averages",
    "count_labels",
    "cross_entropy",
    "sum_parts",
    "update_running_statistics",
    "unit_vectors",
    "contrast_16",
    "contrast_32",
    "contrast_64",
    "scatter_vectors",
    "direct_forward",
    "direct_data",
    "direct_filter",
    "phase_filters",
    "phase_filters_backward",
];

/// Names of the kernels that have two forms: suffix `_wide` (16 bytes per memory access) and `_one` (one value).
const DOUBLE: [&str; 18] = [
    "activate",
    "activate_backward",
    "add",
    "assemble",
    "assemble_backward_first",
    "assemble_backward_second",
    "max_pool",
    "max_pool_backward",
    "moments_parts",
    "norm",
    "norm_sums",
    "norm_backward",
    "bias_sums",
    "depthwise_forward",
    "depthwise_data",
    "depthwise_filter",
    "interleave_phases",
    "split_phases",
];

/// Returns the names of all kernels, with their suffixes.
pub fn kernels() -> Vec<String> {
    let double = DOUBLE.iter().flat_map(|name| [format!("{name}_wide"), format!("{name}_one")]);
    SINGLE.iter().map(|name| (*name).to_owned()).chain(double).collect()
}
