//! Results opened by programs that are not ours: Python's own modules and `pyarrow`. What a Python here does not have
//! is said in a line that begins with NOT RUN.

use infer::output::Extra;
use infer::segment::Options;

use crate::outlines::ask_python;
use crate::picture::{card, run, save_tiff, tissue};
use crate::random::Random;

/// Every field of a `GeoJSON` feature as QuPath reads it, against the row of the table; prints how many features there are.
const QUPATH: &str = r"
import csv, gzip, json, os, sys, uuid
collection = json.load(gzip.open(sys.argv[1]))
assert collection['type'] == 'FeatureCollection', collection.keys()
rows = list(csv.DictReader(open(os.path.join(os.path.dirname(sys.argv[1]), 'nuclei.csv'))))
features = collection['features']
assert len(rows) == len(features)
seen = set()
for feature, row in zip(features, rows):
    assert set(feature) == {'type', 'id', 'geometry', 'properties'}, feature.keys()
    assert feature['type'] == 'Feature' and uuid.UUID(feature['id']).version == 5
    seen.add(feature['id'])
    geometry = feature['geometry']
    assert set(geometry) == {'type', 'coordinates'} and geometry['type'] == 'Polygon'
    for ring in geometry['coordinates']:
        assert len(ring) >= 4 and ring[0] == ring[-1] and all(len(corner) == 2 for corner in ring)
    xs, ys = zip(*geometry['coordinates'][0])
    assert 0 <= min(xs) < max(xs) <= 400 and 0 <= min(ys) < max(ys) <= 300
    properties = feature['properties']
    assert properties['objectType'] == 'detection'
    assert properties['classification'] == {'name': 'Nucleus', 'color': [20, 200, 40]}, properties['classification']
    measured = properties['measurements']
    assert all(isinstance(value, (int, float)) for value in measured.values()), measured
    assert abs(measured['Area \u00b5m^2'] - float(row['area_um2'])) < 1e-3
assert len(seen) == len(features)
print(len(features))
";

/// The table by Arrow: the columns of the CSV file, in its order, with its values.
const PARQUET: &str = r"
import csv, os, sys, pyarrow.parquet as parquet
table = parquet.read_table(os.path.join(os.path.dirname(sys.argv[1]), 'nuclei.parquet'))
with open(os.path.join(os.path.dirname(sys.argv[1]), 'nuclei.csv')) as file:
    names, *rows = list(csv.reader(file))
assert table.column_names == names, (table.column_names, names)
for i, name in enumerate(names):
    for found, row in zip(table.column(name).to_pylist(), rows):
        expected = float(row[i])
        assert abs(float(found) - expected) <= 0.0051 + 1e-6 * abs(expected), (name, found, expected)
print(table.num_rows)
";

#[test]
fn outlines_and_tables_are_read_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(6), 400, 300), &path, Some(0.25));
    let options = Options { out: folder.path().join("out"), extra: vec![Extra::Parquet], ..Options::default() };
    let (summary, out) = run(&path, &card(Some(0.5)), 1, &options).unwrap();
    assert!(summary.nuclei.count > 10);
    let file = out.join("nuclei.geojson.gz");
    for (modules, script) in [(&[][..], QUPATH), (&["pyarrow.parquet"], PARQUET)] {
        if let Some(count) = ask_python(modules, script, &file) {
            assert_eq!(count.trim(), summary.nuclei.count.to_string());
        }
    }
}
