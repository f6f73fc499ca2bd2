//! GPU memory: uninitialised tensors, device addresses, and uploads through pinned staging buffers.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DeviceRepr, PinnedHostSlice, result, sys};
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaDevice, CudaStorage, DType, Device, Error, Result, Storage, Tensor, bail};

/// Keeps freed memory in the device's memory pool. Without this setting each synchronisation would return it to the driver.
pub fn keep_freed(context: &Arc<CudaContext>) -> Result<()> {
    let mut threshold = u64::MAX;
    // SAFETY: the attribute is a 64-bit number.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).map_err(Error::wrap)?;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, std::ptr::from_mut(&mut threshold).cast()).map_err(Error::wrap)
    }
}

/// Returns the peak number of bytes that the device's memory pool has had in use; none if the device is not a GPU.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    let Device::Cuda(cuda) = device else { return None };
    let mut bytes = 0u64;
    // SAFETY: the attribute is a 64-bit number.
    unsafe {
        let pool = result::device::get_default_mem_pool(cuda.cuda_stream().context().cu_device()).ok()?;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        result::mem_pool::get_attribute(pool, attribute, std::ptr::from_mut(&mut bytes).cast()).ok()?;
    }
    Some(bytes)
}

/// Allocates a tensor with arbitrary values.
pub fn empty(cuda: &CudaDevice, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let n = shape.iter().product();
    // SAFETY: callers pass the tensor to a kernel that writes all of it before anything reads it.
    let slice = unsafe {
        match dtype {
            DType::BF16 => CudaStorageSlice::BF16(cuda.alloc(n)?),
            DType::F32 => CudaStorageSlice::F32(cuda.alloc(n)?),
            DType::F64 => CudaStorageSlice::F64(cuda.alloc(n)?),
            _ => bail!("no kernel writes {dtype:?}"),
        }
    };
    Ok(tensor(CudaStorage { slice, device: cuda.clone() }, shape))
}

fn tensor(storage: CudaStorage, shape: &[usize]) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// Returns the device address of the first value of a contiguous tensor.
pub fn address(stream: &CudaStream, tensor: &Tensor) -> Result<u64> {
    fn start<T>(slice: &CudaSlice<T>, stream: &CudaStream) -> u64 {
        // No event needs to be recorded for this use, because all work is on one stream.
        slice.device_ptr(stream).0
    }
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("expected a tensor on the GPU, found one on {:?}", tensor.device()) };
    if !layout.is_contiguous() {
        bail!("expected a contiguous tensor, found {layout:?}");
    }
    let base = match &storage.slice {
        CudaStorageSlice::U8(slice) => start(slice, stream),
        CudaStorageSlice::U32(slice) => start(slice, stream),
        CudaStorageSlice::I64(slice) => start(slice, stream),
        CudaStorageSlice::BF16(slice) => start(slice, stream),
        CudaStorageSlice::F32(slice) => start(slice, stream),
        CudaStorageSlice::F64(slice) => start(slice, stream),
        _ => bail!("no kernel reads {:?}", storage.dtype()),
    };
    Ok(base + (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64)
}

/// Ring of page-locked staging buffers for uploads, so that one buffer is filled while another one is being copied.
#[derive(Default)]
pub struct Staging {
    buffers: [Option<PinnedHostSlice<u8>>; 6],
    next: usize,
}

impl Staging {
    /// Uploads a tensor in host memory, f32 or u8, to the GPU.
    pub fn upload(&mut self, cuda: &CudaDevice, from: &Tensor) -> Result<Tensor> {
        let from = from.contiguous()?;
        let n = from.elem_count();
        let (storage, layout) = from.storage_and_layout();
        let values = layout.start_offset()..layout.start_offset() + n;
        let slice = match &*storage {
            Storage::Cpu(CpuStorage::U8(all)) => CudaStorageSlice::U8(self.copy(cuda, &all[values], n)?),
            // SAFETY: a float is four bytes, and bytes have no alignment.
            Storage::Cpu(CpuStorage::F32(all)) => CudaStorageSlice::F32(self.copy(cuda, unsafe { all[values].align_to().1 }, n)?),
            _ => bail!("expected f32 or u8 in memory, found {:?} on {:?}", from.dtype(), from.device()),
        };
        Ok(tensor(CudaStorage { slice, device: cuda.clone() }, from.dims()))
    }

    /// Starts the upload of `n` values, given as bytes.
    fn copy<T: DeviceRepr>(&mut self, cuda: &CudaDevice, bytes: &[u8], n: usize) -> Result<CudaSlice<T>> {
        let stream = cuda.cuda_stream();
        self.next = (self.next + 1) % self.buffers.len();
        let buffer = &mut self.buffers[self.next];
        if buffer.as_ref().is_none_or(|buffer| buffer.len() != bytes.len()) {
            // SAFETY: every byte is written below before the copy reads it.
            *buffer = Some(unsafe { stream.context().alloc_pinned(bytes.len()) }.map_err(Error::wrap)?);
        }
        let buffer = buffer.as_mut().expect("was just made");
        // `as_mut_slice` waits until the previous copy from this buffer is done.
        buffer.as_mut_slice().map_err(Error::wrap)?.copy_from_slice(bytes);
        // SAFETY: the copy writes all of it.
        let mut to = unsafe { cuda.alloc::<T>(n)? };
        // SAFETY: the bytes are those of values of this type.
        let view = &mut unsafe { to.transmute_mut::<u8>(bytes.len()) }.expect("as many bytes as the values have");
        stream.memcpy_htod(&*buffer, view).map_err(Error::wrap)?;
        Ok(to)
    }
}
