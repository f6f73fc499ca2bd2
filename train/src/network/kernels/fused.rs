//! Fused operations of an optimiser step: losses, `RAdam`, averages and statistics that a device computes in one kernel launch instead of
//! many tensor operations.

use candle_core::{Result, Tensor};

/// One `RAdam` step of one parameter. All tensors change in place, as does the reduced-precision copy of the parameter that convolutions
/// read.
pub struct RAdamUpdate<'a> {
    /// Parameter, f32, in the layout of the kernels.
    pub parameter: &'a Tensor,
    /// Gradient at the parameter, in the layout in which [`super::Kernels`] returns it.
    pub gradient: &'a Tensor,
    /// First moment: exponential moving average of the gradient, f32.
    pub first: &'a Tensor,
    /// Second moment: exponential moving average of the squared gradient, f32.
    pub second: &'a Tensor,
    /// Number of values of the parameter.
    pub count: usize,
    /// Fraction of the parameter that decoupled weight decay subtracts, `lr * weight decay`.
    pub decay: f32,
    /// Step size: learning rate with bias correction and rectification.
    pub rate: f32,
    /// True if the first moment is divided by the root of the second one.
    pub adaptive: bool,
}

/// Running statistics of one normalisation, to be updated from those of a batch.
pub struct RunningStatistics<'a> {
    /// Batch statistics, with biased variance.
    pub batch: &'a super::Moments,
    /// Running mean, `C`, updated in place.
    pub mean: &'a Tensor,
    /// Running variance, `C`, updated in place.
    pub variance: &'a Tensor,
    /// Factor `n / (n - 1)` that makes the batch variance of `n` pixels unbiased.
    pub unbias: f32,
}

/// Sampled vectors of two classes whose pairs the contrastive term compares.
pub struct ContrastGroup {
    /// Row indices into `[pixel][channel]`: class 0 first, then class 1. No index occurs twice.
    pub rows: Vec<u32>,
    /// Number of vectors of class 0.
    pub zeros: usize,
    /// Sign of the similarity and weight of the cost, for pairs within class 0, within class 1 and between classes. Within a class the
    /// weight applies to each ordered pair.
    pub kinds: [(f32, f64); 3],
    /// Temperature tau, which divides cosine similarities.
    pub tau: f64,
    /// True if pairs of a vector with itself are skipped.
    pub skip_self: bool,
    /// Factor applied to the gradient, but not to the value.
    pub gradient_weight: f32,
}

/// Fused operations of an optimiser step. Results stay on the device until they are read.
pub trait Fused: Send + Sync {
    /// Uploads images of a batch through a staging buffer, from any thread and ahead of the step that needs them.
    fn stage(&self, image: &Tensor) -> Result<Tensor>;
    /// Takes a `RAdam` step of many parameters. `betas` are the decays of both moments, `eps` is added to the root of the second moment.
    fn radam(&self, updates: &[RAdamUpdate], betas: [f32; 2], eps: f32) -> Result<()>;
    /// Updates `average = decay * average + (1 - decay) * current` for triples of average, current parameter and number of values.
    fn update_averages(&self, pairs: &[(&Tensor, &Tensor, usize)], decay: f32) -> Result<()>;
    /// Updates `running += momentum (batch - running)`, variances unbiased.
    fn update_running_statistics(&self, statistics: &[RunningStatistics], momentum: f64) -> Result<()>;
    /// Computes the cross-entropy (see [`crate::loss::cross_entropy()`]) of `logits` (`B 2 H W`) with one or two label planes, each with
    /// its weight: the values of both (f64, unweighted), and the gradient of their weighted sum at `logits`.
    fn cross_entropy(&self, logits: &Tensor, planes: &[(&[u8], f64)]) -> Result<(Tensor, Tensor)>;
    /// Returns the largest vector length that [`Fused::contrast`] supports.
    fn max_vector_len(&self) -> usize;
    /// Computes the contrastive term (see [`crate::loss::Contrast`]) for each group of vectors of `z` (`B C H W`): the value of each group
    /// (f64, a scalar), and the gradient at `z`.
    fn contrast(&self, z: &Tensor, groups: &[ContrastGroup]) -> Result<(Vec<Tensor>, Tensor)>;
}
