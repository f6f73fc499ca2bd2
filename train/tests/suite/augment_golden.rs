//! Geometric and colour augmentation against golden vectors with the semantics of albumentations, computed exactly
//! (`tests/data/golden/README.md`).

use crate::support::golden::Golden;
use models::card::Normalisation;
use train::augment::{Affine, contrast_table, normalise, normalise_table, warp_bilinear, warp_nearest};
use train::data::RgbImage;

#[test]
fn affine_warps_of_images_and_label_maps_equal_the_golden_vectors() {
    let golden = Golden::open("augment");
    let (shape, values) = golden.values("image");
    let image = RgbImage::new(shape[1], shape[0], values.into_iter().map(|v| v as u8).collect()).unwrap();
    let (labels, soft) = (golden.plane("labels", |v| v as u8), golden.plane("soft", |v| v as f32));
    let mut compared = 0;
    for case in golden.prefixes(".matrix") {
        let name = |part: &str| format!("{case}.{part}");
        let (_, matrix) = golden.values(&name("matrix"));
        let (_, p) = golden.values(&name("angle_scale_dx_dy"));
        let map = Affine::about_centre(image.width, image.height, p[0], p[1], [p[2], p[3]]);
        for (ours, golden) in map.0.as_flattened().iter().zip(&matrix) {
            assert!((ours - golden).abs() < 1e-9, "{case}: {map:?} {matrix:?}");
        }

        let moved = warp_bilinear(&image, map);
        let worst =
            moved.data.iter().zip(golden.values(&name("image")).1).map(|(&v, exact)| (f64::from(v) - exact).abs()).fold(0.0, f64::max);
        assert!(worst <= 1.0, "{case}: {worst} from the exact value");

        let certain = golden.plane(&name("unsure"), |v| v == 0.0);
        compared += certain.data.iter().filter(|s| **s).count();
        let (ours, exact) = (warp_nearest(&labels, map), golden.plane(&name("labels"), |v| v as u8));
        let (ours_soft, exact_soft) = (warp_nearest(&soft, map), golden.plane(&name("soft"), |v| v as f32));
        for i in (0..certain.data.len()).filter(|&i| certain.data[i]) {
            assert_eq!((ours.data[i], ours_soft.data[i]), (exact.data[i], exact_soft.data[i]), "{case}, pixel {i}");
        }
    }
    assert!(compared > 2 * labels.data.len(), "only {compared} pixels were compared");
}

#[test]
fn contrast_tables_equal_the_golden_ones_exactly() {
    let golden = Golden::open("augment");
    let (_, parameters) = golden.values("contrast.a_b");
    let (_, tables) = golden.values("contrast.table");
    for (pair, table) in parameters.as_chunks::<2>().0.iter().zip(tables.chunks_exact(256)) {
        assert_eq!(contrast_table(pair[0], pair[1]).map(f64::from).as_slice(), table, "{pair:?}");
    }
}

#[test]
fn normalised_values_equal_the_golden_table() {
    let (shape, table) = Golden::open("augment").values("normalise.table");
    assert_eq!(shape, [256, 3]);
    for channel in 0..3 {
        for (v, ours) in normalise_table(&Normalisation::IMAGENET, channel).into_iter().enumerate() {
            assert!((f64::from(ours) - table[3 * v + channel]).abs() < 1e-6);
        }
    }
    let image = RgbImage::new(2, 1, vec![0, 100, 255, 7, 8, 9]).unwrap();
    let planes = normalise(&image, &Normalisation::IMAGENET);
    for (i, &value) in image.data.iter().enumerate() {
        let (pixel, channel) = (i / 3, i % 3);
        assert!((f64::from(planes[2 * channel + pixel]) - table[3 * usize::from(value) + channel]).abs() < 1e-6);
    }
}
