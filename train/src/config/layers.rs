//! Layered configuration: the profile, overridden by a TOML file, overridden by `--set`. All keys are checked before any value is read.

use std::path::{Path, PathBuf};

use support::{Context, Result, bail, durable};
use toml::{Table, Value};

use super::choice::nearest;
use super::{Group, Profile, RunConfig};

/// Size limit of a configuration file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

impl RunConfig {
    /// Reads the file at `path` over `profile`, applies `sets` ("section.key=value") in order and checks every value.
    ///
    /// # Errors
    /// An unreadable file, text that is not TOML, an unknown key, a value of the wrong type or out of range.
    pub fn load(path: &Path, profile: Profile, sets: &[impl AsRef<str>]) -> Result<Self> {
        let doing = || format!("reading {}", path.display());
        let bytes = durable::read(path, MAX_BYTES)?;
        let text = String::from_utf8(bytes).doing(doing).hint(|| "a configuration is a TOML text file in UTF-8")?;
        Self::from_toml(&text, profile, sets).doing(doing)
    }

    /// Does the same as [`RunConfig::load`] for the text of a file.
    ///
    /// # Errors
    /// As [`RunConfig::load`].
    pub fn from_toml(text: &str, profile: Profile, sets: &[impl AsRef<str>]) -> Result<Self> {
        let mut table = table_of(&profile.config());
        let schema = schema();
        let layer: Table = text.parse().doing(|| "parsing TOML")?;
        check_keys(&layer, &schema, "")?;
        overlay(&mut table, layer);
        for set in sets.iter().map(AsRef::as_ref) {
            let layer = layer_of(set).doing(|| format!("--set {set}"))?;
            check_keys(&layer, &schema, "").doing(|| format!("--set {set}"))?;
            overlay(&mut table, layer);
        }
        let config: Self =
            Value::Table(table).try_into().map_err(|error: toml::de::Error| support::Error::new(error.to_string().trim().to_owned()))?;
        config.check()?;
        Ok(config)
    }

    /// Returns the complete configuration as TOML, which reads back as the same configuration under any profile.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a configuration is plain data")
    }
}

/// Returns a configuration as a TOML table.
fn table_of(config: &RunConfig) -> Table {
    Table::try_from(config).expect("a configuration is plain data")
}

/// Returns a table with all known keys: a configuration in which every optional value is set.
fn schema() -> Table {
    let mut config = Profile::Scratch.config();
    config.data.modality = Some(String::new());
    config.data.channel = Some(String::new());
    config.data.microns_per_pixel = Some(1.0);
    config.data.fold = Some(0);
    config.optimizer.groups = vec![Group { prefix: String::new(), lr: Some(0.0), weight_decay: Some(0.0) }];
    config.run.minutes = Some(1.0);
    config.run.init = Some(PathBuf::new());
    table_of(&config)
}

/// Checks that `schema` has every key of `layer`; the error suggests the most similar known key.
fn check_keys(layer: &Table, schema: &Table, prefix: &str) -> Result<()> {
    for (key, value) in layer {
        match (schema.get(key), value) {
            (None, _) => return unknown_key(key, schema, prefix),
            (Some(Value::Table(schema)), Value::Table(layer)) => check_keys(layer, schema, &format!("{prefix}{key}."))?,
            (Some(Value::Table(_)), value) => {
                bail!("{prefix}{key}: expected a section, found {}", value.type_str(); hint: "write [{prefix}{key}] and its keys below it")
            }
            (Some(Value::Array(schema)), Value::Array(layer)) => check_items(layer, schema, &format!("{prefix}{key}"))?,
            _ => {}
        }
    }
    Ok(())
}

/// Checks the keys of each section in a list against the first item of the schema's list.
fn check_items(layer: &[Value], schema: &[Value], name: &str) -> Result<()> {
    let Some(Value::Table(schema)) = schema.first() else { return Ok(()) };
    layer.iter().filter_map(Value::as_table).try_for_each(|item| check_keys(item, schema, &format!("{name}.")))
}

/// Returns the error for an unknown key, with a suggestion.
fn unknown_key(key: &str, schema: &Table, prefix: &str) -> Result<()> {
    let section = if prefix.is_empty() { "the configuration".to_owned() } else { format!("[{}]", prefix.trim_end_matches('.')) };
    let known: Vec<&str> = schema.keys().map(String::as_str).collect();
    match nearest(key, known.iter().copied()) {
        Some(near) => bail!("{section} has no key {key:?}"; hint: "did you mean {prefix}{near}?"),
        None => bail!("{section} has no key {key:?}"; hint: "its keys are {}", known.join(", ")),
    }
}

/// Parses `section.key=value` into a table; a value that is neither TOML nor a number such as `.5` is text.
fn layer_of(set: &str) -> Result<Table> {
    let Some((path, text)) = set.split_once('=') else {
        bail!("expected section.key=value, found {set:?}"; hint: "for example --set run.iterations=2000");
    };
    let text = text.trim();
    let toml = format!("v = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
    let value = toml.or_else(|| number(text)).unwrap_or_else(|| Value::String(text.to_owned()));
    let value = path.trim().rsplit('.').fold(value, |inner, key| Value::Table(Table::from_iter([(key.trim().to_owned(), inner)])));
    match value {
        Value::Table(table) => Ok(table),
        _ => bail!("expected section.key=value, found {set:?}"),
    }
}

/// Parses numbers such as `.5` and `5.`, which TOML does not allow.
fn number(text: &str) -> Option<Value> {
    text.parse().ok().filter(|_| !text.contains(['i', 'n', 'I', 'N'])).map(Value::Float)
}

/// Merges `layer` into `table`: sections are merged recursively, other values are replaced.
fn overlay(table: &mut Table, layer: Table) {
    for (key, value) in layer {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EmaStart, Method, Schedule};

    fn read(text: &str, sets: &[&str]) -> Result<RunConfig> {
        RunConfig::from_toml(text, Profile::Scratch, sets)
    }

    fn message(text: &str, sets: &[&str]) -> String {
        format!("{:?}", read(text, sets).unwrap_err())
    }

    #[test]
    fn a_written_configuration_reads_back_under_any_profile() {
        for profile in Profile::ALL {
            let config = profile.config();
            for other in Profile::ALL {
                assert_eq!(RunConfig::from_toml(&config.to_toml(), *other, &[] as &[&str]).unwrap(), config);
            }
        }
    }

    #[test]
    fn later_layers_override_earlier_ones() {
        let config =
            read("[method]\nname = 's2l'\n[run]\nbatch = 2", &["run.batch=6", "optimizer.schedule=poly", "data.folder=a b"]).unwrap();
        assert_eq!((config.method.name, config.run.batch, config.optimizer.schedule), (Method::S2l, 6, Schedule::Poly));
        assert_eq!(config.data.folder, Path::new("a b"));
        let short = read("", &["data.zoom=.25", "method.threshold=1.", "data.folder=infinity", "data.modality=NaN"]).unwrap();
        assert_eq!((short.data.zoom, short.method.threshold, short.data.folder.as_path()), (0.25, 1.0, Path::new("infinity")));
        assert_eq!(short.data.modality.as_deref(), Some("NaN"));
        let paper = RunConfig::from_toml("", Profile::Paper, &["data.microns_per_pixel=0.5"]).unwrap();
        assert_eq!((paper.method.ema_start, paper.run.batch), (EmaStart::Zero, 30));
        assert_eq!(paper.data.microns_per_pixel, Some(0.5));
        for (set, channel) in [("data.channel=2", "2"), ("data.channel=DAPI", "DAPI")] {
            assert_eq!(RunConfig::from_toml("", Profile::Paper, &[set]).unwrap().data.channel.as_deref(), Some(channel));
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_that_suggests_the_nearest() {
        assert!(message("[optimizer]\nlr_encodr = 1", &[]).contains("did you mean optimizer.lr_encoder?"));
        assert!(message("[optimiser]\nlr = 1", &[]).contains("did you mean optimizer?"));
        assert!(message("", &["run.iteration=4"]).contains("did you mean run.iterations?"));
        assert!(message("", &["run.iteration=4"]).contains("--set run.iteration=4"));
        assert!(message("[[method.contrast]]\ntao = 1", &[]).contains("did you mean method.contrast.tau?"));
        assert!(message("[[optimizer.groups]]\nprefx = 'a'", &[]).contains("did you mean optimizer.groups.prefix?"));
        assert!(message("[run]\nzzzz = 1", &[]).contains("its keys are"));
        assert!(message("run = 3", &[]).contains("expected a section"));
    }

    #[test]
    fn an_unknown_value_is_an_error_that_suggests_the_nearest() {
        let text = message("[method]\nname = 'boht'", &[]);
        assert!(
            text.contains("pce, s2l, r1, r4, both, full") && text.contains("did you mean \"both\"?") && text.contains("name"),
            "{text}"
        );
        assert!(message("", &["run.batch=many"]).contains("batch"));
        assert!(message("", &["method.max_per_class=lots"]).contains("max_per_class"));
        assert!(message("a = [", &[]).contains("TOML"));
        assert!(message("", &["nonsense"]).contains("section.key=value"));
    }

    #[test]
    fn the_error_for_a_missing_file_names_it() {
        let error = RunConfig::load(Path::new("nowhere/run.toml"), Profile::Scratch, &[] as &[&str]).unwrap_err();
        assert!(error.to_string().contains("nowhere/run.toml"), "{error}");
    }
}
