//! Published scores: mDice as the papers compute it (`mdice_paper`) and semantic `IoU` on the test set.

/// Published scores of one method on one data set.
pub(super) struct Published {
    /// Paper.
    pub source: &'static str,
    /// Data set: `DSB-BF`, `DSB-Fluo` or `MoNuSeg`.
    pub data: &'static str,
    /// Name of the method in this program.
    pub method: &'static str,
    /// mDice.
    pub mdice: f64,
    /// `IoU`.
    pub iou: f64,
}

const DATA: [&str; 3] = ["DSB-BF", "DSB-Fluo", "MoNuSeg"];

/// Oh, Lee, Jeong, ISBI 2022: mDice and `IoU` on the three data sets.
const ISBI: [(&str, [(f64, f64); 3]); 5] = [
    ("s2l", [(0.6980, 0.8108), (0.8235, 0.8419), (0.7098, 0.6586)]),
    ("r1", [(0.7068, 0.8153), (0.8267, 0.8565), (0.7165, 0.6715)]),
    ("r4", [(0.7078, 0.8292), (0.8234, 0.8505), (0.7205, 0.6603)]),
    ("both", [(0.7199, 0.8368), (0.8268, 0.8570), (0.7128, 0.6639)]),
    ("full", [(0.7305, 0.8665), (0.8204, 0.8790), (0.7646, 0.6867)]),
];

/// Lee, Jeong, MICCAI 2020, 30 % scribbles.
const MICCAI: [(&str, [(f64, f64); 3]); 3] = [
    ("pce", [(0.735, 0.795), (0.838, 0.829), (0.577, 0.632)]),
    ("s2l", [(0.766, 0.824), (0.844, 0.843), (0.581, 0.641)]),
    ("full", [(0.788, 0.877), (0.839, 0.869), (0.668, 0.701)]),
];

/// Returns the data set of the papers with this modality.
pub(super) fn data_of(modality: &str) -> Option<&'static str> {
    match modality.to_lowercase().as_str() {
        "brightfield" | "bright-field" => Some(DATA[0]),
        "fluorescence" => Some(DATA[1]),
        "histopathology" | "monuseg" => Some(DATA[2]),
        _ => None,
    }
}

/// Lists the published scores on a data set, or on all.
pub(super) fn published(data: Option<&str>) -> Vec<Published> {
    let sources = [("MICCAI 2020", MICCAI.as_slice()), ("ISBI 2022", ISBI.as_slice())];
    let mut all = Vec::new();
    for (i, name) in DATA.into_iter().enumerate().filter(|(_, name)| data.is_none_or(|data| data == *name)) {
        for (source, rows) in sources {
            all.extend(rows.iter().map(|(method, scores)| Published { source, data: name, method, mdice: scores[i].0, iou: scores[i].1 }));
        }
    }
    all
}
