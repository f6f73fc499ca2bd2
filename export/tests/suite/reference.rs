//! Reference interpreter: evaluates a graph in f64 directly from the definitions (slow, for small shapes), with pseudo-random numbers
//! derived from a name.

use models::graph::{Conv, Depthwise, Feature, Graph, Op, UpConv};
use models::weights::{Array, Weights};

/// A feature map `C H W`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap {
    pub shape: Feature,
    pub data: Vec<f64>,
}

impl FeatureMap {
    pub fn new(channels: usize, height: usize, width: usize, data: Vec<f64>) -> Self {
        assert_eq!(data.len(), channels * height * width);
        Self { shape: Feature { channels, height, width }, data }
    }

    /// Value at a position; `None` outside the feature map.
    fn at(&self, c: usize, y: isize, x: isize) -> Option<f64> {
        let Feature { height, width, .. } = self.shape;
        let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
        inside.then(|| self.data[(c * height + y as usize) * width + x as usize])
    }

    fn from_fn(shape: Feature, f: impl Fn(usize, isize, isize) -> f64) -> Self {
        let Feature { channels, height, width } = shape;
        let rows = (0..channels).flat_map(|c| (0..height).map(move |y| (c, y)));
        let data = rows.flat_map(|(c, y)| (0..width).map(move |x| (c, y, x))).map(|(c, y, x)| f(c, y as isize, x as isize));
        Self { shape, data: data.collect() }
    }
}

/// Evaluates the graph's output. An image input takes the bytes as numbers 0..=255, `C H W`.
pub fn evaluate(graph: &Graph, weights: &Weights, input: &FeatureMap) -> FeatureMap {
    let shapes = graph.shapes(input.shape.height, input.shape.width).unwrap();
    let mut values: Vec<FeatureMap> = Vec::new();
    for (node, &shape) in graph.nodes.iter().zip(&shapes) {
        let of = |i: usize| &values[node.inputs[i].0];
        let weight = |suffix: &str, i: usize| f64::from(weights[&format!("{}.{suffix}", node.name)].data[i]);
        let value = match &node.op {
            Op::Input { .. } => input.clone(),
            Op::InputImage { mean, std } => {
                FeatureMap::from_fn(shape, |c, y, x| (input.at(c, y, x).unwrap() / 255.0 - f64::from(mean[c])) / f64::from(std[c]))
            }
            Op::Conv(conv) => convolve(conv, of(0), shape, weight),
            Op::Depthwise(conv) => convolve_depthwise(conv, of(0), shape, weight),
            Op::UpConv(conv) => up_convolve(conv, of(0), shape, weight),
            Op::BatchNorm { eps, .. } => FeatureMap::from_fn(shape, |c, y, x| {
                let unit = (of(0).at(c, y, x).unwrap() - weight("running_mean", c)) / (weight("running_var", c) + eps).sqrt();
                weight("weight", c) * unit + weight("bias", c)
            }),
            Op::Relu => FeatureMap::from_fn(shape, |c, y, x| of(0).at(c, y, x).unwrap().max(0.0)),
            Op::Relu6 => FeatureMap::from_fn(shape, |c, y, x| of(0).at(c, y, x).unwrap().clamp(0.0, 6.0)),
            Op::Add => FeatureMap::from_fn(shape, |c, y, x| of(0).at(c, y, x).unwrap() + of(1).at(c, y, x).unwrap()),
            Op::MaxPool => FeatureMap::from_fn(shape, |c, y, x| {
                let window = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (2 * y + dy, 2 * x + dx)));
                window.filter_map(|(y, x)| of(0).at(c, y, x)).fold(f64::NEG_INFINITY, f64::max)
            }),
            Op::Upsample => FeatureMap::from_fn(shape, |c, y, x| of(0).at(c, y / 2, x / 2).unwrap()),
            Op::Concat => {
                let first = of(0).shape.channels;
                FeatureMap::from_fn(
                    shape,
                    |c, y, x| if c < first { of(0).at(c, y, x).unwrap() } else { of(1).at(c - first, y, x).unwrap() },
                )
            }
            Op::Probability => {
                let two = of(0).shape.channels == 2;
                let logit = |y, x| of(0).at(usize::from(two), y, x).unwrap() - if two { of(0).at(0, y, x).unwrap() } else { 0.0 };
                FeatureMap::from_fn(shape, |_, y, x| 1.0 / (1.0 + (-logit(y, x)).exp()))
            }
            Op::Quantise => FeatureMap::from_fn(shape, |c, y, x| (255.0 * of(0).at(c, y, x).unwrap()).round_ties_even()),
        };
        assert_eq!(value.shape, shape, "{}", node.name);
        values.push(value);
    }
    values.swap_remove(graph.output.0)
}

fn convolve_depthwise(conv: &Depthwise, input: &FeatureMap, shape: Feature, weight: impl Fn(&str, usize) -> f64) -> FeatureMap {
    let stride = conv.stride as isize;
    FeatureMap::from_fn(shape, |c, y, x| {
        let taps = (0..3).flat_map(|i| (0..3).map(move |j| (i, j)));
        let products = taps.filter_map(|(i, j)| {
            let value = input.at(c, y * stride + i - 1, x * stride + j - 1)?;
            Some(value * weight("weight", 9 * c + (3 * i + j) as usize))
        });
        products.sum::<f64>() + if conv.bias { weight("bias", c) } else { 0.0 }
    })
}

fn convolve(conv: &Conv, input: &FeatureMap, shape: Feature, weight: impl Fn(&str, usize) -> f64) -> FeatureMap {
    let k = conv.kernel as isize;
    FeatureMap::from_fn(shape, |o, y, x| {
        let bias = if conv.bias { weight("bias", o) } else { 0.0 };
        let taps = (0..conv.inputs).flat_map(|c| (0..k).flat_map(move |i| (0..k).map(move |j| (c, i, j))));
        let products = taps.filter_map(|(c, i, j)| {
            let (y, x) = (y * conv.stride as isize + i - k / 2, x * conv.stride as isize + j - k / 2);
            let at = ((o * conv.inputs + c) * conv.kernel + i as usize) * conv.kernel + j as usize;
            input.at(c, y, x).map(|v| v * weight("weight", at))
        });
        bias + products.sum::<f64>()
    })
}

/// Transposed convolution by definition: each input pixel adds its multiple of the kernel to the output (kernel 4, stride 2, padding 1).
fn up_convolve(conv: &UpConv, input: &FeatureMap, shape: Feature, weight: impl Fn(&str, usize) -> f64) -> FeatureMap {
    let mut data = vec![0.0; shape.channels * shape.height * shape.width];
    let Feature { height, width, .. } = input.shape;
    for (c, y, x) in (0..conv.inputs).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x)))) {
        let value = input.at(c, y as isize, x as isize).unwrap();
        for (o, i, j) in (0..conv.outputs).flat_map(|o| (0..4).flat_map(move |i| (0..4).map(move |j| (o, i, j)))) {
            let (row, column) = (2 * y + i, 2 * x + j);
            if (1..=shape.height).contains(&row) && (1..=shape.width).contains(&column) {
                let at = ((c * conv.outputs + o) * 4 + i) * 4 + j;
                data[(o * shape.height + row - 1) * shape.width + column - 1] += value * weight("weight", at);
            }
        }
    }
    if conv.bias {
        let plane = shape.height * shape.width;
        data.iter_mut().enumerate().for_each(|(i, v)| *v += weight("bias", i / plane));
    }
    FeatureMap { shape, data }
}

/// Pseudo-random numbers in -1..1 derived from a name: `tests/data/golden/README.md`, "Numbers by formula", seed 1.
pub fn unit_numbers(name: &str) -> impl Iterator<Item = f64> {
    let fnv = |key: u64, byte: u8| (key ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let key = format!("1/{name}").bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    (1u64..).map(move |i| {
        let z = key.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let k = (z ^ z >> 31) >> 40;
        (k as f64 - 8_388_608.0) / 8_388_608.0
    })
}

/// Weights of the golden vectors by the formula of `tests/data/golden/README.md`, point 4, extended by convolution biases of .1 u.
pub fn formula_weights(graph: &Graph) -> Weights {
    let array = |name: &str, shape: &[usize]| {
        let of = |u: f64| match (shape, name.rsplit('.').next().unwrap()) {
            ([_, inputs, height, width], _) => (3.0 / (inputs * height * width) as f64).sqrt() * u,
            (_, "weight") => 1.0 + 0.1 * u,
            (_, "running_var") => 1.0 + 0.5 * u.abs(),
            _ => 0.1 * u,
        };
        let count = shape.iter().product();
        Array::new(shape, unit_numbers(name).take(count).map(|u| of(u) as f32).collect())
    };
    graph.parameters().into_iter().map(|p| (p.name.clone(), array(&p.name, &p.shape))).collect()
}
