//! `infer runtime`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use infer::runtime::{self, Library};
use support::{Result, print_line};

/// Subcommands for native libraries.
#[derive(Subcommand)]
pub enum RuntimeCommand {
    /// Fetch pinned packages with pip, check their sha256 and install the libraries in the cache
    Install(InstallArgs),
    /// List the libraries and their places
    List,
}

#[derive(Args)]
pub struct InstallArgs {
    /// Take the wheels from this folder, for machines without network
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Install OpenVINO too (53 MB), which is several times faster on Intel CPUs with AMX
    #[arg(long)]
    openvino: bool,
    /// Install ONNX Runtime for NVIDIA GPUs too, with CUDA 13 and cuDNN 9 (1.2 GB to fetch, 1.7 GB on disk, driver 580 or newer)
    ///
    /// The libraries are installed in `cuda/` of the folder. TensorRT's own libraries are not included.
    #[arg(long)]
    cuda: bool,
    /// Install only the libraries for any CPU [default]
    #[arg(long, conflicts_with_all = ["openvino", "cuda"])]
    cpu: bool,
    /// Install into this folder; `lib` beside the program is found by it [default: the cache]
    #[arg(long, visible_alias = "dest", value_name = "DIR")]
    into: Option<PathBuf>,
}

pub fn run(command: &RuntimeCommand) -> Result<()> {
    match command {
        RuntimeCommand::Install(args) => install(args),
        RuntimeCommand::List => list(),
    }
}

fn install(args: &InstallArgs) -> Result<()> {
    let InstallArgs { from, openvino, cuda, cpu: _, into } = args;
    let (from, into) = (from.as_deref(), into.as_deref());
    let mut all = runtime::install(from, into)?;
    for library in [openvino.then_some(Library::OpenVino), cuda.then_some(Library::Cuda)].into_iter().flatten() {
        all.push(runtime::install_library(library, from, into)?);
    }
    for installed in all {
        let state = if installed.written { "installed" } else { "already there" };
        print_line!("{}\t{state}\t{}", installed.library.name(), installed.path.display());
    }
    Ok(())
}

/// Prints every library with its path; a missing ONNX Runtime is an error after the list.
fn list() -> Result<()> {
    let mut missing = None;
    for library in Library::ALL {
        match runtime::locate(library, None) {
            Ok(found) => print_line!("{}\t{}\t{}", library.name(), found.path.display(), found.place),
            Err(error) => {
                print_line!("{}\tnot found", library.name());
                if library == Library::OnnxRuntime {
                    missing = Some(error);
                }
            }
        }
    }
    missing.map_or(Ok(()), Err)
}
