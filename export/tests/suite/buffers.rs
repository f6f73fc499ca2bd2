//! Reuse of a session's buffers between batches: the result of a batch must not depend on earlier batches.

use infer::model::Model;
use infer::network::Network;
use infer::runtime::{Device, has_intel_cpu};
use infer::segmenter::{Options, Segmenter};
use models::decode::quantise;

use crate::shipped::{exported, install_runtime};

/// Pseudo-random image bytes, different for each number.
fn images(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| ((i + 1) * (2 * number + 3) * 7919 / 64 % 256) as u8).collect()
}

#[test]
fn results_do_not_depend_on_earlier_batches() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let model = Model::open(&exported(folder.path(), &export::Options::default())).unwrap();
    for device in [Device::Cpu, Device::OpenVino] {
        let options = Options { device, threads: 1, ..Options::default() };
        let mut sessions = [(); 2].map(|()| Segmenter::new(&model, &options));
        if let (Device::OpenVino, [Err(error), _]) = (device, &sessions) {
            let reason = if has_intel_cpu() { "was not found" } else { "offers no CPU" };
            assert!(error.to_string().contains(reason) || error.to_string().contains("was not found"), "{error}");
            eprintln!("NOT RUN on {device}: {error}");
            continue;
        }
        let [reusing, reference] = sessions.each_mut().map(|session| session.as_mut().unwrap());
        let shapes = [[1, 64, 96], [1, 64, 96], [2, 64, 96], [2, 64, 96], [1, 96, 64], [1, 64, 96]];
        let mut results: Vec<Vec<u8>> = Vec::new();
        for (number, shape) in shapes.into_iter().enumerate() {
            let [batch, height, width] = shape;
            let images = images(number, batch * height * width * 3);
            let result = reusing.quantised(&images, batch, height, width).unwrap();
            // `probabilities` does not reuse buffers.
            let expected = reference.probabilities(&images, batch, height, width).unwrap();
            assert!(result.iter().copied().eq(expected.iter().map(|p| quantise(*p))), "{device}, batch {number}");
            assert!(results.iter().all(|earlier| *earlier != result), "{device}: batch {number} has the result of an earlier one");
            results.push(result);
        }
        assert!(reusing.quantised(&[0; 32 * 32 * 3], 1, 32, 48).is_err());
        let again = reusing.quantised(&images(0, 64 * 96 * 3), 1, 64, 96).unwrap();
        assert_eq!(again, results[0], "{device}");
    }
}
