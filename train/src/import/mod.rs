//! Weights of other programs: a PyTorch state dict (`.pth`, `.pt`) becomes a safetensors file.
//!
//! Files from elsewhere are read in a child process with limits of memory and time. Whatever is in them, this process goes on;
//! `export` and `infer` never see one.

mod archive;
mod legacy;
mod pickle;

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use models::weights::{MAX_BYTES, Weights, WeightsFile};
use rustix::process::{Resource, Rlimit, setrlimit};
use support::{Context, Error, Result, artifact, bail};

/// Size of an imported state dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Number of arrays.
    pub arrays: usize,
    /// Number of values in all arrays together.
    pub values: usize,
}

/// Processor time that a child may use.
const SECONDS: u64 = 60;
/// How long a child may live.
const PATIENCE: Duration = Duration::from_mins(5);
/// Memory that a child may ask for, beyond a multiple of the file.
const MEMORY: u64 = 1 << 30;

/// Converts the PyTorch state dict in `file` to the safetensors file `output`. `key` names the entry that holds the state dict; by
/// default the file itself, `state_dict`, `model_state_dict`, `model` or `net`.
///
/// The file is read in a child process: the running executable with the arguments `read-pth FILE -o OUTPUT [--key NAME]`, which must
/// call [`read_pth`].
///
/// # Errors
/// The error of the child process, or its exit status if it crashed or ran out of its limits.
pub fn import(file: &Path, output: &Path, key: Option<&str>) -> Result<Imported> {
    let doing = || format!("importing {}", file.display());
    let sha256 = artifact::sha256_of_file(file).doing(doing)?;
    let mut weights = read(file, key).doing(doing)?;
    weights.metadata.insert("imported_sha256".into(), sha256);
    weights.write(output)?;
    let values = weights.arrays.values().map(|array| array.data.len()).sum();
    Ok(Imported { arrays: weights.arrays.len(), values })
}

/// Reads a file of `torch.save` whose hash is known, so that no child has to stand between.
pub(crate) fn read_known(bytes: &[u8]) -> Result<Weights> {
    archive::read(bytes, None)
}

/// Reads a file of `torch.save` in a child process.
fn read(file: &Path, key: Option<&str>) -> Result<WeightsFile> {
    let folder = tempfile::tempdir()?;
    let read = folder.path().join("read.safetensors");
    read_in_child(file, key, &read).and_then(|()| WeightsFile::read(&read))
}

fn read_in_child(file: &Path, key: Option<&str>, output: &Path) -> Result<()> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(&program);
    command.arg("read-pth").arg(file).arg("-o").arg(output);
    if let Some(key) = key {
        command.args(["--key", key]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().doing(|| format!("starting {}", program.display()))?;
    let (status, said) = outlive(child)?;
    match (status.success(), said.trim()) {
        (true, _) => Ok(()),
        (false, said) if status.code() == Some(1) && !said.is_empty() => Err(from_words(said)),
        _ => Err(Error::new(format!("the process that read the file ended with {status}"))
            .hint("the file is damaged or hostile: get it again from where it was made")),
    }
}

/// Waits for a child, but not for ever; returns how it ended and what it said.
fn outlive(mut child: Child) -> Result<(ExitStatus, String)> {
    let mut stderr = child.stderr.take().expect("it was piped");
    let listener = std::thread::spawn(move || std::io::read_to_string(&mut stderr));
    let since = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if since.elapsed() > PATIENCE => {
                child.kill()?;
                break child.wait()?;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    Ok((status, listener.join().expect("reading does not panic").unwrap_or_default()))
}

/// An error and its hint, as a program of ours prints them.
fn from_words(said: &str) -> Error {
    let said = said.strip_prefix("error: ").unwrap_or(said);
    match said.split_once("\nhint: ") {
        Some((error, hint)) => Error::new(error.trim_end()).hint(hint),
        None => Error::new(said),
    }
}

/// The child's part: reads the file within limits, writes safetensors.
///
/// # Errors
/// What the file is not.
pub fn read_pth(file: &Path, output: &Path, key: Option<&str>) -> Result<()> {
    limit(std::fs::metadata(file)?.len())?;
    let bytes = artifact::read(file, MAX_BYTES)?;
    let arrays = archive::read(&bytes, key)?;
    WeightsFile { arrays, ..WeightsFile::default() }.write(output)
}

/// The file, its numbers, and the copy of both that is written: a small multiple of the file.
fn limit(bytes: u64) -> Result<()> {
    if bytes > MAX_BYTES {
        bail!("{bytes} bytes, more than the {MAX_BYTES} that are allowed");
    }
    let at_most = |n: u64| Rlimit { current: Some(n), maximum: Some(n) };
    setrlimit(Resource::As, at_most(MEMORY + 12 * bytes))?;
    setrlimit(Resource::Cpu, at_most(SECONDS))?;
    setrlimit(Resource::Core, at_most(0))?;
    Ok(())
}
