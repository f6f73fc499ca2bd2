//! Hematoxylin and eosin taken apart: Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", 2001.

use std::sync::LazyLock;

/// Optical densities of red, green and blue (table 1 of the paper).
const HEMATOXYLIN: [f64; 3] = [0.65, 0.70, 0.29];
const EOSIN: [f64; 3] = [0.07, 0.99, 0.11];

/// Three colours in optical densities, which every colour is a sum of.
pub struct Stains {
    /// Hematoxylin, eosin, and what is at right angles to both; red, green and blue of length 1.
    pub vectors: [[f64; 3]; 3],
    /// The product of each with a colour's optical densities is the amount of that stain, which can be below 0.
    pub amounts: [[f64; 3]; 3],
}

/// Hematoxylin and eosin.
pub static STAINS: LazyLock<Stains> = LazyLock::new(|| {
    let (h, e) = (unit(HEMATOXYLIN), unit(EOSIN));
    let rest = unit(cross(h, e));
    // A vector whose product with two of them is 0 picks the third.
    let amounts = [[h, e, rest], [e, rest, h], [rest, h, e]].map(|[of, a, b]| {
        let picks = cross(a, b);
        picks.map(|v| v / dot(of, picks))
    });
    Stains { vectors: [h, e, rest], amounts }
});

/// The product of two vectors.
pub fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The vector at right angles to both, as long as their parallelogram is large.
pub fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn unit(a: [f64; 3]) -> [f64; 3] {
    let length = dot(a, a).sqrt();
    a.map(|v| v / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stain_is_all_of_itself_and_nothing_of_the_others() {
        for (i, vector) in STAINS.vectors.iter().enumerate() {
            for (j, amount) in STAINS.amounts.iter().enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((dot(*vector, *amount) - expected).abs() < 1e-12, "{i} {j}");
            }
        }
    }
}
