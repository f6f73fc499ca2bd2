//! The `[method]` section: partial cross-entropy, Scribble2Label (MICCAI 2020) and the contrastive terms (ISBI 2022).

use serde::{Deserialize, Serialize};

use super::choice::choice;

choice! {
    /// Training objective.
    Method {
        /// Partial cross-entropy: cross-entropy on scribbled pixels only.
        Pce = "pce",
        /// Scribble2Label: cross-entropy on scribbles and on pseudo-labels.
        S2l = "s2l",
        /// Scribble2Label with the contrastive term between pixels.
        R1 = "r1",
        /// Scribble2Label with the contrastive term between 4x4 blocks.
        R4 = "r4",
        /// Scribble2Label with all contrastive terms.
        Both = "both",
        /// Full supervision: cross-entropy on complete masks.
        Full = "full",
    }
}

choice! {
    /// Initial value of the exponential moving average of a pseudo-label map.
    EmaStart {
        /// Bias-corrected average, divided by `1 - (1 - alpha)^updates`; no pseudo-labels before the first update.
        Corrected = "corrected",
        /// Zero, which is confident background (the papers).
        Zero = "zero",
    }
}

choice! {
    /// Positive pairs of a contrastive term, which are pulled together; all other pairs are pushed apart.
    PairRule {
        /// Pairs of the same class (the published code).
        Same = "same",
        /// Pairs of two nucleus vectors; pairs of two background vectors are negative.
        And = "and",
        /// Pairs with at least one nucleus vector.
        Or = "or",
    }
}

choice! {
    /// Reduction of the pairwise costs to one value.
    Reduction {
        /// Sum of the means over background, nucleus and mixed pairs (the published code).
        Sum3 = "sum3",
        /// Mean over all ordered pairs (Eq. 4 of the paper).
        PairMean = "pair_mean",
    }
}

choice! {
    /// Set of pixels from which pairs are formed.
    Scope {
        /// The whole batch.
        Batch = "batch",
        /// Each image by itself; the term is the mean over the images that contain both classes.
        Image = "image",
    }
}

choice! {
    /// Rule by which a block of pixels receives a class.
    BlockRule {
        /// All pixels of the block must have the class.
        All16 = "all16",
        /// As `all16`; in addition, a block takes the class of its scribbles if they have only one.
        ScribbleWins = "scribble_wins",
    }
}

choice! {
    /// Labels that the contrastive terms use.
    LabelSource {
        /// Scribbles, and confident pseudo-labels on pixels without a scribble.
        PseudoAndScribble = "pseudo+scribble",
        /// Scribbles only.
        ScribbleOnly = "scribble_only",
    }
}

choice! {
    /// Values of `max_per_class` without a fixed limit.
    Unbounded {
        /// All vectors of each class.
        None = "none",
        /// All vectors of the rarer class and the same number of the other.
        Even = "even",
    }
}

/// Number of vectors per class in a contrastive term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MaxPerClass {
    /// `min(n0, n1, limit)` vectors of each class, drawn at random.
    Limit(usize),
    /// No fixed limit.
    Unbounded(Unbounded),
}

/// Contrastive term: a feature map, its projection head, and the loss parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContrastTerm {
    /// Feature map on which the term acts: decoder block `block1` (deepest) to `block5`.
    pub tap: String,
    /// Side of the label blocks in pixels, equal to the stride of the feature map.
    pub delta: usize,
    /// Temperature that divides the cosine similarities.
    pub tau: f64,
    /// Weight in the loss (lambda in the paper).
    pub weight: f64,
    /// Smallest number of vectors per class; the term is 0 with fewer. The published code has 3 for 4x4 blocks (`n <= 2`).
    #[serde(default = "two")]
    pub least_vectors: usize,
    /// Channels between the two convolutions of the projection head.
    pub hidden: usize,
    /// Channels of the projected vectors, the output of the projection head.
    pub outputs: usize,
    /// Name of the projection head, whose parameters are `projection.<head>.0.weight` etc. Methods `r1` and `r4` select the term with that
    /// head.
    pub head: String,
}

/// Returns the default of `least_vectors`.
fn two() -> usize {
    2
}

impl ContrastTerm {
    /// Returns the term R1x1: pixels of the last decoder block.
    pub fn r1() -> Self {
        Self { tap: "block5".into(), delta: 1, tau: 0.3, weight: 0.5, least_vectors: 2, hidden: 16, outputs: 32, head: "r1".into() }
    }

    /// Returns the term R4x4: 4x4 blocks at the third decoder block.
    pub fn r4() -> Self {
        Self { tap: "block3".into(), delta: 4, tau: 0.1, weight: 10.0, least_vectors: 2, hidden: 32, outputs: 32, head: "r4".into() }
    }
}

/// The `[method]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodConfig {
    /// Training objective.
    pub name: Method,
    /// Length of the warm-up (stage 1), which trains on scribbles only; in the unit of `run.count`.
    pub warmup_iterations: u64,
    /// Interval between updates of the pseudo-label maps, in the unit of `run.count`.
    pub ema_period: u64,
    /// Weight of the newest prediction in the exponential moving average, 0 to 1.
    pub ema_alpha: f64,
    /// Confidence threshold: pseudo-labels above `threshold` or below `1 - threshold` are used.
    pub threshold: f64,
    /// Initial value of the moving average.
    pub ema_start: EmaStart,
    /// Weight of the pseudo-label loss.
    pub pseudo_weight: f64,
    /// Shifts predictions before they are averaged, so that contours at .5 lie on the edges of the images ([`crate::alignment`]; not in the
    /// papers).
    pub edge_alignment: bool,
    /// Number of vectors per class in a contrastive term.
    pub max_per_class: MaxPerClass,
    /// Positive pairs of the contrastive terms.
    pub pair_rule: PairRule,
    /// Pairs each vector with itself, too.
    pub self_pairs: bool,
    /// Reduction of the pairwise costs.
    pub reduction: Reduction,
    /// Set of pixels from which pairs are formed.
    pub scope: Scope,
    /// Rule by which a block receives a class.
    pub block_rule: BlockRule,
    /// Labels that the contrastive terms use.
    pub label_source: LabelSource,
    /// Contrastive terms.
    pub contrast: Vec<ContrastTerm>,
}

impl MethodConfig {
    /// Returns the contrastive terms that the objective `name` includes.
    pub fn active_terms(&self) -> Vec<&ContrastTerm> {
        let is_active = |term: &&ContrastTerm| match self.name {
            Method::Both => true,
            Method::R1 | Method::R4 => term.head == self.name.name(),
            Method::Pce | Method::S2l | Method::Full => false,
        };
        self.contrast.iter().filter(is_active).collect()
    }

    /// Reports whether the objective uses pseudo-labels.
    pub fn uses_pseudo_labels(&self) -> bool {
        !matches!(self.name, Method::Pce | Method::Full)
    }
}
