//! Labels of blocks of pixels, for contrast between coarse features (ISBI 2022, section 2.2: nu_1 = 0, nu_2 = 1).

use super::IGNORE;

/// Labels of non-overlapping `delta` x `delta` blocks: 1 where all pixels are 1, 0 where all are 0, else [`IGNORE`].
///
/// `labels` is `B H W`; the result `B H/delta W/delta`. `delta` must divide both sides.
pub fn block_labels(labels: &[u8], batch: usize, height: usize, width: usize, delta: usize) -> Vec<u8> {
    assert!(height.is_multiple_of(delta) && width.is_multiple_of(delta), "blocks of {delta} in {height} x {width}");
    assert_eq!(labels.len(), batch * height * width);
    let mut blocks = Vec::with_capacity(labels.len() / (delta * delta));
    for image in labels.chunks_exact(height * width) {
        for rows in image.chunks_exact(delta * width) {
            for x in (0..width).step_by(delta) {
                let first = rows[x];
                let same = rows.chunks_exact(width).all(|row| row[x..x + delta].iter().all(|&v| v == first));
                blocks.push(if same && first <= 1 { first } else { IGNORE });
            }
        }
    }
    blocks
}
