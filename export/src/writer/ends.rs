//! ONNX nodes at the ends of a shipped network: normalisation of the image, probability and quantised probability.

use onnx::build::{floats, int, integers, ints};
use onnx::names::INPUT;
use onnx::proto::{FLOAT, FLOAT16, UINT8};

use super::Arithmetic;
use super::node::Writer;

impl Writer<'_> {
    /// Converts u8 `N H W 3` to `N 3 H W` and computes `(v - 255 mean) / (255 std)` in f32. The cast comes before the transposition, because
    /// ONNX Runtime is slow at transposing bytes.
    pub(super) fn normalise_image(&mut self, output: &str, mean: [f32; 3], std: [f32; 3]) {
        let [cast, planes, centred, scaled] = ["f32", "planes", "centred", "scaled"].map(|suffix| format!("{INPUT}.{suffix}"));
        let [mean_name, scale_name] = ["mean", "scale"].map(|suffix| format!("{INPUT}.{suffix}"));
        let scale = std.map(|std| (1.0 / (255.0 * f64::from(std))) as f32);
        let is_scaled = scale.iter().any(|scale| (scale - 1.0).abs() > 1e-6);
        let is_half = matches!(self.arithmetic, Arithmetic::F16);
        let last = if is_half { &scaled } else { output };
        self.node("Cast", &[INPUT], &cast, vec![int("to", FLOAT.into())]);
        self.node("Transpose", &[&cast], &planes, vec![ints("perm", &[0, 3, 1, 2])]);
        self.constants.push(floats(&mean_name, &[1, 3, 1, 1], &mean.map(|mean| (255.0 * f64::from(mean)) as f32)));
        self.node("Sub", &[&planes, &mean_name], if is_scaled { &centred } else { last }, vec![]);
        if is_scaled {
            self.constants.push(floats(&scale_name, &[1, 3, 1, 1], &scale));
            self.node("Mul", &[&centred, &scale_name], last, vec![]);
        }
        if is_half {
            self.node("Cast", &[last], output, vec![int("to", FLOAT16.into())]);
        }
    }

    /// Computes `sigmoid(z1 - z0)`, or `sigmoid(z)` of a single channel, in f32; `N C H W` to `N H W`.
    pub(super) fn probability(&mut self, x: &str, channels: usize, output: &str) {
        let part = |suffix: &str| format!("{output}.{suffix}");
        let [axis, z0, z1, difference, map, exact] = ["axis", "z0", "z1", "difference", "map", "logit"].map(part);
        self.constants.push(integers(&axis, &[1]));
        let mut logit = x;
        if matches!(self.arithmetic, Arithmetic::F16) {
            self.node("Cast", &[x], &exact, vec![int("to", FLOAT.into())]);
            logit = &exact;
        }
        if channels != 1 {
            assert_eq!(channels, 2, "{output}: probability of {channels} channels");
            for (z, start) in [(&z0, 0), (&z1, 1)] {
                let (from, to) = (format!("{z}.from"), format!("{z}.to"));
                self.constants.push(integers(&from, &[start]));
                self.constants.push(integers(&to, &[start + 1]));
                self.node("Slice", &[logit, &from, &to, &axis], z, vec![]);
            }
            self.node("Sub", &[&z1, &z0], &difference, vec![]);
            logit = &difference;
        }
        self.node("Sigmoid", &[logit], &map, vec![]);
        self.node("Squeeze", &[&map, &axis], output, vec![]);
    }

    /// Computes `round(255 p)` as u8; ONNX defines `Round` with ties to even.
    pub(super) fn quantise(&mut self, x: &str, output: &str) {
        let part = |suffix: &str| format!("{output}.{suffix}");
        let [levels, scaled, rounded] = ["levels", "scaled", "rounded"].map(part);
        self.constants.push(floats(&levels, &[], &[255.0]));
        self.node("Mul", &[x, &levels], &scaled, vec![]);
        self.node("Round", &[&scaled], &rounded, vec![]);
        self.node("Cast", &[&rounded], output, vec![int("to", UINT8.into())]);
    }
}
