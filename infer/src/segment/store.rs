//! Finished bands on disk, from which a stopped run resumes and by which shards share their work.
//!
//! `OUT/SLIDE/.bands/N` holds a line with the SHA-256 of the rest, a line of JSON (key of the run, length, lost tiles so far) and the
//! probabilities of band `N`, as zlib streams of the differences of one mebibyte each. A file is renamed to its final name when it is complete. The folder is removed
//! once the results of the slide have their final names.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::ZlibDecoder;
use serde::{Deserialize, Serialize};
use support::durable::{self, AtomicFile};
use support::{Context, Result, bail};

use crate::pyramid::tiles::{differences, runs};
use slides::LostTile;

/// Number of probabilities per zlib stream.
const STREAM_LEN: usize = 1 << 20;
/// Size limit of the file of a band.
const MAX_FILE_BYTES: u64 = 16 << 30;

/// Band files of one slide.
pub struct Store {
    folder: PathBuf,
    /// SHA-256 of everything that the values of a band depend on.
    key: String,
}

/// Second line of a band file.
#[derive(Serialize, Deserialize)]
struct Header {
    key: String,
    band: usize,
    length: usize,
    lost: Vec<LostTile>,
}

/// Contents of a band file.
pub struct StoredBand {
    /// Quantised probabilities `[row][column]`.
    pub rows: Vec<u8>,
    /// Tiles that were lost before the band was stored.
    pub lost: Vec<LostTile>,
}

impl Store {
    /// Returns the store of the run `key` with the results folder `folder`.
    pub fn new(folder: &Path, key: String) -> Self {
        Self { folder: folder.join(".bands"), key }
    }

    /// Writes a band.
    pub fn put(&self, band: usize, rows: &[u8], lost: Vec<LostTile>) -> Result<()> {
        let mut compressed = Vec::new();
        rows.chunks(STREAM_LEN).for_each(|values| compressed.extend(runs(&differences(values, STREAM_LEN, 1))));
        let header = Header { key: self.key.clone(), band, length: rows.len(), lost };
        let contents = [&serde_json::to_vec(&header)?, b"\n".as_slice(), &compressed].concat();
        let mut file = AtomicFile::create(&self.path(band))?;
        let written = file.write_all(format!("{}\n", durable::sha256(&contents)).as_bytes()).and_then(|()| file.write_all(&contents));
        written.map_err(|error| file.failed(error))?;
        file.commit()
    }

    /// Reads a band; `None` if it is absent, damaged or of another run.
    pub fn get(&self, band: usize) -> Option<StoredBand> {
        let path = self.path(band);
        if !path.exists() {
            return None;
        }
        read(&path, band, &self.key).inspect_err(|error| tracing::warn!("{error}; the band will be computed again")).ok()
    }

    /// Reports whether a run stored bands, and has not finished since.
    pub fn exists(&self) -> bool {
        self.folder.exists()
    }

    /// Removes all bands.
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

fn read(path: &Path, band: usize, key: &str) -> Result<StoredBand> {
    let bytes = durable::read(path, MAX_FILE_BYTES)?;
    let is_sound = |(sha256, contents): &(&[u8], &[u8])| durable::sha256(contents).as_bytes() == *sha256;
    let Some((_, contents)) = split_line(&bytes).filter(is_sound) else { bail!("{} is damaged", path.display()) };
    let Some((header, compressed)) = split_line(contents) else { bail!("{} has no header", path.display()) };
    let header: Header = serde_json::from_slice(header).doing(|| format!("reading {}", path.display()))?;
    if header.key != key || header.band != band {
        bail!("{} belongs to another run: model, slide or options differ", path.display());
    }
    let rows = decompress(compressed, header.length)?;
    if rows.len() != header.length {
        bail!("{} holds {} values, expected {}", path.display(), rows.len(), header.length);
    }
    Ok(StoredBand { rows, lost: header.lost })
}

/// Splits bytes after their first line.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Decompresses all streams; stops after the stream in which `length` is exceeded.
fn decompress(mut compressed: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut rows: Vec<u8> = Vec::with_capacity(length);
    while !compressed.is_empty() && rows.len() <= length {
        let first = rows.len();
        let mut stream = ZlibDecoder::new(compressed).take(STREAM_LEN as u64 + 1);
        stream.read_to_end(&mut rows)?;
        compressed = stream.into_inner().into_inner();
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
    fn a_band_is_read_back_and_a_changed_byte_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path(), "a".into());
        let large: Vec<u8> = (0..2 * STREAM_LEN as u32 + 5).map(|i| (i / 300) as u8).collect();
        store.put(4, &large, Vec::new()).unwrap();
        assert!(store.get(4).unwrap().rows == large);
        let rows: Vec<u8> = (0..999u32).map(|i| (i / 7) as u8).collect();
        store.put(3, &rows, Vec::new()).unwrap();
        assert_eq!(store.get(3).unwrap().rows, rows);
        assert!(store.get(2).is_none() && Store::new(folder.path(), "b".into()).get(3).is_none());
        let path = folder.path().join(".bands/3");
        let bytes = std::fs::read(&path).unwrap();
        for i in (0..bytes.len()).step_by(3) {
            let mut changed = bytes.clone();
            changed[i] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(store.get(3).is_none(), "byte {i}");
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(store.get(3).is_none());
        store.clear().unwrap();
        store.clear().unwrap();
        assert!(!folder.path().join(".bands").exists());
    }
}
