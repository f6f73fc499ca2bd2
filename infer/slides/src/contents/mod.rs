//! Contents of a slide's files: their hash, and an error once they change.
//!
//! Output files identify a slide by its hash, so the hash must be that of the bytes which were read. Files that one of the project's own
//! readers keeps open are hashed and compared through the same handle: replacing or removing the file under its name has no effect.
//! Files that OpenSlide reads are compared by name, because OpenSlide may open them by name at any time.
//!
//! Device, inode, length, time of modification and time of status change of each file are compared after every band of results. A new
//! length or time of modification is a change. A new inode or time of status change alone, as after `chmod` or `mv`, is accepted if the
//! hash is still the same.

mod part;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::{Context, Result, bail, durable};

use super::companions;
use part::Part;

/// All files of a slide; the first is the file that the user named.
#[derive(Debug)]
pub struct Contents {
    slide: PathBuf,
    parts: Vec<Part>,
}

impl Contents {
    /// Returns the contents of a slide of one file that is read through the handle `file` only.
    pub fn of_open_file(path: &Path, file: &File) -> Result<Self> {
        Ok(Self { slide: path.to_owned(), parts: vec![Part::new(path, file_name(path), Some(file.try_clone()?))?] })
    }

    /// Returns the contents of pixels that are not in a file: nothing to compare, and no hash.
    pub fn without_file(name: &Path) -> Arc<Self> {
        Arc::new(Self { slide: name.to_owned(), parts: Vec::new() })
    }

    /// Reports whether the slide is in files.
    pub fn is_in_files(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Returns the contents of a slide that is opened by name, with its [`companions`].
    pub fn by_name(path: &Path) -> Result<Self> {
        let mut parts = vec![Part::new(path, file_name(path), None)?];
        for companion in companions::of(path)? {
            let name = companion.strip_prefix(companions::folder(path)).unwrap_or(&companion);
            let name: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
            parts.push(Part::new(&companion, name.join("/"), None)?);
        }
        Ok(Self { slide: path.to_owned(), parts })
    }

    /// Returns the SHA-256 of the slide's file. For several files, the SHA-256 of the lines that `sha256sum` prints for them: first the file
    /// that the user named, then the others sorted by name, each as a path relative to the slide's folder.
    ///
    /// # Errors
    /// A file that cannot be read or has changed, or pixels that are not in a file.
    pub fn sha256(&self) -> Result<String> {
        if !self.is_in_files() {
            bail!("the source {} has no hash", self.slide.display(); hint: "result files name their slide by its SHA-256: implement `Pixels::sha256`");
        }
        let hashes: Vec<String> = self.parts.iter().map(Part::hash).collect::<Result<_>>().doing(|| self.doing())?;
        if let [one] = hashes.as_slice() {
            return Ok(one.clone());
        }
        let lines = self.parts.iter().zip(&hashes).map(|(part, hash)| format!("{hash}  {}\n", part.name));
        Ok(durable::sha256(lines.collect::<String>().as_bytes()))
    }

    /// Checks that no file has changed since the slide was opened. All pixels read before a success belong to the hashed slide.
    ///
    /// # Errors
    /// A changed file; the error names the slide, the file and the difference.
    pub fn check(&self) -> Result<()> {
        self.parts.iter().try_for_each(Part::check).doing(|| self.doing())
    }

    fn doing(&self) -> String {
        format!("comparing the files of the slide {}", self.slide.display())
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Writes a slide of one file, and returns its contents through a handle or by name.
    fn opened(folder: &Path, by_handle: bool) -> (PathBuf, Contents) {
        let path = folder.join(if by_handle { "a.tif" } else { "a.ndpi" });
        std::fs::write(&path, b"pixels").unwrap();
        let contents =
            if by_handle { Contents::of_open_file(&path, &File::open(&path).unwrap()) } else { Contents::by_name(&path) }.unwrap();
        (path, contents)
    }

    fn write_in_place(path: &Path, bytes: &[u8]) {
        std::thread::sleep(std::time::Duration::from_millis(20)); // longer than the resolution of file times
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_file_written_to_before_or_after_its_hash_is_an_error_that_names_it() {
        for by_handle in [true, false] {
            for changed in [b"PIXELS".as_slice(), b"pix", b"pixels and more", b"pixels"] {
                let folder = tempfile::tempdir().unwrap();
                let (path, contents) = opened(folder.path(), by_handle);
                assert_eq!(contents.sha256().unwrap(), durable::sha256(b"pixels"));
                contents.check().unwrap();
                write_in_place(&path, changed);
                let error = contents.check().unwrap_err();
                assert!(error.to_string().contains("changed while the slide was read") && error.hint_text().is_some(), "{error:?}");
                let (path, contents) = opened(folder.path(), by_handle);
                write_in_place(&path, changed);
                assert!(contents.sha256().unwrap_err().to_string().contains(path.to_str().unwrap()));
            }
        }
    }

    #[test]
    fn a_file_replaced_under_its_name_is_unchanged_by_handle_and_changed_by_name() {
        for by_handle in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let (path, contents) = opened(folder.path(), by_handle);
            let sha256 = contents.sha256().unwrap();
            durable::write(&path, b"others").unwrap();
            assert_eq!(contents.check().is_ok(), by_handle);
            assert_eq!(contents.sha256().ok(), by_handle.then_some(sha256));
        }
    }

    #[test]
    fn new_permissions_are_not_a_change_and_restored_times_do_not_hide_one() {
        for by_handle in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let (path, contents) = opened(folder.path(), by_handle);
            contents.sha256().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            contents.check().unwrap();
            contents.check().unwrap();
            let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
            write_in_place(&path, b"PIXELS");
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            assert!(contents.check().unwrap_err().to_string().contains("its contents are others"));
        }
    }

    #[test]
    fn slides_of_several_files_are_hashed_as_sha256sum_lists_them_and_watched_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("a")).unwrap();
        let files =
            [("a.mrxs", "index"), ("a/Data0000.dat", "pixels"), ("a/Index.dat", "places"), ("a/Slidedat.ini", "Index.dat Data0000.dat")];
        files.iter().for_each(|(name, text)| std::fs::write(at(name), text).unwrap());
        std::fs::write(at("a/Thumbs.db"), b"not of the slide").unwrap();
        let contents = Contents::by_name(&at("a.mrxs")).unwrap();
        let lines = files.map(|(name, text)| format!("{}  {name}\n", durable::sha256(text.as_bytes()))).concat();
        assert_eq!(contents.sha256().unwrap(), durable::sha256(lines.as_bytes()));
        write_in_place(&at("a/Thumbs.db"), b"seen in a file manager");
        contents.check().unwrap();
        write_in_place(&at("a/Data0000.dat"), b"PIXELS");
        let error = contents.check().unwrap_err().to_string();
        assert!(error.contains("a.mrxs") && error.contains("a/Data0000.dat"), "{error}");
        std::fs::remove_file(at("a/Index.dat")).unwrap();
        assert!(Contents::by_name(&at("a.mrxs")).unwrap().sha256().unwrap() != durable::sha256(lines.as_bytes()));
    }
}
