//! Convolutions by cuDNN: descriptors and algorithm cached for each shape, and one workspace for all.

use std::collections::HashMap;
use std::ffi::c_void;

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, DType, Error, Result};

use super::super::machine::{Geometry, Pass};
use super::algorithm::{Candidate, Rule, choose};
use super::descriptor::{Convolution, Filter, Map};

/// Maximum workspace of an algorithm: 256 MiB.
const WORKSPACE: usize = 256 << 20;

/// cuDNN handle on the stream of a device, with cached plans.
pub struct Convolutions {
    handle: sys::cudnnHandle_t,
    cuda: CudaDevice,
    dtype: sys::cudnnDataType_t,
    rule: Rule,
    /// Plans by pass and geometry; none for shapes without an algorithm.
    plans: HashMap<(Pass, Geometry), Option<Plan>>,
    workspace: Option<CudaSlice<u8>>,
}

// SAFETY: cuDNN allows a handle on any thread as long as one thread uses it at a time, which `&mut self` ensures.
unsafe impl Send for Convolutions {}

/// Descriptors and algorithm of one shape.
struct Plan {
    x: Map,
    y: Map,
    w: Filter,
    convolution: Convolution,
    algorithm: Algorithm,
    workspace: usize,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Data(sys::cudnnConvolutionBwdDataAlgo_t),
    Filter(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// Algorithm, bytes of workspace, and math type.
type Found = (Algorithm, usize, sys::cudnnMathType_t);

impl Convolutions {
    /// Opens cuDNN for feature maps of type `feature_dtype` on the stream of `cuda`.
    pub fn new(cuda: &CudaDevice, feature_dtype: DType, deterministic: bool) -> Result<Self> {
        let stream = cuda.cuda_stream();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let handle = result::create_handle().map_err(Error::wrap)?;
        let dtype =
            if feature_dtype == DType::BF16 { sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16 } else { sys::cudnnDataType_t::CUDNN_DATA_FLOAT };
        let rule = Rule { deterministic, full_f32: feature_dtype != DType::BF16, workspace: WORKSPACE };
        let convolutions = Self { handle, cuda: cuda.clone(), dtype, rule, plans: HashMap::new(), workspace: None };
        // SAFETY: the handle and the stream are alive.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()).map_err(Error::wrap)? };
        Ok(convolutions)
    }

    /// Starts a pass; the addresses are those of `x`, `w` and `y`. `false` if there is no algorithm for it.
    ///
    /// # Safety
    /// The addresses must have as much memory behind them as the geometry says.
    pub unsafe fn run(&mut self, pass: Pass, geometry: &Geometry, addresses: [u64; 3]) -> Result<bool> {
        self.cuda.cuda_stream().context().bind_to_thread().map_err(Error::wrap)?;
        let key = (pass, *geometry);
        if !self.plans.contains_key(&key) {
            // SAFETY: as the caller says.
            let plan = unsafe { self.plan(pass, geometry, addresses)? };
            self.plans.insert(key, plan);
        }
        let Some(bytes) = self.plans[&key].as_ref().map(|plan| plan.workspace) else { return Ok(false) };
        let workspace = self.reserve_workspace(bytes)?;
        if let Some(plan) = &self.plans[&key] {
            // SAFETY: as the caller says; the workspace is as large as the algorithm wants it.
            unsafe { launch(self.handle, plan, addresses.map(pointer), workspace)? };
        }
        Ok(true)
    }

    /// Returns the address of a workspace of at least `bytes` bytes, which grows on demand.
    fn reserve_workspace(&mut self, bytes: usize) -> Result<*mut c_void> {
        if bytes == 0 {
            return Ok(std::ptr::null_mut());
        }
        if self.workspace.as_ref().is_none_or(|workspace| workspace.len() < bytes) {
            self.workspace = None;
            // SAFETY: cuDNN reads nothing from a workspace that it has not written there.
            self.workspace = Some(unsafe { self.cuda.alloc::<u8>(bytes)? });
        }
        let stream = self.cuda.cuda_stream();
        let address = self.workspace.as_ref().map_or(0, |workspace| workspace.device_ptr(&stream).0);
        Ok(pointer(address))
    }

    /// Creates the descriptors of a shape and selects its algorithm: by benchmark, or by cuDNN's heuristics where runs must repeat their
    /// bits.
    unsafe fn plan(&mut self, pass: Pass, geometry: &Geometry, addresses: [u64; 3]) -> Result<Option<Plan>> {
        let Geometry { batch, height, width, inputs, outputs, .. } = *geometry;
        let [rows, columns] = geometry.result();
        let math = if self.rule.full_f32 { sys::cudnnMathType_t::CUDNN_FMA_MATH } else { sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH };
        let x = Map::new(self.dtype, [batch, height, width, inputs]).map_err(Error::wrap)?;
        let y = Map::new(self.dtype, [batch, rows, columns, outputs]).map_err(Error::wrap)?;
        let w = Filter::new(self.dtype, geometry).map_err(Error::wrap)?;
        let convolution = Convolution::new(geometry, math).map_err(Error::wrap)?;
        // SAFETY: as the caller says.
        let found = unsafe { self.algorithm(pass, (&x, &w, &convolution, &y), addresses.map(pointer))? };
        let Some((algorithm, workspace, best)) = found else {
            tracing::warn!("cuDNN has no algorithm for {pass:?} of {geometry:?}: using a slow direct kernel");
            return Ok(None);
        };
        // In f32 the descriptor keeps its math type, which excludes TF32.
        convolution.set_math(if self.rule.full_f32 { math } else { best }).map_err(Error::wrap)?;
        Ok(Some(Plan { x, y, w, convolution, algorithm, workspace }))
    }

    /// Selects the algorithm of a pass; the addresses are those of `x`, `w` and `y`.
    unsafe fn algorithm(
        &mut self,
        pass: Pass,
        (x, w, c, y): (&Map, &Filter, &Convolution, &Map),
        [px, pw, py]: [*mut c_void; 3],
    ) -> Result<Option<Found>> {
        // SAFETY: all descriptors and buffers are alive, and a benchmark writes the same output as the pass itself.
        unsafe {
            match pass {
                Pass::Forward => self.search(
                    Algorithm::Forward,
                    |h, most, found, places| sys::cudnnGetConvolutionForwardAlgorithm_v7(h, x.0, w.0, c.0, y.0, most, found, places),
                    |h, most, found, places, workspace, bytes| {
                        sys::cudnnFindConvolutionForwardAlgorithmEx(
                            h, x.0, px, w.0, pw, c.0, y.0, py, most, found, places, workspace, bytes,
                        )
                    },
                ),
                Pass::Data => self.search(
                    Algorithm::Data,
                    |h, most, found, places| sys::cudnnGetConvolutionBackwardDataAlgorithm_v7(h, w.0, y.0, c.0, x.0, most, found, places),
                    |h, most, found, places, workspace, bytes| {
                        sys::cudnnFindConvolutionBackwardDataAlgorithmEx(
                            h, w.0, pw, y.0, py, c.0, x.0, px, most, found, places, workspace, bytes,
                        )
                    },
                ),
                Pass::Filter => self.search(
                    Algorithm::Filter,
                    |h, most, found, places| sys::cudnnGetConvolutionBackwardFilterAlgorithm_v7(h, x.0, y.0, c.0, w.0, most, found, places),
                    |h, most, found, places, workspace, bytes| {
                        sys::cudnnFindConvolutionBackwardFilterAlgorithmEx(
                            h, x.0, px, y.0, py, c.0, w.0, pw, most, found, places, workspace, bytes,
                        )
                    },
                ),
            }
        }
    }

    /// Returns the first algorithm of cuDNN's list that satisfies the rule. The list comes from heuristics where runs must repeat their
    /// bits, else from a benchmark.
    fn search<C: Candidate>(
        &mut self,
        name: impl Fn(C::Algorithm) -> Algorithm,
        by_rules: impl FnOnce(sys::cudnnHandle_t, i32, *mut i32, *mut C) -> sys::cudnnStatus_t,
        by_trial: impl FnOnce(sys::cudnnHandle_t, i32, *mut i32, *mut C, *mut c_void, usize) -> sys::cudnnStatus_t,
    ) -> Result<Option<Found>> {
        let (rule, handle) = (self.rule, self.handle);
        let workspace = self.reserve_workspace(if rule.deterministic { 0 } else { WORKSPACE })?;
        let found = choose(rule, |most, found, places| {
            if rule.deterministic {
                by_rules(handle, most, found, places)
            } else {
                by_trial(handle, most, found, places, workspace, WORKSPACE)
            }
        });
        Ok(unless_unsupported(found)?.map(|c| (name(c.algorithm()), c.workspace(), c.math())))
    }
}

impl Drop for Convolutions {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: this is the handle's only owner. An error cannot be reported from a destructor.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// Converts the status "not supported" to none.
fn unless_unsupported<C>(found: std::result::Result<Option<C>, CudnnError>) -> Result<Option<C>> {
    match found {
        // cuDNN has one status for each reason, and the set depends on its version.
        Err(CudnnError(status)) if format!("{status:?}").starts_with("CUDNN_STATUS_NOT_SUPPORTED") => Ok(None),
        other => other.map_err(Error::wrap),
    }
}

fn pointer(address: u64) -> *mut c_void {
    address as *mut c_void
}

unsafe fn launch(handle: sys::cudnnHandle_t, plan: &Plan, [x, w, y]: [*mut c_void; 3], workspace: *mut c_void) -> Result<()> {
    let (one, zero) = (1.0f32, 0.0f32);
    let (one, zero) = (std::ptr::from_ref(&one).cast(), std::ptr::from_ref(&zero).cast());
    let Plan { x: dx, y: dy, w: dw, convolution, algorithm, workspace: bytes } = plan;
    // SAFETY: as the caller says.
    let done = unsafe {
        match algorithm {
            Algorithm::Forward(a) => {
                result::convolution_forward(handle, one, dx.0, x, dw.0, w, convolution.0, *a, workspace, *bytes, zero, dy.0, y)
            }
            Algorithm::Data(a) => {
                result::convolution_backward_data(handle, one, dw.0, w, dy.0, y, convolution.0, *a, workspace, *bytes, zero, dx.0, x)
            }
            Algorithm::Filter(a) => {
                result::convolution_backward_filter(handle, one, dx.0, x, dy.0, y, convolution.0, *a, workspace, *bytes, zero, dw.0, w)
            }
        }
    };
    done.map_err(Error::wrap)
}
