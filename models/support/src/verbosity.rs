//! Verbosity flags of a command line, for programs that use clap (feature `program`).

use clap::{ArgAction, Args};

use crate::console;

/// Flags `-v` and `-q`, to be flattened into the arguments of a program.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Verbosity {
    /// Print more messages; -vv prints all
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Print only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

impl Verbosity {
    /// Starts logging to stderr at this verbosity, as [`console::start_logging`]; `-q` silences progress too.
    pub fn start_logging(self) {
        if self.quiet {
            console::silence_progress();
        }
        console::start_logging(self.verbose, self.quiet);
    }
}
