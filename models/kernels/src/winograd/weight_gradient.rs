//! Winograd backward-weight: `dg = G^T [sum over tiles (B^T d B) * (A dY A^T)] G`, the adjoint of the forward form.

use std::ops::Range;

use rayon::prelude::*;

use super::filter_transform::{FilterGradientTransform, TAPS};
use super::input_transform::{Coefficients, GradientTransform, Part, coefficient_stride, domain_len};
use super::matrices::{COEFFICIENTS, INPUT_TILE};
use super::{PanelGroup, SMALL_FILTER, TILES_PER_BLOCK, Winograd, groups_per_task, tiles_per_task};
use crate::gemm::OuterGemm;
use crate::scratch::{Buffer, SharedMut, with_scratch};
use crate::simd::run_on;

impl Winograd<'_> {
    /// Returns the gradient of the filter, packed as `[panel][tap][input][16]`, from the inputs of the convolution and the gradient at its
    /// output.
    pub fn weight_gradient(&self, sources: &[Part], gradient: Part) -> Buffer {
        let inputs = sources.iter().map(|part| part.channels).sum::<usize>();
        sources.iter().chain([&gradient]).for_each(|part| self.check(part.values.len(), part.channels, part.halved));
        let mut out = self.pool.take(crate::panels::len(gradient.channels, inputs, TAPS));
        if inputs * gradient.channels <= SMALL_FILTER {
            self.weight_gradient_by_tiles(sources, inputs, gradient, &mut out);
        } else {
            self.weight_gradient_by_panels(sources, inputs, gradient, &mut out);
        }
        out
    }

    /// Computes the gradient of a small filter: a fixed number of tasks sum over tiles, and their sums are added in ascending order.
    fn weight_gradient_by_tiles(&self, sources: &[Part], inputs: usize, gradient: Part, out: &mut [f32]) {
        let groups = self.groups(gradient.channels);
        let size = COEFFICIENTS * inputs * gradient.channels;
        let block = tiles_per_task(self.isa, inputs, gradient.channels, self.grid.tiles());
        let blocks = self.grid.tiles().div_ceil(block);
        let parts = if size > 1 << 16 { 8 } else { 32 }.min(blocks);
        let zeros = vec![0.0; inputs.max(gradient.channels)];
        let sums: Vec<Buffer> = (0..parts)
            .into_par_iter()
            .map(|part| {
                let mut sum = self.pool.take(size);
                let mine = part * blocks / parts..(part + 1) * blocks / parts;
                for task in mine.clone() {
                    self.accumulate_tiles(sources, &zeros, gradient, self.range(task, block), &groups, task > mine.start, &mut sum);
                }
                sum
            })
            .collect();
        let mut total = self.pool.take(size);
        total.par_chunks_mut(1 << 13).enumerate().for_each(|(chunk, total)| {
            let from = chunk << 13;
            total.copy_from_slice(&sums[0][from..from + total.len()]);
            for sum in &sums[1..] {
                total.iter_mut().zip(&sum[from..]).for_each(|(total, value)| *total += value);
            }
        });
        let target = SharedMut::new(out);
        groups.par_iter().for_each(|group| {
            for row in 0..INPUT_TILE {
                let from = (group.panel * COEFFICIENTS + row * INPUT_TILE * group.count) * 16 * inputs;
                self.accumulate_filter_gradient(total[from..].as_ptr(), inputs, *group, row, row == 0, target);
            }
        });
        sums.into_iter().chain([total]).for_each(|buffer| self.pool.give(buffer));
    }

    /// Sums (or, with `add`, adds) the products of some tiles of input and gradient for all panel groups:
    /// `[group][coefficient][input][panel of the group][16]`.
    #[expect(clippy::too_many_arguments, reason = "input, gradient, tiles and destination of one task")]
    fn accumulate_tiles(
        &self,
        sources: &[Part],
        zeros: &[f32],
        gradient: Part,
        tiles: Range<usize>,
        groups: &[PanelGroup],
        add: bool,
        sum: &mut [f32],
    ) {
        let inputs = sources.iter().map(|part| part.channels).sum::<usize>();
        let rows = tiles.len();
        with_scratch(domain_len(rows, inputs) + domain_len(rows, 32), |scratch| {
            let (input, gradient_tiles) = scratch.split_at_mut(domain_len(rows, inputs));
            self.transform_input_into(sources, zeros, tiles.clone(), input);
            for group in groups {
                self.transform_gradient(gradient, zeros, *group, tiles.clone(), gradient_tiles);
                let width = group.count * 16;
                for coefficient in 0..COEFFICIENTS {
                    let target = (group.panel * COEFFICIENTS + coefficient * group.count) * 16 * inputs;
                    let out = sum[target..target + width * inputs].as_mut_ptr();
                    let (left, right) = (
                        input[coefficient * coefficient_stride(rows, inputs)..].as_ptr(),
                        gradient_tiles[coefficient * coefficient_stride(rows, width)..].as_ptr(),
                    );
                    run_on(self.isa, OuterGemm { left, rows, columns: inputs, right, right_row: width, vectors: group.count, add, out });
                }
            }
        });
    }

    /// Transforms some tiles of the gradient, `A dY A^T`, for the channels of a panel group.
    fn transform_gradient(&self, part: Part, zeros: &[f32], group: PanelGroup, tiles: Range<usize>, scratch: &mut [f32]) {
        let width = group.count * 16;
        assert!(scratch.len() >= domain_len(tiles.len(), width));
        let coefficients = Coefficients { first: scratch.as_mut_ptr(), stride: coefficient_stride(tiles.len(), width), row: width };
        let channels = group.panel * 16..group.panel * 16 + width;
        run_on(self.isa, GradientTransform { grid: self.grid, part, tiles, channels, zeros, coefficients });
    }

    /// Computes the gradient of a large filter, one block of tiles after the other: each task sums some panel groups over the whole block,
    /// row by row of coefficients, and adds the sums to their gradient.
    fn weight_gradient_by_panels(&self, sources: &[Part], inputs: usize, gradient: Part, out: &mut [f32]) {
        let groups = self.groups(gradient.channels);
        let zeros = vec![0.0; inputs.max(gradient.channels)];
        let target = SharedMut::new(out);
        for block in 0..self.grid.tiles().div_ceil(TILES_PER_BLOCK) {
            let tiles = self.range(block, TILES_PER_BLOCK);
            let rows = tiles.len();
            let input = self.transform_input(sources, inputs, tiles.clone());
            groups.par_chunks(groups_per_task(self.isa, groups.len(), inputs, rows)).for_each(|groups| {
                let (gradient_len, filter_row_len) = (domain_len(rows, 32), INPUT_TILE * inputs * 32);
                with_scratch(groups.len() * (gradient_len + filter_row_len), |scratch| {
                    let (gradient_tiles, filter_row) = scratch.split_at_mut(groups.len() * gradient_len);
                    for (group, scratch) in groups.iter().zip(gradient_tiles.chunks_exact_mut(gradient_len)) {
                        self.transform_gradient(gradient, &zeros, *group, tiles.clone(), scratch);
                    }
                    for row in 0..INPUT_TILE {
                        for (column, coefficient) in (row * INPUT_TILE..(row + 1) * INPUT_TILE).enumerate() {
                            let left = input[coefficient * coefficient_stride(rows, inputs)..].as_ptr();
                            let parts = gradient_tiles.chunks_exact(gradient_len).zip(filter_row.chunks_exact_mut(filter_row_len));
                            for (group, (gradient_tiles, filter_row)) in groups.iter().zip(parts) {
                                let (columns, vectors, right_row) = (inputs, group.count, group.count * 16);
                                let right = gradient_tiles[coefficient * coefficient_stride(rows, right_row)..].as_ptr();
                                let out = filter_row[column * inputs * right_row..][..inputs * right_row].as_mut_ptr();
                                run_on(self.isa, OuterGemm { left, rows, columns, right, right_row, vectors, add: false, out });
                            }
                        }
                        for (group, filter_row) in groups.iter().zip(filter_row.chunks_exact(filter_row_len)) {
                            self.accumulate_filter_gradient(filter_row.as_ptr(), inputs, *group, row, block == 0 && row == 0, target);
                        }
                    }
                });
            });
            self.pool.give(input);
        }
    }

    /// Transforms one row of coefficients back to taps and adds them to the gradient of a panel group (overwrites it if `first`).
    fn accumulate_filter_gradient(
        &self,
        coefficients: *const f32,
        inputs: usize,
        group: PanelGroup,
        row: usize,
        first: bool,
        target: SharedMut,
    ) {
        // SAFETY: the panels of a group lie inside the gradient, and each task owns its groups.
        let out = unsafe { target.get().add(group.panel * TAPS * inputs * 16) };
        run_on(self.isa, FilterGradientTransform { coefficients, inputs, count: group.count, row, first, out });
    }
}
