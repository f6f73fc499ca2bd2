//! `train import`: conversion of PyTorch state dicts (`.pth`, `.pt`) to safetensors.
//!
//! Untrusted files are read in a child process with limits on memory and time, so that a hostile file cannot harm the calling process.
//! `export` and `infer` read only safetensors and ONNX.

mod archive;
mod legacy;
mod pickle;

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use models::weights::{MAX_BYTES, Weights, WeightsFile};
use rustix::process::{Resource, Rlimit, setrlimit};
use support::{Context, Error, Result, bail, durable};

/// Size of an imported state dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Number of arrays.
    pub arrays: usize,
    /// Number of values in all arrays together.
    pub values: usize,
}

/// Limit of the child's CPU time, in seconds.
const CPU_SECONDS: u64 = 60;
/// Limit of the child's run time.
const TIMEOUT: Duration = Duration::from_mins(5);
/// Limit of the child's address space in bytes, in addition to a multiple of the file size.
const BASE_MEMORY: u64 = 1 << 30;

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
    durable::check_output(output, &[file], |old| has_metadata(old, "imported_sha256"))?;
    let sha256 = durable::sha256_of_file(file).doing(doing)?;
    let mut weights = read(file, key).doing(doing)?;
    weights.metadata.insert("imported_sha256".into(), sha256);
    weights.write(output)?;
    let values = weights.arrays.values().map(|array| array.data.len()).sum();
    Ok(Imported { arrays: weights.arrays.len(), values })
}

/// Reports whether a file is a safetensors file with an entry of its metadata, which tells the command that wrote the file.
pub(crate) fn has_metadata(path: &Path, key: &str) -> bool {
    WeightsFile::read(path).is_ok_and(|file| file.metadata.contains_key(key))
}

/// Reads a PyTorch file in this process; only for trusted files, whose hash has been verified.
pub(crate) fn read_trusted(bytes: &[u8]) -> Result<Weights> {
    archive::read(bytes, None)
}

/// Reads a PyTorch file in a child process.
fn read(file: &Path, key: Option<&str>) -> Result<WeightsFile> {
    let folder = tempfile::tempdir()?;
    let converted = folder.path().join("read.safetensors");
    read_in_child(file, key, &converted).and_then(|()| WeightsFile::read(&converted))
}

/// Runs this program as `read-pth`, which converts `file` to `output`.
fn read_in_child(file: &Path, key: Option<&str>, output: &Path) -> Result<()> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(&program);
    command.arg("read-pth").arg(file).arg("-o").arg(output);
    if let Some(key) = key {
        command.args(["--key", key]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().doing(|| format!("starting {}", program.display()))?;
    let (status, stderr) = wait_with_timeout(child)?;
    match (status.success(), stderr.trim()) {
        (true, _) => Ok(()),
        (false, message) if status.code() == Some(1) && !message.is_empty() => Err(parse_error(message)),
        _ => Err(Error::new(format!("the process that read the file ended with {status}"))
            .hint("the file is damaged or hostile: obtain the file again from its source")),
    }
}

/// Waits for a child process, kills it after [`TIMEOUT`], and returns its exit status and its stderr.
fn wait_with_timeout(mut child: Child) -> Result<(ExitStatus, String)> {
    let mut stderr = child.stderr.take().expect("it was piped");
    let reader = std::thread::Builder::new().spawn(move || std::io::read_to_string(&mut stderr)).or_else(|error| {
        child.kill()?;
        Err(error)
    })?;
    let since = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if since.elapsed() > TIMEOUT => {
                child.kill()?;
                break child.wait()?;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    Ok((status, reader.join().expect("reading does not panic").unwrap_or_default()))
}

/// Parses the text `error: ...` and `hint: ...` that the programs of this project print.
fn parse_error(text: &str) -> Error {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    match text.split_once("\nhint: ") {
        Some((error, hint)) => Error::new(error.trim_end()).hint(hint),
        None => Error::new(text),
    }
}

/// Runs `read-pth`, the child process of `train import`: reads the file within resource limits and writes safetensors.
///
/// # Errors
/// As `archive::read`, or a file above the size limit.
pub fn read_pth(file: &Path, output: &Path, key: Option<&str>) -> Result<()> {
    limit_resources(std::fs::metadata(file)?.len())?;
    let bytes = durable::read(file, MAX_BYTES)?;
    let arrays = archive::read(&bytes, key)?;
    WeightsFile { arrays, ..WeightsFile::default() }.write(output)
}

/// Sets resource limits for a file of `bytes` bytes. The address space holds the file, its decoded arrays and their serialised copy.
fn limit_resources(bytes: u64) -> Result<()> {
    if bytes > MAX_BYTES {
        bail!("the file has {bytes} bytes, more than the {MAX_BYTES} that are allowed");
    }
    let at_most = |n: u64| Rlimit { current: Some(n), maximum: Some(n) };
    setrlimit(Resource::As, at_most(BASE_MEMORY + 12 * bytes))?;
    setrlimit(Resource::Cpu, at_most(CPU_SECONDS))?;
    setrlimit(Resource::Core, at_most(0))?;
    Ok(())
}
