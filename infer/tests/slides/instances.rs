//! Streamed instances compared with their definition, `models::decode`, and validity of their rings.

use infer::instances::{Extractor, Instance};
use models::colour::ColourSum;
use models::decode::{self, Decoding};
use models::plane::Plane;
use models::split::Split;

use crate::random::Random;

/// Returns a probability map: noise of random density, nested rings, discs or diagonal lines, by `kind`.
fn map(random: &mut Random, kind: usize, width: usize, height: usize) -> Plane<u8> {
    let mut map = Plane::filled(width, height, 0u8);
    match kind {
        0 => {
            let density = [0.05, 0.3, 0.41, 0.5, 0.59, 0.75, 0.95][random.below(7)];
            map.data.iter_mut().for_each(|value| *value = if random.chance(density) { random.between(128, 255) as u8 } else { 20 });
        }
        1 => {
            for _ in 0..random.between(1, 8) {
                draw_rings(random, &mut map);
            }
        }
        2 => {
            for _ in 0..random.between(1, 40) {
                let (cx, cy, r) = (random.below(width), random.below(height), random.between(1, 9));
                disc(&mut map, cx, cy, r, 200);
            }
        }
        _ => {
            for (i, value) in map.data.iter_mut().enumerate() {
                let (x, y) = (i % width, i / width);
                *value = if (x + y).is_multiple_of(7) || (x + 3 * height - y).is_multiple_of(11) { 190 } else { 0 };
            }
            map.data.iter_mut().for_each(|value| {
                if random.chance(0.05) {
                    *value = 0;
                }
            });
        }
    }
    map
}

fn disc(map: &mut Plane<u8>, cx: usize, cy: usize, r: usize, value: u8) {
    for y in cy.saturating_sub(r)..(cy + r + 1).min(map.height) {
        for x in cx.saturating_sub(r)..(cx + r + 1).min(map.width) {
            if x.abs_diff(cx).pow(2) + y.abs_diff(cy).pow(2) <= r * r {
                map.data[y * map.width + x] = value;
            }
        }
    }
}

/// Draws nested discs, alternately nucleus and background, in half of the cases cut open by a line.
fn draw_rings(random: &mut Random, map: &mut Plane<u8>) {
    let (cx, cy) = (random.below(map.width), random.below(map.height));
    let mut r = random.between(2, 25);
    let mut inside = true;
    while r > 0 {
        disc(map, cx, cy, r, if inside { 180 } else { 0 });
        inside = !inside;
        r = r.saturating_sub(random.between(1, 4));
    }
    if random.chance(0.5) {
        let x = random.below(map.width);
        (0..map.height).for_each(|y| map.data[y * map.width + x] = 0);
    }
}

/// Returns a deterministic colour for every pixel.
fn colour(pixel: usize) -> [u8; 3] {
    [(pixel * 7) as u8, (pixel / 3 * 11) as u8, (pixel % 251) as u8]
}

/// Streams a map in bands of random heights.
fn stream(map: &Plane<u8>, decoding: &Decoding, random: &mut Random) -> Vec<Instance> {
    let mut extractor = Extractor::new(map.width, map.height, decoding);
    let mut instances = Vec::new();
    let (mut y, mut settled) = (0, 0);
    while y < map.height {
        let rows = random.between(1, 17).min(map.height - y);
        let colours: Vec<u8> = (y * map.width..(y + rows) * map.width).flat_map(colour).collect();
        let finished = extractor.push(&map.data[y * map.width..(y + rows) * map.width], &colours);
        assert!(finished.instances.iter().all(|instance| instance.runs[0].y >= settled), "a settled row has a new nucleus");
        settled = finished.settled_rows;
        instances.extend(finished.instances);
        y += rows;
    }
    let last = extractor.finish();
    assert!(last.instances.iter().all(|instance| instance.runs[0].y >= settled), "a settled row has a new nucleus");
    instances.extend(last.instances);
    instances
}

/// Returns random parameters of the split, from hardly any cuts to almost everywhere.
fn split(random: &mut Random) -> Split {
    let pick = |random: &mut Random, values: [f64; 4]| values[random.below(4)];
    Split {
        neck: pick(random, [0.5, 0.8, 0.95, 1.0]),
        depth_px: pick(random, [0.0, 0.1, 0.5, 1.0]),
        radius_px: pick(random, [0.0, 1.0, 2.0, 3.0]),
        hole_px: [0, 3, 32, 1000][random.below(4)],
    }
}

/// Draws instances into a label image, and checks that they are disjoint.
fn label_image(instances: &[Instance], width: usize, height: usize) -> Plane<u32> {
    let mut labels = Plane::filled(width, height, 0);
    for instance in instances {
        for run in &instance.runs {
            for label in &mut labels.row_mut(run.y as usize)[run.x0 as usize..run.x1 as usize] {
                assert_eq!(*label, 0, "two nuclei share a pixel");
                *label = instance.id as u32;
            }
        }
    }
    labels
}

/// Renumbers labels in the order of their first pixels, to compare partitions.
fn renumbered(labels: &Plane<u32>) -> Plane<u32> {
    let mut number = std::collections::HashMap::from([(0, 0)]);
    labels.map(|&id| {
        let next = number.len() as u32;
        *number.entry(id).or_insert(next)
    })
}

#[test]
fn streamed_instances_equal_their_definition_for_any_bands() {
    let mut random = Random(7);
    for round in 0..1500 {
        let (width, height) = (random.between(1, 90), random.between(1, 70));
        let map = map(&mut random, round % 4, width, height);
        let split = random.chance(0.6).then(|| split(&mut random));
        let decoding =
            Decoding { min_area_px: [0, 1, 3, 12, 64][random.below(5)], fill_holes: round % 5 != 0, split, ..Decoding::default() };
        let streamed = stream(&map, &decoding, &mut random);
        let defined = decode::instances(&map, &decoding);
        let labels = label_image(&streamed, width, height);
        assert_eq!(renumbered(&labels), renumbered(&defined), "round {round}: {decoding:?}, {width} x {height}");
        assert_colours(&streamed, &map, &decoding);
        assert_eq!(streamed, stream(&map, &decoding, &mut random), "round {round}: the bands changed the order or a measurement");
        assert!(streamed.iter().map(|instance| instance.id).eq(1..=streamed.len() as u64));
    }
}

/// Checks that sums of colours cover the pixels above the threshold.
fn assert_colours(instances: &[Instance], map: &Plane<u8>, decoding: &Decoding) {
    for instance in instances {
        let pixels = instance.runs.iter().flat_map(|run| (run.x0..run.x1).map(|x| run.y as usize * map.width + x as usize));
        let above: Vec<usize> = pixels.filter(|&pixel| map.data[pixel] >= decoding.first_foreground_level()).collect();
        let mut sum = ColourSum::default();
        above.iter().for_each(|&pixel| sum.add(&colour(pixel)));
        // If holes are filled, components inside of them do not count.
        assert!(instance.colour == sum || decoding.fill_holes && instance.colour.pixels < sum.pixels);
        assert_eq!(instance.colour.pixels, instance.foreground_px);
    }
}

#[test]
fn probability_sums_cover_the_pixels_before_filling() {
    let map = Plane::new(4, 3, vec![200, 200, 200, 0, 200, 7, 130, 0, 200, 200, 200, 255]).unwrap();
    let mut extractor = Extractor::new(4, 3, &Decoding { min_area_px: 1, ..Decoding::default() });
    extractor.push(&map.data, &(0..12).flat_map(colour).collect::<Vec<u8>>());
    let instances = extractor.finish().instances;
    assert_eq!((instances.len(), instances[0].area_px(), instances[0].foreground_px), (1, 10, 9));
    assert_eq!(instances[0].probability_sum, 7 * 200 + 130 + 255);
    assert!(instances[0].touches_border);
}

#[test]
fn rings_are_simple_and_enclose_the_pixels() {
    let mut random = Random(11);
    for round in 0..400 {
        let (width, height) = (random.between(1, 30), random.between(1, 30));
        let map = map(&mut random, round % 4, width, height);
        let split = random.chance(0.5).then(|| split(&mut random));
        let decoding = Decoding { min_area_px: 1, fill_holes: round % 2 == 0, split, ..Decoding::default() };
        for instance in stream(&map, &decoding, &mut random) {
            assert!(!decoding.fill_holes || instance.rings.len() == 1, "round {round}: a filled nucleus has a hole");
            let sides: Vec<_> = instance.rings.iter().flat_map(|ring| sides(ring)).collect();
            assert_no_contact(&sides, round);
            let twice: i64 = sides.iter().map(|[a, b]| a[0] * b[1] - a[1] * b[0]).sum();
            let cuts = sides.iter().filter(|[a, b]| a[0] != b[0] && a[1] != b[1]).count() as i64;
            // Each diagonal at a shared corner adds half of a quarter-pixel square to the area.
            assert_eq!(twice, 2 * 16 * instance.area_px() as i64 + cuts, "round {round}: the ring's area is not that of its pixels");
        }
    }
}

type Side = [[i64; 2]; 2];

fn sides(ring: &[[i64; 2]]) -> impl Iterator<Item = Side> {
    assert!(ring.len() >= 4);
    (0..ring.len()).map(|i| [ring[i], ring[(i + 1) % ring.len()]])
}

/// Checks over all pairs that sides meet only in the common vertex of neighbours.
fn assert_no_contact(sides: &[Side], round: usize) {
    for (i, &[a, b]) in sides.iter().enumerate() {
        assert_ne!(a, b, "round {round}: a side of no length");
        for &[c, d] in &sides[i + 1..] {
            let neighbours = b == c || d == a;
            assert!(a != c && b != d && !(b == c && d == a), "round {round}: a vertex occurs twice");
            assert!(neighbours || !touch([a, b], [c, d]), "round {round}: {a:?} {b:?} meets {c:?} {d:?}");
            if b == c {
                assert!(orientation(a, b, d) != 0, "round {round}: a vertex on a straight line");
            }
        }
    }
}

fn orientation(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> i64 {
    ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])).signum()
}

fn touch([a, b]: Side, [c, d]: Side) -> bool {
    let within = |p: [i64; 2], [a, b]: Side| (0..2).all(|i| p[i] >= a[i].min(b[i]) && p[i] <= a[i].max(b[i]));
    let (t1, t2, t3, t4) = (orientation(a, b, c), orientation(a, b, d), orientation(c, d, a), orientation(c, d, b));
    (t1 != t2 && t3 != t4)
        || (t1 == 0 && within(c, [a, b]))
        || (t2 == 0 && within(d, [a, b]))
        || (t3 == 0 && within(a, [c, d]))
        || (t4 == 0 && within(b, [c, d]))
}
