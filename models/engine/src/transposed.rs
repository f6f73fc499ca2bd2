//! Rows and columns exchanged. A slide comes in bands of its full width; a network that takes a band column by column can forget the
//! columns that it has passed. Its kernels work row by row: so they get the image, and the filters, with rows and columns exchanged.

use rayon::prelude::*;

use super::net::{Net, Op};

/// Side of the blocks in which values change their places.
const BLOCK: usize = 32;

/// A network that gives the exchanged result for the exchanged image.
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

/// Some columns of an image `[row][column][3]`, each `[row][channel]`: `(v - mean) * scale`, and zeros in further channels.
pub fn columns(image: &[u8], width: usize, first: usize, [mean, scale]: [[f32; 3]; 2], channels: usize, out: &mut [f32]) {
    let height = image.len() / 3 / width;
    out.par_chunks_mut(BLOCK * height * channels).enumerate().for_each(|(block, out)| {
        let first = first + block * BLOCK;
        for (row, pixels) in image.chunks_exact(3 * width).enumerate() {
            for (column, out) in out.chunks_exact_mut(height * channels).enumerate() {
                let (pixel, out) = (&pixels[3 * (first + column)..][..3], &mut out[row * channels..][..channels]);
                for c in 0..3 {
                    out[c] = (f32::from(pixel[c]) - mean[c]) * scale[c];
                }
                out[3..].fill(0.0);
            }
        }
    });
}

/// Values of some columns from `first` on, to their places in an image.
pub fn put<T: Copy + Send + Sync>(columns: &[T], first: usize, width: usize, image: &mut [T]) {
    let height = image.len() / width;
    let count = columns.len() / height;
    image.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, rows)| {
        for from in (0..count).step_by(BLOCK) {
            for (row, line) in rows.chunks_exact_mut(width).enumerate() {
                let places = line[first + from..first + count].iter_mut().take(BLOCK);
                places.enumerate().for_each(|(i, to)| *to = columns[(from + i) * height + block * BLOCK + row]);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_an_image_come_back_to_their_places() {
        let (height, width) = (37, 75);
        let image: Vec<u8> = (0..height * width * 3).map(|i| (i * 7 % 251) as u8).collect();
        let mut back = vec![0; height * width];
        for (first, count) in [(0, 40), (40, 35)] {
            let mut out = vec![1.0; count * height * 4];
            columns(&image, width, first, [[10.0, 0.0, 0.0], [2.0, 1.0, 1.0]], 4, &mut out);
            assert!(out.chunks_exact(4).all(|pixel| pixel[3] == 0.0));
            let one: Vec<u8> = out.iter().step_by(4).map(|v| (v / 2.0 + 10.0) as u8).collect();
            put(&one, first, width, &mut back);
        }
        assert!(back.iter().eq(image.iter().step_by(3)));
    }
}
