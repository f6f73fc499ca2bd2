//! cuDNN descriptors of tensors, filters and convolutions, each destroyed when it is dropped.

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};

use super::super::machine::Geometry;

const NHWC: sys::cudnnTensorFormat_t = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
const CROSS_CORRELATION: sys::cudnnConvolutionMode_t = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;

/// Accumulator type: f32 whatever the type of feature maps.
const SUMS: sys::cudnnDataType_t = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;

fn ints<const N: usize>(values: [usize; N]) -> [i32; N] {
    values.map(|v| i32::try_from(v).expect("sides and channels fit an int"))
}

/// Descriptor of a feature map `B H W C`.
pub struct Map(pub sys::cudnnTensorDescriptor_t);

impl Map {
    /// Creates a descriptor of a feature map of this type.
    pub fn new(dtype: sys::cudnnDataType_t, [batch, height, width, channels]: [usize; 4]) -> Result<Self, CudnnError> {
        let map = Self(result::create_tensor_descriptor()?);
        // SAFETY: the descriptor was just made.
        unsafe { result::set_tensor4d_descriptor(map.0, NHWC, dtype, ints([batch, channels, height, width]))? };
        Ok(map)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this value is the descriptor's only owner. An error cannot be reported from a destructor.
        let _ = unsafe { result::destroy_tensor_descriptor(self.0) };
    }
}

/// Descriptor of a filter `O K K I`.
pub struct Filter(pub sys::cudnnFilterDescriptor_t);

impl Filter {
    /// Creates a descriptor of the geometry's filter.
    pub fn new(dtype: sys::cudnnDataType_t, geometry: &Geometry) -> Result<Self, CudnnError> {
        let filter = Self(result::create_filter_descriptor()?);
        let sides = ints([geometry.outputs, geometry.inputs, geometry.kernel, geometry.kernel]);
        // SAFETY: the descriptor was just made.
        unsafe { result::set_filter4d_descriptor(filter.0, dtype, NHWC, sides)? };
        Ok(filter)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: as for feature maps.
        let _ = unsafe { result::destroy_filter_descriptor(self.0) };
    }
}

/// Descriptor of padding, stride and math type.
pub struct Convolution(pub sys::cudnnConvolutionDescriptor_t);

impl Convolution {
    /// Creates a descriptor with zero padding `kernel / 2`.
    pub fn new(geometry: &Geometry, math: sys::cudnnMathType_t) -> Result<Self, CudnnError> {
        let convolution = Self(result::create_convolution_descriptor()?);
        let [padding, stride] = ints([geometry.kernel / 2, geometry.stride]);
        // SAFETY: the descriptor was just made.
        unsafe {
            result::set_convolution2d_descriptor(convolution.0, padding, padding, stride, stride, 1, 1, CROSS_CORRELATION, SUMS)?;
        }
        convolution.set_math(math)?;
        Ok(convolution)
    }

    /// Sets the math type: the units that multiply.
    pub fn set_math(&self, math: sys::cudnnMathType_t) -> Result<(), CudnnError> {
        // SAFETY: the descriptor is alive.
        unsafe { result::set_convolution_math_type(self.0, math) }
    }
}

impl Drop for Convolution {
    fn drop(&mut self) {
        // SAFETY: as for feature maps.
        let _ = unsafe { result::destroy_convolution_descriptor(self.0) };
    }
}
