//! Cache of `TensorRT` engines, which take minutes to build. An engine is valid for one model, GPU model, driver and runtime.

use std::path::{Path, PathBuf};

use support::{Context, Result, durable};

/// Creates the folder for the engine and the timings of a model on this machine; returns the folder and true if it has files.
pub fn folder(model: &[u8], runtime: &str) -> Result<(PathBuf, bool)> {
    let folder = support::wheel::cache_folder()?.join("engines").join(key(model, &gpus(Path::new("/proc/driver/nvidia")), runtime));
    std::fs::create_dir_all(&folder).doing(|| format!("creating the folder {} for TensorRT's engine", folder.display()))?;
    let is_filled = std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some());
    Ok((folder, is_filled))
}

/// Returns a folder name that is unique for the model, the GPUs with their driver, and the runtime.
fn key(model: &[u8], gpus: &str, runtime: &str) -> String {
    let parts = serde_json::json!([durable::sha256(model), gpus, runtime]);
    durable::sha256(parts.to_string().as_bytes())[..32].to_owned()
}

/// Returns the version of the driver and the models of the GPUs, from the files of the driver in `/proc`.
fn gpus(driver: &Path) -> String {
    let mut lines = vec![std::fs::read_to_string(driver.join("version")).unwrap_or_default()];
    let cards = std::fs::read_dir(driver.join("gpus")).into_iter().flatten().flatten();
    let mut cards: Vec<PathBuf> = cards.map(|card| card.path().join("information")).collect();
    cards.sort();
    for card in cards {
        let text = std::fs::read_to_string(card).unwrap_or_default();
        lines.extend(text.lines().filter(|line| line.starts_with("Model")).map(str::to_owned));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_between_models_machines_and_runtimes() {
        let driver = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let path = driver.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("version", "NVRM version: 550.54");
        put("gpus/0000:01/information", "Model: \t A\nIRQ: 77\n");
        let first = gpus(driver.path());
        assert!(first.contains("550.54") && first.contains("Model: \t A") && !first.contains("IRQ"));
        put("gpus/0000:02/information", "Model: \t B\nIRQ: 78\n");
        let second = gpus(driver.path());
        let keys = [key(b"a", &first, "1.31"), key(b"b", &first, "1.31"), key(b"a", &second, "1.31"), key(b"a", &first, "1.32")];
        for (i, one) in keys.iter().enumerate() {
            assert!(one.len() == 32 && keys[i + 1..].iter().all(|other| one != other));
        }
        assert_eq!(key(b"a", &first, "1.31"), keys[0]);
        assert_eq!(gpus(Path::new("/nowhere")), "");
    }
}
