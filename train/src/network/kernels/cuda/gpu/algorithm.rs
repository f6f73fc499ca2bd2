//! Selection of the cuDNN algorithm of a convolution, once for each shape.

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, sys};

/// Maximum number of algorithms that cuDNN is asked for.
const MOST: usize = 10;

/// Algorithm in cuDNN's list, which is sorted by expected speed.
pub trait Candidate: Copy {
    /// cuDNN's type of algorithm names.
    type Algorithm: Copy;
    /// Returns the name that selects the algorithm in a call.
    fn algorithm(&self) -> Self::Algorithm;
    /// Reports whether the algorithm supports the shape.
    fn works(&self) -> bool;
    /// Returns the size of the algorithm's workspace in bytes.
    fn workspace(&self) -> usize;
    /// Reports whether the algorithm gives the same bits in every run.
    fn is_deterministic(&self) -> bool;
    /// Returns the math type: the units that multiply.
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

/// Constraints on the algorithm.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Allow only algorithms that give the same bits in every run.
    pub deterministic: bool,
    /// Allow only products in full f32, without TF32.
    pub full_f32: bool,
    /// Maximum size of the workspace in bytes.
    pub workspace: usize,
}

/// Reports whether a math type uses tensor cores.
fn on_tensor_cores(math: sys::cudnnMathType_t) -> bool {
    use sys::cudnnMathType_t::{CUDNN_TENSOR_OP_MATH, CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION};
    matches!(math, CUDNN_TENSOR_OP_MATH | CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION)
}

/// Returns the first algorithm of cuDNN's list that satisfies the rule. `ask` receives the capacity of the list, a pointer to the number of
/// entries filled, and a pointer to the list.
pub fn choose<C: Candidate>(rule: Rule, ask: impl FnOnce(i32, *mut i32, *mut C) -> sys::cudnnStatus_t) -> Result<Option<C>, CudnnError> {
    let mut found = 0;
    // SAFETY: the entries are plain C structs, for which all zeros is a valid value of each field.
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
