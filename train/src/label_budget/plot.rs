//! Plot of scores against the labelled fraction on a logarithmic axis: crosses for simulated strokes, a line for automatic scribbles and
//! complete masks.

use plotters::prelude::*;
use support::Result;

use super::{Point, SHOWN};
use crate::metrics::summary::Summary;

/// Colours distinguishable with any kind of colour vision (Okabe and Ito).
const COLOURS: [RGBColor; 4] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Draws the plot as SVG; bars are the 95 % bootstrap intervals over images.
pub(super) fn plot(points: &[Point]) -> Result<String> {
    let per_cents = points.iter().map(|point| 100.0 * point.labelled_fraction).filter(|per_cent| *per_cent > 0.0);
    let left = per_cents.reduce(f64::min).unwrap_or(0.1) / 1.5;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (860, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d((left..130.0).log_scale(), 0.0..1.0)?;
        let font = ("sans-serif", 13);
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("labelled pixels of the training images, %").y_desc("score on the test images").max_light_lines(0);
        mesh.x_label_formatter(&|x| format!("{x}")).label_style(font).axis_desc_style(font).draw()?;
        for (name, colour) in SHOWN.into_iter().zip(COLOURS) {
            let line = values(points, name, false);
            let drawn = chart.draw_series(LineSeries::new(line.iter().map(|(x, s)| (*x, s.mean)), colour.stroke_width(2)).point_size(4))?;
            drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            let strokes = values(points, name, true);
            chart.draw_series(strokes.iter().map(|(x, s)| Cross::new((*x, s.mean), 5, colour.stroke_width(2))))?;
            let bars = line.iter().chain(&strokes);
            chart.draw_series(bars.map(|(x, s)| PathElement::new([(*x, s.low), (*x, s.high)], colour.mix(0.4))))?;
        }
        let mut labels = chart.configure_series_labels();
        labels.label_font(font).background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3));
        labels.position(SeriesLabelPosition::LowerRight).draw()?;
        area.present()?;
    }
    Ok(svg)
}

/// Lists labelled fraction in per cent and score of the runs on simulated strokes, or of all others, in ascending order.
fn values<'a>(points: &'a [Point], name: &str, strokes: bool) -> Vec<(f64, &'a Summary)> {
    let chosen = points.iter().filter(|point| point.labels.starts_with("strokes") == strokes && point.labelled_fraction > 0.0);
    let mut values: Vec<_> = chosen.filter_map(|point| Some((100.0 * point.labelled_fraction, point.test.table.get(name)?))).collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    values
}
