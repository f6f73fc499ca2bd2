//! `nuclei.parquet` and `nuclei.db` hold what `nuclei.csv` and `nuclei.geojson.gz` hold, field by field.

use std::io::Read;

use flate2::read::GzDecoder;
use infer::output::ExtraOutput;
use infer::segment::Options;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};

use crate::picture::{card, run, save_tiff, tissue};
use crate::random::Random;
use crate::stored::checked;

#[test]
fn parquet_holds_the_columns_of_the_csv_and_the_store_the_features() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(6), 400, 300), &path, Some(0.25));
    let extra = vec![ExtraOutput::Parquet, ExtraOutput::AnnotationStore];
    let options = Options { out: folder.path().join("out"), extra, ..Options::default() };
    let (summary, out) = run(&path, &card(Some(0.5)), 1, &options).unwrap();
    assert!(summary.nuclei.count > 10);
    assert!(["nuclei.parquet", "nuclei.db"].iter().all(|name| summary.outputs.iter().any(|output| output.name == *name)));

    let file = SerializedFileReader::new(std::fs::File::open(out.join("nuclei.parquet")).unwrap()).unwrap();
    let mut table = csv::Reader::from_path(out.join("nuclei.csv")).unwrap();
    let names: Vec<String> = table.headers().unwrap().iter().map(str::to_owned).collect();
    let mut rows = file.get_row_iter(None).unwrap();
    for line in table.records() {
        let (line, row) = (line.unwrap(), rows.next().unwrap().unwrap());
        for ((name, value), (column, text)) in row.get_column_iter().zip(names.iter().zip(line.iter())) {
            assert_eq!(name, column);
            let expected: f64 = text.parse().unwrap();
            let found = match value {
                Field::Long(n) => *n as f64,
                Field::Double(x) => *x,
                Field::Float(x) => f64::from(*x),
                Field::Bool(b) => f64::from(u8::from(*b)),
                other => panic!("{name}: {other:?}"),
            };
            assert!((found - expected).abs() <= 0.0051 + 1e-6 * expected.abs(), "{name}: {found} for {expected}");
        }
    }
    assert!(rows.next().is_none());

    let mut collection = String::new();
    GzDecoder::new(std::fs::File::open(out.join("nuclei.geojson.gz")).unwrap()).read_to_string(&mut collection).unwrap();
    let collection: Value = serde_json::from_str(&collection).unwrap();
    let features = collection["features"].as_array().unwrap();
    let rows = checked(&out.join("nuclei.db"));
    assert_eq!((rows.len(), features.len()), (summary.nuclei.count as usize, summary.nuclei.count as usize));
    for (row, feature) in rows.iter().zip(features) {
        assert_eq!((&feature["id"], row.properties["type"].as_str()), (&json!(row.key), Some("Nucleus")));
        let rings: Vec<Vec<[f64; 2]>> = serde_json::from_value(feature["geometry"]["coordinates"].clone()).unwrap();
        assert_eq!(rings.iter().map(Vec::len).collect::<Vec<_>>(), row.rings.iter().map(Vec::len).collect::<Vec<_>>());
        let pairs = rings.iter().flatten().flatten().zip(row.rings.iter().flatten().flatten());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 0.0051), "{row:?}");
    }
}
