//! `index.csv`: the split and the modality of each image.

use std::collections::BTreeMap;
use std::path::Path;

use support::{Context, Result, bail, durable};

use crate::config::choice::choice;

choice! {
    /// Use of an image in a run.
    Split {
        /// Training.
        Train = "train",
        /// Validation: selection of the best checkpoint.
        Val = "val",
        /// Test: measurement of the result.
        Test = "test",
    }
}

/// Row of `index.csv`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Column `split`; `None` if the value is empty, absent or `dev` (not yet assigned).
    pub split: Option<Split>,
    /// Column `modality`; `None` if the value is empty or absent.
    pub modality: Option<String>,
}

/// Rows of `index.csv` by image id. The columns are `id`, `split` and `modality`; others are ignored.
pub type Index = BTreeMap<String, Row>;

/// Reads `index.csv`; returns `None` if the file does not exist.
///
/// # Errors
/// A missing column `id`, an empty or duplicate id, or an unknown split, with the line number.
pub fn read(path: &Path) -> Result<Option<Index>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = durable::read(path, 64 << 20)?;
    parse(&bytes).doing(|| format!("reading {}", path.display())).map(Some)
}

/// Parses the text of `index.csv`, with or without a byte order mark.
fn parse(bytes: &[u8]) -> Result<Index> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let columns = reader.headers()?.clone();
    let column = |name: &str| columns.iter().position(|c| c.eq_ignore_ascii_case(name));
    let Some(id) = column("id") else {
        bail!("expected a column \"id\", found {}", columns.iter().collect::<Vec<_>>().join(", "); hint: "the first line names the columns: id,split,modality");
    };
    let (split, modality) = (column("split"), column("modality"));
    let mut index = Index::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |column: Option<usize>| column.and_then(|c| record.get(c)).filter(|text| !text.is_empty());
        let Some(id) = field(Some(id)) else { bail!("line {line}: the id is empty") };
        let split = match field(split) {
            None | Some("dev") => None,
            Some("validation") => Some(Split::Val),
            Some(text) => Some(text.parse::<Split>().doing(|| format!("line {line}, column split"))?),
        };
        let row = Row { split, modality: field(modality).map(str::to_owned) };
        if index.insert(id.to_owned(), row).is_some() {
            bail!("line {line}: the id {id} is a duplicate");
        }
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_identified_by_name() {
        let index = parse(b"\xef\xbb\xbfmodality,id,width,Split\nfluo, a ,3,train\n,b,3,\nfluo,c,3,dev\n").unwrap();
        assert_eq!(index["a"], Row { split: Some(Split::Train), modality: Some("fluo".into()) });
        assert_eq!(index["b"], Row::default());
        assert_eq!(index["c"].split, None);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, part) in [
            ("name,split\na,train\n", "expected a column \"id\""),
            ("id,split\na,train\na,val\n", "line 3: the id a is a duplicate"),
            ("id,split\na,trian\n", "did you mean \"train\""),
            ("id,split\n,train\n", "line 2: the id is empty"),
            ("id,split\na\n", "fields"),
        ] {
            let error = format!("{:?}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
