//! Stack machine that executes the opcodes of a pickle, restricted to those that occur in state dicts.

use support::{Result, bail};

use super::{Id, Value};

/// Class whose empty call is read as an ordinary dictionary.
const ORDERED_DICT: &str = "collections.OrderedDict";

/// State of the pickle machine: input, values, stack, marks and memo.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    /// Offset of the next byte to read.
    pub(super) at: usize,
    /// Arena of all values created so far.
    pub(super) all: Vec<Value>,
    stack: Vec<Id>,
    /// Stack heights at which `MARK` was executed.
    marks: Vec<usize>,
    /// Values stored by `PUT` and `MEMOIZE`, by index.
    memo: Vec<Option<Id>>,
}

impl<'a> Machine<'a> {
    /// Creates a machine at the start of a pickle.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, all: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new() }
    }

    /// Reads `len` bytes.
    fn take(&mut self, len: usize) -> Result<&[u8]> {
        let Some(taken) = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)) else {
            bail!("expected {len} bytes at offset {}, but the pickle ends after {}", self.at, self.bytes.len());
        };
        self.at += len;
        Ok(taken)
    }

    /// Reads one byte.
    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Reads a little-endian unsigned integer of `len` bytes, at most 8.
    fn unsigned(&mut self, len: usize) -> Result<usize> {
        Ok(self.take(len)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)))
    }

    /// Reads text up to the next newline.
    fn line(&mut self) -> Result<String> {
        let len = self.bytes[self.at..].iter().position(|&b| b == b'\n').unwrap_or(self.bytes.len());
        let line = String::from_utf8_lossy(self.take(len)?).into_owned();
        self.at += 1;
        Ok(line)
    }

    /// Adds a value to the arena and pushes it.
    fn push(&mut self, value: Value) {
        self.all.push(value);
        self.stack.push(self.all.len() - 1);
    }

    /// Pops the top value; values below the last mark are out of reach.
    pub(super) fn pop(&mut self) -> Result<Id> {
        if self.marks.last() == Some(&self.stack.len()) {
            bail!("pop beyond the last mark");
        }
        self.stack.pop().map_or_else(|| bail!("pop from an empty stack"), Ok)
    }

    /// Pops all values above the last mark.
    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let Some(mark) = self.marks.pop() else { bail!("the stack has no mark") };
        Ok(self.stack.split_off(mark))
    }

    /// Returns the top value without popping it.
    fn top(&mut self) -> Result<&mut Value> {
        let Some(&id) = self.stack.last() else { bail!("the stack is empty") };
        Ok(&mut self.all[id])
    }

    /// Executes one opcode.
    ///
    /// # Errors
    /// An opcode outside the supported subset, operands of the wrong type, or truncated bytes.
    pub(super) fn run(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'N' | 0x8f => self.push(Value::Nothing),
            0x88 | 0x89 => self.push(Value::Bool(opcode == 0x88)),
            b'}' => self.push(Value::Dict(Vec::new())),
            b']' | b')' => self.push(Value::Sequence(Vec::new())),
            b'K' | b'M' | b'J' | 0x8a | b'G' => self.scalar(opcode)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e => self.string(opcode)?,
            b't' | b'l' | 0x85..=0x87 => self.sequence(opcode)?,
            b'a' | b'e' | b's' | b'u' | b'd' => self.extend(opcode)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(opcode)?,
            b'c' | 0x93 | b'R' | 0x81 | b'b' | b'Q' => self.object(opcode)?,
            _ => bail!("unsupported opcode"),
        }
        Ok(())
    }

    /// Pushes an integer or a float.
    fn scalar(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            b'K' => Value::Int(self.unsigned(1)? as i64),
            b'M' => Value::Int(self.unsigned(2)? as i64),
            b'J' => Value::Int(i64::from(self.unsigned(4)? as u32 as i32)),
            b'G' => Value::Float(f64::from_be_bytes(self.take(8)?.try_into().expect("8 bytes"))),
            _ => {
                let len = self.unsigned(1)?;
                if len > 8 {
                    bail!("an integer of {len} bytes");
                }
                let shift = 64 - 8 * len as u32;
                Value::Int((self.unsigned(len)? as i64).checked_shl(shift).map_or(0, |n| n >> shift))
            }
        };
        self.push(value);
        Ok(())
    }

    /// Pushes text; bytes become [`Value::Nothing`].
    fn string(&mut self, opcode: u8) -> Result<()> {
        let width = match opcode {
            0x8c | b'U' | b'C' => 1,
            0x8d | 0x8e => 8,
            _ => 4,
        };
        let len = self.unsigned(width)?;
        let text = String::from_utf8_lossy(self.take(len)?).into_owned();
        let is_text = !matches!(opcode, b'C' | b'B' | 0x8e);
        self.push(if is_text { Value::Text(text) } else { Value::Nothing });
        Ok(())
    }

    /// Pushes a tuple or list of values from the stack.
    fn sequence(&mut self, opcode: u8) -> Result<()> {
        let ids = match opcode {
            0x85..=0x87 => {
                let mut ids = (0x85..=opcode).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                ids.reverse();
                ids
            }
            _ => self.pop_to_mark()?,
        };
        self.push(Value::Sequence(ids));
        Ok(())
    }

    /// Adds elements from the stack to the list or dictionary below them.
    fn extend(&mut self, opcode: u8) -> Result<()> {
        let ids = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let pairs = |ids: &[Id]| ids.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>();
        match (opcode, opcode == b'd') {
            (_, true) => self.push(Value::Dict(pairs(&ids))),
            (b'a' | b'e', _) => match self.top()? {
                Value::Sequence(elements) => elements.extend(ids),
                other => bail!("elements are appended to a value that is no list: {other:?}"),
            },
            _ => match self.top()? {
                Value::Dict(entries) => entries.extend(pairs(&ids)),
                // Entries of a dictionary subclass are dropped, because state dicts do not use such classes.
                Value::Call(..) => {}
                other => bail!("entries are set on a value that is no dictionary: {other:?}"),
            },
        }
        Ok(())
    }

    /// Stores the top value in the memo, or pushes a value from the memo.
    fn memo(&mut self, opcode: u8) -> Result<()> {
        let index = match opcode {
            b'q' | b'h' => self.unsigned(1)?,
            b'r' | b'j' => self.unsigned(4)?,
            _ => self.memo.len(),
        };
        if matches!(opcode, b'h' | b'j') {
            let Some(id) = self.memo.get(index).copied().flatten() else { bail!("the memo has no value {index}") };
            self.stack.push(id);
            return Ok(());
        }
        let Some(&id) = self.stack.last() else { bail!("the stack is empty") };
        if index > self.bytes.len() {
            bail!("memo index {index} is larger than the pickle");
        }
        self.memo.resize(self.memo.len().max(index + 1), None);
        self.memo[index] = Some(id);
        Ok(())
    }

    /// Pushes a class name, a persistent id or an unevaluated call; drops the state of an object (`BUILD`).
    fn object(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.push(Value::Global(name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(name), Value::Text(module)) = (&self.all[name], &self.all[module]) else {
                    bail!("a module or class name that is no text")
                };
                let name = format!("{module}.{name}");
                self.push(Value::Global(name));
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::PersistentId(id));
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
