//! Bands that are done, on disk: what a run that was stopped goes on from, and what shards leave for each other.
//!
//! `OUT/SLIDE/.bands/N` holds a line of JSON (key of the run, length, sha256, tiles lost so far) and the probabilities of band `N`,
//! in zlib streams of the differences of a mebibyte each. A file gets its name when it is whole, and goes when the results of the slide have theirs.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::bufread::ZlibDecoder;
use serde::{Deserialize, Serialize};
use support::{Context, Result, artifact, bail};

use crate::output::tiles::{differences, runs};
use slides::LostTile;

/// Probabilities of a stream.
const PIECE: usize = 1 << 20;
/// The largest file of a band that is read.
const LIMIT: u64 = 16 << 30;

/// The bands of one slide.
pub struct Store {
    folder: PathBuf,
    /// Everything that a band's values depend on.
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    key: String,
    band: usize,
    length: usize,
    sha256: String,
    lost: Vec<LostTile>,
}

/// A band as it was stored.
pub struct Stored {
    /// Quantised probabilities, row by row.
    pub rows: Vec<u8>,
    /// Tiles that had been lost when it was stored.
    pub lost: Vec<LostTile>,
}

impl Store {
    /// Bands of the run `key` for the results in `folder`.
    pub fn new(folder: &Path, key: String) -> Self {
        Self { folder: folder.join(".bands"), key }
    }

    /// Stores a band.
    pub fn put(&self, band: usize, rows: &[u8], lost: Vec<LostTile>) -> Result<()> {
        let mut packed = Vec::new();
        rows.chunks(PIECE).for_each(|piece| packed.extend(runs(&differences(piece, PIECE, 1))));
        let header = Header { key: self.key.clone(), band, length: rows.len(), sha256: artifact::sha256(&packed), lost };
        let mut bytes = serde_json::to_vec(&header)?;
        bytes.push(b'\n');
        bytes.extend(packed);
        artifact::write(&self.path(band), &bytes)
    }

    /// A band of this run; `None`: there is none, or what is there is damaged or of another run.
    pub fn get(&self, band: usize) -> Option<Stored> {
        let path = self.path(band);
        if !path.exists() {
            return None;
        }
        read(&path, band, &self.key).inspect_err(|error| tracing::warn!("{error}; the band is computed again")).ok()
    }

    /// Forgets all bands.
    pub fn clear(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).doing(|| format!("removing the bands of an earlier run, {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, band: usize) -> PathBuf {
        self.folder.join(band.to_string())
    }
}

fn read(path: &Path, band: usize, key: &str) -> Result<Stored> {
    let bytes = artifact::read(path, LIMIT)?;
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { bail!("{} has no header", path.display()) };
    let header: Header = serde_json::from_slice(&bytes[..end]).doing(|| format!("reading {}", path.display()))?;
    let packed = &bytes[end + 1..];
    if header.key != key || header.band != band {
        bail!("{} belongs to another run: model, slide or options differ", path.display());
    }
    if artifact::sha256(packed) != header.sha256 {
        bail!("{} is damaged", path.display());
    }
    let rows = unpacked(packed, header.length)?;
    if rows.len() != header.length {
        bail!("{} holds {} values, expected {}", path.display(), rows.len(), header.length);
    }
    Ok(Stored { rows, lost: header.lost })
}

/// The probabilities of all streams, of which there should be `length`; a little more if there are more.
fn unpacked(mut packed: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut rows: Vec<u8> = Vec::with_capacity(length);
    while !packed.is_empty() && rows.len() <= length {
        let first = rows.len();
        let mut stream = ZlibDecoder::new(packed).take(PIECE as u64 + 1);
        stream.read_to_end(&mut rows)?;
        packed = stream.into_inner().into_inner();
        let mut left = 0u8;
        for value in &mut rows[first..] {
            left = left.wrapping_add(*value);
            *value = left;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_comes_back_and_no_changed_byte_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), "a".into());
        let large: Vec<u8> = (0..2 * PIECE as u32 + 5).map(|i| (i / 300) as u8).collect();
        store.put(4, &large, Vec::new()).unwrap();
        assert!(store.get(4).unwrap().rows == large);
        let rows: Vec<u8> = (0..999u32).map(|i| (i / 7) as u8).collect();
        store.put(3, &rows, Vec::new()).unwrap();
        assert_eq!(store.get(3).unwrap().rows, rows);
        assert!(store.get(2).is_none() && Store::new(folder.path(), "b".into()).get(3).is_none());
        let path = folder.path().join(".bands/3");
        let bytes = std::fs::read(&path).unwrap();
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap();
        for i in (0..bytes.len()).filter(|i| !(end - 20..end).contains(i)).step_by(3) {
            let mut changed = bytes.clone();
            changed[i] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(store.get(3).is_none_or(|stored| stored.rows == rows), "byte {i}");
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(store.get(3).is_none());
        store.clear().unwrap();
        store.clear().unwrap();
        assert!(!folder.path().join(".bands").exists());
    }
}
