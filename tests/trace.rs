//! Trace of a program under `strace` with an empty home: the names that it creates in the file system and the sockets that it opens.
//!
//! The tests of each program include this file by `#[path]`, because only the tests of a program's own package know the program's path.

#![allow(dead_code, reason = "the tests of each program use a part of this file")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// System calls that create a name in the file system or a socket.
const CALLS: &str = "trace=open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat,rename,renameat,renameat2,\
    socket,socketpair";

/// Delay of the first renaming of a file under [`Sandbox::run_long`], in microseconds. The telemetry of ONNX Runtime 1.31.1, if it
/// is on, opens its first socket nine seconds after the library was loaded.
const LONG: &str = "15000000";

/// Environment variable that is set in a [`Sandbox`].
const SANDBOX: &str = "NUCLEI_TEST_SANDBOX";

/// Reports whether this process runs in a [`Sandbox`]. Tests that are meant to run there do nothing elsewhere.
pub fn is_sandboxed() -> bool {
    std::env::var_os(SANDBOX).is_some()
}

/// Temporary folder with an empty home, an empty folder for temporary files, and a working folder.
pub struct Sandbox {
    folder: tempfile::TempDir,
}

/// Record of a program's run.
pub struct Trace {
    /// Exit status, standard output and standard error.
    pub output: Output,
    /// Created names, relative to the sandbox; numbers and the random parts of temporary names are `*`.
    pub made: BTreeSet<String>,
    /// Lines of the trace that open a socket.
    pub sockets: Vec<String>,
}

impl Sandbox {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "tmp", "work"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    /// Returns a path in the working folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("work").join(name)
    }

    /// Runs a program in the working folder.
    ///
    /// The only environment variables are `PATH`, those that name the empty folders, that of [`is_sandboxed`] and the cache with the native
    /// libraries. Variables of continuous integration are removed, because some libraries disable telemetry if they are set.
    pub fn run(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Trace {
        self.trace(&[], program.as_ref(), arguments)
    }

    /// Runs a program as [`Sandbox::run`] does, and delays its first renaming of a file by fifteen seconds, in which other threads continue.
    pub fn run_long(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Trace {
        let delay = format!("inject=rename,renameat,renameat2:delay_enter={LONG}:when=1");
        self.trace(&["-e", &delay], program.as_ref(), arguments)
    }

    fn trace(&self, options: &[&str], program: &Path, arguments: &[&str]) -> Trace {
        let at = |name: &str| self.folder.path().join(name);
        let output = Command::new("strace")
            .args(["-f", "-qq", "-s", "4096", "-e", CALLS])
            .args(options)
            .arg("-o")
            .args([&at("trace"), program])
            .args(arguments)
            .current_dir(at("work"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env(SANDBOX, "1")
            .env("HOME", at("home"))
            .env("TMPDIR", at("tmp"))
            .env("XDG_CACHE_HOME", at("home/cache"))
            .env("NUCLEI_CACHE", support::wheel::cache_folder().unwrap())
            .output()
            .unwrap_or_else(|error| panic!("this test needs strace (apt-get install strace): {error}"));
        let text = std::fs::read_to_string(at("trace")).unwrap_or_default();
        assert!(text.contains("openat("), "strace recorded no calls: {}", String::from_utf8_lossy(&output.stderr));
        let (mut made, mut sockets) = (BTreeSet::new(), Vec::new());
        for line in text.lines() {
            // `PID call(arguments) = result`; the rest of a call that was interrupted begins with `<`.
            let Some((call, arguments)) = line.split_once(' ').and_then(|(_, line)| line.trim_start().split_once('(')) else { continue };
            match call {
                "socket" | "socketpair" => sockets.push(line.to_owned()),
                "open" | "openat" | "openat2" if !arguments.contains("O_CREAT") && !arguments.contains("O_TMPFILE") => {}
                _ if line.ends_with("EEXIST (File exists)") => {}
                _ => made.extend(arguments.split('"').skip(1).step_by(2).map(|name| self.shown(name))),
            }
        }
        Trace { output, made, sockets }
    }

    /// Returns a name relative to the sandbox, with `*` for numbers and random parts.
    fn shown(&self, name: &str) -> String {
        let path = self.at(name);
        let inside = path.strip_prefix(self.folder.path()).unwrap_or(&path);
        let part = |part: std::path::Component| {
            let part = part.as_os_str().to_string_lossy().into_owned();
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            if is_number {
                "*".to_owned()
            } else if support::durable::is_unfinished(Path::new(&part)) {
                ".partial-*.tmp".to_owned()
            } else {
                part
            }
        };
        inside.components().map(part).collect::<Vec<_>>().join("/")
    }
}

impl Trace {
    /// Asserts that the program succeeded, created exactly these names and opened no socket.
    #[track_caller]
    pub fn assert_made(&self, expected: &[&str]) {
        let printed = String::from_utf8_lossy(&self.output.stderr);
        assert!(self.output.status.success(), "{printed}");
        assert_eq!(self.sockets, Vec::<String>::new(), "sockets were opened");
        assert_eq!(self.made.iter().map(String::as_str).collect::<Vec<_>>(), expected, "the created files differ\n{printed}");
    }
}
