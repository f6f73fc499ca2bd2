//! Metrics of the golden pairs of instance maps, equal to 1e-12 (`tests/data/golden/README.md`).

use crate::support::golden::Golden;
use models::decode::{Decoding, instances_of_mask};
use train::metrics::{Overlaps, Scores, instance, paper};

#[test]
fn every_metric_of_every_pair_equals_the_golden_value() {
    let golden = Golden::open("metrics");
    let pairs = golden.prefixes(".gt");
    assert!(pairs.len() >= 10, "{pairs:?}");
    for pair in pairs {
        let truth = golden.plane(&format!("{pair}.gt"), |v| v as u32);
        let predicted = golden.plane(&format!("{pair}.pred"), |v| v as u32);
        let components = golden.plane(&format!("{pair}.pred_components"), |v| v as u32);
        let mask = predicted.map(|&id| id > 0);
        assert_eq!(instances_of_mask(&mask, &Decoding::default()), components, "{pair}");

        let s = Scores::of_instances(&truth, &predicted, None);
        let ours = [
            ("iou", s.iou),
            ("dice", s.dice),
            ("mdice", s.mdice),
            ("sbd", s.sbd),
            ("aji", s.aji),
            ("pq", s.pq),
            ("dq", s.dq),
            ("sq", s.sq),
            ("ap@.5", s.ap_50),
            ("ap@.5:.95", s.ap),
            ("mdice_paper", s.mdice_paper),
            ("mdice_paper_clip255", paper::mdice_paper(&truth, &mask, Some(255))),
            ("mdice_paper_loop", paper::mdice_paper_loop(&truth, &predicted, None)),
        ];
        let (_, values) = golden.values(&format!("{pair}.values"));
        assert_eq!(values.len(), ours.len());
        for ((name, ours), golden) in ours.into_iter().zip(values) {
            assert!((ours - golden).abs() < 1e-12, "{pair}, {name}: {ours}, golden {golden}");
        }
        let (_, thresholds) = golden.values(&format!("{pair}.ap"));
        for (ours, golden) in instance::average_precision(&Overlaps::new(&truth, &predicted)).into_iter().zip(thresholds) {
            assert!((ours - golden).abs() < 1e-12, "{pair}, ap: {ours}, golden {golden}");
        }
    }
}
