//! Layout conversion, elementwise operations, upsampling, concatenation and pooling of feature maps.

use candle_core::{DType, Result, Tensor};

use super::launch::{Arg, int, long, over};
use super::{Cuda, Machine};

impl<M: Machine> Cuda<M> {
    /// Converts `B C H W` of any device to a feature map `B H W C`.
    pub(super) fn feature_from_nchw(&self, nchw: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = nchw.dims4()?;
        let nchw = nchw.to_dtype(DType::F32)?;
        let rows = nchw.permute((0, 2, 3, 1))?;
        let channels_first = !rows.is_contiguous();
        let source = if channels_first { nchw.contiguous()? } else { rows };
        let source = if source.device().same_device(self.machine.device()) { source } else { self.machine.upload(&source)? };
        let map = self.empty_feature(&[b, h, w, c])?;
        let args = [(&source).into(), (&map).into(), int(b), int(c), int(h * w), int(i32::from(channels_first))];
        self.run("import_map", over(map.elem_count()), &args)?;
        Ok(map)
    }

    /// Copies a feature map to f32 `B C H W` with channels-last memory.
    pub(super) fn feature_to_nchw(&self, x: &Tensor) -> Result<Tensor> {
        let values = self.floats(x.dims())?;
        self.run("export_map", over(x.elem_count()), &[x.into(), (&values).into(), long(x.elem_count())])?;
        values.permute((0, 3, 1, 2))
    }

    /// Runs an elementwise kernel on one or two feature maps of one shape, followed by `further` arguments.
    pub(super) fn elementwise(&self, kernel: &str, maps: &[&Tensor], further: &[Arg]) -> Result<Tensor> {
        let n = maps[0].elem_count();
        assert!(maps.iter().all(|map| map.elem_count() == n), "operands have one size");
        let result = self.empty_feature(maps[0].dims())?;
        let (width, ending) = self.width(&[n]);
        let mut args: Vec<_> = maps.iter().map(|map| (*map).into()).collect();
        args.extend([(&result).into(), long(n)]);
        args.extend_from_slice(further);
        self.run(&format!("{kernel}_{ending}"), over(n / width), &args)?;
        Ok(result)
    }

    /// Concatenates the channels of `a`, upsampled by 2 if `doubled`, and those of `b`.
    pub(super) fn concat_upsampled(&self, a: &Tensor, b: Option<&Tensor>, doubled: bool) -> Result<Tensor> {
        let (images, mut height, mut width, in_a) = a.dims4()?;
        if doubled {
            (height, width) = (2 * height, 2 * width);
        }
        let in_b = b.map_or(Ok(0), |b| b.dim(3))?;
        assert!(b.is_none_or(|b| b.dims() == [images, height, width, in_b]), "both inputs cover the same pixels");
        let y = self.empty_feature(&[images, height, width, in_a + in_b])?;
        let (moved, ending) = self.width(&[in_a, in_b]);
        let args = [a.into(), b.into(), (&y).into(), int(images), int(height), int(width), int(in_a), int(in_b), int(i32::from(doubled))];
        self.run(&format!("assemble_{ending}"), over(y.elem_count() / moved), &args)?;
        Ok(y)
    }

    /// Computes the gradients of [`Cuda::concat_upsampled`], the first with `in_a` channels; the second is none if no channels remain.
    pub(super) fn concat_upsampled_backward(&self, dy: &Tensor, in_a: usize, doubled: bool) -> Result<(Tensor, Option<Tensor>)> {
        let (images, height, width, all) = dy.dims4()?;
        let in_b = all - in_a;
        let (moved, ending) = self.width(&[in_a, in_b]);
        let (rows, columns) = if doubled { (height / 2, width / 2) } else { (height, width) };
        let da = self.empty_feature(&[images, rows, columns, in_a])?;
        let args = [dy.into(), (&da).into(), int(images), int(height), int(width), int(in_a), int(in_b), int(i32::from(doubled))];
        self.run(&format!("assemble_backward_first_{ending}"), over(da.elem_count() / moved), &args)?;
        if in_b == 0 {
            return Ok((da, None));
        }
        let db = self.empty_feature(&[images, height, width, in_b])?;
        let args = [dy.into(), (&db).into(), int(images * height * width), int(in_a), int(in_b)];
        self.run(&format!("assemble_backward_second_{ending}"), over(db.elem_count() / moved), &args)?;
        Ok((da, Some(db)))
    }

    pub(super) fn pool(&self, x: &Tensor) -> Result<Tensor> {
        let (images, height, width, channels) = x.dims4()?;
        let y = self.empty_feature(&[images, height.div_ceil(2), width.div_ceil(2), channels])?;
        let (moved, ending) = self.width(&[channels]);
        let args = [x.into(), (&y).into(), int(images), int(height), int(width), int(channels)];
        self.run(&format!("max_pool_{ending}"), over(y.elem_count() / moved), &args)?;
        Ok(y)
    }

    pub(super) fn pool_backward(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let (images, height, width, channels) = x.dims4()?;
        let dx = self.empty_feature(x.dims())?;
        let (moved, ending) = self.width(&[channels]);
        let args = [x.into(), y.into(), dy.into(), (&dx).into(), int(images), int(height), int(width), int(channels)];
        self.run(&format!("max_pool_backward_{ending}"), over(dx.elem_count() / moved), &args)?;
        Ok(dx)
    }
}
