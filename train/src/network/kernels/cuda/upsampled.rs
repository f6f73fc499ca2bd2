//! 3x3 convolutions of an upsampled feature map and a skip connection, computed by phases without materialising either (`cu/phases.cu`):
//! each of the 2x2 output phases is a 2x2 convolution of the small feature map, which takes 16 products per value instead of 36. The phases
//! are interleaved as in sub-pixel convolution (pixel shuffle).

use candle_core::{Result, Tensor};
use models::graph::Conv;

use super::super::ConvGradients;
use super::launch::{Arg, int, over};
use super::{Cuda, Geometry, Machine, Pass};

/// Inputs of a phase convolution and the geometry of its two parts.
pub(super) struct PhaseConvolution<'a> {
    small: &'a Tensor,
    skip: Option<&'a Tensor>,
    /// Geometry of all four phases as one convolution of the small feature map.
    phases: Geometry,
    /// Geometry of the 3x3 convolution of the skip connection.
    skip_geometry: Geometry,
}

impl<'a> PhaseConvolution<'a> {
    /// Describes a 3x3 convolution with stride 1 of `small`, upsampled by 2, and `skip`.
    pub fn of(conv: &Conv, small: &'a Tensor, skip: Option<&'a Tensor>) -> Result<Self> {
        assert_eq!((conv.kernel, conv.stride), (3, 1), "kernel and stride of a phase convolution");
        let (batch, rows, columns, inputs) = small.dims4()?;
        let [height, width, left] = [2 * rows, 2 * columns, conv.inputs - inputs];
        let is_as_large = |skip: &Tensor| skip.dims() == [batch, height, width, left];
        assert!(skip.map_or(left == 0, is_as_large), "both inputs cover the same pixels and have the filter's channels");
        let outputs = conv.outputs;
        let phases = Geometry { batch, height: rows, width: columns, inputs, outputs: 4 * outputs, kernel: 2, stride: 1 };
        let skip_geometry = Geometry { batch, height, width, inputs: left, outputs, kernel: 3, stride: 1 };
        Ok(Self { small, skip, phases, skip_geometry })
    }

    /// Returns the shape of the output, `B H W O`.
    fn result(&self) -> [usize; 4] {
        [self.skip_geometry.batch, self.skip_geometry.height, self.skip_geometry.width, self.skip_geometry.outputs]
    }

    /// Returns the shape of the output of all phases, before they are interleaved.
    fn phase_shape(&self) -> [usize; 4] {
        let [rows, columns] = self.phases.result();
        [self.phases.batch, rows, columns, self.phases.outputs]
    }

    /// Returns the kernel arguments: output channels, channels of the small feature map, channels of the skip connection.
    fn channels(&self) -> [Arg<'static>; 3] {
        [self.skip_geometry.outputs, self.phases.inputs, self.skip_geometry.inputs].map(int)
    }

    /// Returns the grid of a kernel over filters, with one thread for each pair of output and input channel.
    fn pairs(&self) -> [u32; 2] {
        over(self.skip_geometry.outputs * (self.phases.inputs + self.skip_geometry.inputs))
    }
}

/// Filters of the phases and of the skip connection, or their gradients.
type Filters = (Tensor, Option<Tensor>);

impl<M: Machine> Cuda<M> {
    pub(super) fn convolve_upsampled(&self, phased: &PhaseConvolution, weight: &Tensor) -> Result<Tensor> {
        let (phases, skip_filter) = self.phase_filters(phased, weight)?;
        let y = self.empty_feature(&phased.result())?;
        if let (Some(skip), Some(skip_filter)) = (phased.skip, &skip_filter) {
            self.convolve_pass(Pass::Forward, &phased.skip_geometry, [skip, skip_filter, &y])?;
        }
        let z = self.empty_feature(&phased.phase_shape())?;
        self.convolve_pass(Pass::Forward, &phased.phases, [phased.small, &phases, &z])?;
        self.interleave_phases(phased, &z, &y)?;
        Ok(y)
    }

    pub(super) fn convolve_upsampled_backward(
        &self,
        phased: &PhaseConvolution,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<ConvGradients> {
        let dz = self.split_phases(phased, dy)?;
        let (phases, skip_filter) = self.empty_filters(phased)?;
        self.convolve_pass(Pass::Filter, &phased.phases, [phased.small, &phases, &dz])?;
        if let (Some(skip), Some(skip_filter)) = (phased.skip, &skip_filter) {
            self.convolve_pass(Pass::Filter, &phased.skip_geometry, [skip, skip_filter, dy])?;
        }
        let mut gradients =
            ConvGradients { dx: None, dskip: None, dweight: self.phase_filters_backward(phased, &(phases, skip_filter))?, dbias: None };
        if wants_dx {
            let (phases, skip_filter) = self.phase_filters(phased, weight)?;
            let dx = self.empty_feature(phased.small.dims())?;
            self.convolve_pass(Pass::Data, &phased.phases, [&dx, &phases, &dz])?;
            gradients.dx = Some(dx);
            if let (Some(skip), Some(skip_filter)) = (phased.skip, &skip_filter) {
                let dskip = self.empty_feature(skip.dims())?;
                self.convolve_pass(Pass::Data, &phased.skip_geometry, [&dskip, skip_filter, dy])?;
                gradients.dskip = Some(dskip);
            }
        }
        Ok(gradients)
    }

    /// Runs one pass over tensors `x`, `w` and `y` of the geometry's sizes.
    fn convolve_pass(&self, pass: Pass, geometry: &Geometry, [x, w, y]: [&Tensor; 3]) -> Result<()> {
        self.product(pass, geometry, [self.machine.address(x)?, self.machine.address(w)?, self.machine.address(y)?])
    }

    /// Allocates filters with arbitrary values.
    fn empty_filters(&self, phased: &PhaseConvolution) -> Result<Filters> {
        let filter = |g: &Geometry| self.empty_feature(&[g.outputs, g.kernel, g.kernel, g.inputs]);
        Ok((filter(&phased.phases)?, phased.skip.map(|_| filter(&phased.skip_geometry)).transpose()?))
    }

    /// Computes the filters of the phases (sums of taps of the 3x3 filter), and extracts that of the skip connection.
    fn phase_filters(&self, phased: &PhaseConvolution, weight: &Tensor) -> Result<Filters> {
        let filters = self.empty_filters(phased)?;
        let mut args = vec![weight.into(), (&filters.0).into(), filters.1.as_ref().into()];
        args.extend(phased.channels());
        self.run("phase_filters", phased.pairs(), &args)?;
        Ok(filters)
    }

    /// Computes the gradient at the 3x3 filter from those at the filters of the phases and of the skip connection.
    fn phase_filters_backward(&self, phased: &PhaseConvolution, gradients: &Filters) -> Result<Tensor> {
        let [outputs, a, b] = [phased.skip_geometry.outputs, phased.phases.inputs, phased.skip_geometry.inputs];
        let dweight = self.empty_feature(&[outputs * 9 * (a + b)])?;
        let mut args = vec![(&gradients.0).into(), gradients.1.as_ref().into(), (&dweight).into()];
        args.extend(phased.channels());
        self.run("phase_filters_backward", phased.pairs(), &args)?;
        Ok(dweight)
    }

    /// Interleaves the phases `z` into `y`, and adds them to the convolution of the skip connection if there is one.
    fn interleave_phases(&self, phased: &PhaseConvolution, z: &Tensor, y: &Tensor) -> Result<()> {
        let [images, height, width, outputs] = phased.result();
        let (moved, ending) = self.width(&[outputs]);
        let sizes = [images, height, width, outputs, usize::from(phased.skip.is_some())];
        let args: Vec<Arg> = [z.into(), y.into()].into_iter().chain(sizes.map(int)).collect();
        self.run(&format!("interleave_phases_{ending}"), over(y.elem_count() / moved), &args)
    }

    /// Splits an output gradient into phases: the adjoint of [`Cuda::interleave_phases`].
    fn split_phases(&self, phased: &PhaseConvolution, dy: &Tensor) -> Result<Tensor> {
        let dz = self.empty_feature(&phased.phase_shape())?;
        let (moved, ending) = self.width(&[phased.skip_geometry.outputs]);
        let args: Vec<Arg> = [dy.into(), (&dz).into()].into_iter().chain(phased.result().map(int)).collect();
        self.run(&format!("split_phases_{ending}"), over(dz.elem_count() / moved), &args)?;
        Ok(dz)
    }
}
