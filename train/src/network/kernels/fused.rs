//! What some devices do in one kernel where tensor operations would take many: the parts of a step besides the network.

use candle_core::{Result, Tensor};

/// One step of `RAdam` on one parameter. All tensors are changed in place, and with the parameter any copy that convolutions read.
pub struct RAdamUpdate<'a> {
    /// The parameter, f32, in the layout of the kernels.
    pub parameter: &'a Tensor,
    /// Its gradient, as [`super::Kernels`] gave it.
    pub gradient: &'a Tensor,
    /// Running mean of the gradient, f32.
    pub first: &'a Tensor,
    /// Running mean of its square, f32.
    pub second: &'a Tensor,
    /// Values of the parameter.
    pub count: usize,
    /// Share of the parameter that is taken off.
    pub decay: f32,
    /// Factor of the direction.
    pub rate: f32,
    /// Whether the direction is divided by the root of the mean square.
    pub adaptive: bool,
}

/// Running statistics that follow a batch's.
pub struct RunningStatistics<'a> {
    /// The batch's, variance biased.
    pub batch: &'a super::Moments,
    /// Running mean, changed in place.
    pub mean: &'a Tensor,
    /// Running variance, changed in place.
    pub variance: &'a Tensor,
    /// Makes the batch's variance unbiased.
    pub unbias: f32,
}

/// ContrastGroup of two classes that are compared with each other.
pub struct ContrastGroup {
    /// Rows of `[pixel][channel]`: those of class 0, then those of class 1. None stands there twice.
    pub rows: Vec<u32>,
    /// How many are of class 0.
    pub zeros: usize,
    /// For pairs within class 0, within class 1 and between: sign of the similarity, and weight of a pair's cost (within a class
    /// of each ordered pair).
    pub kinds: [(f32, f64); 3],
    /// Divides similarities.
    pub tau: f64,
    /// Whether a vector is not its own pair.
    pub skip_self: bool,
    /// Factor of the gradient.
    pub gradient_weight: f32,
}

/// The fused parts of a step. Values stay on the device until they are read.
pub trait Fused: Send + Sync {
    /// Brings a batch's images to the device, from any thread and ahead of the step that needs them.
    fn stage(&self, image: &Tensor) -> Result<Tensor>;
    /// `RAdam` on many parameters; `keep` are the two factors of the running means, `eps` is added to the root.
    fn radam(&self, updates: &[RAdamUpdate], betas: [f32; 2], eps: f32) -> Result<()>;
    /// `average = keep * average + (1 - keep) * now` of pairs of parameters with so many values.
    fn update_averages(&self, pairs: &[(&Tensor, &Tensor, usize)], decay: f32) -> Result<()>;
    /// `running += momentum (batch - running)`, variances unbiased.
    fn update_running_statistics(&self, statistics: &[RunningStatistics], momentum: f64) -> Result<()>;
    /// Cross-entropy (see [`crate::loss::cross_entropy()`]) of one or two planes of labels: their values (f64), and the gradient of
    /// their sum with these weights at `logits`.
    fn cross_entropy(&self, logits: &Tensor, planes: &[(&[u8], f64)]) -> Result<(Tensor, Tensor)>;
    /// The most values that a vector of [`Fused::contrast`] may have.
    fn max_vector_len(&self) -> usize;
    /// The contrastive term (see [`crate::loss::Contrast`]) over groups of vectors of `z` (`B C H W`): each group's value (f64, a
    /// scalar), and the gradient at `z`.
    fn contrast(&self, z: &Tensor, groups: &[ContrastGroup]) -> Result<(Vec<Tensor>, Tensor)>;
}
