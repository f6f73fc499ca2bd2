//! `nuclei.db`: an `AnnotationStore` as TIAToolbox opens it (`SQLiteStore.open`): polygons as compressed WKB, an R-tree over their boxes.
//!
//! Tables, columns and metadata are those of its version 1.0.1; keys are the ids of the GeoJSON file.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use models::card::Class;
use serde_json::json;
use support::Result;
use support::artifact::AtomicFile;
use uuid::Uuid;

use super::Nucleus;
use super::sqlite::record::{Value, encode};
use super::sqlite::rtree::RTree;
use super::sqlite::sorted::Sorter;
use super::sqlite::tree::Tree;
use super::sqlite::{Database, Entry, small_table};

/// Ids that are sorted in memory at once: 20 MB.
const RUN: usize = 1 << 20;

const METADATA: [(&str, &str); 3] = [("version", "\"1.0.1\""), ("compression", "\"zlib\""), ("compression_level", "9")];
const ANNOTATIONS: &str = "CREATE TABLE annotations(id INTEGER PRIMARY KEY, key TEXT UNIQUE, objtype TEXT, cx FLOAT NOT NULL, cy FLOAT NOT NULL, geometry BLOB, properties TEXT, area FLOAT NOT NULL)";
const RTREE: &str = "CREATE VIRTUAL TABLE rtree USING rtree(id, min_x, max_x, min_y, max_y)";
const RTREE_ROWID: &str = "CREATE TABLE \"rtree_rowid\"(rowid INTEGER PRIMARY KEY,nodeno)";
const RTREE_NODE: &str = "CREATE TABLE \"rtree_node\"(nodeno INTEGER PRIMARY KEY,data)";
const RTREE_PARENT: &str = "CREATE TABLE \"rtree_parent\"(nodeno INTEGER PRIMARY KEY,parentnode)";
const KEYS: &str = "CREATE TABLE metadata (key TEXT UNIQUE, value TEXT)";

/// Writes annotations as they come.
pub struct AnnotationStore {
    database: Database,
    annotations: Tree,
    boxes: RTree,
    keys: Sorter,
    class: String,
}

/// What is stored of a nucleus; any thread may make it.
pub struct Annotation {
    id: Uuid,
    record: Vec<u8>,
}

impl AnnotationStore {
    /// Starts a file.
    pub fn new(file: AtomicFile, class: &Class) -> Result<Self> {
        let mut database = Database::new(file)?;
        let boxes = RTree::new(&mut database)?;
        Ok(Self { database, annotations: Tree::table(), boxes, keys: Sorter::new(RUN), class: class.name.clone() })
    }

    /// A nucleus as an annotation; `id` is that of its GeoJSON feature.
    pub fn annotation(&self, nucleus: &Nucleus, id: Uuid) -> Result<Annotation> {
        let properties = json!({ "type": self.class, "probability": (nucleus.mean_probability * 1e4).round() / 1e4 }).to_string();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::new(6));
        zlib.write_all(&wkb(nucleus))?;
        let geometry = zlib.finish()?;
        let [x, y] = nucleus.centroid_px;
        let record = encode(&[
            Value::Null,
            Value::Text(&id.to_string()),
            Value::Text("Polygon"),
            Value::Real(x),
            Value::Real(y),
            Value::Blob(&geometry),
            Value::Text(&properties),
            Value::Real(nucleus.rings.iter().map(|ring| twice_area(ring)).sum::<f64>().abs() / 2.0),
        ]);
        Ok(Annotation { id, record })
    }

    /// Adds an annotation.
    pub fn add(&mut self, nucleus: &Nucleus, annotation: &Annotation) -> Result<()> {
        self.annotations.row(&mut self.database, nucleus.id as i64, &annotation.record)?;
        self.boxes.add(&mut self.database, nucleus.id as i64, nucleus.box_px)?;
        self.keys.add((*annotation.id.as_bytes(), nucleus.id as u32))
    }

    /// Ends the file.
    pub fn finish(self) -> Result<AtomicFile> {
        let Self { mut database, mut annotations, boxes, keys, .. } = self;
        let annotations = annotations.finish(&mut database)?;
        let boxes = boxes.finish(&mut database)?;
        let mut index = Tree::index();
        keys.for_each(|(id, row)| {
            let id = Uuid::from_bytes(id).to_string();
            index.key(&mut database, &encode(&[Value::Text(&id), Value::Int(i64::from(row))]))
        })?;
        let index = index.finish(&mut database)?;
        let [metadata, metadata_index] = small_table(&mut database, &METADATA)?;
        let table = |name, root, sql| Entry { kind: "table", name, table: name, root, sql: Some(sql) };
        let unique = |name, table, root| Entry { kind: "index", name, table, root, sql: None };
        database.finish(&[
            table("metadata", metadata, KEYS),
            unique("sqlite_autoindex_metadata_1", "metadata", metadata_index),
            table("rtree", 0, RTREE),
            table("rtree_rowid", boxes.rowid, RTREE_ROWID),
            table("rtree_node", boxes.node, RTREE_NODE),
            table("rtree_parent", boxes.parent, RTREE_PARENT),
            table("annotations", annotations, ANNOTATIONS),
            unique("sqlite_autoindex_annotations_1", "annotations", index),
        ])
    }
}

/// Twice the area of a ring, signed: holes turn the other way.
fn twice_area(ring: &[[f64; 2]]) -> f64 {
    ring.iter().zip(ring.iter().cycle().skip(1)).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum()
}

/// Well-known binary of a polygon (OGC Simple Features 06-103r4, 8.2), little-endian, rings closed.
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
