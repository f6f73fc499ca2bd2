//! `nuclei.db`: an `AnnotationStore` that TIAToolbox opens (`SQLiteStore.open`), with polygons as compressed WKB and an R-tree of their boxes.
//!
//! Tables, columns and metadata are those of version 1.0.1 of the format; keys are the ids of the GeoJSON file. SQLite, which is compiled into
//! the program, writes the file in one transaction. The same nuclei in the same order give the same bytes, because `Cargo.lock` pins the
//! version of SQLite, and page size, journal and the order of all insertions are fixed here.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use models::card::Class;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use serde_json::json;
use support::durable::AtomicFile;
use support::{Error, Result};
use uuid::Uuid;

use super::Nucleus;

/// SQLite's file layer without locks: no other program knows the temporary file, and shared file systems of clusters may refuse locks.
const FILE_LAYER: &str = if cfg!(windows) { "win32-none" } else { "unix-none" };

/// Settings of the connection. The journal is off because an unfinished file is deleted, never repaired; the cache of 32 MiB bounds memory.
const SETTINGS: &str = "
    PRAGMA page_size = 4096;
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -32768;
";

/// Tables in the order in which TIAToolbox creates them, inside the transaction that [`AnnotationStore::finish`] commits.
const SCHEMA: &str = r#"
    BEGIN;
    CREATE TABLE metadata (key TEXT UNIQUE, value TEXT);
    CREATE VIRTUAL TABLE rtree USING rtree(id, min_x, max_x, min_y, max_y);
    CREATE TABLE annotations(id INTEGER PRIMARY KEY, key TEXT UNIQUE, objtype TEXT, cx FLOAT NOT NULL, cy FLOAT NOT NULL, geometry BLOB, properties TEXT, area FLOAT NOT NULL);
    INSERT INTO metadata VALUES ('version', '"1.0.1"'), ('compression', '"zlib"'), ('compression_level', '9');
"#;
const INSERT_ANNOTATION: &str = "INSERT INTO annotations VALUES (?, ?, 'Polygon', ?, ?, ?, ?, ?)";
const INSERT_BOX: &str = "INSERT INTO rtree VALUES (?, ?, ?, ?, ?)";

/// Streaming writer of a database file.
pub struct AnnotationStore {
    /// Connection to the temporary file; it is declared first because it has to be closed before the file is deleted.
    connection: Connection,
    file: AtomicFile,
}

/// Columns of an annotation that are costly to compute, so that several threads compute them.
pub struct Annotation {
    key: String,
    /// Polygon as WKB, compressed by zlib.
    geometry: Vec<u8>,
    /// Class and probability as JSON.
    properties: String,
    /// Area of the polygon in square level-0 pixels.
    area: f64,
}

impl Annotation {
    /// Encodes a nucleus; `id` is that of its GeoJSON feature.
    pub fn new(nucleus: &Nucleus, id: Uuid, class: &Class) -> Result<Self> {
        let properties = json!({ "type": class.name, "probability": (nucleus.mean_probability * 1e4).round() / 1e4 }).to_string();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::new(6));
        zlib.write_all(&wkb(nucleus))?;
        let area = nucleus.rings.iter().map(|ring| twice_area(ring)).sum::<f64>().abs() / 2.0;
        Ok(Self { key: id.to_string(), geometry: zlib.finish()?, properties, area })
    }
}

impl AnnotationStore {
    /// Creates the tables in a file.
    pub fn new(file: AtomicFile) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags_and_vfs(file.temporary_path(), flags, FILE_LAYER)?;
            connection.execute_batch(SETTINGS)?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Self { connection, file }),
            Err(error) => Err(failed(&file, error)),
        }
    }

    /// Adds the annotation of a nucleus.
    pub fn add(&mut self, nucleus: &Nucleus, annotation: &Annotation) -> Result<()> {
        self.insert(nucleus, annotation).map_err(|error| failed(&self.file, error))
    }

    fn insert(&self, nucleus: &Nucleus, annotation: &Annotation) -> rusqlite::Result<()> {
        let Annotation { key, geometry, properties, area } = annotation;
        let (id, [x, y], [left, top, right, bottom]) = (nucleus.id as i64, nucleus.centroid_px, nucleus.box_px);
        self.connection.prepare_cached(INSERT_ANNOTATION)?.execute(params![id, key, x, y, geometry, properties, area])?;
        self.connection.prepare_cached(INSERT_BOX)?.execute(params![id, left, right, top, bottom])?;
        Ok(())
    }

    /// Commits the transaction and returns the finished file.
    pub fn finish(self) -> Result<AtomicFile> {
        let Self { connection, file } = self;
        let ended = connection.execute_batch("COMMIT").and_then(|()| connection.close().map_err(|(_, error)| error));
        ended.map_err(|error| failed(&file, error))?;
        Ok(file)
    }
}

/// Wraps `error` as a failure to write `file`; a full disk that SQLite reports gets its hint.
fn failed(file: &AtomicFile, error: rusqlite::Error) -> Error {
    if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        return file.failed(std::io::Error::new(std::io::ErrorKind::StorageFull, error));
    }
    Error::from(error).during(format!("writing {}", file.path().display()))
}

/// Returns twice the signed area of a ring (shoelace formula); holes have the opposite sign.
fn twice_area(ring: &[[f64; 2]]) -> f64 {
    ring.iter().zip(ring.iter().cycle().skip(1)).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum()
}

/// Encodes a polygon as well-known binary (OGC Simple Features 06-103r4, 8.2), little-endian, rings closed.
fn wkb(nucleus: &Nucleus) -> Vec<u8> {
    let mut bytes = vec![1];
    let count = |bytes: &mut Vec<u8>, n: usize| bytes.extend_from_slice(&(n as u32).to_le_bytes());
    count(&mut bytes, 3);
    count(&mut bytes, nucleus.rings.len());
    for ring in &nucleus.rings {
        count(&mut bytes, ring.len() + 1);
        for coordinate in ring.iter().chain(ring.first()).flatten() {
            bytes.extend_from_slice(&coordinate.to_le_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = AnnotationStore::new(AtomicFile::create(&folder.path().join("nuclei.db")).unwrap()).unwrap();
        // SQLite reports a file that reaches this limit as it reports a device without space.
        store.connection.pragma_update(None, "max_page_count", 64).unwrap();
        let fill = "INSERT INTO metadata VALUES ('large', zeroblob(1000000))";
        let error = failed(&store.file, store.connection.execute_batch(fill).unwrap_err());
        assert!(error.to_string().contains("nuclei.db"), "{error}");
        assert!(error.hint_text().unwrap().contains("disk is full"), "{error:?}");
        drop(store);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
