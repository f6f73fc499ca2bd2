//! Names of the input and the outputs of every model.

/// Name of the image input: u8, `B H W 3`, RGB.
pub const INPUT: &str = "image";
/// Name of the output with the probability of a nucleus: f32, `B H W`.
pub const PROBABILITY: &str = "probability";
/// Name of the output with the quantised probability `round(255 p)`: u8, `B H W`.
pub const QUANTISED: &str = "probability_u8";
