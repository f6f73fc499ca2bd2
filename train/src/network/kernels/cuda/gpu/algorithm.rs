//! Which of cuDNN's algorithms a convolution runs by: found once for a shape.

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, sys};

/// The most algorithms that cuDNN is asked for.
const MOST: usize = 10;

/// One algorithm as cuDNN lists them, best first.
pub trait Candidate: Copy {
    /// What names it in a call.
    type Algorithm: Copy;
    /// Its name.
    fn algorithm(&self) -> Self::Algorithm;
    /// Whether it can be used.
    fn works(&self) -> bool;
    /// Bytes of workspace.
    fn workspace(&self) -> usize;
    /// Whether it gives the same bits in every run.
    fn is_deterministic(&self) -> bool;
    /// Which units it multiplies on.
    fn math(&self) -> sys::cudnnMathType_t;
}

macro_rules! candidate {
    ($type:ty, $algorithm:ty) => {
        impl Candidate for $type {
            type Algorithm = $algorithm;
            fn algorithm(&self) -> Self::Algorithm {
                self.algo
            }
            fn works(&self) -> bool {
                self.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
            }
            fn workspace(&self) -> usize {
                self.memory
            }
            fn is_deterministic(&self) -> bool {
                self.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
            }
            fn math(&self) -> sys::cudnnMathType_t {
                self.mathType
            }
        }
    };
}
candidate!(sys::cudnnConvolutionFwdAlgoPerf_t, sys::cudnnConvolutionFwdAlgo_t);
candidate!(sys::cudnnConvolutionBwdDataAlgoPerf_t, sys::cudnnConvolutionBwdDataAlgo_t);
candidate!(sys::cudnnConvolutionBwdFilterAlgoPerf_t, sys::cudnnConvolutionBwdFilterAlgo_t);

/// What may be chosen.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Only what gives the same bits in every run.
    pub deterministic: bool,
    /// Only multiplications of full f32, no TF32.
    pub full_f32: bool,
    /// The most bytes of workspace.
    pub workspace: usize,
}

fn on_tensor_cores(math: sys::cudnnMathType_t) -> bool {
    use sys::cudnnMathType_t::{CUDNN_TENSOR_OP_MATH, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION};
    matches!(math, CUDNN_TENSOR_OP_MATH | CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION)
}

/// The first algorithm of cuDNN's list that the rule allows. `ask` is given the number of places, where to write how many were
/// filled, and the places.
pub fn choose<C: Candidate>(rule: Rule, ask: impl FnOnce(i32, *mut i32, *mut C) -> sys::cudnnStatus_t) -> Result<Option<C>, CudnnError> {
    let mut found = 0;
    // SAFETY: these are plain records; all zeros is a value of each field.
    let mut places: [C; MOST] = [unsafe { std::mem::zeroed() }; MOST];
    ask(MOST as i32, &raw mut found, places.as_mut_ptr()).result()?;
    let allowed = |c: &&C| {
        c.works()
            && c.workspace() <= rule.workspace
            && (c.is_deterministic() || !rule.deterministic)
            && (!on_tensor_cores(c.math()) || !rule.full_f32)
    };
    Ok(places[..found as usize].iter().find(allowed).copied())
}
