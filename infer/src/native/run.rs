//! A [`Program`] on images.

use std::collections::HashMap;
use std::sync::Arc;

use kernels::depthwise::Depthwise;
use kernels::finish::Finish;
use kernels::gather::{Class, Gather};
use kernels::geometry::Geometry;
use kernels::head::Single;
use kernels::patches::Patches;
use kernels::winograd::{Grid, Logit, Part, Winograd};
use kernels::{Buffer, Pool, Shape, maps, norm, pooling, sigmoid};

use super::fuse::Source;
use super::image;
use super::program::{Convolution, Form, Program, Step, Work};

/// A map in memory.
struct Map {
    values: Buffer,
    shape: Shape,
}

/// What is kept from one image to the next: memory, and tables of places by the sizes of maps.
pub struct Room {
    pool: Pool,
    tables: HashMap<Geometry, Arc<Class>>,
    /// Pixels of the largest images so far.
    largest: usize,
}

/// Tables that are kept; images of more sizes than that take turns.
const TABLES: usize = 64;

impl Room {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { pool: Pool::new(), tables: HashMap::new(), largest: 0 }
    }

    /// The next images have so many pixels together.
    fn prepare(&mut self, pixels: usize) {
        self.largest = self.largest.max(pixels);
        self.pool.expect_shorter(self.largest as f32 / pixels.max(1) as f32);
    }

    fn table(&mut self, geometry: Geometry) -> Arc<Class> {
        if self.tables.len() >= TABLES && !self.tables.contains_key(&geometry) {
            self.tables.clear();
        }
        self.tables.entry(geometry).or_insert_with(|| Arc::new(geometry.forward_class())).clone()
    }
}

impl Program {
    /// Probabilities of images `batch * height * width * 3`, whose extents are multiples of the network's stride. They are to be given back
    /// by `Room::give`.
    pub fn run(&self, images: &[u8], shape: [usize; 3], room: &mut Room) -> Buffer {
        let [batch, height, width] = shape;
        room.prepare(batch * height * width);
        let mut maps: Vec<Option<Map>> = (0..self.values).map(|_| None).collect();
        for step in &self.steps {
            let map = match &step.work {
                Work::Image { mean, scale } => {
                    let shape = Shape { batch, height, width, channels: step.width };
                    Map { values: image::normalised(&room.pool, images, shape, *mean, *scale), shape }
                }
                work => self.step(step, work, &maps, room),
            };
            maps[step.value] = Some(map);
            step.ends.iter().filter_map(|&value| maps[value].take()).for_each(|map| room.pool.give(map.values));
        }
        let mut values = only_channel(&room.pool, maps[self.logit].take().expect("the last step makes the logit"));
        sigmoid::sigmoid(self.isa, &mut values);
        values
    }

    fn step(&self, step: &Step, work: &Work, maps: &[Option<Map>], room: &mut Room) -> Map {
        let of = |value: usize| maps[value].as_ref().expect("values live until their last reader");
        let first = of(step.sources[0].value);
        let (pool, shape) = (&room.pool, first.shape);
        let (values, shape) = match work {
            Work::Image { .. } => unreachable!("images come from outside"),
            Work::Conv(conv) => return self.convolve(step, conv, maps, room),
            Work::Depthwise { stride, weights, bias } => return self.depthwise(step, first, *stride, [weights, bias], &room.pool),
            Work::Affine { gain, offset } => {
                let mut y = pool.take(first.values.len());
                norm::affine(self.isa, &first.values, None, [gain, offset], step.activation, &mut y);
                (y, shape)
            }
            Work::Activate => (maps::map(pool, &first.values, |v| step.activation.of(v)), shape),
            Work::Add(places) => (sum(pool, first, of(step.sources[1].value), places), shape),
            Work::MaxPool => {
                let halved = Shape { height: shape.height.div_ceil(2), width: shape.width.div_ceil(2), ..shape };
                (pooling::max_pool(self.isa, pool, &first.values, shape), halved)
            }
            Work::Upsample => {
                (maps::upsample(pool, &first.values, shape), Shape { height: 2 * shape.height, width: 2 * shape.width, ..shape })
            }
            Work::Concat => {
                let parts: Vec<(&[f32], usize)> =
                    step.sources.iter().map(|source| of(source.value)).map(|map| (&*map.values, map.shape.channels)).collect();
                (maps::concat_all(pool, &parts), Shape { channels: step.width, ..shape })
            }
            Work::Difference([zero, one]) => {
                let mut out = pool.take(shape.len() / shape.channels);
                out.iter_mut().zip(first.values.chunks_exact(shape.channels)).for_each(|(z, pixel)| *z = pixel[*one] - pixel[*zero]);
                (out, Shape { channels: 1, ..shape })
            }
        };
        Map { values, shape }
    }

    fn depthwise(&self, step: &Step, x: &Map, stride: usize, [weights, bias]: [&[f32]; 2], pool: &Pool) -> Map {
        let Shape { batch, height, width, channels } = x.shape;
        let geometry = Geometry { batch, height, width, kernel: 3, stride };
        let (height, width) = geometry.output();
        let shape = Shape { height, width, ..x.shape };
        let mut values = pool.take(shape.len());
        let finish = Finish { bias: Some(bias), plus: None, activation: step.activation };
        Depthwise { isa: self.isa, pool, geometry, channels }.convolve(&x.values, weights, finish, &mut values);
        Map { values, shape }
    }

    fn convolve(&self, step: &Step, conv: &Convolution, maps: &[Option<Map>], room: &mut Room) -> Map {
        let of = |value: usize| maps[value].as_ref().expect("values live until their last reader");
        let whole = |source: &Source| {
            let shape = of(source.value).shape;
            let times = if source.halved { 2 } else { 1 };
            [shape.height * times, shape.width * times]
        };
        let ([height, width], batch) = (whole(&step.sources[0]), of(step.sources[0].value).shape.batch);
        let geometry = Geometry { batch, height, width, kernel: conv.kernel, stride: conv.stride };
        let (rows, columns) = geometry.output();
        let shape = Shape { batch, height: rows, width: columns, channels: step.width };
        let mut out = room.pool.take(shape.len());
        let finish = Finish { bias: Some(&conv.bias), plus: step.plus.map(|plus| &*of(plus).values), activation: step.activation };
        let x = of(step.sources[0].value);
        match &conv.form {
            Form::Winograd(filter) | Form::Logit(filter, ..) => {
                let part = |source: &Source| {
                    let map = of(source.value);
                    Part { values: &map.values, channels: map.shape.channels, halved: source.halved }
                };
                let parts: Vec<Part> = step.sources.iter().map(part).collect();
                let winograd = Winograd { isa: self.isa, pool: &room.pool, grid: Grid { batch, height, width } };
                if let Form::Logit(_, weights, bias) = &conv.form {
                    winograd.convolve_to_logit(&parts, filter, finish, Logit { weights, bias: *bias }, &mut out);
                } else {
                    winograd.convolve_prepared(&parts, filter, finish, &mut out);
                }
            }
            Form::Patches(panels) => {
                let patches = Patches { isa: self.isa, pool: &room.pool, geometry, inputs: conv.inputs, outputs: step.width };
                patches.convolve(&x.values, panels, finish, &mut out);
            }
            Form::Gather(weights) => {
                let class = room.table(geometry);
                let (taps, outputs) = (geometry.taps(), step.width);
                let gather = Gather { source: &x.values, source_channels: conv.inputs, weights, taps, outputs, finish };
                gather.run(self.isa, std::slice::from_ref(&*class), &mut out);
            }
            Form::Single(weights) => {
                Single { kernel: conv.kernel, weights, bias: conv.bias[0] }.convolve(self.isa, &x.values, x.shape, &mut out);
            }
        }
        Map { values: out, shape }
    }
}

impl Room {
    /// Takes memory back for the next image.
    pub fn give(&self, values: Buffer) {
        self.pool.give(values);
    }
}

/// The values of a map of one channel, without the zeros that may stand behind it.
fn only_channel(pool: &Pool, map: Map) -> Buffer {
    let width = map.shape.channels;
    if width == 1 {
        return map.values;
    }
    let mut out = pool.take(map.values.len() / width);
    out.iter_mut().zip(map.values.iter().step_by(width)).for_each(|(out, value)| *out = *value);
    pool.give(map.values);
    out
}

/// The sum of two maps, laid out as the first, whose channels may lie at different places.
fn sum(pool: &Pool, a: &Map, b: &Map, [places_a, places_b]: &[Vec<usize>; 2]) -> Buffer {
    if places_a == places_b && a.shape == b.shape {
        return maps::zip(pool, &a.values, &b.values, |a, b| a + b);
    }
    let mut out = maps::copy(pool, &a.values);
    for (out, b) in out.chunks_exact_mut(a.shape.channels).zip(b.values.chunks_exact(b.shape.channels)) {
        places_a.iter().zip(places_b).for_each(|(&to, &from)| out[to] += b[from]);
    }
    out
}
