//! Every operation of the graph: gradients against finite differences in f64, fast kernels against the reference.

mod reference;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use models::graph::{Builder, Graph, Wire};
use models::weights::Weights;
use reference::{assert_close, f64s, u};
use train::network::kernels::{Cpu, Isa, Kernels, Reference};
use train::network::{Mode, Network};

#[allow(clippy::redundant_closure_for_method_calls)] // the methods alone are not general enough in their lifetime
/// One small graph per operation (and per shape of convolution), by name.
fn graphs() -> BTreeMap<&'static str, Graph> {
    fn graph(build: impl for<'b> Fn(Wire<'b>) -> Wire<'b>, channels: usize) -> Graph {
        let builder = Builder::new();
        let output = build(builder.input(channels));
        builder.finish(output, &[])
    }
    let mut all: BTreeMap<&'static str, Graph> = BTreeMap::new();
    all.insert("conv 3x3", graph(|x| x.conv("c", 5, 3, 1), 3));
    all.insert("conv 3x3, 16 to 32", graph(|x| x.conv("c", 32, 3, 1), 16));
    all.insert("conv 3x3 stride 2", graph(|x| x.conv("c", 17, 3, 2), 18));
    all.insert("conv 7x7 stride 2", graph(|x| x.conv("c", 16, 7, 2), 3));
    all.insert("conv 1x1", graph(|x| x.conv("c", 48, 1, 1), 9));
    all.insert("conv 1x1 stride 2", graph(|x| x.conv("c", 6, 1, 2), 4));
    all.insert("conv with bias", graph(|x| x.conv_bias("c", 2, 3, 1), 16));
    all.insert("norm", graph(|x| x.norm("n"), 5));
    all.insert("norm and relu", graph(|x| x.norm("n").relu(), 5));
    all.insert("relu", graph(|x| x.relu(), 4));
    all.insert("max pool", graph(|x| x.max_pool(), 4));
    all.insert("upsample", graph(|x| x.upsample(), 4));
    all.insert("upsample of a shared value", graph(|x| x.max_pool().upsample().plus(x), 4));
    all.insert("add", graph(|x| x.conv("a", 4, 1, 1).plus(x.conv("b", 4, 3, 1)), 4));
    all.insert("concat", graph(|x| x.conv("a", 3, 1, 1).concat(x), 4));
    all.insert("residual", graph(|x| x.conv("a", 4, 1, 1).norm("n").plus(x).relu(), 4));
    all.insert("residual of two norms", graph(|x| x.conv("a", 20, 1, 1).norm("n").plus(x.conv("b", 20, 1, 1).norm("m")).relu(), 4));
    all.insert("conv of an upsampled map", graph(|x| x.max_pool().upsample().conv("c", 16, 3, 1), 16));
    all.insert("conv of an upsampled map and a skip", graph(|x| x.max_pool().upsample().concat(x).conv("c", 48, 3, 1), 16));
    all.insert("conv of an upsampled map and a skip, few channels", graph(|x| x.max_pool().upsample().concat(x).conv("c", 5, 3, 1), 3));
    all
}

fn image(graph: &Graph, height: usize, width: usize) -> Tensor {
    let channels = graph.shapes(height, width).unwrap()[0].channels;
    Tensor::from_vec(u(7, "image", 2 * channels * height * width), (2, channels, height, width), &Device::Cpu).unwrap()
}

/// `sum(output * c)` for fixed c, and its gradients.
fn loss(network: &Network, image: &Tensor, mode: Mode) -> f64 {
    let tape = network.forward(image, mode).unwrap();
    let output = network.output(&tape).unwrap();
    f64s(&output).iter().zip(u(7, "cotangent", output.elem_count())).map(|(v, c)| v * c).sum()
}

fn gradients(network: &Network, image: &Tensor, mode: Mode) -> (Tensor, Tensor, BTreeMap<String, Tensor>) {
    let tape = network.forward(image, mode).unwrap();
    let output = network.output(&tape).unwrap();
    let cotangent = Tensor::from_vec(u(7, "cotangent", output.elem_count()), output.shape(), &Device::Cpu).unwrap();
    let found = network.backward(&tape, Some(&cotangent.to_dtype(network.kernels().dtype()).unwrap()), &[], true).unwrap();
    let parameters = found.parameters.iter().map(|(name, g)| {
        let array = network.export(name, g).unwrap();
        (name.clone(), Tensor::from_vec(array.data, array.shape, &Device::Cpu).unwrap())
    });
    (output, found.image.unwrap(), parameters.collect())
}

/// Central differences at a handful of positions.
fn numeric(len: usize, mut at: impl FnMut(usize, f64) -> f64) -> Vec<(usize, f64)> {
    const STEP: f64 = 1e-6;
    (0..len).step_by((len / 12).max(1)).map(|i| (i, (at(i, STEP) - at(i, -STEP)) / (2.0 * STEP))).collect()
}

#[test]
fn gradients_equal_finite_differences() {
    for (name, graph) in graphs() {
        for mode in [Mode::Train, Mode::Frozen] {
            let weights = reference::weights(3, &graph);
            let kernels: Arc<dyn Kernels> = Arc::new(Reference::new(Device::Cpu, DType::F64));
            let mut network = Network::new(graph.clone(), &weights, kernels).unwrap();
            let image = image(&graph, 6, 8);
            let (_, dimage, dparameters) = gradients(&network, &image, mode);
            let values = f64s(&image);
            let shifted = |i: usize, by: f64| {
                let mut values = values.clone();
                values[i] += by;
                Tensor::from_vec(values, image.shape(), &Device::Cpu).unwrap()
            };
            compare(
                &format!("{name} {mode:?} image"),
                &f64s(&dimage),
                &numeric(values.len(), |i, by| loss(&network, &shifted(i, by), mode)),
            );
            for (key, gradient) in dparameters {
                let original = network.parameters()[&key].clone();
                let values = f64s(&original);
                let slopes = numeric(values.len(), |i, by| {
                    let mut values = values.clone();
                    values[i] += by;
                    network.set(&key, Tensor::from_vec(values, original.shape(), &Device::Cpu).unwrap());
                    loss(&network, &image, mode)
                });
                network.set(&key, original);
                compare(&format!("{name} {mode:?} {key}"), &f64s(&gradient), &slopes);
            }
        }
    }
}

fn compare(what: &str, analytic: &[f64], slopes: &[(usize, f64)]) {
    let scale = analytic.iter().map(|v| v.abs()).fold(1e-3, f64::max);
    for (i, slope) in slopes {
        assert!((analytic[*i] - slope).abs() <= 1e-5 * scale, "{what} at {i}: gradient {}, finite difference {slope}", analytic[*i]);
    }
}

#[test]
fn fast_kernels_equal_the_reference_on_every_instruction_set() {
    for isa in Isa::available() {
        // The form for large filters is another program, but the same operation.
        let builder = Builder::new();
        let large = builder.input(96).conv("c", 144, 3, 1);
        for (name, graph) in graphs().into_iter().chain([("conv 3x3, a large filter", builder.finish(large, &[]))]) {
            let weights: Weights = reference::weights(3, &graph);
            let reference = Network::new(graph.clone(), &weights, Arc::new(Reference::new(Device::Cpu, DType::F64))).unwrap();
            let fast = Network::new(graph.clone(), &weights, Arc::new(Cpu::with_isa(isa))).unwrap();
            for (height, width) in [(2, 2), (6, 10), (34, 32)] {
                let image = image(&graph, height, width);
                for mode in [Mode::Train, Mode::Frozen] {
                    let what = format!("{name} {isa:?} {height}x{width} {mode:?}");
                    let (y, dx, dw) = gradients(&reference, &image, mode);
                    let (fast_y, fast_dx, fast_dw) = gradients(&fast, &image.to_dtype(DType::F32).unwrap(), mode);
                    assert_close(&what, &fast_y, &y, 2e-5);
                    assert_close(&what, &fast_dx, &dx, 2e-4);
                    for (key, gradient) in dw {
                        assert_close(&format!("{what} {key}"), &fast_dw[&key], &gradient, 2e-4);
                    }
                }
            }
        }
    }
}

/// `|found - exact| / |exact|`, both as vectors.
fn relative_error(found: &Tensor, exact: &Tensor) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let (found, exact) = (f64s(found), f64s(exact));
    norm(&mut found.iter().zip(&exact).map(|(f, e)| f - e)) / norm(&mut exact.iter().copied())
}

/// The errors that `docs/speed.md` states for each form of convolution; run with `--nocapture` to see them.
#[test]
fn every_form_of_convolution_is_as_exact_as_stated() {
    let builder = |inputs: usize, outputs: usize, kernel: usize, stride: usize| {
        let builder = Builder::new();
        let output = builder.input(inputs).conv("c", outputs, kernel, stride);
        builder.finish(output, &[])
    };
    let cases = [
        ("F(4x4, 3x3), small filter", builder(64, 64, 3, 1), 32),
        ("F(4x4, 3x3), large filter", builder(256, 128, 3, 1), 16),
        ("direct", builder(64, 64, 3, 2), 32),
        ("patches", builder(3, 64, 7, 2), 64),
    ];
    for (name, graph, side) in cases {
        let weights: Weights = reference::weights(3, &graph);
        let reference = Network::new(graph.clone(), &weights, Arc::new(Reference::new(Device::Cpu, DType::F64))).unwrap();
        let fast = Network::new(graph.clone(), &weights, Arc::new(Cpu::default())).unwrap();
        let image = image(&graph, side, side);
        let (y, dx, dw) = gradients(&reference, &image, Mode::Train);
        let (fast_y, fast_dx, fast_dw) = gradients(&fast, &image.to_dtype(DType::F32).unwrap(), Mode::Train);
        let errors = [relative_error(&fast_y, &y), relative_error(&fast_dx, &dx), relative_error(&fast_dw["c.weight"], &dw["c.weight"])];
        println!("{name}: forward {:.1e}, backward-data {:.1e}, backward-weight {:.1e}", errors[0], errors[1], errors[2]);
        assert!(errors.iter().all(|e| *e <= 2e-6), "{name}: {errors:?}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let graph =
        models::unet::unet(&models::unet::UNetConfig { encoder_width: 16, decoder_channels: [64, 32, 32, 16, 16], ..Default::default() });
    let weights = reference::weights(3, &graph);
    let image = image(&graph, 64, 96).to_dtype(DType::F32).unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let network = Network::new(graph.clone(), &weights, Arc::new(Cpu::default())).unwrap();
            let (y, dx, dw) = gradients(&network, &image, Mode::Train);
            (f64s(&y), f64s(&dx), dw.values().map(f64s).collect::<Vec<_>>())
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}
