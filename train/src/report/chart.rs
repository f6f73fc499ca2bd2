//! Line charts as SVG.

use plotters::prelude::*;
use support::Result;

/// Named curve.
pub(crate) struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Largest number of points drawn per curve; longer curves are averaged over windows.
const MAX_POINTS: usize = 500;
/// Colours distinguishable with any kind of colour vision (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

impl Series {
    /// Creates a curve; points with NaN or infinite coordinates are left out.
    pub fn new(name: &str, points: Vec<(f64, f64)>) -> Self {
        let points: Vec<_> = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        let window = points.len().div_ceil(MAX_POINTS).max(1);
        let mean = |part: &[(f64, f64)]| {
            let (x, y) = part.iter().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
            (x / part.len() as f64, y / part.len() as f64)
        };
        Self { name: name.into(), points: points.chunks(window).map(mean).collect() }
    }
}

/// Draws curves over iterations; returns `None` if no curve has points.
pub(crate) fn chart(title: &str, series: &[Series]) -> Result<Option<String>> {
    let points = || series.iter().flat_map(|series| &series.points);
    let Some(right) = points().map(|p| p.0).reduce(f64::max) else { return Ok(None) };
    let (low, high) = points().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, y)| (low.min(*y), high.max(*y)));
    let low = if low < 0.0 { low } else { 0.0 };
    let high = if high > low { high } else { low + 1.0 };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (860, 300)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right.max(1.0), low..high + 0.05 * (high - low))?;
        let font = ("sans-serif", 13);
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("iteration").y_desc(title).max_light_lines(0).x_label_formatter(&|x| format!("{x:.0}"));
        mesh.label_style(font).axis_desc_style(font).draw()?;
        for (series, colour) in series.iter().zip(COLOURS.iter().cycle()).filter(|(series, _)| !series.points.is_empty()) {
            let drawn = chart.draw_series(
                LineSeries::new(series.points.iter().copied(), colour.stroke_width(2)).point_size(if series.points.len() < 30 {
                    3
                } else {
                    0
                }),
            )?;
            drawn.label(&series.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .label_font(font)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .position(SeriesLabelPosition::UpperRight)
            .draw()?;
        area.present()?;
    }
    Ok(Some(svg))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_averaged_and_nan_is_left_out() {
        let series = Series::new("a", (0..1000).map(|i| (f64::from(i), f64::from(i % 2))).chain([(1.0, f64::NAN)]).collect());
        assert_eq!(series.points.len(), 500);
        assert!(series.points.iter().all(|(_, y)| *y == 0.5));
        assert_eq!(chart("t", &[Series::new("a", vec![])]).unwrap(), None);
    }

    #[test]
    fn the_legend_names_every_curve() {
        let svg = chart("loss & more", &[Series::new("first", vec![(1.0, 2.0), (2.0, 1.0)]), Series::new("second", vec![(1.0, -1.0)])])
            .unwrap()
            .unwrap();
        for part in ["<svg", "</svg>", "first", "second", "loss &amp; more", "iteration"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }
}
