//! Counted randomness: every draw is a function of (seed, purpose, epoch, step, sample), on any platform and with any number of threads.

/// The increment of `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014): 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random numbers that belongs to one purpose at one place of a run.
///
/// Two streams with different keys are independent, so nothing has to be saved or passed on: a resumed run draws what an uninterrupted one draws.
#[derive(Clone, Debug)]
pub struct CounterRng {
    key: u64,
    count: u64,
}

impl CounterRng {
    /// The stream for `purpose` ("augment", "order", ...) of sample `sample` in step `step` of epoch `epoch`.
    pub fn new(seed: u64, purpose: &str, epoch: u64, step: u64, sample: u64) -> Self {
        let key = [seed, epoch, step, sample].iter().fold(fnv1a(purpose), |key, part| mix((key ^ part).wrapping_add(GOLDEN)));
        Self { key, count: 0 }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.count += 1;
        mix(self.key.wrapping_add(self.count.wrapping_mul(GOLDEN)))
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * 2f64.powi(-53)
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn uniform_f32(&mut self) -> f32 {
        (self.bits() >> 40) as f32 * 2f32.powi(-24)
    }

    /// Uniform in [`low`, `high`).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A whole number in `0..n`; `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a number below 0 was asked for");
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn bool(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Mean 0, standard deviation 1, within 6 of 0: twelve uniforms less 6, because logarithms differ between platforms in the last bit.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// Puts `items` into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// The numbers `0..n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

/// The output function of `SplitMix64`; a bijection.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bit.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixer_is_that_of_the_golden_vectors() {
        // tests/data/golden/README.md, seed 1: the formula is public, so these two numbers hold for every set of vectors.
        let key = fnv1a("1/encoder.conv1.weight");
        assert_eq!(key, 0x2d44_2bb2_f25e_229a);
        assert_eq!(mix(key.wrapping_add(GOLDEN)), 0x0836_62cc_911b_8a53);
    }

    #[test]
    fn a_stream_is_fixed_forever() {
        let mut draw = CounterRng::new(7, "augment", 1, 2, 3);
        // Worked out with another program: checkpoints resume only while these numbers stay.
        assert_eq!([draw.bits(), draw.bits(), draw.bits()], [0x7d2a_9c78_103b_41d5, 0x5d24_1f9a_4a77_dc21, 0x487e_d8be_3ec7_011a]);
    }

    #[test]
    fn every_part_of_the_key_counts() {
        let first = |seed, purpose, epoch, step, sample| CounterRng::new(seed, purpose, epoch, step, sample).bits();
        let all = [
            first(0, "a", 0, 0, 0),
            first(1, "a", 0, 0, 0),
            first(0, "b", 0, 0, 0),
            first(0, "a", 1, 0, 0),
            first(0, "a", 0, 1, 0),
            first(0, "a", 0, 0, 1),
        ];
        assert!((0..all.len()).all(|i| !all[..i].contains(&all[i])), "{all:?}");
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut draw = CounterRng::new(0, "test", 0, 0, 0);
        let moments = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64)
        };
        let n = 100_000;
        let (mean, variance) = moments(&(0..n).map(|_| draw.uniform()).collect::<Vec<_>>());
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.001, "{mean} {variance}");
        let (mean, variance) = moments(&(0..n).map(|_| draw.normal()).collect::<Vec<_>>());
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let (mean, _) = moments(&(0..n).map(|_| f64::from(u8::from(draw.bool(0.3)))).collect::<Vec<_>>());
        assert!((mean - 0.3).abs() < 0.005, "{mean}");
    }

    #[test]
    fn a_permutation_holds_every_number_once_and_each_order_is_as_likely() {
        let mut seen = std::collections::BTreeMap::new();
        for sample in 0..6000 {
            let order = CounterRng::new(3, "order", 0, 0, sample).permutation(3);
            *seen.entry(order).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|&n: &i32| (n - 1000).abs() < 150), "{seen:?}");
    }
}
