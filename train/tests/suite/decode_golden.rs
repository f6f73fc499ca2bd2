//! Decoding of masks into instances against scikit-image and SciPy, exactly (`tests/data/golden/README.md`, `shapes`).

use crate::support::golden::Golden;
use models::decode::{Decoding, components, fill_holes, instances_of_mask, without_small};

#[test]
fn components_removal_of_small_ones_filled_holes_and_instances_equal_scikit_image_s() {
    let golden = Golden::open("shapes");
    let masks = golden.prefixes(".mask");
    assert!(masks.len() >= 4, "{masks:?}");
    for name in masks {
        let part = |part: &str| golden.plane(&format!("{name}.{part}"), |v| v as u32);
        let mask = part("mask").map(|&v| v > 0);
        let labels = components(&mask);
        assert_eq!(labels, part("components"), "{name}");
        assert_eq!(without_small(&labels, 64).map(|&id| u32::from(id > 0)), part("without_small"), "{name}");
        assert_eq!(fill_holes(&mask).map(|&v| u32::from(v)), part("filled"), "{name}");
        assert_eq!(instances_of_mask(&mask, &Decoding::default()), part("instances"), "{name}");
    }
}
