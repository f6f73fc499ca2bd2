//! Labels of blocks of pixels, for the contrast between coarse features: the multiscale regions of Oh, Lee and Jeong (ISBI 2022, arXiv
//! 2306.14136), section 2.2, with thresholds `nu_1 = 0` and `nu_2 = 1`.

use rayon::prelude::*;

use super::IGNORE;

/// Labels non-overlapping `delta` x `delta` blocks: 1 if all pixels are 1, 0 if all are 0, else [`IGNORE`].
///
/// `labels` is `B H W`; the result is `B H/delta W/delta`. `delta` must divide both sides.
pub fn block_labels(labels: &[u8], batch: usize, height: usize, width: usize, delta: usize) -> Vec<u8> {
    assert!(height.is_multiple_of(delta) && width.is_multiple_of(delta), "blocks of {delta} in {height} x {width}");
    assert_eq!(labels.len(), batch * height * width);
    let lines = labels.par_chunks_exact(delta * width).flat_map_iter(|rows| {
        (0..width).step_by(delta).map(move |x| {
            let first = rows[x];
            let same = first <= 1 && rows.chunks_exact(width).all(|row| row[x..x + delta].iter().all(|&v| v == first));
            if same { first } else { IGNORE }
        })
    });
    lines.collect()
}

/// Labels each `delta` x `delta` block by the class of its scribbles; [`IGNORE`] if it has none or scribbles of both classes.
///
/// `scribble` is `B H W`; the result is `B H/delta W/delta`.
pub fn scribbled_blocks(scribble: &[u8], batch: usize, height: usize, width: usize, delta: usize) -> Vec<u8> {
    assert!(height.is_multiple_of(delta) && width.is_multiple_of(delta), "blocks of {delta} in {height} x {width}");
    let mut blocks = Vec::with_capacity(scribble.len() / (delta * delta));
    for rows in scribble.chunks_exact(delta * width).take(batch * height / delta) {
        for x in (0..width).step_by(delta) {
            let has = |class: u8| rows.chunks_exact(width).any(|row| row[x..x + delta].contains(&class));
            blocks.push(match (has(0), has(1)) {
                (true, false) => 0,
                (false, true) => 1,
                _ => IGNORE,
            });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_takes_the_class_of_its_scribbles_unless_they_disagree() {
        const N: u8 = IGNORE;
        let scribble = [N, 0, N, 1, 0, 1, N, N, N, 0, N, N, N, N, N, N];
        assert_eq!(scribbled_blocks(&scribble, 1, 2, 8, 2), [0, 1, IGNORE, N]);
        assert_eq!(block_labels(&[1, 1, 0, 0, 1, 1, 0, N], 1, 2, 4, 2), [1, IGNORE]);
    }
}
