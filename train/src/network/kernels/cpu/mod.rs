//! The fast f32 path: feature maps `B H W C`, weights in panels, every sum in an order that depends on shapes alone.

mod gather;
mod geometry;
mod lanes;
mod maps;
mod norm;
mod panels;
mod weight_gradient;

use std::ops::Deref;

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};
use models::graph::Conv;

use super::{ConvGradients, Kernels, Moments, Norm, NormGradients};
use gather::Gather;
use geometry::{Cache, Geometry};
pub use lanes::Isa;
use maps::Shape;
use weight_gradient::Outer;

/// Kernels for the processor at hand.
pub struct Cpu {
    isa: Isa,
    tables: Cache,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::with_isa(Isa::best())
    }
}

impl Cpu {
    /// Kernels that use one instruction set, which must be among [`Isa::available`].
    pub fn with_isa(isa: Isa) -> Self {
        assert!(Isa::available().contains(&isa), "this processor has no {isa:?}");
        Self { isa, tables: Cache::default() }
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// The values of a contiguous CPU tensor, held for reading.
struct Values<G, T> {
    storage: G,
    range: std::ops::Range<usize>,
    slice: fn(&CpuStorage) -> Option<&[T]>,
}

impl<G: Deref<Target = Storage>, T> Deref for Values<G, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match &*self.storage {
            Storage::Cpu(cpu) => &(self.slice)(cpu).expect("type was checked")[self.range.clone()],
            Storage::Cuda(_) | Storage::Metal(_) => unreachable!("device was checked"),
        }
    }
}

fn read<T>(tensor: &Tensor, slice: fn(&CpuStorage) -> Option<&[T]>) -> Result<Values<impl Deref<Target = Storage>, T>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((from, to)) = layout.contiguous_offsets() else { bail!("expected a contiguous tensor, found {layout:?}") };
    match &*storage {
        Storage::Cpu(cpu) if slice(cpu).is_some() => Ok(Values { storage, range: from..to, slice }),
        _ => bail!("expected a tensor in memory of another type or device, found {:?} on {:?}", tensor.dtype(), tensor.device()),
    }
}

fn f32s(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage>, f32>> {
    read(tensor, |cpu| if let CpuStorage::F32(values) = cpu { Some(values) } else { None })
}

fn f64s(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage>, f64>> {
    read(tensor, |cpu| if let CpuStorage::F64(values) = cpu { Some(values) } else { None })
}

fn shape(x: &Tensor) -> Result<Shape> {
    let (batch, height, width, channels) = x.dims4()?;
    Ok(Shape { batch, height, width, channels })
}

fn feature(values: Vec<f32>, batch: usize, height: usize, width: usize, channels: usize) -> Result<Tensor> {
    Tensor::from_vec(values, (batch, height, width, channels), &Device::Cpu)
}

fn vector(values: Vec<f32>) -> Result<Tensor> {
    let n = values.len();
    Tensor::from_vec(values, n, &Device::Cpu)
}

fn like(values: Vec<f32>, x: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, x.shape(), &Device::Cpu)
}

fn geometry(conv: &Conv, x: Shape) -> Geometry {
    assert_eq!(x.channels, conv.inputs, "channels of the input");
    Geometry { batch: x.batch, height: x.height, width: x.width, kernel: conv.kernel, stride: conv.stride }
}

fn inverse_std(moments: &Moments, eps: f64) -> Result<Vec<f64>> {
    Ok(f64s(&moments.variance)?.iter().map(|v| 1.0 / (v + eps).sqrt()).collect())
}

impl Kernels for Cpu {
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn import_feature(&self, nchw: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = nchw.dims4()?;
        let nchw = nchw.contiguous()?;
        feature(maps::channels_last(&f32s(&nchw)?, b, c, h * w), b, h, w, c)
    }

    fn export_feature(&self, x: &Tensor) -> Result<Tensor> {
        let Shape { batch, height, width, channels } = shape(x)?;
        Tensor::from_vec(maps::channels_first(&f32s(x)?, batch, channels, height * width), (batch, channels, height, width), &Device::Cpu)
    }

    fn import_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor> {
        vector(panels::pack(&f32s(&weight.contiguous()?)?, conv.outputs, conv.inputs, conv.kernel * conv.kernel))
    }

    fn export_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor> {
        let taps = conv.kernel * conv.kernel;
        let values = panels::unpack(&f32s(weight)?, conv.outputs, conv.inputs, taps);
        Tensor::from_vec(values, (conv.outputs, conv.inputs, conv.kernel, conv.kernel), &Device::Cpu)
    }

    fn conv(&self, conv: &Conv, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let geometry = geometry(conv, shape(x)?);
        let (height, width) = geometry.output();
        let mut out = vec![0.0; geometry.batch * height * width * conv.outputs];
        let (source, weights) = (f32s(x)?, f32s(weight)?);
        let bias = bias.map(f32s).transpose()?;
        let gather = Gather {
            source: &source,
            source_channels: conv.inputs,
            weights: &weights,
            taps: geometry.taps(),
            outputs: conv.outputs,
            bias: bias.as_deref(),
        };
        gather.run(self.isa, &self.tables.get(geometry).forward, &mut out);
        feature(out, geometry.batch, height, width, conv.outputs)
    }

    fn conv_backward(&self, conv: &Conv, x: &Tensor, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients> {
        let geometry = geometry(conv, shape(x)?);
        let tables = self.tables.get(geometry);
        let gradient = f32s(dy)?;
        let source = f32s(x)?;
        let outer = Outer {
            source: &source,
            inputs: conv.inputs,
            gradient: &gradient,
            outputs: conv.outputs,
            taps: geometry.taps(),
            sources: &tables.forward[0].sources,
        };
        let dweight = vector(outer.run(self.isa))?;
        let dx = if wants_dx {
            let transposed = panels::transpose(&f32s(weight)?, conv.outputs, conv.inputs, geometry.taps());
            let gather = Gather {
                source: &gradient,
                source_channels: conv.outputs,
                weights: &transposed,
                taps: geometry.taps(),
                outputs: conv.inputs,
                bias: None,
            };
            let mut dx = vec![0.0; source.len()];
            gather.run(self.isa, &tables.backward, &mut dx);
            Some(like(dx, x)?)
        } else {
            None
        };
        let dbias = if conv.bias { Some(vector(maps::sum_over_pixels(&gradient, conv.outputs))?) } else { None };
        Ok(ConvGradients { dx, dweight, dbias })
    }

    fn moments(&self, x: &Tensor) -> Result<Moments> {
        let channels = shape(x)?.channels;
        let (mean, variance) = norm::moments(&f32s(x)?, channels);
        Ok(Moments { mean: Tensor::from_vec(mean, channels, &Device::Cpu)?, variance: Tensor::from_vec(variance, channels, &Device::Cpu)? })
    }

    fn moments_from(&self, running: &Tensor) -> Result<Tensor> {
        running.to_dtype(DType::F64)
    }

    fn norm(&self, norm: Norm, x: &Tensor, moments: &Moments) -> Result<Tensor> {
        let (scale, shift, mean) = (f32s(norm.scale)?, f32s(norm.shift)?, f64s(&moments.mean)?);
        let gain: Vec<f64> = inverse_std(moments, norm.eps)?.iter().zip(&*scale).map(|(i, s)| i * f64::from(*s)).collect();
        let offset: Vec<f32> = gain.iter().zip(&*shift).zip(&*mean).map(|((g, s), m)| (f64::from(*s) - g * m) as f32).collect();
        let gain: Vec<f32> = gain.into_iter().map(|g| g as f32).collect();
        like(norm::affine(&f32s(x)?, &gain, &offset, norm.relu), x)
    }

    fn norm_backward(
        &self,
        norm: Norm,
        x: &Tensor,
        y: &Tensor,
        dy: &Tensor,
        moments: &Moments,
        batch_statistics: bool,
    ) -> Result<NormGradients> {
        let values = (f32s(x)?, f32s(y)?, f32s(dy)?, f32s(norm.scale)?, f64s(&moments.mean)?);
        let gradients = norm::backward(&norm::Point {
            x: &values.0,
            relu_output: norm.relu.then_some(&*values.1),
            dy: &values.2,
            scale: &values.3,
            mean: &values.4,
            inverse_std: &inverse_std(moments, norm.eps)?,
            batch_statistics,
        });
        Ok(NormGradients { dx: like(gradients.dx, x)?, dscale: vector(gradients.dscale)?, dshift: vector(gradients.dshift)? })
    }

    fn relu(&self, x: &Tensor) -> Result<Tensor> {
        like(maps::map(&f32s(x)?, |v| v.max(0.0)), x)
    }

    fn relu_backward(&self, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        like(maps::zip(&f32s(y)?, &f32s(dy)?, |y, d| if y > 0.0 { d } else { 0.0 }), y)
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        like(maps::zip(&f32s(a)?, &f32s(b)?, |a, b| a + b), a)
    }

    fn max_pool(&self, x: &Tensor) -> Result<Tensor> {
        let s = shape(x)?;
        feature(maps::max_pool(&f32s(x)?, s), s.batch, s.height.div_ceil(2), s.width.div_ceil(2), s.channels)
    }

    fn max_pool_backward(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        like(maps::max_pool_backward(&f32s(x)?, &f32s(y)?, &f32s(dy)?, shape(x)?), x)
    }

    fn upsample(&self, x: &Tensor) -> Result<Tensor> {
        let s = shape(x)?;
        feature(maps::upsample(&f32s(x)?, s), s.batch, 2 * s.height, 2 * s.width, s.channels)
    }

    fn upsample_backward(&self, dy: &Tensor) -> Result<Tensor> {
        let s = shape(dy)?;
        let half = Shape { height: s.height / 2, width: s.width / 2, ..s };
        feature(maps::upsample_backward(&f32s(dy)?, half), s.batch, half.height, half.width, s.channels)
    }

    fn concat(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let (s, t) = (shape(a)?, shape(b)?);
        feature(maps::concat(&f32s(a)?, s.channels, &f32s(b)?, t.channels), s.batch, s.height, s.width, s.channels + t.channels)
    }

    fn split(&self, dy: &Tensor, channels: usize) -> Result<(Tensor, Tensor)> {
        let s = shape(dy)?;
        let (a, b) = maps::split(&f32s(dy)?, channels, s.channels - channels);
        Ok((feature(a, s.batch, s.height, s.width, channels)?, feature(b, s.batch, s.height, s.width, s.channels - channels)?))
    }
}
