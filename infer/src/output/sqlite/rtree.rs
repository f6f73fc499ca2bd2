//! The three tables behind a virtual table of SQLite's R*Tree module: boxes in nodes, packed as they come.
//!
//! Boxes are collected by the ten thousand, cut into slices along x and sorted along y in each (Leutenegger et al., STR: A simple and efficient
//! algorithm for R-tree packing, 1997), and fill their nodes to the brim. Nodes above hold consecutive nodes.

use support::Result;

use super::record::{Value, encode};
use super::tree::Tree;
use super::{Database, PAGE, Page};

/// Boxes in a node: what the module itself allows.
const MOST: usize = 51;
/// Bytes of a node: its level (of the root only), how many boxes, the boxes.
const NODE: usize = 4 + 24 * MOST;
/// Boxes that are packed together.
const BATCH: usize = 16 * MOST * MOST;
/// The number of the root; the others count on from it.
const ROOT: u32 = 1;

/// A box, and the row or node that it is of.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    id: i64,
    /// Smallest and largest x, smallest and largest y; rounded outwards.
    sides: [f32; 4],
}

impl Cell {
    fn around(id: u32, cells: &[Self]) -> Self {
        let mut sides = cells[0].sides;
        for cell in &cells[1..] {
            for axis in [0, 2] {
                sides[axis] = sides[axis].min(cell.sides[axis]);
                sides[axis + 1] = sides[axis + 1].max(cell.sides[axis + 1]);
            }
        }
        Self { id: i64::from(id), sides }
    }

    fn middle(&self, axis: usize) -> f32 {
        self.sides[2 * axis] + self.sides[2 * axis + 1]
    }
}

/// The tables in the making.
pub struct RTree {
    nodes: Tree,
    rows: Tree,
    /// Boxes that are not in a node yet.
    batch: Vec<Cell>,
    /// Nodes that are not in a node above yet, by level.
    levels: Vec<Vec<Cell>>,
    /// The node above each node, from number 0 on.
    parents: Vec<u32>,
}

/// First pages of the tables `NAME_node`, `NAME_rowid` and `NAME_parent`.
pub struct Roots {
    /// Nodes by number.
    pub node: Page,
    /// The node of each row.
    pub rowid: Page,
    /// The node above each node.
    pub parent: Page,
}

impl RTree {
    /// Starts the tables.
    pub fn new(database: &mut Database) -> Result<Self> {
        let mut nodes = Tree::table();
        nodes.row(database, i64::from(ROOT), &encode(&[Value::Null, Value::Blob(&[0; NODE])]))?;
        let parents = vec![0; ROOT as usize + 1];
        Ok(Self { nodes, rows: Tree::table(), batch: Vec::new(), levels: vec![Vec::new()], parents })
    }

    /// Adds the box of a row: left, top, right and bottom. Rows come in the order of their numbers.
    pub fn add(&mut self, database: &mut Database, row: i64, [left, top, right, bottom]: [f64; 4]) -> Result<()> {
        self.batch.push(Cell { id: row, sides: [below(left), above(right), below(top), above(bottom)] });
        if self.batch.len() == BATCH { self.pack(database) } else { Ok(()) }
    }

    /// Puts the batch into nodes, and says for each row in which.
    fn pack(&mut self, database: &mut Database) -> Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        let nodes = batch.len().div_ceil(MOST);
        let slice = (nodes as f64).sqrt().ceil() as usize * MOST;
        batch.sort_unstable_by(|a, b| a.middle(0).total_cmp(&b.middle(0)).then(a.id.cmp(&b.id)));
        for slice in batch.chunks_mut(slice.max(1)) {
            slice.sort_unstable_by(|a, b| a.middle(1).total_cmp(&b.middle(1)).then(a.id.cmp(&b.id)));
        }
        let mut places: Vec<(i64, u32)> = Vec::with_capacity(batch.len());
        for cells in batch.chunks(MOST) {
            let node = self.add_node(database, 0, cells)?;
            places.extend(cells.iter().map(|cell| (cell.id, node)));
        }
        places.sort_unstable();
        for (row, node) in places {
            self.rows.row(database, row, &encode(&[Value::Null, Value::Int(i64::from(node))]))?;
        }
        Ok(())
    }

    /// Writes a node and enters it into the one above, which is written when it is full.
    fn add_node(&mut self, database: &mut Database, level: usize, cells: &[Cell]) -> Result<u32> {
        let number = self.parents.len() as u32;
        self.parents.push(ROOT);
        self.nodes.row(database, i64::from(number), &encode(&[Value::Null, Value::Blob(&node(0, cells))]))?;
        if level > 0 {
            cells.iter().for_each(|cell| self.parents[cell.id as usize] = number);
        }
        if self.levels.len() == level + 1 {
            self.levels.push(Vec::new());
        }
        self.levels[level + 1].push(Cell::around(number, cells));
        if self.levels[level + 1].len() > MOST {
            let last = self.levels[level + 1].pop().expect("it is full");
            let full = std::mem::replace(&mut self.levels[level + 1], vec![last]);
            self.add_node(database, level + 1, &full)?;
        }
        Ok(number)
    }

    /// Writes what is left, the root last.
    pub fn finish(mut self, database: &mut Database) -> Result<Roots> {
        if self.parents.len() as u32 > ROOT + 1 || self.batch.len() > MOST {
            self.pack(database)?;
        } else {
            for cell in &self.batch {
                self.rows.row(database, cell.id, &encode(&[Value::Null, Value::Int(i64::from(ROOT))]))?;
            }
            self.levels[0] = std::mem::take(&mut self.batch);
        }
        let mut level = 0;
        while level + 1 < self.levels.len() {
            let cells = std::mem::take(&mut self.levels[level]);
            if !cells.is_empty() {
                self.add_node(database, level, &cells)?;
            }
            level += 1;
        }
        let root = node(level as u16, &self.levels[level]);
        let tables = [self.nodes.finish(database)?, self.rows.finish(database)?];
        // Cells are laid from the end of a page: the first row's node is its last bytes.
        database.patch(self.nodes.first_leaf(), PAGE - NODE, &root)?;
        let mut parents = Tree::table();
        for (number, &parent) in self.parents.iter().enumerate().skip(ROOT as usize + 1) {
            parents.row(database, number as i64, &encode(&[Value::Null, Value::Int(i64::from(parent))]))?;
        }
        Ok(Roots { node: tables[0], rowid: tables[1], parent: parents.finish(database)? })
    }
}

fn node(level: u16, cells: &[Cell]) -> [u8; NODE] {
    let mut bytes = [0; NODE];
    bytes[..2].copy_from_slice(&level.to_be_bytes());
    bytes[2..4].copy_from_slice(&(cells.len() as u16).to_be_bytes());
    for (cell, place) in cells.iter().zip(bytes[4..].chunks_exact_mut(24)) {
        place[..8].copy_from_slice(&cell.id.to_be_bytes());
        for (side, place) in cell.sides.iter().zip(place[8..].chunks_exact_mut(4)) {
            place.copy_from_slice(&side.to_be_bytes());
        }
    }
    bytes
}

/// The largest f32 that is not above `x`.
fn below(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) > x { near.next_down() } else { near }
}

/// The smallest f32 that is not below `x`.
fn above(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x { near.next_up() } else { near }
}
