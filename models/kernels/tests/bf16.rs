//! Convolutions with bf16 operands, forward and backward, on every instruction set: compared with naive sums in f64, of the same operands
//! rounded to bf16 and unrounded. Operands are pseudo-random.

use kernels::bf16::{Bf16Convolution, Bf16Isa, WORKSPACE_BYTES, round, widen};
use kernels::geometry::Geometry;
use kernels::winograd::{Part, PartBuffer};
use kernels::{HaloRows, Pool, panels};

/// Largest relative error (L2 norm) against f64 on operands rounded to bf16.
const TOLERANCE_ROUNDED: f64 = 1e-5;
/// Largest relative error (L2 norm) against f64 on unrounded operands.
const TOLERANCE_EXACT: f64 = 4e-3;

struct Case {
    geometry: Geometry,
    /// Channels of each source; true for a source of half the height and width.
    parts: Vec<(usize, bool)>,
    outputs: usize,
}

fn case(size: [usize; 3], kernel: usize, stride: usize, parts: &[(usize, bool)], outputs: usize) -> Case {
    let [batch, height, width] = size;
    Case { geometry: Geometry { batch, height, width, kernel, stride, halo: HaloRows::NONE }, parts: parts.to_vec(), outputs }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 9, 13], 3, 1, &[(32, false)], 32),
        case([1, 40, 37], 3, 1, &[(16, false)], 16),
        case([1, 5, 7], 3, 1, &[(21, false)], 50),
        case([2, 8, 8], 3, 1, &[(80, false)], 96),
        case([2, 11, 6], 1, 1, &[(48, false)], 33),
        case([2, 12, 10], 3, 2, &[(32, false)], 64),
        case([1, 13, 9], 3, 2, &[(19, false)], 17),
        case([2, 12, 10], 1, 2, &[(64, false)], 32),
        case([1, 7, 9], 1, 2, &[(16, false)], 40),
        case([2, 10, 14], 3, 1, &[(32, true), (16, false)], 32),
        case([1, 6, 8], 3, 1, &[(35, true)], 16),
        case([1, 1, 1], 3, 1, &[(16, false)], 16),
    ]
}

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Operands of a case: sources `B H W C`, weights `O I K K`, gradient at the output.
struct Operands {
    parts: Vec<Vec<f32>>,
    weight: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn inputs(&self) -> usize {
        self.parts.iter().map(|(channels, _)| channels).sum()
    }

    fn operands(&self) -> Operands {
        let Geometry { batch, height, width, .. } = self.geometry;
        let (rows, columns) = self.geometry.output();
        let len = |channels: usize, halved: bool| batch * (height >> usize::from(halved)) * (width >> usize::from(halved)) * channels;
        Operands {
            parts: self.parts.iter().zip(1..).map(|(&(channels, halved), seed)| random(seed, len(channels, halved))).collect(),
            weight: random(11, self.outputs * self.inputs() * self.geometry.taps()),
            dy: random(12, batch * rows * columns * self.outputs),
        }
    }

    /// Calls `f(output pixel, input pixel [image, y, x], tap)` for every pair of output pixel and tap inside the image.
    fn for_each_product(&self, mut f: impl FnMut(usize, [usize; 3], usize)) {
        let Geometry { batch, height, width, kernel, stride, .. } = self.geometry;
        let (rows, columns) = self.geometry.output();
        for pixel in 0..batch * rows * columns {
            let (image, oy, ox) = (pixel / (rows * columns), pixel / columns % rows, pixel % columns);
            for tap in 0..kernel * kernel {
                let (y, x) = (oy * stride + tap / kernel, ox * stride + tap % kernel);
                let (y, x) = (y.wrapping_sub(kernel / 2), x.wrapping_sub(kernel / 2));
                if y < height && x < width {
                    f(pixel, [image, y, x], tap);
                }
            }
        }
    }

    /// Returns the source of an input channel, and the index in the source of the channel at a pixel.
    fn index(&self, [image, y, x]: [usize; 3], mut channel: usize) -> (usize, usize) {
        for (part, &(channels, halved)) in self.parts.iter().enumerate() {
            if channel < channels {
                let half = usize::from(halved);
                let (height, width) = (self.geometry.height >> half, self.geometry.width >> half);
                return (part, ((image * height + (y >> half)) * width + (x >> half)) * channels + channel);
            }
            channel -= channels;
        }
        unreachable!("a channel of the input");
    }

    /// Returns the output and the gradients at the sources and at the weights, as naive sums in f64.
    fn naive(&self, operands: &Operands) -> [Vec<f64>; 3] {
        let (inputs, outputs, taps) = (self.inputs(), self.outputs, self.geometry.taps());
        let mut y = vec![0.0; operands.dy.len()];
        let mut dparts: Vec<Vec<f64>> = operands.parts.iter().map(|part| vec![0.0; part.len()]).collect();
        let mut dweight = vec![0.0; operands.weight.len()];
        self.for_each_product(|pixel, pixel_in, tap| {
            for i in 0..inputs {
                let (part, index) = self.index(pixel_in, i);
                let value = f64::from(operands.parts[part][index]);
                for o in 0..outputs {
                    let (w, d) = ((o * inputs + i) * taps + tap, pixel * outputs + o);
                    let (weight, dy) = (f64::from(operands.weight[w]), f64::from(operands.dy[d]));
                    y[d] += value * weight;
                    dparts[part][index] += dy * weight;
                    dweight[w] += dy * value;
                }
            }
        });
        [y, dparts.concat(), dweight]
    }

    fn run(&self, isa: Bf16Isa, operands: &Operands) -> [Vec<f32>; 3] {
        self.run_with_workspace(WORKSPACE_BYTES, isa, operands)
    }

    fn run_with_workspace(&self, workspace_bytes: usize, isa: Bf16Isa, operands: &Operands) -> [Vec<f32>; 3] {
        let (pool, scratch) = (Pool::new(), Pool::of_any_length());
        let (inputs, taps) = (self.inputs(), self.geometry.taps());
        let (geometry, outputs) = (self.geometry, self.outputs);
        let convolution = Bf16Convolution { isa, pool: &pool, scratch: &scratch, workspace_bytes, geometry, inputs, outputs };
        let mut weights = vec![0.0; panels::len(self.outputs, inputs, taps)];
        panels::pack(&operands.weight, self.outputs, inputs, taps, &mut weights);
        let sizes = self.parts.iter().zip(&operands.parts);
        let parts: Vec<Part> = sizes.map(|(&(channels, halved), values)| Part { values, channels, halved, halo: HaloRows::NONE }).collect();
        // Values that the kernel does not write stay NaN.
        let mut y = vec![f32::NAN; operands.dy.len()];
        convolution.convolve(&parts, &weights, &mut y);
        let mut dparts: Vec<Vec<f32>> = operands.parts.iter().map(|part| vec![f32::NAN; part.len()]).collect();
        let mut targets: Vec<PartBuffer> =
            dparts.iter_mut().zip(&self.parts).map(|(values, &(channels, halved))| PartBuffer { values, channels, halved }).collect();
        convolution.data_gradient(&operands.dy, &weights, &mut targets);
        let dweight = panels::unpack(&convolution.weight_gradient(&parts, &operands.dy), self.outputs, inputs, taps);
        [y, dparts.concat(), dweight]
    }

    fn name(&self) -> String {
        format!("{:?}, {:?} to {}", self.geometry, self.parts, self.outputs)
    }
}

/// Returns the relative error, `|found - exact| / |exact|` in L2 norms.
fn error(found: &[f32], exact: &[f64]) -> f64 {
    let squares: f64 = found.iter().zip(exact).map(|(f, e)| (f64::from(*f) - e).powi(2)).sum();
    (squares / exact.iter().map(|e| e * e).sum::<f64>()).sqrt()
}

/// Returns the operands rounded to bf16.
fn rounded(operands: &Operands) -> Operands {
    let round_all = |values: &[f32]| values.iter().map(|v| widen(round(*v))).collect();
    Operands {
        parts: operands.parts.iter().map(|part| round_all(part)).collect(),
        weight: round_all(&operands.weight),
        dy: round_all(&operands.dy),
    }
}

#[test]
fn every_instruction_set_computes_every_pass_within_its_tolerance() {
    #[cfg(target_arch = "x86_64")]
    for isa in [Bf16Isa::Amx, Bf16Isa::Avx512Bf16, Bf16Isa::Avx512] {
        if !Bf16Isa::available().contains(&isa) {
            eprintln!("SKIPPED: this processor has no {}, whose products are not tested", isa.name());
        }
    }
    let mut worst = [[0.0f64; 3]; 2];
    for case in cases() {
        let operands = case.operands();
        let (from_rounded, exact) = (case.naive(&rounded(&operands)), case.naive(&operands));
        for isa in Bf16Isa::available() {
            let found = case.run(isa, &operands);
            for pass in 0..3 {
                let errors = [error(&found[pass], &from_rounded[pass]), error(&found[pass], &exact[pass])];
                let name = ["forward", "backward-data", "backward-weight"][pass];
                let is_close = errors[0] <= TOLERANCE_ROUNDED && errors[1] <= TOLERANCE_EXACT;
                assert!(is_close, "{}, {isa:?}, {name}: relative errors {errors:?}", case.name());
                (0..2).for_each(|i| worst[i][pass] = worst[i][pass].max(errors[i]));
            }
        }
    }
    for (errors, operands) in worst.iter().zip(["rounded operands", "unrounded operands"]) {
        println!("worst on {operands}: forward {:.1e}, backward-data {:.1e}, backward-weight {:.1e}", errors[0], errors[1], errors[2]);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let shapes = [
        case([2, 40, 40], 3, 1, &[(32, true), (16, false)], 48),
        case([2, 26, 24], 3, 2, &[(64, false)], 96),
        case([3, 70, 64], 3, 1, &[(16, false)], 16),
    ];
    for case in shapes {
        let operands = case.operands();
        for isa in Bf16Isa::available() {
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| case.run(isa, &operands))
            };
            let one = run(1);
            assert!(one == run(2) && one == run(3), "{}, {isa:?}", case.name());
        }
    }
}

#[test]
fn results_do_not_depend_on_the_size_of_the_workspace() {
    let larger = [
        case([5, 40, 40], 3, 1, &[(32, true), (16, false)], 48),
        case([3, 70, 64], 3, 1, &[(16, false)], 16),
        case([4, 91, 75], 3, 2, &[(20, false)], 33),
        case([3, 90, 76], 1, 2, &[(16, false)], 16),
    ];
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for case in cases().into_iter().chain(larger) {
        let operands = case.operands();
        for isa in Bf16Isa::available() {
            let found = [1, 100_000, usize::MAX].map(|bytes| one_thread.install(|| case.run_with_workspace(bytes, isa, &operands)));
            assert!(found[0] == found[2] && found[1] == found[2], "{}, {isa:?}", case.name());
        }
    }
}

#[test]
fn nan_stays_nan() {
    let case = case([1, 6, 6], 3, 1, &[(16, false)], 16);
    let mut operands = case.operands();
    operands.parts[0][0] = f32::NAN;
    for isa in Bf16Isa::available() {
        let [y, _, dweight] = case.run(isa, &operands);
        assert!(y[..16].iter().all(|v| v.is_nan()) && dweight.iter().any(|v| v.is_nan()), "{isa:?}");
        assert!(y[y.len() - 16..].iter().all(|v| v.is_finite()), "{isa:?}");
    }
}
