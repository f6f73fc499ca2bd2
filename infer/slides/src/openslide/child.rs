//! Blocks that child processes read, because damaged slides can crash OpenSlide's C code: a crash then costs a block, not the run.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use support::{Context, Result, bail};

use super::server::{Request, SlideInfo, receive};
use super::{Blocks, over_background};
use crate::Rgb;
use crate::cache::TileKey;
use crate::tiled::TileSource;

/// Time that a child has for each part of an answer. A library that loops or a stalled network share costs a block, not the run.
pub(super) const TIME_LIMIT: Duration = Duration::from_mins(2);

/// Command line of a child process.
pub(super) struct Program {
    /// Program with the command `slide-server SLIDE [--openslide LIB]`.
    pub(super) path: PathBuf,
    pub(super) slide: PathBuf,
    pub(super) library: Option<PathBuf>,
    /// Time for each part of an answer, usually [`TIME_LIMIT`].
    pub(super) time_limit: Duration,
}

/// Output of a child, whose reads fail after a time limit.
struct Answers {
    pipe: ChildStdout,
    time_limit: Duration,
}

impl Read for Answers {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.wait()?;
        self.pipe.read(buffer)
    }
}

impl Answers {
    /// Waits until there is something to read.
    #[cfg(unix)]
    fn wait(&self) -> std::io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let limit = Timespec { tv_sec: self.time_limit.as_secs() as i64, tv_nsec: i64::from(self.time_limit.subsec_nanos()) };
        match rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&limit)))? {
            0 => Err(std::io::Error::new(ErrorKind::TimedOut, format!("OpenSlide's process did not answer for {:?}", self.time_limit))),
            _ => Ok(()),
        }
    }

    /// Other systems have no time limit.
    #[cfg(not(unix))]
    fn wait(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Child process with this side of its pipes; the process is killed when the value is dropped.
struct Reader {
    process: Child,
    requests: ChildStdin,
    answers: Answers,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Killing fails if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Program {
    /// Starts a child, and returns it with its description of the slide.
    fn start(&self) -> Result<(Reader, SlideInfo)> {
        let mut command = Command::new(&self.path);
        command.arg("slide-server").arg(&self.slide).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(library) = &self.library {
            command.arg("--openslide").arg(library);
        }
        let mut process = command.spawn().doing(|| format!("starting {}", self.path.display()))?;
        let (Some(requests), Some(pipe)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("the process that reads the slide has no pipes");
        };
        let mut reader = Reader { process, requests, answers: Answers { pipe, time_limit: self.time_limit } };
        match receive(&mut reader.answers) {
            Ok(info) => Ok((reader, serde_json::from_slice(&info)?)),
            Err(error) => Err(reader.explain(error)),
        }
    }
}

impl Reader {
    /// Sends a request, and returns the pixels as premultiplied ARGB.
    fn read(&mut self, request: Request) -> Result<Vec<u32>> {
        let sent = self.requests.write_all(&request.map(i64::to_le_bytes).concat()).map_err(support::Error::from);
        let bytes = sent.and_then(|()| receive(&mut self.answers)).map_err(|error| self.explain(error))?;
        if bytes.len() as i64 != request[3] * request[4] * 4 {
            bail!("the process that reads the slide sent {} bytes", bytes.len());
        }
        Ok(bytes.chunks_exact(4).map(|pixel| u32::from_le_bytes(pixel.try_into().expect("4 bytes"))).collect())
    }

    /// Replaces the error of a broken pipe by the exit status of the process, which ends after every error; waits for at most 1 s.
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

/// Source of blocks with one child process per concurrent reader.
pub(super) struct Children {
    program: Program,
    blocks: Blocks,
    idle: Mutex<Vec<Reader>>,
}

impl Children {
    /// Starts the first child; `blocks` derives the layout of the blocks from the child's description of the slide.
    pub(super) fn start<T>(program: Program, blocks: impl FnOnce(SlideInfo) -> Result<(T, Blocks)>) -> Result<(T, Self)> {
        let (reader, info) = program.start()?;
        let (facts, blocks) = blocks(info)?;
        Ok((facts, Self { program, blocks, idle: Mutex::new(vec![reader]) }))
    }

    /// Reads a block, and returns the child to the idle ones after a success.
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

    /// Decodes a block by an idle child. If that child fails, it is dropped, and a new one shows whether the block itself is damaged.
    fn decode(&self, key: TileKey) -> Result<Rgb> {
        let idle = self.idle.lock().expect("no panic while a child is taken").pop();
        let again = || self.read(self.program.start()?.0, key);
        match idle {
            Some(reader) => self.read(reader, key).or_else(|_| again()),
            None => again(),
        }
    }
}

/// Makes a path absolute, so that it does not depend on the child's working folder.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).doing(|| format!("resolving {}", path.display()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_child_that_does_not_answer_is_an_error_after_the_time_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silent");
        std::fs::write(&path, "#!/bin/sh\nexec sleep 600\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let began = Instant::now();
        let program = Program { path, slide: "a.ndpi".into(), library: None, time_limit: Duration::from_millis(100) };
        let Err(error) = program.start() else { panic!("a silent child was accepted") };
        assert!(error.to_string().contains("did not answer"), "{error}");
        assert!(began.elapsed() < Duration::from_mins(1));
    }
}
