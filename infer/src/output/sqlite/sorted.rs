//! Keys with the numbers of their rows, in order: sorted runs on disk, merged at the end, so that memory stays flat.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use support::Result;

/// A key of 16 bytes and the number of its row.
pub type Key = ([u8; 16], u32);

/// Bytes of a key on disk.
const BYTES: usize = 20;

/// Takes keys in any order.
pub struct Sorter {
    /// Keys of a run.
    most: usize,
    current: Vec<Key>,
    runs: Vec<File>,
}

impl Sorter {
    /// Runs of so many keys.
    pub fn new(most: usize) -> Self {
        Self { most, current: Vec::new(), runs: Vec::new() }
    }

    /// Takes a key.
    pub fn add(&mut self, key: Key) -> Result<()> {
        self.current.push(key);
        if self.current.len() == self.most { self.end_run() } else { Ok(()) }
    }

    fn end_run(&mut self) -> Result<()> {
        self.current.sort_unstable();
        let mut writer = BufWriter::new(tempfile::tempfile()?);
        for (key, row) in self.current.drain(..) {
            writer.write_all(&key)?;
            writer.write_all(&row.to_le_bytes())?;
        }
        let mut file = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        Ok(())
    }

    /// Gives all keys in order.
    pub fn for_each(mut self, mut take: impl FnMut(Key) -> Result<()>) -> Result<()> {
        if self.runs.is_empty() {
            self.current.sort_unstable();
            return self.current.into_iter().try_for_each(take);
        }
        self.end_run()?;
        let mut readers: Vec<BufReader<File>> = self.runs.into_iter().map(BufReader::new).collect();
        let mut heap = BinaryHeap::new();
        for (i, reader) in readers.iter_mut().enumerate() {
            heap.extend(next(reader)?.map(|key| Reverse((key, i))));
        }
        while let Some(Reverse((key, i))) = heap.pop() {
            take(key)?;
            heap.extend(next(&mut readers[i])?.map(|key| Reverse((key, i))));
        }
        Ok(())
    }
}

fn next(reader: &mut BufReader<File>) -> Result<Option<Key>> {
    let mut bytes = [0; BYTES];
    match reader.read_exact(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error.into()),
        Ok(()) => {
            let (key, row) = bytes.split_at(16);
            Ok(Some((key.try_into().expect("16 bytes"), u32::from_le_bytes(row.try_into().expect("4 bytes")))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_on_disk_are_merged_in_order() {
        let keys: Vec<Key> = (0..1000u32).map(|i| (u128::from(i.wrapping_mul(2_654_435_761) % 500).to_be_bytes(), i)).collect();
        let mut expected = keys.clone();
        expected.sort_unstable();
        for most in [1, 7, 250, 5000] {
            let mut sorter = Sorter::new(most);
            keys.iter().for_each(|&key| sorter.add(key).unwrap());
            let mut found = Vec::new();
            sorter
                .for_each(|key| {
                    found.push(key);
                    Ok(())
                })
                .unwrap();
            assert_eq!(found, expected, "runs of {most}");
        }
    }
}
