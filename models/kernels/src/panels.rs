//! Convolution weights as the kernels read them: panels of 16 output channels, `[panel][tap][input][16]`.
//!
//! The optimiser does not care about the order of values, so parameters and gradients live in this layout and are
//! brought back to `O I K K` only for checkpoints.

use rayon::prelude::*;

use super::scratch::{Buffer, Pool};

/// Output channels in a panel.
pub const WIDTH: usize = 16;

/// Values in the panels of a convolution; missing output channels of the last panel are zero.
pub fn len(outputs: usize, inputs: usize, taps: usize) -> usize {
    outputs.div_ceil(WIDTH) * taps * inputs * WIDTH
}

/// `O I K K` to panels, which must hold zeros.
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

/// Where each channel stands in a pixel, and how many values a pixel has.
pub type Places<'a> = (&'a [usize], usize);

/// The same for maps with gaps, in a buffer of their own; values at no channel's place get no weight.
pub fn pack_at(weight: &[f32], taps: usize, (outputs, output_width): Places, (inputs, input_width): Places) -> Buffer {
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

/// Panels to `O I K K`.
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

/// Panels of the transposed convolution: `[panel of 16 inputs][tap][output][16]`, taps in the same order.
pub fn transpose(panels: &[f32], outputs: usize, inputs: usize, taps: usize, transposed: &mut [f32]) {
    assert_eq!(transposed.len(), len(inputs, outputs, taps));
    transposed.par_chunks_mut(taps * outputs * WIDTH).enumerate().for_each(|(panel, chunk)| {
        let lanes = WIDTH.min(inputs - panel * WIDTH);
        for (t, of_tap) in chunk.chunks_exact_mut(outputs * WIDTH).enumerate() {
            for (o16, block) in of_tap.chunks_mut(WIDTH * WIDTH).enumerate() {
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
    fn packing_is_undone_and_transposing_twice_is_nothing() {
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
