//! Tests of training in one binary: golden vectors, properties, whole runs, and CUDA kernels on an emulator.

mod augment_golden;
mod bf16_gradients;
mod commands;
mod contrast_golden;
mod cuda_kernels;
mod cuda_sources;
mod cuda_steps;
mod damaged_files;
mod data_folder;
mod decode_golden;
mod fitted_decoding;
mod folds;
mod import;
mod label_budget;
mod method_golden;
mod metrics_golden;
mod mobilenet_golden;
mod network_golden;
mod network_operations;
mod parallel;
mod parallel_runs;
mod runs;
mod side_by_side;
mod skeleton_golden;
mod support;
mod tensorboard;
