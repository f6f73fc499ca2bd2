//! Names of the input and the outputs of every model.

/// Name of the image input: u8, `B H W C`.
pub const INPUT: &str = "image";
/// Name of the probability output: f32, `B H W`.
pub const PROBABILITY: &str = "probability";
/// Name of the output that holds `round(255 p)`: u8, `B H W`.
pub const QUANTISED: &str = "probability_u8";
