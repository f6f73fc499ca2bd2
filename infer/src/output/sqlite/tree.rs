//! B-trees of pages, built from rows or keys that come in order: leaves as they fill, the pages above them after.

use support::Result;

use super::record::push_varint;
use super::{Database, PAGE, Page};

/// Kinds of pages, by their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Keys, and pages between them.
    IndexInner = 2,
    /// Numbers of rows, and pages between them.
    TableInner = 5,
    /// Keys.
    IndexLeaf = 10,
    /// Rows.
    TableLeaf = 13,
}

impl Kind {
    fn is_inner(self) -> bool {
        matches!(self, Self::IndexInner | Self::TableInner)
    }

    fn header(self) -> usize {
        if self.is_inner() { 12 } else { 8 }
    }
}

/// Children of an inner page: 270 cells of a table take at most 15 bytes each, 60 of an index 67.
const TABLE_CHILDREN: usize = 270;
const INDEX_CHILDREN: usize = 60;
/// Keys on a leaf of an index, and the longest key.
const INDEX_KEYS: usize = 60;
const MAX_KEY: usize = 60;

/// A page below, and what stands behind it in the page above: the number of its last row, or the key between it and the next page.
struct Child {
    page: Page,
    separator: Vec<u8>,
}

/// A table or an index in the making.
pub struct Tree {
    is_table: bool,
    /// Cells of the leaf that is being filled, and their bytes.
    cells: Vec<Vec<u8>>,
    bytes: usize,
    last_row: i64,
    /// Children that have no page above them yet, from the leaves up.
    levels: Vec<Vec<Child>>,
    /// The first leaf, once it is written.
    first_leaf: Option<Page>,
}

impl Tree {
    /// A table: rows in the order of their numbers.
    pub fn table() -> Self {
        Self { is_table: true, cells: Vec::new(), bytes: 0, last_row: i64::MIN, levels: vec![Vec::new()], first_leaf: None }
    }

    /// An index: keys in their order.
    pub fn index() -> Self {
        Self { is_table: false, ..Self::table() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If its number is not larger than the last.
    pub fn row(&mut self, database: &mut Database, number: i64, record: &[u8]) -> Result<()> {
        assert!(self.is_table && number > self.last_row, "rows come in order: {number} after {}", self.last_row);
        let cell = match local_bytes(record.len()) {
            local if local == record.len() => row_cell(number, record),
            local => {
                let mut cell = row_head(number, record.len());
                cell.extend_from_slice(&record[..local]);
                cell.extend_from_slice(&overflow(database, &record[local..])?.to_be_bytes());
                cell
            }
        };
        if Kind::TableLeaf.header() + self.bytes + cell.len() + 2 > PAGE {
            self.end_leaf(database)?;
        }
        self.last_row = number;
        self.push(cell);
        Ok(())
    }

    /// Adds a key: a record whose last column is the number of the row.
    ///
    /// # Panics
    /// If the key is longer than this is made for.
    pub fn key(&mut self, database: &mut Database, record: &[u8]) -> Result<()> {
        assert!(!self.is_table && record.len() <= MAX_KEY, "a key of {} bytes", record.len());
        let mut cell = Vec::with_capacity(record.len() + 1);
        push_varint(&mut cell, record.len() as u64);
        cell.extend_from_slice(record);
        // A key goes up as the separator only when another one follows, so that no leaf stays empty.
        if self.cells.len() == INDEX_KEYS + 1 {
            let separator = self.cells.pop().expect("it is full");
            self.end_leaf_before(database, separator)?;
        }
        self.push(cell);
        Ok(())
    }

    /// Writes what is left, and says the page of the root.
    pub fn finish(&mut self, database: &mut Database) -> Result<Page> {
        if self.is_table {
            self.end_leaf(database)?;
        } else {
            self.end_leaf_before(database, Vec::new())?;
        }
        let mut level = 0;
        loop {
            let children = std::mem::take(&mut self.levels[level]);
            if children.len() == 1 && level + 1 == self.levels.len() {
                return Ok(children[0].page);
            }
            self.add_inner(database, level, children)?;
            level += 1;
        }
    }

    /// The page of the first row, whose cell is the last on it.
    ///
    /// # Panics
    /// Before it is written: [`Tree::finish`] does so at the latest.
    pub fn first_leaf(&self) -> Page {
        self.first_leaf.expect("a leaf was written")
    }

    fn push(&mut self, cell: Vec<u8>) {
        self.bytes += cell.len() + 2;
        self.cells.push(cell);
    }

    fn end_leaf(&mut self, database: &mut Database) -> Result<()> {
        let mut separator = Vec::new();
        push_varint(&mut separator, self.last_row as u64);
        self.end_leaf_before(database, separator)
    }

    fn end_leaf_before(&mut self, database: &mut Database, separator: Vec<u8>) -> Result<()> {
        let kind = if self.is_table { Kind::TableLeaf } else { Kind::IndexLeaf };
        let page = database.add(&page(kind, 0, &self.cells, None))?;
        self.first_leaf.get_or_insert(page);
        self.cells.clear();
        self.bytes = 0;
        self.add_child(database, 0, Child { page, separator })
    }

    /// Two children stay behind at least: an inner page needs them.
    fn add_child(&mut self, database: &mut Database, level: usize, child: Child) -> Result<()> {
        let most = if self.is_table { TABLE_CHILDREN } else { INDEX_CHILDREN };
        self.levels[level].push(child);
        if self.levels[level].len() < most + 2 {
            return Ok(());
        }
        let rest = self.levels[level].split_off(most);
        let children = std::mem::replace(&mut self.levels[level], rest);
        self.add_inner(database, level, children)
    }

    /// The page above some children. What stands behind the last of them goes to the page above that.
    fn add_inner(&mut self, database: &mut Database, level: usize, mut children: Vec<Child>) -> Result<()> {
        let last = children.pop().expect("inner pages have children");
        let kind = if self.is_table { Kind::TableInner } else { Kind::IndexInner };
        let cells: Vec<Vec<u8>> = children.iter().map(|child| [&child.page.to_be_bytes(), child.separator.as_slice()].concat()).collect();
        let page = database.add(&page(kind, 0, &cells, Some(last.page)))?;
        if self.levels.len() == level + 1 {
            self.levels.push(Vec::new());
        }
        self.add_child(database, level + 1, Child { page, separator: last.separator })
    }
}

/// A page of cells; `before` bytes at its beginning are left alone, `right` is the last child of an inner page.
///
/// # Panics
/// If the cells do not fit.
pub fn page(kind: Kind, before: usize, cells: &[Vec<u8>], right: Option<Page>) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let mut end = PAGE;
    let first = before + kind.header();
    for (i, cell) in cells.iter().enumerate() {
        end -= cell.len();
        page[end..end + cell.len()].copy_from_slice(cell);
        page[first + 2 * i..first + 2 * i + 2].copy_from_slice(&(end as u16).to_be_bytes());
    }
    assert!(first + 2 * cells.len() <= end, "{} cells on one page", cells.len());
    page[before] = kind as u8;
    page[before + 3..before + 5].copy_from_slice(&(cells.len() as u16).to_be_bytes());
    page[before + 5..before + 7].copy_from_slice(&(end as u16).to_be_bytes());
    if let Some(right) = right {
        page[before + 8..before + 12].copy_from_slice(&right.to_be_bytes());
    }
    page
}

/// A row that lies on its page altogether.
pub fn row_cell(number: i64, record: &[u8]) -> Vec<u8> {
    let mut cell = row_head(number, record.len());
    cell.extend_from_slice(record);
    cell
}

fn row_head(number: i64, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(length.min(PAGE) + 18);
    push_varint(&mut head, length as u64);
    push_varint(&mut head, number as u64);
    head
}

/// Bytes of a row of this length that lie on its leaf ("B-tree Cell Format": `X = U - 35`, `M = (U - 12) 32 / 255 - 23`).
fn local_bytes(length: usize) -> usize {
    let (most, least) = (PAGE - 35, (PAGE - 12) * 32 / 255 - 23);
    let fitting = least + length.saturating_sub(least) % (PAGE - 4);
    match length {
        _ if length <= most => length,
        _ if fitting <= most => fitting,
        _ => least,
    }
}

/// The rest of a row on a chain of pages of its own; the first of them.
fn overflow(database: &mut Database, rest: &[u8]) -> Result<Page> {
    let first = database.next();
    let chunks = rest.chunks(PAGE - 4);
    let count = chunks.len();
    for (i, chunk) in chunks.enumerate() {
        let mut page = [0; PAGE];
        let at = database.next();
        // The page after this one, around the page of locks.
        let next = if i + 1 == count { 0 } else { after(at) };
        page[..4].copy_from_slice(&next.to_be_bytes());
        page[4..4 + chunk.len()].copy_from_slice(chunk);
        database.add(&page)?;
    }
    Ok(first)
}

fn after(page: Page) -> Page {
    if page + 1 == super::LOCK_PAGE { page + 2 } else { page + 1 }
}
