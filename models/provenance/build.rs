//! Passes the commit of the sources to the compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_COMMIT");
    let commit = std::env::var("SOURCE_COMMIT").ok().or_else(commit_of_repository);
    println!("cargo:rustc-env=SOURCE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// Returns the commit that the repository of this workspace stands at; `None` outside of a repository, as in an unpacked archive.
fn commit_of_repository() -> Option<String> {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&package).arg("rev-parse").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    // The sources may have been unpacked inside of another repository.
    let workspace = package.parent()?.parent()?.canonicalize().ok()?;
    if Path::new(&git(&["--show-toplevel"])?).canonicalize().ok()? != workspace {
        return None;
    }
    // This file grows with every commit and checkout.
    let log = package.join(git(&["--git-path", "logs/HEAD"])?);
    if log.exists() {
        println!("cargo:rerun-if-changed={}", log.display());
    }
    git(&["--short=12", "HEAD"])
}
