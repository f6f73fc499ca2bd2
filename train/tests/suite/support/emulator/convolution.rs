//! Convolutions of the emulator in place of cuDNN: the three passes as plain sums in f32.

use candle_core::DType;
use rayon::prelude::*;
use train::network::kernels::cuda::{Geometry, Pass};

/// Reads two of the arrays `x`, `w`, `y` and writes the third, multiplied by `factor`.
///
/// # Safety
/// The addresses must point to arrays of this type with the sizes of the geometry.
pub unsafe fn run(feature_dtype: DType, pass: Pass, g: &Geometry, addresses: [u64; 3], factor: f32) {
    let [height, width] = g.result();
    let counts =
        [g.batch * g.height * g.width * g.inputs, g.outputs * g.kernel * g.kernel * g.inputs, g.batch * height * width * g.outputs];
    // SAFETY: the caller guarantees type and size of the arrays.
    let read = |i: usize| unsafe { values(feature_dtype, addresses[i], counts[i]) };
    let (to, mut result) = match pass {
        Pass::Forward => (2, forward(g, &read(0), &read(1))),
        Pass::Data => (0, data(g, &read(1), &read(2))),
        Pass::Filter => (1, filter(g, &read(0), &read(2))),
    };
    result.iter_mut().for_each(|v| *v *= factor);
    assert_eq!(result.len(), counts[to]);
    // SAFETY: the caller guarantees type and size of the arrays.
    unsafe { write(feature_dtype, addresses[to], &result) };
}

unsafe fn values(feature_dtype: DType, address: u64, count: usize) -> Vec<f32> {
    // SAFETY: the caller guarantees type and size of the arrays.
    unsafe {
        match feature_dtype {
            DType::F32 => std::slice::from_raw_parts(address as *const f32, count).to_vec(),
            _ => std::slice::from_raw_parts(address as *const u16, count).iter().map(|v| f32::from_bits(u32::from(*v) << 16)).collect(),
        }
    }
}

unsafe fn write(feature_dtype: DType, address: u64, values: &[f32]) {
    // Rounds to the nearest value, ties to even.
    let narrow = |v: &f32| ((v.to_bits() + 0x7fff + (v.to_bits() >> 16 & 1)) >> 16) as u16;
    // SAFETY: the caller guarantees type and size of the arrays.
    unsafe {
        if feature_dtype == DType::F32 {
            std::slice::from_raw_parts_mut(address as *mut f32, values.len()).copy_from_slice(values);
        } else {
            let to = std::slice::from_raw_parts_mut(address as *mut u16, values.len());
            to.iter_mut().zip(values).for_each(|(to, v)| *to = narrow(v));
        }
    }
}

/// Lists, for one result pixel, the filter taps that lie inside the image, each with its pixel of `x`.
fn taps(g: &Geometry, row: usize, column: usize) -> impl Iterator<Item = (usize, usize)> {
    let (g, half) = (*g, g.kernel / 2);
    (0..g.kernel * g.kernel).filter_map(move |tap| {
        let (y, x) = (row * g.stride + tap / g.kernel, column * g.stride + tap % g.kernel);
        let inside = y >= half && x >= half && y - half < g.height && x - half < g.width;
        inside.then(|| (tap, (y - half) * g.width + x - half))
    })
}

fn forward(g: &Geometry, x: &[f32], w: &[f32]) -> Vec<f32> {
    let ([height, width], taps_of) = (g.result(), g.kernel * g.kernel);
    let mut y = vec![0.0; g.batch * height * width * g.outputs];
    y.par_chunks_mut(width * g.outputs).enumerate().for_each(|(line, y)| {
        let (image, row) = (line / height * g.height * g.width, line % height);
        for (column, y) in y.chunks_mut(g.outputs).enumerate() {
            for (tap, pixel) in taps(g, row, column) {
                let x = &x[(image + pixel) * g.inputs..][..g.inputs];
                for (o, y) in y.iter_mut().enumerate() {
                    let w = &w[(o * taps_of + tap) * g.inputs..][..g.inputs];
                    *y += x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
                }
            }
        }
    });
    y
}

fn data(g: &Geometry, w: &[f32], dy: &[f32]) -> Vec<f32> {
    let ([height, width], taps_of) = (g.result(), g.kernel * g.kernel);
    let mut dx = vec![0.0; g.batch * g.height * g.width * g.inputs];
    dx.par_chunks_mut(g.height * g.width * g.inputs).zip(dy.par_chunks(height * width * g.outputs)).for_each(|(dx, dy)| {
        for (at, dy) in dy.chunks(g.outputs).enumerate() {
            for (tap, pixel) in taps(g, at / width, at % width) {
                let dx = &mut dx[pixel * g.inputs..][..g.inputs];
                for (o, d) in dy.iter().enumerate() {
                    let w = &w[(o * taps_of + tap) * g.inputs..][..g.inputs];
                    dx.iter_mut().zip(w).for_each(|(dx, w)| *dx += d * w);
                }
            }
        }
    });
    dx
}

fn filter(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let ([height, width], taps_of) = (g.result(), g.kernel * g.kernel);
    let mut dw = vec![0.0; g.outputs * taps_of * g.inputs];
    dw.par_chunks_mut(taps_of * g.inputs).enumerate().for_each(|(o, dw)| {
        for (at, dy) in dy.chunks(g.outputs).enumerate() {
            let (image, at) = (at / (height * width) * g.height * g.width, at % (height * width));
            for (tap, pixel) in taps(g, at / width, at % width) {
                let x = &x[(image + pixel) * g.inputs..][..g.inputs];
                dw[tap * g.inputs..][..g.inputs].iter_mut().zip(x).for_each(|(dw, x)| *dw += dy[o] * x);
            }
        }
    });
    dw
}
