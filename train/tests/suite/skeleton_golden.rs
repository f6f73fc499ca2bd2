//! Thinning against scikit-image, exactly, and corners against its Harris detector (`tests/data/golden/README.md`, `shapes`).

use crate::support::golden::Golden;
use train::scribble::{harris, skeleton};

#[test]
fn skeletons_equal_those_of_scikit_image() {
    let golden = Golden::open("shapes");
    let masks = golden.prefixes(".mask");
    assert!(masks.len() >= 4, "{masks:?}");
    for name in masks {
        let part = |part: &str| golden.plane(&format!("{name}.{part}"), |v| v > 0.0);
        assert_eq!(skeleton::skeleton(&part("mask")), part("skeleton"), "{name}");
        assert_eq!(skeleton::skeleton_textbook(&part("mask")), part("skeleton_textbook"), "{name}, as printed");
    }
}

/// The comparison is approximate, because border treatment and the order of equal peaks are particular to scikit-image.
#[test]
fn corners_lie_at_those_of_scikit_image() {
    let golden = Golden::open("shapes");
    let net = golden.plane("net.skeleton", |v| v > 0.0);
    let response = harris::response(&net);
    let expected = golden.plane("inexact.harris", |v| v);
    let scale = expected.data.iter().copied().fold(0.0, f64::max) / response.data.iter().copied().fold(0.0, f64::max);
    let inner = |i: usize| (8..net.width - 8).contains(&(i % net.width)) && (8..net.height - 8).contains(&(i / net.width));
    let worst = (0..net.data.len()).filter(|&i| inner(i)).map(|i| (response.data[i] * scale - expected.data[i]).abs()).fold(0.0, f64::max);
    println!("response: scale {scale}, worst difference inside {worst}");
    let (_, corners) = golden.values("inexact.corners");
    let golden_corners: Vec<(usize, usize)> = corners.as_chunks::<2>().0.iter().map(|p| (p[1] as usize, p[0] as usize)).collect();
    let ours = harris::corners(&net);
    let near = |p: &(usize, usize), others: &[(usize, usize)]| others.iter().any(|q| p.0.abs_diff(q.0).max(p.1.abs_diff(q.1)) <= 1);
    let found = golden_corners.iter().filter(|p| near(p, &ours)).count();
    println!("{found} of {} corners found, {} of ours", golden_corners.len(), ours.len());
    assert!(found * 10 >= golden_corners.len() * 8, "{ours:?}\n{golden_corners:?}");
}
