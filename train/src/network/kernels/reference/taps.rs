//! Strided views of a feature map, as the taps of a 3x3 window read them, and their adjoints.

use candle_core::{Result, Tensor};

/// Takes every second row and column, from `row` and `column` (0 or 1) on, of a feature map whose sides are even.
pub(super) fn subsample(x: &Tensor, row: usize, column: usize) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    x.reshape((b, c, h / 2, 2, w / 2, 2))?.narrow(3, row, 1)?.narrow(5, column, 1)?.reshape((b, c, h / 2, w / 2))
}

/// Dilates by 2 with zeros between the pixels: the adjoint of [`subsample`].
pub(super) fn dilate(x: &Tensor, row: usize, column: usize) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let x = x.reshape((b, c, h, 1, w, 1))?;
    x.pad_with_zeros(3, row, 1 - row)?.pad_with_zeros(5, column, 1 - column)?.reshape((b, c, 2 * h, 2 * w))
}

/// Returns the nine taps of each 3x3 window with stride 2 and padding 1, in raster order. Fails if a side of `x` is odd.
pub(super) fn windows(x: &Tensor) -> Result<Vec<Tensor>> {
    let (_, _, h, w) = x.dims4()?;
    if h % 2 == 1 || w % 2 == 1 {
        candle_core::bail!("max pooling expects even sides, found {h} x {w}");
    }
    // Padding is far below any activation but finite, because an infinity multiplied by the zeros of a mask would give NaN.
    let inside = x.ones_like()?.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    let low = ((1.0 - inside)? * (f64::from(f32::MIN) / 4.0))?;
    let padded = (x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)? + low)?;
    let mut values = Vec::with_capacity(9);
    for dy in 0..3 {
        for dx in 0..3 {
            values.push(subsample(&padded.narrow(2, dy / 2 * 2, h)?.narrow(3, dx / 2 * 2, w)?, dy % 2, dx % 2)?);
        }
    }
    Ok(values)
}

/// Gathers the pixel under tap `(i, j)` of a 3x3 window for each of `rows x columns` outputs, with zero padding 1.
pub(super) fn gather_tap(x: &Tensor, stride: usize, [i, j]: [usize; 2], [rows, columns]: [usize; 2]) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let padded = x.pad_with_zeros(2, 1, stride * rows + 1 - h)?.pad_with_zeros(3, 1, stride * columns + 1 - w)?;
    let steps = padded.narrow(2, i, stride * rows)?.narrow(3, j, stride * columns)?.contiguous()?;
    steps.reshape((b, c, rows, stride, columns, stride))?.narrow(3, 0, 1)?.narrow(5, 0, 1)?.reshape((b, c, rows, columns))
}

/// Scatters gradients through tap `(i, j)` to a feature map of `h x w`: the adjoint of [`gather_tap`].
pub(super) fn scatter_tap(dy: &Tensor, stride: usize, [i, j]: [usize; 2], [h, w]: [usize; 2]) -> Result<Tensor> {
    let (b, c, rows, columns) = dy.dims4()?;
    let steps = dy.reshape((b, c, rows, 1, columns, 1))?.pad_with_zeros(3, 0, stride - 1)?.pad_with_zeros(5, 0, stride - 1)?;
    let steps = steps.reshape((b, c, stride * rows, stride * columns))?;
    steps.pad_with_zeros(2, i, 2 - i)?.pad_with_zeros(3, j, 2 - j)?.narrow(2, 1, h)?.narrow(3, 1, w)
}

/// Row and column of each tap of a 3x3 window, in raster order.
pub(super) const TAPS: [[usize; 2]; 9] = [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]];
