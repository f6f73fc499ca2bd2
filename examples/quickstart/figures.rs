//! Table of the results of both parts.

use std::fmt::Write as _;

use crate::part::Figures;

/// Formats a table with a row for each result and a column for each part.
pub fn table(parts: &[Figures]) -> String {
    let mut text = String::new();
    row(&mut text, "", parts, |part| part.title.to_owned());
    row(&mut text, "training pixels with a stroke", parts, |part| format!("{:.2} %", 100.0 * part.labelled_fraction));
    row(&mut text, "training", parts, |part| format!("{} steps, {:.0} s", part.iterations, part.training_secs));
    row(&mut text, "IoU, before -> after", parts, |part| format!("{:.3} -> {:.3}", part.before.iou, part.after.iou));
    row(&mut text, "mean Dice of nuclei", parts, |part| format!("{:.3} -> {:.3}", part.before.mdice, part.after.mdice));
    row(&mut text, "F1 of nuclei at IoU > .5", parts, |part| format!("{:.3} -> {:.3}", part.before.f1, part.after.f1));
    row(&mut text, "halo, measured (exact)", parts, |part| format!("{} px ({} px)", part.halo_px.0, part.halo_px.1));
    row(&mut text, "candle against ONNX Runtime", parts, |part| format!("{:.1e}", part.max_difference));
    row(&mut text, "whole slide", parts, |part| {
        part.whole_slide.map_or_else(|| "-".to_owned(), |(nuclei, secs)| format!("{nuclei} nuclei, {secs:.0} s"))
    });
    row(&mut text, "total", parts, |part| format!("{:.0} s", part.total_secs));
    text
}

fn row(text: &mut String, label: &str, parts: &[Figures], value: impl Fn(&Figures) -> String) {
    write!(text, "{label:<32}").expect("a String takes everything");
    for part in parts {
        write!(text, "{:>22}", value(part)).expect("a String takes everything");
    }
    text.push('\n');
}
