//! Run-length encoding of foreground pixels.

/// Run of foreground pixels `x0..x1` in row `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Row.
    pub y: u32,
    /// First column.
    pub x0: u32,
    /// Column after the last.
    pub x1: u32,
}

impl Run {
    /// Returns the number of pixels.
    pub fn length(&self) -> u64 {
        u64::from(self.x1 - self.x0)
    }
}

/// Calls `on_run` for every run of values of at least `level`.
pub fn runs_of_row(y: u32, row: &[u8], level: u8, mut on_run: impl FnMut(Run)) {
    let mut x = 0;
    while let Some(start) = row[x..].iter().position(|&value| value >= level) {
        let x0 = x + start;
        let length = row[x0..].iter().position(|&value| value < level).unwrap_or(row.len() - x0);
        x = x0 + length;
        on_run(Run { y, x0: x0 as u32, x1: x as u32 });
    }
}

/// Reports whether a pixel lies in sorted runs.
pub fn contains(runs: &[Run], x: u32, y: u32) -> bool {
    let after = runs.partition_point(|run| (run.y, run.x0) <= (y, x));
    after > 0 && runs[after - 1].y == y && x < runs[after - 1].x1
}

/// Returns the runs of each row of sorted runs.
pub fn rows(runs: &[Run]) -> impl Iterator<Item = &[Run]> {
    runs.chunk_by(|a, b| a.y == b.y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_values_of_at_least_the_level() {
        let mut seen = Vec::new();
        runs_of_row(3, &[9, 0, 5, 6, 0, 7], 5, |run| seen.push((run.x0, run.x1)));
        assert_eq!(seen, [(0, 1), (2, 4), (5, 6)]);
    }

    #[test]
    fn bisection_finds_the_pixels_of_runs() {
        let runs = [Run { y: 1, x0: 2, x1: 4 }, Run { y: 1, x0: 6, x1: 7 }, Run { y: 2, x0: 0, x1: 1 }];
        let inside: Vec<_> = (0..4).flat_map(|y| (0..8).map(move |x| (x, y))).filter(|&(x, y)| contains(&runs, x, y)).collect();
        assert_eq!(inside, [(2, 1), (3, 1), (6, 1), (0, 2)]);
    }
}
