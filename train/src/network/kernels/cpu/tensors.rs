//! Conversion between tensors in host memory and slices.

use std::ops::Deref;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use kernels::{Buffer, Pool, Shape};

/// Read guard on the values of a contiguous CPU tensor.
pub struct Values<G, T> {
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

/// Borrows the values of a contiguous f32 tensor in host memory.
pub fn f32s(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage>, f32>> {
    read(tensor, |cpu| if let CpuStorage::F32(values) = cpu { Some(values) } else { None })
}

/// Borrows the values of a contiguous f64 tensor in host memory.
pub fn f64s(tensor: &Tensor) -> Result<Values<impl Deref<Target = Storage>, f64>> {
    read(tensor, |cpu| if let CpuStorage::F64(values) = cpu { Some(values) } else { None })
}

/// Returns the shape of a feature map `B H W C`.
pub fn shape(x: &Tensor) -> Result<Shape> {
    let (batch, height, width, channels) = x.dims4()?;
    Ok(Shape { batch, height, width, channels })
}

/// Moves a buffer into a feature map `B H W C`.
pub fn feature(values: Buffer, batch: usize, height: usize, width: usize, channels: usize) -> Result<Tensor> {
    tensor(values)?.reshape((batch, height, width, channels))
}

/// Moves a buffer into a tensor of one dimension, without copying.
pub fn tensor(values: Buffer) -> Result<Tensor> {
    let (whole, range) = values.into_parts();
    let len = whole.len();
    Tensor::from_vec(whole, len, &Device::Cpu)?.narrow(0, range.start, range.len())
}

/// Moves values into a tensor of one dimension that does not belong to a pool.
pub fn vector(values: Vec<f32>) -> Result<Tensor> {
    let n = values.len();
    Tensor::from_vec(values, n, &Device::Cpu)
}

/// Moves a buffer into a tensor of the shape of `x`.
pub fn like(values: Buffer, x: &Tensor) -> Result<Tensor> {
    tensor(values)?.reshape(x.shape())
}

/// In-place operation that returns a tensor's buffer to the pool and leaves the tensor without values.
pub struct Reclaim<'a>(pub &'a Pool);

impl InplaceOp1 for Reclaim<'_> {
    fn name(&self) -> &'static str {
        "reclaim"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        if let CpuStorage::F32(values) = storage {
            self.0.give_whole(std::mem::take(values));
        }
        Ok(())
    }
}
