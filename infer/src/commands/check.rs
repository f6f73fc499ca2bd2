//! `infer check`

use std::path::{Path, PathBuf};

use clap::Args;
use infer::output::{self, SUMMARY};
use support::{Context, Error, Result, console, print_line};

#[derive(Args)]
pub struct CheckArgs {
    /// Folder that `infer segment -o` wrote to, or the folder of one slide in it
    out: PathBuf,
}

/// Checks every slide of the folder, and prints a line for each.
///
/// # Errors
/// A folder without results, or the number of slides whose files are not those that were written.
pub fn run(args: &CheckArgs) -> Result<()> {
    let folders = folders_of_slides(&args.out)?;
    let mut damaged = 0;
    for folder in &folders {
        match output::check(folder) {
            Ok(summary) => print_line!("{}: {} files as they were written", folder.display(), summary.outputs.len()),
            Err(error) => {
                console::print_error(&error);
                damaged += 1;
            }
        }
    }
    if damaged > 0 {
        return Err(Error::new(format!("{damaged} of {} slides have damaged files", folders.len())));
    }
    Ok(())
}

/// Returns the folder itself if it holds a summary, or else all folders in it that do, sorted by name.
fn folders_of_slides(out: &Path) -> Result<Vec<PathBuf>> {
    if out.join(SUMMARY).is_file() {
        return Ok(vec![out.to_owned()]);
    }
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(out).doing(|| format!("looking for results in {}", out.display()))? {
        let path = entry?.path();
        if path.join(SUMMARY).is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.is_empty() {
        let error = Error::new(format!("{} has no results of slides", out.display()));
        return Err(error.hint("give the folder that infer segment -o wrote to"));
    }
    Ok(folders)
}
