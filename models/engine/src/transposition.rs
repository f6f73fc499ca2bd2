//! Transposition of filters, images and results, so that columns of the image are contiguous rows in memory (the stream axis).

use rayon::prelude::*;

use super::net::{Net, Op};

/// Side of the square blocks in which values are transposed, in pixels.
const BLOCK: usize = 32;

/// Transposes all filters, so that the network gives the transposed result for the transposed image.
pub fn transpose(net: &mut Net) {
    for node in &mut net.nodes {
        let (kernel, weight) = match &mut node.op {
            Op::Conv(conv) => (conv.kernel, &mut conv.weight),
            Op::Depthwise(conv) => (3, &mut conv.weight),
            _ => continue,
        };
        for filter in weight.chunks_exact_mut(kernel * kernel) {
            for row in 0..kernel {
                for column in 0..row {
                    filter.swap(row * kernel + column, column * kernel + row);
                }
            }
        }
    }
}

/// Reads columns of the image `[line][column][3]` from `first` on as normalised rows `[row][pixel][channel]`: `(v - mean) * scale`.
///
/// `width` is the number of columns of the image, `pixel_len` the number of f32 per pixel of `out`; those after the third are set to 0.
pub fn read_rows(image: &[u8], width: usize, first: usize, [mean, scale]: [[f32; 3]; 2], pixel_len: usize, out: &mut [f32]) {
    let height = image.len() / 3 / width;
    out.par_chunks_mut(BLOCK * height * pixel_len).enumerate().for_each(|(block, out)| {
        let first = first + block * BLOCK;
        for (line, pixels) in image.chunks_exact(3 * width).enumerate() {
            for (column, out) in out.chunks_exact_mut(height * pixel_len).enumerate() {
                let (pixel, out) = (&pixels[3 * (first + column)..][..3], &mut out[line * pixel_len..][..pixel_len]);
                for c in 0..3 {
                    out[c] = (f32::from(pixel[c]) - mean[c]) * scale[c];
                }
                out[3..].fill(0.0);
            }
        }
    });
}

/// Writes `rows`, `[row][pixel]`, to the columns from `first` on of an image `[line][column]` of `width` columns.
pub fn write_rows<T: Copy + Send + Sync>(rows: &[T], first: usize, width: usize, image: &mut [T]) {
    let height = image.len() / width;
    let count = rows.len() / height;
    image.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, lines)| {
        for start in (0..count).step_by(BLOCK) {
            for (line, pixels) in lines.chunks_exact_mut(width).enumerate() {
                let targets = pixels[first + start..first + count].iter_mut().take(BLOCK);
                targets.enumerate().for_each(|(i, target)| *target = rows[(start + i) * height + block * BLOCK + line]);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_rows_reverses_reading_them() {
        let (height, width) = (37, 75);
        let image: Vec<u8> = (0..height * width * 3).map(|i| (i * 7 % 251) as u8).collect();
        let mut back = vec![0; height * width];
        for (first, count) in [(0, 40), (40, 35)] {
            let mut out = vec![1.0; count * height * 4];
            read_rows(&image, width, first, [[10.0, 0.0, 0.0], [2.0, 1.0, 1.0]], 4, &mut out);
            assert!(out.chunks_exact(4).all(|pixel| pixel[3] == 0.0));
            let red: Vec<u8> = out.iter().step_by(4).map(|v| (v / 2.0 + 10.0) as u8).collect();
            write_rows(&red, first, width, &mut back);
        }
        assert!(back.iter().eq(image.iter().step_by(3)));
    }
}
