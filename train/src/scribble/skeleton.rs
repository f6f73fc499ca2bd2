//! Skeletonisation by thinning (Zhang and Suen, CACM 1984), in the variant of scikit-image, which differs in 25 of 256 neighbourhoods.

use std::sync::LazyLock;

use models::plane::Plane;

/// Offsets (dx, dy) of the neighbours, in the order of the bits of a neighbourhood code: N, NE, E, SE, S, SW, W, NW.
const NEIGHBOURS: [(isize, isize); 8] = [(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)];
const NAMES: [&str; 8] = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"];

/// Neighbourhoods in which scikit-image differs from the published rule, with one flag per pass: true removes the centre pixel.
const DIFFERENCES: [([bool; 2], &[&str]); 4] = [
    ([true, true], &["N E", "E S", "N W", "S W"]),
    ([false, false], &["SE S", "NW W"]),
    ([true, false], &["NW N", "N NE", "NE E", "N NE E", "NW N W", "NW N E", "N NE W", "NW S W", "N SW W", "N NE SW W"]),
    ([false, true], &["E SE", "S SW", "SW W", "E SE S", "S SW W", "N E SE", "E S SW", "SE S W", "NE E S SW"]),
];

/// Removal table: for each pass and neighbourhood code, true if the centre pixel is removed.
static REMOVE: LazyLock<[[bool; 256]; 2]> = LazyLock::new(|| {
    let mut table = [std::array::from_fn(|code| published_rule(code as u8, 0)), std::array::from_fn(|code| published_rule(code as u8, 1))];
    for (passes, sets) in DIFFERENCES {
        for set in sets {
            let code: usize = set.split(' ').map(|name| 1 << NAMES.iter().position(|n| *n == name).expect("a direction")).sum();
            (table[0][code], table[1][code]) = (passes[0], passes[1]);
        }
    }
    table
});

/// Evaluates the published rule: 2 to 6 neighbours, one 0-1 transition around the pixel, and both products of the pass are 0.
fn published_rule(code: u8, pass: usize) -> bool {
    let set = |i: usize| code >> (i % 8) & 1 == 1;
    let transitions = (0..8).filter(|&i| !set(i) && set(i + 1)).count();
    let [n, e, s, w] = [set(0), set(2), set(4), set(6)];
    let products = if pass == 0 { e && s && (n || w) } else { n && w && (e || s) };
    transitions == 1 && (2..=6).contains(&code.count_ones()) && !products
}

/// Returns the skeleton of `mask`; pixels outside the image count as background.
pub fn skeleton(mask: &Plane<bool>) -> Plane<bool> {
    thin(mask, &REMOVE)
}

/// Applies both passes of a removal table until no pixel changes.
fn thin(mask: &Plane<bool>, remove: &[[bool; 256]; 2]) -> Plane<bool> {
    // A border of background pixels makes bounds checks unnecessary.
    let width = mask.width + 2;
    let mut padded = vec![false; width * (mask.height + 2)];
    for y in 0..mask.height {
        padded[(y + 1) * width + 1..][..mask.width].copy_from_slice(mask.row(y));
    }
    let offsets = NEIGHBOURS.map(|(dx, dy)| dy * width as isize + dx);
    let mut foreground: Vec<usize> = (0..padded.len()).filter(|&i| padded[i]).collect();
    loop {
        let before = foreground.len();
        for table in remove {
            let code = |i: usize| {
                offsets.iter().enumerate().fold(0, |code, (bit, offset)| code | usize::from(padded[i.wrapping_add_signed(*offset)]) << bit)
            };
            let (removed, kept): (Vec<usize>, Vec<usize>) = foreground.iter().partition(|&&i| table[code(i)]);
            for i in removed {
                padded[i] = false;
            }
            foreground = kept;
        }
        if foreground.len() == before {
            break;
        }
    }
    let data = (0..mask.height).flat_map(|y| padded[(y + 1) * width + 1..][..mask.width].to_vec()).collect();
    Plane { width: mask.width, height: mask.height, data }
}

/// Returns the skeleton by the published rule of Zhang and Suen, for comparison with golden vectors.
#[doc(hidden)]
pub fn skeleton_textbook(mask: &Plane<bool>) -> Plane<bool> {
    let tables = [0, 1].map(|pass| std::array::from_fn(|code| published_rule(code as u8, pass)));
    thin(mask, &tables)
}
