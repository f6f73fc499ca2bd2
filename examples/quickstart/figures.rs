//! The figures of both parts as one table.

use std::fmt::Write as _;

use crate::road::Figures;

/// A line for every figure, a column for every part.
pub fn table(parts: &[Figures]) -> String {
    let mut text = String::new();
    row(&mut text, "", parts, |part| part.title.to_owned());
    row(&mut text, "training pixels with a stroke", parts, |part| format!("{:.2} %", 100.0 * part.labelled_share));
    row(&mut text, "training", parts, |part| format!("{} steps, {:.0} s", part.iterations, part.training_secs));
    row(&mut text, "IoU, before -> after", parts, |part| format!("{:.3} -> {:.3}", part.before.iou, part.after.iou));
    row(&mut text, "mean Dice of nuclei", parts, |part| format!("{:.3} -> {:.3}", part.before.mdice, part.after.mdice));
    row(&mut text, "F1 of nuclei at IoU > .5", parts, |part| format!("{:.3} -> {:.3}", part.before.f1, part.after.f1));
    row(&mut text, "halo, measured (exact)", parts, |part| format!("{} px ({} px)", part.halo_px.0, part.halo_px.1));
    row(&mut text, "candle against ONNX Runtime", parts, |part| format!("{:.1e}", part.max_difference));
    row(&mut text, "whole slide", parts, |part| {
        part.whole_slide.map_or_else(|| "-".to_owned(), |(nuclei, secs)| format!("{nuclei} nuclei, {secs:.0} s"))
    });
    row(&mut text, "all of it", parts, |part| format!("{:.0} s", part.total_secs));
    text
}

fn row(text: &mut String, label: &str, parts: &[Figures], value: impl Fn(&Figures) -> String) {
    write!(text, "{label:<32}").expect("a String takes everything");
    for part in parts {
        write!(text, "{:>22}", value(part)).expect("a String takes everything");
    }
    text.push('\n');
}
