//! The pickle inside a PyTorch file, read as data: nothing in it is looked up, called or imported.
//!
//! Values live in one list and point to each other by number, so that there is no recursion, and what an operation makes is never larger
//! than a small multiple of the bytes that ask for it.

mod machine;

use support::{Result, bail};

use machine::Machine;

/// Where a value lies in [`Values`].
pub type Id = usize;

/// A value, as far as state dicts need them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`, and what stands for things that do not matter here (bytes, sets).
    Nothing,
    /// A truth value.
    Bool(bool),
    /// An integer of up to 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// The name of a class or function, as in `torch.FloatStorage`.
    Global(String),
    /// A tuple or list.
    Sequence(Vec<Id>),
    /// A dictionary in its order, ordered ones included.
    Dict(Vec<(Id, Id)>),
    /// Something outside the pickle: a storage.
    Outside(Id),
    /// What a function would return for arguments; it is not called.
    Call(Id, Id),
}

/// All values of a pickle, and which of them it stands for.
pub struct Values {
    all: Vec<Value>,
    /// The result.
    pub root: Id,
}

impl Values {
    /// Every value.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.all.iter()
    }

    /// A value.
    pub fn get(&self, id: Id) -> &Value {
        &self.all[id]
    }

    /// The text that a value is.
    pub fn text(&self, id: Id) -> Option<&str> {
        if let Value::Text(text) = self.get(id) { Some(text) } else { None }
    }

    /// The name that a value is.
    pub fn global(&self, id: Id) -> Option<&str> {
        if let Value::Global(name) = self.get(id) { Some(name) } else { None }
    }

    /// The integer that a value is, if it is not negative.
    pub fn count(&self, id: Id) -> Option<usize> {
        if let Value::Int(n) = self.get(id) { usize::try_from(*n).ok() } else { None }
    }

    /// The elements of a tuple or list.
    pub fn sequence(&self, id: Id) -> Option<&[Id]> {
        if let Value::Sequence(ids) = self.get(id) { Some(ids) } else { None }
    }

    /// The function and the arguments of a call.
    pub fn call(&self, id: Id) -> Option<(&str, &[Id])> {
        let Value::Call(function, arguments) = self.get(id) else { return None };
        Some((self.global(*function)?, self.sequence(*arguments)?))
    }
}

/// Reads a pickle of protocol 2 to 5.
///
/// # Errors
/// An operation that state dicts do not need, a value of another kind than an operation takes, or bytes that end early; with the offset.
pub fn read(bytes: &[u8]) -> Result<Values> {
    read_first(bytes).map(|(values, _)| values)
}

/// The same for a pickle that others may follow, with its length.
pub fn read_first(bytes: &[u8]) -> Result<(Values, usize)> {
    let mut machine = Machine::over(bytes);
    loop {
        let at = machine.at;
        let operation = machine.byte()?;
        if operation == b'.' {
            let root = machine.pop()?;
            return Ok((Values { all: machine.all, root }, machine.at));
        }
        if let Err(error) = machine.run(operation) {
            bail!("the pickle at offset {at}, operation {operation:#04x}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_as_python_writes_them() {
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
        assert!(read(b"\x80\x02B\xff\xff\xff\xffabc.").is_err_and(|e| e.to_string().contains("4294967295 bytes are announced")));
        assert!(read(b"\x80\x02Nr\xff\xff\xff\x7f.").is_err_and(|e| e.to_string().contains("larger than the pickle")));
        assert!(read(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.").is_ok_and(|v| v.call(v.root).unwrap().0 == "os.system"));
        // A list in a list, a million deep; and a tuple of itself twice, doubled sixty times.
        let mut deep = vec![b']'; 1_000_000];
        deep.extend(vec![b'a'; 999_999]);
        deep.push(b'.');
        assert!(read(&deep).is_ok());
        let doubled = [b"N".as_slice(), &b"q\x00h\x00\x86".repeat(60), b"."].concat();
        assert!(read(&doubled).is_ok_and(|v| v.all.len() == 61));
    }
}
