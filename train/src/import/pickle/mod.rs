//! Pickle reader that treats a pickle as data: no class is looked up, called or imported.
//!
//! Values are stored in an arena and refer to each other by index, so that nothing is recursive. The memory of the values is bounded by a
//! small multiple of the size of the pickle.

mod machine;

use support::{Result, bail};

use machine::Machine;

/// Index of a value in [`Values`].
pub type Id = usize;

/// Value of a pickle, in the subset of types that occur in state dicts.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`; also stands for bytes and sets, whose contents are not needed.
    Nothing,
    /// Boolean.
    Bool(bool),
    /// Integer of up to 64 bits.
    Int(i64),
    /// 64-bit float.
    Float(f64),
    /// Unicode text.
    Text(String),
    /// Qualified name of a class or function, such as `torch.FloatStorage`.
    Global(String),
    /// Tuple or list.
    Sequence(Vec<Id>),
    /// Dictionary or `OrderedDict`, in insertion order.
    Dict(Vec<(Id, Id)>),
    /// Persistent id of an object outside the pickle, which is a storage.
    PersistentId(Id),
    /// Unevaluated call: function and arguments.
    Call(Id, Id),
}

/// Arena of all values of a pickle.
pub struct Values {
    all: Vec<Value>,
    /// Index of the unpickled value.
    pub root: Id,
}

impl Values {
    /// Iterates over all values, in the order of their creation.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.all.iter()
    }

    /// Returns a value.
    pub fn get(&self, id: Id) -> &Value {
        &self.all[id]
    }

    /// Returns the text of a [`Value::Text`].
    pub fn text(&self, id: Id) -> Option<&str> {
        if let Value::Text(text) = self.get(id) { Some(text) } else { None }
    }

    /// Returns the name of a [`Value::Global`].
    pub fn global(&self, id: Id) -> Option<&str> {
        if let Value::Global(name) = self.get(id) { Some(name) } else { None }
    }

    /// Returns the integer of a [`Value::Int`] that is not negative.
    pub fn count(&self, id: Id) -> Option<usize> {
        if let Value::Int(n) = self.get(id) { usize::try_from(*n).ok() } else { None }
    }

    /// Returns the elements of a [`Value::Sequence`].
    pub fn sequence(&self, id: Id) -> Option<&[Id]> {
        if let Value::Sequence(ids) = self.get(id) { Some(ids) } else { None }
    }

    /// Returns the function's name and the arguments of a [`Value::Call`].
    pub fn call(&self, id: Id) -> Option<(&str, &[Id])> {
        let Value::Call(function, arguments) = self.get(id) else { return None };
        Some((self.global(*function)?, self.sequence(*arguments)?))
    }
}

/// Reads a pickle of protocol 2 to 5.
///
/// # Errors
/// An unsupported opcode, operands of the wrong type, or truncated bytes; with the offset.
pub fn read(bytes: &[u8]) -> Result<Values> {
    read_first(bytes).map(|(values, _)| values)
}

/// Reads the first of several concatenated pickles; returns its values and its length in bytes.
///
/// # Errors
/// As [`read`].
pub fn read_first(bytes: &[u8]) -> Result<(Values, usize)> {
    let mut machine = Machine::new(bytes);
    loop {
        let at = machine.at;
        let opcode = machine.byte()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok((Values { all: machine.all, root }, machine.at));
        }
        if let Err(error) = machine.run(opcode) {
            bail!("pickle offset {at}, opcode {opcode:#04x}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_as_python_writes_them() {
        // pickle.dumps({"a": [1, -2, 70000, 2**40], "b": (True, None, 0.5)}, 2)
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffJp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01eX\x01\x00\x00\x00bq\x03\x88NG?\xe0\x00\x00\x00\x00\x00\x00\x87q\x04u.";
        let values = read(bytes).unwrap();
        let Value::Dict(entries) = values.get(values.root) else { panic!() };
        let numbers: Vec<&Value> = values.sequence(entries[0].1).unwrap().iter().map(|&id| values.get(id)).collect();
        assert_eq!(numbers, [&Value::Int(1), &Value::Int(-2), &Value::Int(70000), &Value::Int(1 << 40)]);
        let rest: Vec<&Value> = values.sequence(entries[1].1).unwrap().iter().map(|&id| values.get(id)).collect();
        assert_eq!((values.text(entries[1].0), rest), (Some("b"), vec![&Value::Bool(true), &Value::Nothing, &Value::Float(0.5)]));
    }

    #[test]
    fn every_prefix_and_every_changed_byte_ends_in_a_value_or_an_error() {
        let bytes = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(X\x01\x00\x00\x00aK\x01h\x00\x85h\x01u}b.";
        read(bytes).map(|_| ()).unwrap();
        for i in 0..bytes.len() {
            assert!(read(&bytes[..i]).is_err(), "prefix of {i} bytes");
            for value in 0..=255 {
                let mut changed = bytes.to_vec();
                changed[i] = value;
                let _ = read(&changed);
            }
        }
    }

    #[test]
    fn hostile_pickles_are_errors_or_small() {
        assert!(read(b"\x80\x02B\xff\xff\xff\xffabc.").is_err_and(|e| e.to_string().contains("expected 4294967295 bytes")));
        assert!(read(b"\x80\x02Nr\xff\xff\xff\x7f.").is_err_and(|e| e.to_string().contains("larger than the pickle")));
        assert!(read(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.").is_ok_and(|v| v.call(v.root).unwrap().0 == "os.system"));
        // Lists nested a million deep, and a tuple that contains its predecessor twice, sixty times over (2^60 paths).
        let mut deep = vec![b']'; 1_000_000];
        deep.extend(vec![b'a'; 999_999]);
        deep.push(b'.');
        assert!(read(&deep).is_ok());
        let doubled = [b"N".as_slice(), &b"q\x00h\x00\x86".repeat(60), b"."].concat();
        assert!(read(&doubled).is_ok_and(|v| v.all.len() == 61));
    }
}
