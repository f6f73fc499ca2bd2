//! Version and source commit of the programs, for `--version`, summaries and the keys by which runs resume.
//!
//! The commit is that of the repository at build time. The environment variable `SOURCE_COMMIT` replaces it, for builds from archives;
//! without a repository and without the variable it is `unknown`.

/// Version and commit, such as `0.1.0 (commit 0123456789ab)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("SOURCE_COMMIT"), ")");
