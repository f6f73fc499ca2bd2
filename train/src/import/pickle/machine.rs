//! The stack machine that a pickle is a program for, as far as state dicts need it.

use support::{Result, bail};

use super::{Id, Value};

/// `collections.OrderedDict()` is a dictionary like any other.
const ORDERED_DICT: &str = "collections.OrderedDict";

/// What a pickle's operations work on.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    /// The offset of what is read next.
    pub(super) at: usize,
    /// All values so far.
    pub(super) all: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
}

impl<'a> Machine<'a> {
    /// A machine before the first operation.
    pub(super) fn over(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, all: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new() }
    }

    fn take(&mut self, len: usize) -> Result<&[u8]> {
        let Some(taken) = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)) else {
            bail!("{len} bytes are announced at offset {}, but the pickle ends after {}", self.at, self.bytes.len());
        };
        self.at += len;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian unsigned number of so many bytes, at most 8.
    fn number(&mut self, len: usize) -> Result<usize> {
        Ok(self.take(len)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)))
    }

    fn line(&mut self) -> Result<String> {
        let len = self.bytes[self.at..].iter().position(|&b| b == b'\n').unwrap_or(self.bytes.len());
        let line = String::from_utf8_lossy(self.take(len)?).into_owned();
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) {
        self.all.push(value);
        self.stack.push(self.all.len() - 1);
    }

    pub(super) fn pop(&mut self) -> Result<Id> {
        if self.marks.last() == Some(&self.stack.len()) {
            bail!("a value is taken that was not put on the stack");
        }
        self.stack.pop().map_or_else(|| bail!("a value is taken from an empty stack"), Ok)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let Some(mark) = self.marks.pop() else { bail!("no mark was set") };
        Ok(self.stack.split_off(mark))
    }

    fn top(&mut self) -> Result<&mut Value> {
        let Some(&id) = self.stack.last() else { bail!("the stack is empty") };
        Ok(&mut self.all[id])
    }

    pub(super) fn run(&mut self, operation: u8) -> Result<()> {
        match operation {
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'N' | 0x8f => self.push(Value::Nothing),
            0x88 | 0x89 => self.push(Value::Bool(operation == 0x88)),
            b'}' => self.push(Value::Dict(Vec::new())),
            b']' | b')' => self.push(Value::Sequence(Vec::new())),
            b'K' | b'M' | b'J' | 0x8a | b'G' => self.scalar(operation)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e => self.string(operation)?,
            b't' | b'l' | 0x85..=0x87 => self.gather(operation)?,
            b'a' | b'e' | b's' | b'u' | b'd' => self.collect(operation)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.remember(operation)?,
            b'c' | 0x93 | b'R' | 0x81 | b'b' | b'Q' => self.object(operation)?,
            _ => bail!("state dicts do not need it"),
        }
        Ok(())
    }

    fn scalar(&mut self, operation: u8) -> Result<()> {
        let value = match operation {
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            b'J' => Value::Int(i64::from(self.number(4)? as u32 as i32)),
            b'G' => Value::Float(f64::from_be_bytes(self.take(8)?.try_into().expect("8 bytes"))),
            _ => {
                let len = self.number(1)?;
                if len > 8 {
                    bail!("an integer of {len} bytes");
                }
                let unused = 64 - 8 * len as u32;
                Value::Int((self.number(len)? as i64).checked_shl(unused).map_or(0, |n| n >> unused))
            }
        };
        self.push(value);
        Ok(())
    }

    fn string(&mut self, operation: u8) -> Result<()> {
        let width = match operation {
            0x8c | b'U' | b'C' => 1,
            0x8d | 0x8e => 8,
            _ => 4,
        };
        let len = self.number(width)?;
        let text = String::from_utf8_lossy(self.take(len)?).into_owned();
        let is_text = !matches!(operation, b'C' | b'B' | 0x8e);
        self.push(if is_text { Value::Text(text) } else { Value::Nothing });
        Ok(())
    }

    /// Tuples and lists of what lies on the stack.
    fn gather(&mut self, operation: u8) -> Result<()> {
        let ids = match operation {
            0x85..=0x87 => {
                let mut ids = (0x85..=operation).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                ids.reverse();
                ids
            }
            _ => self.pop_to_mark()?,
        };
        self.push(Value::Sequence(ids));
        Ok(())
    }

    /// Elements into a list or dictionary.
    fn collect(&mut self, operation: u8) -> Result<()> {
        let ids = match operation {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let pairs = |ids: &[Id]| ids.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>();
        match (operation, operation == b'd') {
            (_, true) => self.push(Value::Dict(pairs(&ids))),
            (b'a' | b'e', _) => match self.top()? {
                Value::Sequence(elements) => elements.extend(ids),
                other => bail!("elements for something that is no list: {other:?}"),
            },
            _ => match self.top()? {
                Value::Dict(entries) => entries.extend(pairs(&ids)),
                // A dictionary of a class of its own; only its name is of interest.
                Value::Call(..) => {}
                other => bail!("entries for something that is no dictionary: {other:?}"),
            },
        }
        Ok(())
    }

    fn remember(&mut self, operation: u8) -> Result<()> {
        let index = match operation {
            b'q' | b'h' => self.number(1)?,
            b'r' | b'j' => self.number(4)?,
            _ => self.memo.len(),
        };
        if matches!(operation, b'h' | b'j') {
            let Some(id) = self.memo.get(index).copied().flatten() else { bail!("nothing was kept as number {index}") };
            self.stack.push(id);
            return Ok(());
        }
        let Some(&id) = self.stack.last() else { bail!("the stack is empty") };
        if index > self.bytes.len() {
            bail!("number {index} is larger than the pickle");
        }
        self.memo.resize(self.memo.len().max(index + 1), None);
        self.memo[index] = Some(id);
        Ok(())
    }

    fn object(&mut self, operation: u8) -> Result<()> {
        match operation {
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.push(Value::Global(name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(name), Value::Text(module)) = (&self.all[name], &self.all[module]) else {
                    bail!("a name that is no text")
                };
                let name = format!("{module}.{name}");
                self.push(Value::Global(name));
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Outside(id));
            }
            b'b' => drop(self.pop()?),
            _ => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let is_dict = matches!(&self.all[function], Value::Global(name) if name == ORDERED_DICT);
                let is_empty = matches!(&self.all[arguments], Value::Sequence(ids) if ids.is_empty());
                self.push(if is_dict && is_empty { Value::Dict(Vec::new()) } else { Value::Call(function, arguments) });
            }
        }
        Ok(())
    }
}
