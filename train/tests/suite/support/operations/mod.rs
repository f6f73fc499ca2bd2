//! Small graphs, one for each operation, with their outputs and gradients.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use models::graph::{Builder, Graph, Wire};
use train::network::{Mode, Network};

use super::reference::{f64s, u};

/// Builds one small graph per operation and per shape of convolution, by name.
#[expect(clippy::redundant_closure_for_method_calls, reason = "the methods alone are not general enough in their lifetime")]
pub fn graphs() -> BTreeMap<&'static str, Graph> {
    fn graph(build: impl for<'b> Fn(Wire<'b>) -> Wire<'b>, channels: usize) -> Graph {
        let builder = Builder::new();
        let output = build(builder.input(channels));
        builder.finish(output, &[])
    }
    /// Multiplies by eight, so that some values exceed 6, the limit of `ReLU6`.
    fn eight_times(x: Wire<'_>) -> Wire<'_> {
        (0..3).fold(x, |x, _| x.plus(x))
    }
    let mut all: BTreeMap<&'static str, Graph> = BTreeMap::new();
    all.insert("conv 3x3", graph(|x| x.conv("c", 5, 3, 1), 3));
    all.insert("conv 3x3, 16 to 32", graph(|x| x.conv("c", 32, 3, 1), 16));
    all.insert("conv 3x3 stride 2", graph(|x| x.conv("c", 17, 3, 2), 18));
    all.insert("conv 7x7 stride 2", graph(|x| x.conv("c", 16, 7, 2), 3));
    all.insert("conv 1x1", graph(|x| x.conv("c", 48, 1, 1), 9));
    all.insert("conv 1x1 stride 2", graph(|x| x.conv("c", 6, 1, 2), 4));
    all.insert("conv with bias", graph(|x| x.conv_bias("c", 2, 3, 1), 16));
    all.insert("depthwise", graph(|x| x.depthwise("d", 1), 5));
    all.insert("depthwise, 48 channels", graph(|x| x.depthwise("d", 1), 48));
    all.insert("depthwise stride 2", graph(|x| x.depthwise("d", 2), 20));
    all.insert("norm and relu6", graph(|x| eight_times(x).norm("n").relu6(), 5));
    all.insert("relu6", graph(|x| eight_times(x).relu6(), 4));
    all.insert("inverted residual", graph(|x| x.conv("a", 32, 1, 1).norm("n").relu6().depthwise("d", 1).conv("b", 4, 1, 1).plus(x), 4));
    all.insert("norm", graph(|x| x.norm("n"), 5));
    all.insert("norm and relu", graph(|x| x.norm("n").relu(), 5));
    all.insert("norm of an odd number of channels", graph(|x| x.norm("n").relu(), 23));
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

pub fn image(graph: &Graph, height: usize, width: usize) -> Tensor {
    let channels = graph.shapes(height, width).unwrap()[0].channels;
    Tensor::from_vec(u(7, "image", 2 * channels * height * width), (2, channels, height, width), &Device::Cpu).unwrap()
}

/// Returns the output, and the gradients of `sum(output * c)` for a fixed array c with respect to the image and to the parameters.
pub fn gradients(network: &Network, image: &Tensor, mode: Mode) -> (Tensor, Tensor, BTreeMap<String, Tensor>) {
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

/// Returns the relative L2 error `|found - exact| / |exact|`.
pub fn relative_error(found: &Tensor, exact: &Tensor) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let (found, exact) = (f64s(found), f64s(exact));
    norm(&mut found.iter().zip(&exact).map(|(f, e)| f - e)) / norm(&mut exact.iter().copied())
}
