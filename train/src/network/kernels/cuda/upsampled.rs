//! Convolutions of an upsampled map and the channels behind it, without either map in full size (`cu/phases.cu`): 16 products for
//! each value of the small map instead of 36, and nothing is upsampled or put together.

use candle_core::{Result, Tensor};
use models::graph::Conv;

use super::super::ConvGradients;
use super::launch::{Arg, int, over};
use super::{Cuda, Geometry, Machine, Pass};

/// The maps that a convolution reads, and what is computed of each.
pub(super) struct Halves<'a> {
    small: &'a Tensor,
    skip: Option<&'a Tensor>,
    /// All phases, on the small map.
    phases: Geometry,
    /// The channels behind it, on the skipped map.
    behind: Geometry,
}

impl<'a> Halves<'a> {
    /// Of a 3x3 convolution with stride 1.
    pub fn of(conv: &Conv, small: &'a Tensor, skip: Option<&'a Tensor>) -> Result<Self> {
        assert_eq!((conv.kernel, conv.stride), (3, 1), "kernel and stride of a convolution of an upsampled map");
        let (batch, rows, columns, inputs) = small.dims4()?;
        let [height, width, left] = [2 * rows, 2 * columns, conv.inputs - inputs];
        let is_as_large = |skip: &Tensor| skip.dims() == [batch, height, width, left];
        assert!(skip.map_or(left == 0, is_as_large), "both maps cover the same pixels and have the filter's channels");
        let outputs = conv.outputs;
        let phases = Geometry { batch, height: rows, width: columns, inputs, outputs: 4 * outputs, kernel: 2, stride: 1 };
        let behind = Geometry { batch, height, width, inputs: left, outputs, kernel: 3, stride: 1 };
        Ok(Self { small, skip, phases, behind })
    }

    /// Of the convolution's result.
    fn result(&self) -> [usize; 4] {
        [self.behind.batch, self.behind.height, self.behind.width, self.behind.outputs]
    }

    /// Of the results of all phases.
    fn woven(&self) -> [usize; 4] {
        let [rows, columns] = self.phases.result();
        [self.phases.batch, rows, columns, self.phases.outputs]
    }

    /// As the kernels are told them: results, channels of the small map, channels behind.
    fn channels(&self) -> [Arg<'static>; 3] {
        [self.behind.outputs, self.phases.inputs, self.behind.inputs].map(int)
    }

    /// A kernel over filters has a thread for each pair of channels.
    fn pairs(&self) -> [u32; 2] {
        over(self.behind.outputs * (self.phases.inputs + self.behind.inputs))
    }
}

/// Filters of the phases, or their gradient, and those of the map behind.
type Filters = (Tensor, Option<Tensor>);

impl<M: Machine> Cuda<M> {
    pub(super) fn convolve_halves(&self, halves: &Halves, weight: &Tensor) -> Result<Tensor> {
        let (phases, behind) = self.split_filter(halves, weight)?;
        let y = self.map(&halves.result())?;
        if let (Some(skip), Some(behind)) = (halves.skip, &behind) {
            self.pass(Pass::Forward, &halves.behind, [skip, behind, &y])?;
        }
        let z = self.map(&halves.woven())?;
        self.pass(Pass::Forward, &halves.phases, [halves.small, &phases, &z])?;
        self.weave(halves, &z, &y)?;
        Ok(y)
    }

    pub(super) fn convolve_halves_backward(&self, halves: &Halves, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients> {
        let dz = self.unweave(halves, dy)?;
        let (phases, behind) = self.empty_filters(halves)?;
        self.pass(Pass::Filter, &halves.phases, [halves.small, &phases, &dz])?;
        if let (Some(skip), Some(behind)) = (halves.skip, &behind) {
            self.pass(Pass::Filter, &halves.behind, [skip, behind, dy])?;
        }
        let mut gradients = ConvGradients { dx: None, dskip: None, dweight: self.join_filter(halves, &(phases, behind))?, dbias: None };
        if wants_dx {
            let (phases, behind) = self.split_filter(halves, weight)?;
            let dx = self.map(halves.small.dims())?;
            self.pass(Pass::Data, &halves.phases, [&dx, &phases, &dz])?;
            gradients.dx = Some(dx);
            if let (Some(skip), Some(behind)) = (halves.skip, &behind) {
                let dskip = self.map(skip.dims())?;
                self.pass(Pass::Data, &halves.behind, [&dskip, behind, dy])?;
                gradients.dskip = Some(dskip);
            }
        }
        Ok(gradients)
    }

    /// A pass over tensors of the geometry's sizes: `x`, `w` and `y`.
    fn pass(&self, pass: Pass, geometry: &Geometry, [x, w, y]: [&Tensor; 3]) -> Result<()> {
        self.product(pass, geometry, [self.machine.address(x)?, self.machine.address(w)?, self.machine.address(y)?])
    }

    fn empty_filters(&self, halves: &Halves) -> Result<Filters> {
        let filter = |g: &Geometry| self.map(&[g.outputs, g.kernel, g.kernel, g.inputs]);
        Ok((filter(&halves.phases)?, halves.skip.map(|_| filter(&halves.behind)).transpose()?))
    }

    fn split_filter(&self, halves: &Halves, weight: &Tensor) -> Result<Filters> {
        let filters = self.empty_filters(halves)?;
        let mut args = vec![weight.into(), (&filters.0).into(), filters.1.as_ref().into()];
        args.extend(halves.channels());
        self.run("split_filter", halves.pairs(), &args)?;
        Ok(filters)
    }

    fn join_filter(&self, halves: &Halves, gradients: &Filters) -> Result<Tensor> {
        let [outputs, a, b] = [halves.behind.outputs, halves.phases.inputs, halves.behind.inputs];
        let dweight = self.map(&[outputs * 9 * (a + b)])?;
        let mut args = vec![(&gradients.0).into(), gradients.1.as_ref().into(), (&dweight).into()];
        args.extend(halves.channels());
        self.run("join_filter", halves.pairs(), &args)?;
        Ok(dweight)
    }

    /// What the phases found, brought to the places of `y`, and added to it where there is a skipped map.
    fn weave(&self, halves: &Halves, z: &Tensor, y: &Tensor) -> Result<()> {
        let [images, height, width, outputs] = halves.result();
        let (moved, ending) = self.width(&[outputs]);
        let sizes = [images, height, width, outputs, usize::from(halves.skip.is_some())];
        let args: Vec<Arg> = [z.into(), y.into()].into_iter().chain(sizes.map(int)).collect();
        self.run(&format!("weave_{ending}"), over(y.elem_count() / moved), &args)
    }

    fn unweave(&self, halves: &Halves, dy: &Tensor) -> Result<Tensor> {
        let dz = self.map(&halves.woven())?;
        let (moved, ending) = self.width(&[halves.behind.outputs]);
        let args: Vec<Arg> = [dy.into(), (&dz).into()].into_iter().chain(halves.result().map(int)).collect();
        self.run(&format!("unweave_{ending}"), over(dz.elem_count() / moved), &args)?;
        Ok(dz)
    }
}
