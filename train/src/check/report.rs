//! Audit as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Audit, ImageAudit};
use crate::data::Split;

/// Number of image formats that are listed.
const SHOWN: usize = 6;

impl Audit {
    /// Formats the audit for a terminal, one line per fact.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |s: String| {
            let _ = writeln!(text, "{s}"); // writing to a String cannot fail
        };
        for split in Split::ALL {
            self.split_lines(*split).into_iter().for_each(&mut line);
        }
        line(self.formats());
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        let m = self.memory;
        line(format!(
            "estimated memory: data {:.2} GB, one batch up to {:.2} GB, weights and optimiser {:.2} GB",
            gigabytes(m.data),
            gigabytes(m.features),
            gigabytes(m.weights)
        ));
        if let Some(time) = self.time {
            let minutes = |seconds: f64| seconds / 60.0;
            line(format!(
                "estimated time on this machine: step {:.2} s, training {:.1} min, validation and pseudo-labels {:.1} min",
                time.step,
                minutes(time.training),
                minutes(time.predictions)
            ));
        }
        self.warnings.iter().for_each(|warning| line(format!("warning: {warning}")));
        self.problems.iter().for_each(|problem| line(format!("problem: {problem}")));
        line(match self.problems.len() {
            0 => "ready to train".into(),
            n => format!("{n} problems: training would not start"),
        });
        text
    }

    /// Formats a split: images, labelled pixels, contradictions; empty without images.
    fn split_lines(&self, split: Split) -> Vec<String> {
        let images: Vec<_> = self.images.iter().filter(|image| image.split == split).collect();
        if images.is_empty() {
            return Vec::new();
        }
        let nuclei: Vec<usize> = images.iter().filter_map(|image| image.nuclei).collect();
        let counts = self.counts(split);
        let per_cent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        vec![
            format!("{split}: {} images, {} with labels ({} nuclei)", images.len(), nuclei.len(), nuclei.iter().sum::<usize>()),
            format!(
                "  labelled: {:.3} % of the pixels of {} images; background {} px, nucleus {} px ({:.1} % of the strokes)",
                100.0 * counts.labelled_share(),
                images.iter().filter(|image| image.scribbles.is_some()).count(),
                counts.background,
                counts.foreground,
                per_cent(counts.foreground, counts.labelled())
            ),
            format!(
                "  contradicting the labels: {} px{}",
                images.iter().filter_map(|image| image.contradicting).sum::<u64>(),
                worst(&images)
            ),
        ]
    }

    /// Formats sizes, channels and bits with their numbers of images, the most frequent first.
    fn formats(&self) -> String {
        let mut formats = BTreeMap::new();
        for image in &self.images {
            let channels = ["", "grey", "grey and alpha", "colour", "colour and alpha"][usize::from(image.channels.min(4))];
            *formats.entry(format!("{} x {} {channels}, {} bits", image.width, image.height, image.bits)).or_insert(0) += 1;
        }
        let mut formats: Vec<(String, usize)> = formats.into_iter().collect();
        formats.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let shown: Vec<String> = formats.iter().take(SHOWN).map(|(format, n)| format!("{n} of {format}")).collect();
        let more = if formats.len() > SHOWN { format!("; {} more formats", formats.len() - SHOWN) } else { String::new() };
        format!("images: {}{more}", shown.join("; "))
    }
}

/// Lists the three images whose strokes contradict their labels most, as ` (most: ID 12 px, ...)`.
fn worst(images: &[&ImageAudit]) -> String {
    let mut contradicting: Vec<(u64, &str)> =
        images.iter().filter_map(|image| Some((image.contradicting.filter(|n| *n > 0)?, image.id.as_str()))).collect();
    contradicting.sort_by_key(|(n, id)| (std::cmp::Reverse(*n), *id));
    let shown: Vec<String> = contradicting.iter().take(3).map(|(n, id)| format!("{id} {n} px")).collect();
    if shown.is_empty() { String::new() } else { format!(" (most: {})", shown.join(", ")) }
}
