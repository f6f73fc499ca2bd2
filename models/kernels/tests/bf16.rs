//! Convolutions with bf16 operands against sums in f64, of operands rounded to bf16 and as they are; inputs from a formula.

use kernels::bf16::{Bf16Convolution, Bf16Isa, WORKSPACE_BYTES, round, widen};
use kernels::geometry::Geometry;
use kernels::winograd::{Part, PartBuffer};
use kernels::{HaloRows, Pool, panels};

/// What one pass may differ by from f64 on rounded operands, and on those that were not rounded: L2 norms.
const EXACT: f64 = 1e-5;
const ROUNDED: f64 = 4e-3;

struct Case {
    geometry: Geometry,
    /// Channels of each part, and whether it is half as high and wide.
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

/// Operands of a case: maps of the parts, weights `O I K K`, gradient at the result.
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

    /// Calls `f(output pixel, input place [image, y, x], tap)` for every product of pixels.
    fn each(&self, mut f: impl FnMut(usize, [usize; 3], usize)) {
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

    /// Part, and index in it, of an input channel at a place.
    fn place(&self, [image, y, x]: [usize; 3], mut channel: usize) -> (usize, usize) {
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

    /// Result, gradients at the parts and at the weight, in f64.
    fn naive(&self, operands: &Operands) -> [Vec<f64>; 3] {
        let (inputs, outputs, taps) = (self.inputs(), self.outputs, self.geometry.taps());
        let mut y = vec![0.0; operands.dy.len()];
        let mut dparts: Vec<Vec<f64>> = operands.parts.iter().map(|part| vec![0.0; part.len()]).collect();
        let mut dweight = vec![0.0; operands.weight.len()];
        self.each(|pixel, place, tap| {
            for i in 0..inputs {
                let (part, index) = self.place(place, i);
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

    fn on(&self, isa: Bf16Isa, operands: &Operands) -> [Vec<f32>; 3] {
        self.with_workspace(WORKSPACE_BYTES, isa, operands)
    }

    fn with_workspace(&self, workspace_bytes: usize, isa: Bf16Isa, operands: &Operands) -> [Vec<f32>; 3] {
        let (pool, scratch) = (Pool::new(), Pool::of_any_length());
        let (inputs, taps) = (self.inputs(), self.geometry.taps());
        let convolution = Bf16Convolution {
            isa,
            pool: &pool,
            scratch: &scratch,
            workspace_bytes,
            geometry: self.geometry,
            inputs,
            outputs: self.outputs,
        };
        let mut weights = vec![0.0; panels::len(self.outputs, inputs, taps)];
        panels::pack(&operands.weight, self.outputs, inputs, taps, &mut weights);
        let sizes = self.parts.iter().zip(&operands.parts);
        let parts: Vec<Part> = sizes.map(|(&(channels, halved), values)| Part { values, channels, halved, halo: HaloRows::NONE }).collect();
        // What is not written stays wrong.
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

fn error(found: &[f32], exact: &[f64]) -> f64 {
    let squares: f64 = found.iter().zip(exact).map(|(f, e)| (f64::from(*f) - e).powi(2)).sum();
    (squares / exact.iter().map(|e| e * e).sum::<f64>()).sqrt()
}

fn rounded(operands: &Operands) -> Operands {
    let of = |values: &[f32]| values.iter().map(|v| widen(round(*v))).collect();
    Operands { parts: operands.parts.iter().map(|part| of(part)).collect(), weight: of(&operands.weight), dy: of(&operands.dy) }
}

#[test]
fn every_unit_computes_every_pass_as_exactly_as_stated() {
    #[cfg(target_arch = "x86_64")]
    for isa in [Bf16Isa::Amx, Bf16Isa::Avx512Bf16, Bf16Isa::Avx512] {
        if !Bf16Isa::available().contains(&isa) {
            eprintln!("SKIPPED: this processor has no {}, whose products are not tested", isa.name());
        }
    }
    let mut worst = [[0.0f64; 3]; 2];
    for case in cases() {
        let operands = case.operands();
        let (of_rounded, exact) = (case.naive(&rounded(&operands)), case.naive(&operands));
        for isa in Bf16Isa::available() {
            let found = case.on(isa, &operands);
            for pass in 0..3 {
                let errors = [error(&found[pass], &of_rounded[pass]), error(&found[pass], &exact[pass])];
                let name = ["forward", "backward-data", "backward-weight"][pass];
                assert!(
                    errors[0] <= EXACT && errors[1] <= ROUNDED,
                    "{}, {isa:?}, {name}: {:.1e} and {:.1e}",
                    case.name(),
                    errors[0],
                    errors[1]
                );
                (0..2).for_each(|i| worst[i][pass] = worst[i][pass].max(errors[i]));
            }
        }
    }
    for (errors, operands) in worst.iter().zip(["rounded operands", "operands as they are"]) {
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
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| case.on(isa, &operands))
            };
            let one = on(1);
            assert!(one == on(2) && one == on(3), "{}, {isa:?}", case.name());
        }
    }
}

#[test]
fn results_do_not_depend_on_what_is_worked_on_together() {
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
            let found =
                [1, 100_000, usize::MAX].map(|workspace_bytes| one_thread.install(|| case.with_workspace(workspace_bytes, isa, &operands)));
            assert!(found[0] == found[2] && found[1] == found[2], "{}, {isa:?}", case.name());
        }
    }
}

#[test]
fn what_is_no_number_does_not_disappear() {
    let case = case([1, 6, 6], 3, 1, &[(16, false)], 16);
    let mut operands = case.operands();
    operands.parts[0][0] = f32::NAN;
    for isa in Bf16Isa::available() {
        let [y, _, dweight] = case.on(isa, &operands);
        assert!(y[..16].iter().all(|v| v.is_nan()) && dweight.iter().any(|v| v.is_nan()), "{isa:?}");
        assert!(y[y.len() - 16..].iter().all(|v| v.is_finite()), "{isa:?}");
    }
}
