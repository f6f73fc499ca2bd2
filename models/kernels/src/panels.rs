//! Packed convolution weights: panels of 16 output channels, `[panel][tap][input channel][16]`.
//!
//! The micro-kernels load one vector of 16 output channels for each tap and input channel. Parameters and gradients stay packed during
//! training, because the optimiser is elementwise; checkpoints hold them as `O I K K` (output channel, input channel, kernel row,
//! kernel column).

use rayon::prelude::*;

use crate::scratch::{Buffer, Pool};

/// Output channels of a panel, and lanes of an [`F32x16`](crate::simd::F32x16).
pub const WIDTH: usize = 16;

/// Returns the number of values in the panels of a convolution. Output channels that fill up the last panel have zero weights.
pub fn len(outputs: usize, inputs: usize, taps: usize) -> usize {
    outputs.div_ceil(WIDTH) * taps * inputs * WIDTH
}

/// Packs `O I K K` weights, `taps = K K`, into `panels`, which must hold zeros.
pub fn pack(weight: &[f32], outputs: usize, inputs: usize, taps: usize, panels: &mut [f32]) {
    assert_eq!(panels.len(), len(outputs, inputs, taps));
    panels.par_chunks_mut(taps * inputs * WIDTH).enumerate().for_each(|(panel, chunk)| {
        for lane in 0..WIDTH.min(outputs - panel * WIDTH) {
            let filter = &weight[(panel * WIDTH + lane) * inputs * taps..][..inputs * taps];
            for i in 0..inputs {
                for t in 0..taps {
                    chunk[(t * inputs + i) * WIDTH + lane] = filter[i * taps + t];
                }
            }
        }
    });
}

/// Position of each channel in a padded pixel, and the number of values in a pixel.
pub type ChannelLayout<'a> = (&'a [usize], usize);

/// Packs `O I K K` weights, `taps = K K`, for feature maps whose pixels hold padding between or after their channels.
///
/// The panels are those of a convolution from `input_width` to `output_width` channels, in which padding has zero weights.
pub fn pack_at(weight: &[f32], taps: usize, (outputs, output_width): ChannelLayout, (inputs, input_width): ChannelLayout) -> Buffer {
    assert_eq!(weight.len(), outputs.len() * inputs.len() * taps);
    let mut panels = Pool::new().zeros(len(output_width, input_width, taps));
    for (filter, output) in weight.chunks_exact(inputs.len() * taps).zip(outputs) {
        let panel = &mut panels[output / WIDTH * taps * input_width * WIDTH..];
        for (values, input) in filter.chunks_exact(taps).zip(inputs) {
            for (t, value) in values.iter().enumerate() {
                panel[(t * input_width + input) * WIDTH + output % WIDTH] = *value;
            }
        }
    }
    panels
}

/// Unpacks panels into `O I K K` weights.
pub fn unpack(panels: &[f32], outputs: usize, inputs: usize, taps: usize) -> Vec<f32> {
    let mut weight = vec![0.0; outputs * inputs * taps];
    weight.par_chunks_mut(inputs * taps).enumerate().for_each(|(output, filter)| {
        let panel = &panels[output / WIDTH * taps * inputs * WIDTH..];
        for i in 0..inputs {
            for t in 0..taps {
                filter[i * taps + t] = panel[(t * inputs + i) * WIDTH + output % WIDTH];
            }
        }
    });
    weight
}

/// Packs the weights of the transposed convolution, which computes the gradient at the input: `[panel of 16 inputs][tap][output][16]`,
/// taps in the same order. Every value of `transposed` is written.
pub fn transpose(panels: &[f32], outputs: usize, inputs: usize, taps: usize, transposed: &mut [f32]) {
    assert_eq!(transposed.len(), len(inputs, outputs, taps));
    transposed.par_chunks_mut(taps * outputs * WIDTH).enumerate().for_each(|(panel, chunk)| {
        let lanes = WIDTH.min(inputs - panel * WIDTH);
        for (t, tap_matrix) in chunk.chunks_exact_mut(outputs * WIDTH).enumerate() {
            for (o16, block) in tap_matrix.chunks_mut(WIDTH * WIDTH).enumerate() {
                let from = ((o16 * taps + t) * inputs + panel * WIDTH) * WIDTH;
                for (o, row) in block.chunks_exact_mut(WIDTH).enumerate() {
                    for (lane, value) in row[..lanes].iter_mut().enumerate() {
                        *value = panels[from + lane * WIDTH + o];
                    }
                    row[lanes..].fill(0.0);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_inverts_packing_and_transposing_twice_is_the_identity() {
        for (outputs, inputs, taps) in [(32, 16, 9), (5, 3, 9), (2, 16, 1), (17, 33, 4)] {
            let weight: Vec<f32> = (0..outputs * inputs * taps).map(|i| i as f32 + 1.0).collect();
            let mut panels = vec![0.0; len(outputs, inputs, taps)];
            pack(&weight, outputs, inputs, taps, &mut panels);
            assert_eq!(unpack(&panels, outputs, inputs, taps), weight);
            let mut once = vec![f32::NAN; len(inputs, outputs, taps)];
            transpose(&panels, outputs, inputs, taps, &mut once);
            let mut twice = vec![f32::NAN; panels.len()];
            transpose(&once, inputs, outputs, taps, &mut twice);
            assert_eq!(twice, panels);
        }
    }
}
