//! SQLite 3 database files, written once from front to back: tables row by row, indexes from sorted keys.
//!
//! Source of the format: <https://www.sqlite.org/fileformat2.html>. Databases that change are the business of SQLite itself; this writes
//! millions of rows in the order in which they come, needs no library and no C code, and the same rows give the same bytes.
//!
//! | module | what |
//! |---|---|
//! | [`record`] | values of a row |
//! | [`tree`] | rows and keys into pages |
//! | [`rtree`] | the tables behind SQLite's R*Tree module |
//! | [`sorted`] | more keys than memory should hold, in order |

pub mod record;
pub mod rtree;
pub mod sorted;
pub mod tree;

use std::io::{BufWriter, Seek, SeekFrom, Write};

use support::Result;
use support::artifact::AtomicFile;

use record::Value;
use tree::Tree;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// The page that holds byte 2^30, on which SQLite puts its locks; nothing may be written there.
const LOCK_PAGE: u32 = (1 << 30) / PAGE as u32 + 1;
/// The version of SQLite whose format this is, as it writes it itself: 3.40.1.
const FORMAT_OF: u32 = 3_040_001;

/// A number of a page, from 1.
pub type Page = u32;

/// A file that grows page by page; the first page comes last.
pub struct Database {
    file: BufWriter<AtomicFile>,
    /// Pages written so far, the first one included.
    pages: u32,
}

/// An entry of the schema.
pub struct Entry<'a> {
    /// `table` or `index`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The table that it is, or that it is an index of.
    pub table: &'a str,
    /// Its first page; 0 for virtual tables.
    pub root: Page,
    /// How it was made; `None` for the index behind a `UNIQUE`.
    pub sql: Option<&'a str>,
}

impl Database {
    /// Starts a file.
    pub fn new(file: AtomicFile) -> Result<Self> {
        let mut database = Self { file: BufWriter::with_capacity(64 * PAGE, file), pages: 0 };
        database.add(&[0; PAGE])?;
        Ok(database)
    }

    /// Appends a page and says its number.
    pub fn add(&mut self, page: &[u8; PAGE]) -> Result<Page> {
        if self.pages + 1 == LOCK_PAGE {
            self.put(&[0; PAGE])?;
            self.pages += 1;
        }
        self.put(page)?;
        self.pages += 1;
        Ok(self.pages)
    }

    /// The number of the page that is written next.
    pub fn next(&self) -> Page {
        if self.pages + 1 == LOCK_PAGE { LOCK_PAGE + 1 } else { self.pages + 1 }
    }

    /// Writes over bytes of a page that is there.
    pub fn patch(&mut self, page: Page, offset: usize, bytes: &[u8]) -> Result<()> {
        let at = u64::from(page - 1) * PAGE as u64 + offset as u64;
        let written = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(bytes));
        written.and_then(|()| self.file.seek(SeekFrom::End(0))).map_err(|error| self.file.get_ref().failed(error))?;
        Ok(())
    }

    /// Writes the first page, header and schema, and ends the file.
    ///
    /// # Panics
    /// If the schema is too long for one page.
    pub fn finish(mut self, schema: &[Entry<'_>]) -> Result<AtomicFile> {
        let row = |entry: &Entry<'_>| {
            let root = Value::Int(i64::from(entry.root));
            let sql = entry.sql.map_or(Value::Null, Value::Text);
            record::encode(&[Value::Text(entry.kind), Value::Text(entry.name), Value::Text(entry.table), root, sql])
        };
        let cells: Vec<Vec<u8>> = schema.iter().enumerate().map(|(i, entry)| tree::row_cell(i as i64 + 1, &row(entry))).collect();
        let mut page = tree::page(tree::Kind::TableLeaf, HEADER, &cells, None);
        page[..HEADER].copy_from_slice(&header(self.pages));
        self.patch(1, 0, &page)?;
        let path = self.file.get_ref().path().to_owned();
        self.file.into_inner().map_err(|error| support::Error::from(error.into_error()).during(format!("writing {}", path.display())))
    }

    fn put(&mut self, page: &[u8; PAGE]) -> Result<()> {
        self.file.write_all(page).map_err(|error| self.file.get_ref().failed(error))
    }
}

/// Bytes before the schema on the first page.
const HEADER: usize = 100;

fn header(pages: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..16].copy_from_slice(b"SQLite format 3\0");
    header[16..18].copy_from_slice(&(PAGE as u16).to_be_bytes());
    // No write-ahead log; no bytes kept free; the fixed shares of payload.
    header[18..24].copy_from_slice(&[1, 1, 0, 64, 32, 32]);
    // Change counter, pages, free pages (2), schema counter, schema format, cache, largest root, UTF-8.
    for (offset, value) in [(24, 1), (28, pages), (40, 1), (44, 4), (56, 1), (92, 1), (96, FORMAT_OF)] {
        header[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    }
    header
}

/// Writes a table of few rows with an index over its first column, as `UNIQUE` asks for; the roots of both.
pub fn small_table(database: &mut Database, rows: &[(&str, &str)]) -> Result<[Page; 2]> {
    let mut table = Tree::table();
    for (i, (key, value)) in rows.iter().enumerate() {
        table.row(database, i as i64 + 1, &record::encode(&[Value::Text(key), Value::Text(value)]))?;
    }
    let mut keys: Vec<(&str, i64)> = rows.iter().zip(1..).map(|((key, _), row)| (*key, row)).collect();
    keys.sort_unstable();
    let mut index = Tree::index();
    for (key, row) in keys {
        index.key(database, &record::encode(&[Value::Text(key), Value::Int(row)]))?;
    }
    Ok([table.finish(database)?, index.finish(database)?])
}
