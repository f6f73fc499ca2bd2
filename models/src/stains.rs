//! Colour deconvolution of hematoxylin and eosin (Ruifrok, Johnston, "Quantification of histochemical staining by color deconvolution",
//! Analytical and Quantitative Cytology and Histology 23, 2001).

use std::sync::LazyLock;

/// Relative optical densities of hematoxylin in red, green and blue (table 1 of the paper).
const HEMATOXYLIN: [f64; 3] = [0.65, 0.70, 0.29];
/// Relative optical densities of eosin in red, green and blue (table 1 of the paper).
const EOSIN: [f64; 3] = [0.07, 0.99, 0.11];

/// Three stain vectors and the unmixing matrix that inverts them.
pub struct Stains {
    /// Unit vectors of hematoxylin, eosin and the residual (orthogonal to both), as optical densities of red, green and blue.
    pub vectors: [[f64; 3]; 3],
    /// Rows of the unmixing matrix: the dot product of row i with a colour's optical densities is the concentration of stain i, which can be
    /// negative.
    pub unmixing: [[f64; 3]; 3],
}

/// Stain vectors of hematoxylin and eosin.
pub static STAINS: LazyLock<Stains> = LazyLock::new(|| {
    let (h, e) = (unit(HEMATOXYLIN), unit(EOSIN));
    let residual = unit(cross(h, e));
    // A vector orthogonal to two of the stains extracts the third.
    let unmixing = [[h, e, residual], [e, residual, h], [residual, h, e]].map(|[of, a, b]| {
        let orthogonal = cross(a, b);
        orthogonal.map(|v| v / dot(of, orthogonal))
    });
    Stains { vectors: [h, e, residual], unmixing }
});

/// Returns the dot product of two vectors.
pub fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Returns the cross product of two vectors.
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
    fn unmixing_inverts_the_stain_vectors() {
        for (i, vector) in STAINS.vectors.iter().enumerate() {
            for (j, row) in STAINS.unmixing.iter().enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((dot(*vector, *row) - expected).abs() < 1e-12, "{i} {j}");
            }
        }
    }
}
