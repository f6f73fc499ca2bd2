//! Blocks read by child processes: damaged slides can crash OpenSlide's C code, and then they cost a block and not the run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use support::{Context, Result, bail};

use super::server::{Known, Request, take};
use super::{Blocks, over_background};
use crate::Rgb;
use crate::cache::TileKey;
use crate::tiled::TileSource;

/// How a child is started.
pub(super) struct Program {
    /// A program that knows the command `slide-server SLIDE [--openslide LIB]`.
    pub(super) path: PathBuf,
    pub(super) slide: PathBuf,
    pub(super) library: Option<PathBuf>,
}

/// A child and its ends of the pipes; killed when dropped.
struct Reader {
    process: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Program {
    /// A child that has opened the slide.
    fn start(&self) -> Result<(Reader, Known)> {
        let mut command = Command::new(&self.path);
        command.arg("slide-server").arg(&self.slide).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(library) = &self.library {
            command.arg("--openslide").arg(library);
        }
        let mut process = command.spawn().doing(|| format!("starting {}", self.path.display()))?;
        let (Some(requests), Some(mut answers)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("the process that reads the slide has no pipes");
        };
        let known = take(&mut answers);
        let mut reader = Reader { process, requests, answers };
        match known {
            Ok(known) => Ok((reader, serde_json::from_slice(&known)?)),
            Err(error) => Err(reader.explain(error)),
        }
    }
}

impl Reader {
    fn read(&mut self, request: Request) -> Result<Vec<u32>> {
        let asked = self.requests.write_all(&request.map(i64::to_le_bytes).concat()).map_err(support::Error::from);
        let bytes = asked.and_then(|()| take(&mut self.answers)).map_err(|error| self.explain(error))?;
        if bytes.len() as i64 != request[3] * request[4] * 4 {
            bail!("the process that reads the slide sent {} bytes", bytes.len());
        }
        Ok(bytes.chunks_exact(4).map(|pixel| u32::from_le_bytes(pixel.try_into().expect("4 bytes"))).collect())
    }

    /// A pipe that breaks says little: what became of the process says more. It ends after an error, if not before.
    fn explain(&mut self, error: support::Error) -> support::Error {
        for _ in 0..100 {
            match self.process.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Ok(Some(status)) if !status.success() => return support::Error::new(format!("OpenSlide's process ended with {status}")),
                _ => return error,
            }
        }
        error
    }
}

/// Blocks through as many children as read at once.
pub(super) struct Children {
    program: Program,
    blocks: Blocks,
    idle: Mutex<Vec<Reader>>,
}

impl Children {
    /// Starts the first child; also what it knows of the slide, from which `blocks` makes the blocks.
    pub(super) fn start<T>(program: Program, blocks: impl FnOnce(Known) -> Result<(T, Blocks)>) -> Result<(T, Self)> {
        let (reader, known) = program.start()?;
        let (facts, blocks) = blocks(known)?;
        Ok((facts, Self { program, blocks, idle: Mutex::new(vec![reader]) }))
    }

    fn read(&self, mut reader: Reader, key: TileKey) -> Result<Rgb> {
        let ([x, y], [width, height]) = (self.blocks.corner(key), self.blocks.sizes[key.0]);
        let argb = reader.read([key.0 as i64, x, y, width as i64, height as i64])?;
        self.idle.lock().expect("no panic while a child is put back").push(reader);
        Ok(Rgb { width: width as usize, height: height as usize, data: over_background(&argb, self.blocks.background) })
    }
}

impl TileSource for Children {
    fn tile_size(&self, level: usize) -> [u64; 2] {
        self.blocks.sizes[level]
    }

    /// A child that failed is gone; a fresh one tells whether the block itself is bad.
    fn decode(&self, key: TileKey) -> Result<Rgb> {
        let idle = self.idle.lock().expect("no panic while a child is taken").pop();
        let again = || self.read(self.program.start()?.0, key);
        match idle {
            Some(reader) => self.read(reader, key).or_else(|_| again()),
            None => again(),
        }
    }
}

/// The path that a child is given must not depend on its working folder.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).doing(|| format!("finding {}", path.display()))
}
