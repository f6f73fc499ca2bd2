//! The `[method]` section: partial cross-entropy, Scribble2Label (MICCAI 2020) and the contrastive terms (ISBI 2022).

use serde::{Deserialize, Serialize};

use super::choice::choice;

choice! {
    /// What is minimised.
    Method {
        /// Cross-entropy on scribbled pixels only.
        Pce = "pce",
        /// Scribble2Label: scribbles and pseudo-labels.
        S2l = "s2l",
        /// Scribble2Label and the contrastive term between pixels.
        R1 = "r1",
        /// Scribble2Label and the contrastive term between 4x4 blocks.
        R4 = "r4",
        /// Scribble2Label and every contrastive term.
        Both = "both",
        /// Cross-entropy on complete masks: the upper bound.
        Full = "full",
    }
}

choice! {
    /// What a pseudo-label map holds before its first update.
    EmaStart {
        /// Nothing: the average is divided by 1 - (1 - alpha)^updates, and there are no pseudo-labels before the first update.
        Corrected = "corrected",
        /// Zero, which reads as confident background (the papers).
        Zero = "zero",
    }
}

choice! {
    /// Which pairs of a contrastive term are pulled together.
    PairRule {
        /// Pairs of one class (the published code).
        Same = "same",
        /// Nucleus pairs only; background pairs are pushed apart.
        And = "and",
        /// Pairs with at least one nucleus.
        Or = "or",
    }
}

choice! {
    /// How pair costs become a number.
    Reduction {
        /// The sum of the means over background, nucleus and mixed pairs (the published code).
        Sum3 = "sum3",
        /// One mean over all ordered pairs (Eq. 4 of the paper).
        PairMean = "pair_mean",
    }
}

choice! {
    /// Where the two vectors of a pair may come from.
    Scope {
        /// Anywhere in the batch.
        Batch = "batch",
        /// The same image; the term is the mean over images that have both classes.
        Image = "image",
    }
}

choice! {
    /// How a block of pixels gets a class.
    BlockRule {
        /// All its pixels are of the class.
        All16 = "all16",
        /// As above, or its scribbled pixels are of one class.
        ScribbleWins = "scribble_wins",
    }
}

choice! {
    /// Which labels the contrastive terms read.
    LabelSource {
        /// Scribbles, and confident pseudo-labels where there are none.
        PseudoAndScribble = "pseudo+scribble",
        /// Scribbles.
        ScribbleOnly = "scribble_only",
    }
}

choice! {
    /// Ways to say "no fixed number" in `max_per_class`.
    Unbounded {
        /// All vectors of each class.
        None = "none",
        /// All vectors of the rarer class and as many of the other.
        Even = "even",
    }
}

/// How many vectors of a class a contrastive term takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MaxPerClass {
    /// `min(n0, n1, limit)` of each, drawn at random.
    Limit(usize),
    /// Without a limit.
    Unbounded(Unbounded),
}

/// One contrastive term.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContrastTerm {
    /// The feature map it reads: `block1` (deepest) to `block5`.
    pub tap: String,
    /// Side of the label blocks in pixels: the stride of the tap.
    pub delta: usize,
    /// Temperature: similarities are divided by it.
    pub tau: f64,
    /// Factor in the loss (lambda).
    pub weight: f64,
    /// With fewer vectors of a class than this the term is 0. The published code has 3 for its 4x4 blocks (`n <= 2`).
    #[serde(default = "two")]
    pub least_vectors: usize,
    /// Channels between the two layers of the projection head.
    pub hidden: usize,
    /// Channels of the projected vectors.
    pub outputs: usize,
    /// Name of the projection head: parameters are `projection.<head>.0.weight` etc.; methods `r1` and `r4` take the term of that name.
    pub head: String,
}

fn two() -> usize {
    2
}

impl ContrastTerm {
    /// R1x1: pixels of the last decoder block.
    pub fn r1() -> Self {
        Self { tap: "block5".into(), delta: 1, tau: 0.3, weight: 0.5, least_vectors: 2, hidden: 16, outputs: 32, head: "r1".into() }
    }

    /// R4x4: 4x4 blocks, at the third decoder block.
    pub fn r4() -> Self {
        Self { tap: "block3".into(), delta: 4, tau: 0.1, weight: 10.0, least_vectors: 2, hidden: 32, outputs: 32, head: "r4".into() }
    }
}

/// The `[method]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodConfig {
    /// What is minimised.
    pub name: Method,
    /// Length of stage 1, scribbles only; in the unit of `run.count`.
    pub warmup_iterations: u64,
    /// Distance of two updates of the pseudo-label maps; in the unit of `run.count`.
    pub ema_period: u64,
    /// Weight of the newest prediction in a pseudo-label map.
    pub ema_alpha: f64,
    /// A pseudo-label is confident above this or below 1 minus this.
    pub threshold: f64,
    /// What a map holds before its first update.
    pub ema_start: EmaStart,
    /// Factor of the pseudo-label loss.
    pub pseudo_weight: f64,
    /// Whether predictions are shifted before they are averaged, so that contours of .5 lie on the edges of the images
    /// ([`crate::alignment`]; not in the papers).
    pub edge_alignment: bool,
    /// Vectors of each class in a contrastive term.
    pub max_per_class: MaxPerClass,
    /// Which pairs are pulled together.
    pub pair_rule: PairRule,
    /// Whether a vector is paired with itself.
    pub self_pairs: bool,
    /// How pair costs become a number.
    pub reduction: Reduction,
    /// Where the two vectors of a pair come from.
    pub scope: Scope,
    /// How a block gets a class.
    pub block_rule: BlockRule,
    /// Which labels are read.
    pub label_source: LabelSource,
    /// The contrastive terms.
    pub contrast: Vec<ContrastTerm>,
}

impl MethodConfig {
    /// The contrastive terms that `name` asks for.
    pub fn active_terms(&self) -> Vec<&ContrastTerm> {
        let wanted = |term: &&ContrastTerm| match self.name {
            Method::Both => true,
            Method::R1 | Method::R4 => term.head == self.name.name(),
            Method::Pce | Method::S2l | Method::Full => false,
        };
        self.contrast.iter().filter(wanted).collect()
    }

    /// Whether pseudo-labels are kept and used.
    pub fn uses_pseudo_labels(&self) -> bool {
        !matches!(self.name, Method::Pce | Method::Full)
    }
}
