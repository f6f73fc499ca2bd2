//! Weights of other programs: a PyTorch state dict (`.pth`, `.pt`) becomes a safetensors file.
//!
//! Files from elsewhere are read in a child process with limits of memory and time. Whatever is in them, this process goes on;
//! `export` and `infer` never see one.

mod archive;
mod legacy;
mod pickle;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use models::weights::{MAX_BYTES, Weights, WeightsFile};
use rustix::process::{Resource, Rlimit, setrlimit};
use support::{Context, Error, Result, artifact, bail};

/// Arguments of `train import`.
#[derive(Args)]
pub struct ImportArgs {
    /// The file that torch.save wrote.
    file: PathBuf,
    /// The safetensors file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Where in the file the state dict is [default: the file itself, `state_dict`, `model_state_dict`, `model`, `net`].
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
}

/// Processor time that a child may use.
const SECONDS: u64 = 60;
/// How long a child may live.
const PATIENCE: Duration = Duration::from_mins(5);
/// Memory that a child may ask for, beyond a multiple of the file.
const MEMORY: u64 = 1 << 30;

/// Runs `train import`; returns what is printed.
///
/// # Errors
/// What the file is not, in the words of the child that read it; or that the child did not survive it.
pub fn run(arguments: &ImportArgs) -> Result<String> {
    let doing = || format!("importing {}", arguments.file.display());
    let sha256 = artifact::sha256_of_file(&arguments.file).doing(doing)?;
    let mut file = read(&arguments.file, arguments.key.as_deref()).doing(doing)?;
    file.metadata.insert("imported_sha256".into(), sha256);
    file.write(&arguments.output)?;
    let numbers: usize = file.arrays.values().map(|array| array.data.len()).sum();
    Ok(format!("{}\t{} arrays, {numbers} numbers\n", arguments.output.display(), file.arrays.len()))
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
pub fn read_pth(arguments: &ImportArgs) -> Result<String> {
    limit(std::fs::metadata(&arguments.file)?.len())?;
    let bytes = artifact::read(&arguments.file, MAX_BYTES)?;
    let arrays = archive::read(&bytes, arguments.key.as_deref())?;
    WeightsFile { arrays, ..WeightsFile::default() }.write(&arguments.output)?;
    Ok(String::new())
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
