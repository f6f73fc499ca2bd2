//! Companion files of slides that consist of several files, apart from the file that the user names.
//!
//! | format | companions |
//! |---|---|
//! | MIRAX (`.mrxs`) | in the folder of the same name, `Slidedat.ini` and every file named in `Slidedat.ini` |
//! | Hamamatsu VMS and VMU | in the same folder, every file that the index names |
//! | DICOM | in the same folder, every file of the same series |

use std::io::Read;
use std::path::{Path, PathBuf};

use support::{Context, Result};

/// Maximum number of bytes that are read of an index or of a DICOM header.
const HEAD: u64 = 1 << 20;
/// Tag (0020,000E), Series Instance UID, in a little-endian DICOM file.
const SERIES: [u8; 4] = [0x20, 0, 0x0e, 0];

/// Returns the other files of the slide at `path`, sorted by name; empty for formats of one file.
///
/// # Errors
/// An index or a folder that cannot be read; the error names the path.
pub fn of(path: &Path) -> Result<Vec<PathBuf>> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mrxs")) {
        let folder = path.with_extension("");
        let index = folder.join("Slidedat.ini");
        let text = head(&index).hint(|| "a MIRAX slide needs the folder of the same name beside its index file: copy both")?;
        return files(&folder, |file| Ok(*file == index || is_named(file, &text)));
    }
    let text = head(path)?;
    if contains(&text, b"Virtual Microscope Specimen]") {
        return files(folder(path), |file| Ok(file.file_name() != path.file_name() && is_named(file, &text)));
    }
    match series(&text) {
        Some(own) => files(folder(path), |file| Ok(file.file_name() != path.file_name() && series(&head(file)?) == Some(own))),
        None => Ok(Vec::new()),
    }
}

/// Returns the folder that contains the slide.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Reads the first [`HEAD`] bytes of a file.
fn head(path: &Path) -> Result<Vec<u8>> {
    let doing = || format!("reading {}", path.display());
    let mut bytes = Vec::new();
    support::durable::open(path).doing(doing)?.take(HEAD).read_to_end(&mut bytes).doing(doing)?;
    Ok(bytes)
}

/// Returns the files of a folder for which `belongs` returns true, sorted by name.
fn files(folder: &Path, belongs: impl Fn(&PathBuf) -> Result<bool>) -> Result<Vec<PathBuf>> {
    let doing = || format!("listing {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).doing(doing)? {
        let path = entry.doing(doing)?.path();
        if path.is_file() && belongs(&path)? {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reports whether a text contains the name of a file.
fn is_named(file: &Path, text: &[u8]) -> bool {
    file.file_name().is_some_and(|name| contains(text, name.as_encoded_bytes()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Returns the Series Instance UID of a DICOM file, with explicit or implicit value representation; `None` for other files.
fn series(head: &[u8]) -> Option<&[u8]> {
    let body = head.get(128..)?.strip_prefix(b"DICM")?;
    let at = body.windows(4).position(|window| window == SERIES)? + 4;
    let field = body.get(at..at + 4)?;
    let length =
        if field.starts_with(b"UI") { u16::from_le_bytes([field[2], field[3]]).into() } else { u32::from_le_bytes(field.try_into().ok()?) };
    body.get(at + 4..at + 4 + length as usize).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        of(path).unwrap().iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_that_an_index_names_are_companions() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let index = "[Virtual Microscope Specimen]\nImageFile=b.jpg\nImageFile(1,0)=b_1_0.jpg\nOptimisationFile=b.opt\n";
        for (name, text) in [("b.vms", index), ("b.jpg", ""), ("b_1_0.jpg", ""), ("b.opt", ""), ("c.jpg", ""), ("c.vms", "[Other]\nc.jpg")]
        {
            std::fs::write(at(name), text).unwrap();
        }
        assert_eq!(names(&at("b.vms")), ["b.jpg", "b.opt", "b_1_0.jpg"]);
        assert!(names(&at("c.vms")).is_empty() && names(&at("c.jpg")).is_empty());
        std::fs::write(at("d.mrxs"), b"").unwrap();
        assert!(of(&at("d.mrxs")).unwrap_err().to_string().contains("Slidedat.ini"));
    }

    #[test]
    fn dicom_files_of_one_series_are_companions() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let explicit =
            |uid: &str| [&[0; 128], b"DICM....".as_slice(), &SERIES, b"UI", &(uid.len() as u16).to_le_bytes(), uid.as_bytes()].concat();
        let implicit = |uid: &str| [&[0; 128], b"DICM....".as_slice(), &SERIES, &(uid.len() as u32).to_le_bytes(), uid.as_bytes()].concat();
        for (name, bytes) in [("a", explicit("1.2.3")), ("b", implicit("1.2.3")), ("c", explicit("1.2.34")), ("d", b"1.2.3".to_vec())] {
            std::fs::write(at(name), bytes).unwrap();
        }
        assert_eq!((names(&at("a")), names(&at("b"))), (vec!["b".to_owned()], vec!["a".to_owned()]));
        assert!(names(&at("c")).is_empty() && names(&at("d")).is_empty());
    }
}
