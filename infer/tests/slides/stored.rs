//! An annotation store read back by SQLite, whose own checks of tables, indexes and R-tree it has to pass.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Value, json};

/// Row of the table `annotations` with the box that the R-tree holds of it.
#[derive(Debug, PartialEq)]
pub struct Stored {
    pub id: i64,
    pub key: String,
    kind: String,
    pub centroid: [f64; 2],
    /// Rings as in the WKB, the first vertex repeated at the end.
    pub rings: Vec<Vec<[f64; 2]>>,
    pub properties: Value,
    area: f64,
    /// Smallest and largest x, smallest and largest y.
    sides: [f64; 4],
}

impl Stored {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut wkb = Vec::new();
        ZlibDecoder::new(row.get_ref(5)?.as_blob()?).read_to_end(&mut wkb).unwrap();
        let properties = serde_json::from_str(row.get_ref(6)?.as_str()?).unwrap();
        Ok(Self {
            id: row.get(0)?,
            key: row.get(1)?,
            kind: row.get(2)?,
            centroid: [row.get(3)?, row.get(4)?],
            rings: rings(&wkb),
            properties,
            area: row.get(7)?,
            sides: [row.get(8)?, row.get(9)?, row.get(10)?, row.get(11)?],
        })
    }

    /// Smallest and largest x, smallest and largest y of the outer ring.
    fn outer(&self) -> [f64; 4] {
        let side = |axis: usize, pick: fn(f64, f64) -> f64| self.rings[0].iter().map(|p| p[axis]).reduce(pick).unwrap();
        [side(0, f64::min), side(0, f64::max), side(1, f64::min), side(1, f64::max)]
    }
}

/// Rings of a polygon in little-endian WKB.
fn rings(wkb: &[u8]) -> Vec<Vec<[f64; 2]>> {
    let mut rest = wkb;
    let mut take = |bytes: usize| rest.split_off(..bytes).expect("the WKB is long enough");
    let count = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    assert_eq!((take(1)[0], count(take(4))), (1, 3), "little-endian polygon");
    let rings: Vec<Vec<[f64; 2]>> = (0..count(take(4)))
        .map(|_| {
            let vertices = count(take(4));
            let mut number = || f64::from_le_bytes(take(8).try_into().unwrap());
            (0..vertices).map(|_| [number(), number()]).collect()
        })
        .collect();
    assert!(rest.is_empty());
    rings
}

pub fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// The only value of the only row of a query.
pub fn one<T: FromSql>(database: &Connection, sql: &str) -> T {
    database.query_row(sql, (), |row| row.get(0)).unwrap()
}

/// Checks a store by itself, and returns its rows in the order of their numbers.
pub fn checked(path: &Path) -> Vec<Stored> {
    let database = open(path);
    assert_eq!(one::<String>(&database, "PRAGMA integrity_check"), "ok");
    assert_eq!(one::<String>(&database, "SELECT rtreecheck('rtree')"), "ok");
    for (pragma, value) in [("page_size", 4096), ("user_version", 0), ("application_id", 0), ("freelist_count", 0)] {
        assert_eq!(one::<i64>(&database, &format!("PRAGMA {pragma}")), value, "{pragma}");
    }
    let metadata = "SELECT json_group_object(key, json(value)) FROM metadata";
    let expected = json!({ "version": "1.0.1", "compression": "zlib", "compression_level": 9 });
    assert_eq!(serde_json::from_str::<Value>(&one::<String>(&database, metadata)).unwrap(), expected);
    let joined = "SELECT a.*, min_x, max_x, min_y, max_y FROM annotations a JOIN rtree USING (id) ORDER BY id";
    let rows: Vec<Stored> = database.prepare(joined).unwrap().query_map((), Stored::of).unwrap().map(Result::unwrap).collect();
    for count in ["count(*) FROM annotations", "count(DISTINCT key) FROM annotations", "count(*) FROM rtree"] {
        assert_eq!(one::<i64>(&database, &format!("SELECT {count}")) as usize, rows.len(), "{count}");
    }
    rows.iter().for_each(check_row);
    check_queries(&database, &rows);
    rows
}

fn check_row(row: &Stored) {
    assert!(row.rings.iter().all(|ring| ring.first() == ring.last()), "{row:?}");
    let (outer, [x, y]) = (row.outer(), row.centroid);
    assert!(outer[0] <= x && x <= outer[1] && outer[2] <= y && y <= outer[3], "{row:?}");
    let twice = |ring: &[[f64; 2]]| ring.windows(2).map(|p| p[0][0] * p[1][1] - p[1][0] * p[0][1]).sum::<f64>();
    let area = row.rings.iter().map(|ring| twice(ring)).sum::<f64>().abs() / 2.0;
    assert!((area - row.area).abs() < 1e-6 * area.max(1.0), "{row:?}");
    // Boxes are 32-bit floats, rounded outwards.
    let slack = 1e-6 * outer.iter().fold(0.0, |most: f64, side| most.max(side.abs())) + 1e-30;
    for (side, outwards) in [(0, -1.0), (1, 1.0), (2, -1.0), (3, 1.0)] {
        let beyond = outwards * (row.sides[side] - outer[side]);
        assert!((0.0..=slack).contains(&beyond), "side {side} of {row:?}");
    }
    assert_eq!((row.kind.as_str(), row.key.len()), ("Polygon", 36));
}

/// A window by the R-tree and rows by their key.
fn check_queries(database: &Connection, rows: &[Stored]) {
    let mut lefts: Vec<f64> = rows.iter().map(|row| row.sides[0]).collect();
    lefts.sort_unstable_by(f64::total_cmp);
    let left = lefts.get(rows.len() / 2).copied().unwrap_or(0.0);
    let mut window = database.prepare("SELECT id FROM rtree WHERE max_x >= ?1 AND min_x <= ?1 + 50 ORDER BY id").unwrap();
    let found: Vec<i64> = window.query_map([left], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let inside = |row: &&Stored| row.sides[1] >= left && row.sides[0] <= left + 50.0;
    assert_eq!(found, rows.iter().filter(inside).map(|row| row.id).collect::<Vec<_>>());
    let mut by_key = database.prepare("SELECT id FROM annotations WHERE key = ?").unwrap();
    for row in rows.iter().step_by(97) {
        assert_eq!(by_key.query_row([&row.key], |row| row.get::<_, i64>(0)).unwrap(), row.id);
    }
}
