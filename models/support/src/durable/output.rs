//! Outputs that never replace the files of a user: the checks of single files, and folders with a record of the files that a command wrote.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{read, sha256, sha256_of_file, write, write_error};
use crate::{Context, Result, bail};

/// Size limit of a record in bytes.
const MAX_RECORD_BYTES: u64 = 1 << 28;

/// Checks that a command may write the file `path`: no input of the command has this name, and a file of this name is an earlier output of
/// the same command, as `is_earlier_output` decides from its contents.
///
/// # Errors
/// A folder, an input, or a file of another origin at `path`.
pub fn check_output(path: &Path, inputs: &[&Path], is_earlier_output: impl FnOnce(&Path) -> bool) -> Result<()> {
    if let Some(input) = inputs.iter().find(|input| is_same(path, input)) {
        bail!(Refused; "{}: the output would replace the input {}", path.display(), input.display(); hint: "choose another name for the output");
    }
    if path.is_dir() {
        bail!(Refused; "{}: expected the name of a file to write, found a folder", path.display(); hint: "add a file name to the folder");
    }
    if path.exists() && !is_earlier_output(path) {
        bail!(Refused; "{}: the file exists and is no earlier output of this command", path.display(); hint: "choose another name, or move the file away; files of other origin are never replaced");
    }
    Ok(())
}

/// Reports whether two paths lead to one file or folder. Paths that do not exist are different.
fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Folder of outputs with a record of the files that the command wrote there, in the format of `sha256sum`.
///
/// A file is replaced only if the record lists its present contents, so that files of other origin and edited outputs stay. Each line of
/// the record is written before its file, so that a command that was killed can be repeated.
pub struct OutputFolder {
    folder: PathBuf,
    /// Hidden file in the folder, named after the command.
    record: PathBuf,
    /// Lines of the record.
    lines: BTreeSet<String>,
}

impl OutputFolder {
    /// Opens a folder, which need not exist, for the outputs of `command`, such as `train suggest`. `inputs` are the folders and files that
    /// the command reads.
    ///
    /// # Errors
    /// A file in the place of the folder, a folder that is an input, or a record that cannot be read.
    pub fn open(folder: &Path, command: &str, inputs: &[&Path]) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            bail!(Refused; "{}: expected a folder for the outputs, found a file", folder.display(); hint: "choose another folder");
        }
        if let Some(input) = inputs.iter().find(|input| is_same(folder, input)) {
            bail!(Refused; "{}: the outputs would lie among the inputs of the command", input.display(); hint: "choose another folder");
        }
        let record = folder.join(format!(".{}.sha256", command.replace(' ', "-")));
        let text = if record.exists() { String::from_utf8_lossy(&read(&record, MAX_RECORD_BYTES)?).into_owned() } else { String::new() };
        Ok(Self { folder: folder.to_owned(), record, lines: text.lines().map(str::to_owned).collect() })
    }

    /// Checks that the file `name` in the folder may be written.
    ///
    /// # Errors
    /// A file of this name that the command did not write, or that has changed since.
    pub fn check(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        if path.exists() && (path.is_dir() || !self.lines.contains(&line(&sha256_of_file(&path)?, name))) {
            bail!(Refused; "{}: the file exists and is no unchanged output of this command", path.display(); hint: "choose another folder, or move the file away; files of other origin are never replaced");
        }
        Ok(())
    }

    /// Writes the file `name` in the folder, atomically.
    ///
    /// # Errors
    /// As [`OutputFolder::check`], or a file that cannot be written.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.check(name)?;
        let path = self.folder.join(name);
        let line = line(&sha256(bytes), name);
        if !self.lines.contains(&line) {
            fs::create_dir_all(&self.folder).map_err(|error| write_error(&path, error))?;
            let file = fs::OpenOptions::new().create(true).append(true).open(&self.record);
            file.and_then(|mut file| writeln!(file, "{line}")).map_err(|error| write_error(&self.record, error))?;
            self.lines.insert(line);
        }
        write(&path, bytes).doing(|| format!("writing to {}", self.folder.display()))
    }
}

/// Formats a line of the record.
fn line(sha256: &str, name: &str) -> String {
    format!("{sha256}  {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_file_replaces_only_an_earlier_output_and_never_an_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        check_output(&path, &[&path], |_| false).unwrap();
        fs::write(&path, b"own").unwrap();
        let is_own = |path: &Path| fs::read(path).unwrap() == b"own";
        check_output(&path, &[], is_own).unwrap();
        let indirect = folder.path().join(".").join("a.bin");
        for error in
            [check_output(&indirect, &[&path], is_own), check_output(&path, &[], |_| false), check_output(folder.path(), &[], is_own)]
        {
            let error = error.unwrap_err();
            assert!(error.kind() == ErrorKind::Refused && error.hint_text().is_some(), "{error:?}");
        }
    }

    #[test]
    fn a_folder_keeps_files_of_other_origin_and_edited_outputs() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let open = || OutputFolder::open(&out, "train suggest", &[folder.path()]).unwrap();
        open().write("maps/a.png", b"1").unwrap();
        open().write("maps/a.png", b"2").unwrap();
        open().write("maps/a.png", b"1").unwrap();
        fs::write(out.join("maps/a.png"), b"edited").unwrap();
        fs::write(out.join("b.png"), b"drawn").unwrap();
        for name in ["maps/a.png", "b.png"] {
            let error = open().write(name, b"3").unwrap_err();
            assert!(error.to_string().contains(name) && error.hint_text().is_some(), "{error:?}");
        }
        assert_eq!(fs::read(out.join("b.png")).unwrap(), b"drawn");
        let other = OutputFolder::open(&out, "train compare", &[]).unwrap();
        assert!(other.check("maps/a.png").is_err() && other.check("c.png").is_ok());
        assert!(OutputFolder::open(&out, "train suggest", &[&out]).is_err());
        assert!(OutputFolder::open(&out.join("b.png"), "train suggest", &[]).is_err());
    }
}
