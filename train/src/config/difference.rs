//! Comparison of two configurations, key by key.

use toml::{Table, Value};

use super::RunConfig;

/// Keys that may change when a run is resumed, because they do not affect what the run computes.
const CHANGEABLE: [&str; 9] = [
    "run.minutes",
    "run.threads",
    "run.device",
    "run.kernels",
    "run.deterministic",
    "run.prefetch",
    "run.save_minutes",
    "run.overlays",
    "run.tensorboard",
];

impl RunConfig {
    /// Lists, as `KEY was VALUE, is now VALUE`, the changed keys that must not change when a run is resumed.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let table = |config: &Self| Table::try_from(config).expect("a configuration is plain data");
        let mut found = Vec::new();
        compare("", Some(&Value::Table(table(self))), Some(&Value::Table(table(now))), &mut found);
        found
    }
}

/// Compares two values recursively and appends a line per changed key to `found`.
fn compare(key: &str, before: Option<&Value>, now: Option<&Value>, found: &mut Vec<String>) {
    match (before, now) {
        (Some(Value::Table(a)), Some(Value::Table(b))) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in keys {
                let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                compare(&inner, a.get(name), b.get(name), found);
            }
        }
        (a, b) if a == b || CHANGEABLE.contains(&key) => {}
        (a, b) => {
            let text = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), ToString::to_string);
            found.push(format!("{key} was {}, is now {}", text(a), text(b)));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Profile;

    #[test]
    fn changed_keys_are_listed_except_the_changeable_ones() {
        let before = Profile::Scratch.config();
        let mut now = before.clone();
        assert_eq!(before.differences(&now), Vec::<String>::new());
        (now.run.minutes, now.run.threads) = (Some(3.0), 7);
        assert_eq!(before.differences(&now), Vec::<String>::new());
        (now.run.batch, now.optimizer.lr_decoder, now.data.modality) = (9, 0.25, Some("a".into()));
        now.method.contrast.pop();
        let found = before.differences(&now);
        assert_eq!(found.len(), 4, "{found:?}");
        for part in ["run.batch was 4, is now 9", "optimizer.lr_decoder was 0.003, is now 0.25", "data.modality was not set"] {
            assert!(found.iter().any(|line| line.contains(part)), "{part}: {found:?}");
        }
    }
}
