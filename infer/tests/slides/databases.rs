//! `nuclei.parquet` and `nuclei.db`: field by field, and by SQLite itself where Python carries it.

use std::path::Path;
use std::process::Command;

use infer::instances::shape::Shape;
use infer::output::annotation_store::AnnotationStore;
use infer::output::{Extra, Nucleus};
use infer::segment::Options;
use models::card::Class;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use support::artifact::AtomicFile;

use crate::picture::{card, run, save_tiff, tissue};
use crate::random::Random;

/// Asks Python's `sqlite3`; `None`, said aloud, where there is no Python.
fn ask_sqlite(database: &Path, script: &str) -> Option<String> {
    let script = format!("import sqlite3, sys\ndb = sqlite3.connect(f'file:{{sys.argv[1]}}?mode=ro', uri=True)\n{script}");
    let Ok(output) = Command::new("python3").args(["-c", &script]).arg(database).output() else {
        eprintln!("NOT RUN: there is no python3 to read {} with", database.display());
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The checks that SQLite makes itself, then rows against what they say; prints how many there are.
const CHECKS: &str = r"
import json, struct, zlib
one = lambda sql, *values: db.execute(sql, values).fetchall()
assert one('PRAGMA integrity_check') == [('ok',)], one('PRAGMA integrity_check')[:5]
if 'ENABLE_RTREE' in {row[0] for row in one('PRAGMA compile_options')}:
    assert one('SELECT rtreecheck(?)', 'rtree') == [('ok',)], one('SELECT rtreecheck(?)', 'rtree')
boxes = {}
for id, key, kind, cx, cy, blob, text, area in db.execute('SELECT * FROM annotations'):
    wkb = zlib.decompress(blob)
    order, shape, rings = struct.unpack_from('<BII', wkb)
    assert (order, shape, kind) == (1, 3, 'Polygon') and rings >= 1
    n, = struct.unpack_from('<I', wkb, 9)
    xy = struct.unpack_from(f'<{2 * n}d', wkb, 13)
    xs, ys = xy[::2], xy[1::2]
    assert (xs[0], ys[0]) == (xs[-1], ys[-1])
    boxes[id] = (min(xs), max(xs), min(ys), max(ys))
    assert boxes[id][0] <= cx <= boxes[id][1] and boxes[id][2] <= cy <= boxes[id][3]
    assert rings > 1 or abs(sum(xs[i] * ys[i + 1] - xs[i + 1] * ys[i] for i in range(n - 1)) / 2 - area) < 1e-6 * max(area, 1)
    assert json.loads(text)['type'] and len(key) == 36
assert one('SELECT count(*), count(DISTINCT key) FROM annotations') == [(len(boxes), len(boxes))]
for id, x0, x1, y0, y1 in db.execute('SELECT * FROM rtree'):
    b = boxes[id]
    assert x0 <= b[0] and b[1] <= x1 and y0 <= b[2] and b[3] <= y1
    assert max(b[0] - x0, x1 - b[1], b[2] - y0, y1 - b[3]) <= 1e-6 * max(map(abs, b)) + 1e-30
middle = sorted(b[0] for b in boxes.values())[len(boxes) // 2] if boxes else 0
found = {row[0] for row in db.execute('SELECT id FROM rtree WHERE max_x >= ? AND min_x <= ?', (middle, middle + 50))}
wanted = {id for id, b in boxes.items() if b[1] >= middle and b[0] <= middle + 50}
assert wanted <= found and len(found) <= len(wanted) + 5, (len(wanted), len(found))
for id, key in db.execute('SELECT id, key FROM annotations WHERE id % 97 = 1').fetchall():
    assert one('SELECT id FROM annotations WHERE key = ?', key) == [(id,)]
metadata = {key: json.loads(value) for key, value in one('SELECT key, value FROM metadata')}
assert metadata == {'version': '1.0.1', 'compression': 'zlib', 'compression_level': 9}
print(len(boxes))
";

#[test]
fn parquet_holds_the_columns_of_the_csv_and_the_store_the_features() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(6), 400, 300), &path, Some(0.25));
    let extra = vec![Extra::Parquet, Extra::AnnotationStore];
    let options = Options { out: folder.path().join("out"), extra, ..Options::default() };
    let (summary, out) = run(&path, &card(Some(0.5)), 1, &options).unwrap();
    assert!(summary.nuclei.count > 10);
    assert!(["nuclei.parquet", "nuclei.db"].iter().all(|name| summary.outputs.iter().any(|output| output == name)));

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
    if let Some(count) = ask_sqlite(&out.join("nuclei.db"), CHECKS) {
        assert_eq!(count.trim(), summary.nuclei.count.to_string());
    }
}

/// A nucleus of so many corners somewhere on a large slide.
fn nucleus(id: u64, corners: usize, random: &mut Random) -> Nucleus {
    let [x, y] = [0, 1].map(|_| random.below(100_000) as f64 + 50.0);
    let corner = |i: usize| {
        let angle = i as f64 / corners as f64 * std::f64::consts::TAU;
        let radius = 8.0 + random.below(1000) as f64 / 500.0;
        [x + radius * angle.cos(), y + radius * angle.sin()]
    };
    let ring: Vec<[f64; 2]> = (0..corners).map(corner).collect();
    let side = |axis: usize, pick: fn(f64, f64) -> f64| ring.iter().map(|p| p[axis]).reduce(pick).unwrap();
    let box_px = [side(0, f64::min), side(1, f64::min), side(0, f64::max), side(1, f64::max)];
    let shape = Shape { area: 9.0, perimeter: 9.0, centroid: [x, y], major_axis: 3.0, minor_axis: 3.0, eccentricity: 0.0, solidity: 1.0 };
    Nucleus {
        id,
        rings: vec![ring],
        area_px: 9,
        shape,
        unit: "px",
        centroid_px: [x, y],
        box_px,
        mean_probability: 0.75,
        mean_rgb: [90.0; 3],
        hematoxylin: 0.5,
        touches_border: false,
    }
}

fn store_of(path: &Path, count: u64, corners: impl Fn(u64) -> usize) {
    let class = Class { name: "nucleus".into(), colour: [200, 0, 0] };
    let mut store = AnnotationStore::new(AtomicFile::create(path).unwrap(), &class).unwrap();
    let mut random = Random(9);
    for id in 1..=count {
        let nucleus = nucleus(id, corners(id), &mut random);
        let annotation = store.annotation(&nucleus, uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, &id.to_le_bytes())).unwrap();
        store.add(&nucleus, &annotation).unwrap();
    }
    store.finish().unwrap().commit().unwrap();
}

/// Trees of one page, of one inner page, and of several levels; rows that reach over several pages.
#[test]
fn stores_of_any_size_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    for (count, large) in [(0, 5), (1, 1), (2, 2), (51, 5), (52, 40), (61, 9), (62, 9), (2700, 100), (50_000, 1000)] {
        let path = folder.path().join(format!("{count}.db"));
        store_of(&path, count, |id| if id % large == 0 { [300, 700, 3000][id as usize % 3] } else { 6 });
        if let Some(found) = ask_sqlite(&path, CHECKS) {
            assert_eq!(found.trim(), count.to_string());
        }
    }
    let again = folder.path().join("again.db");
    store_of(&again, 62, |id| if id % 9 == 0 { [300, 700, 3000][id as usize % 3] } else { 6 });
    assert!(std::fs::read(again).unwrap() == std::fs::read(folder.path().join("62.db")).unwrap());
}

/// Past the page of SQLite's locks at 2^30 bytes.
#[test]
#[ignore = "writes 1.6 GB"]
fn a_store_of_five_million_nuclei_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.db");
    store_of(&path, 5_000_000, |id| if id % 50 == 0 { 300 } else { 12 });
    assert!(std::fs::metadata(&path).unwrap().len() > 1 << 30);
    let script = "print(db.execute('PRAGMA integrity_check').fetchall(), db.execute('SELECT rtreecheck(?)', ('rtree',)).fetchall(), db.execute('SELECT count(*) FROM annotations').fetchall())";
    if let Some(said) = ask_sqlite(&path, script) {
        assert_eq!(said.trim(), "[('ok',)] [('ok',)] [(5000000,)]");
    }
}
