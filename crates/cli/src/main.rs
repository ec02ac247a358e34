//! The binary `drawbridge`: what an operator, an auditor and a partner system's developer type.
//!
//! Nothing is decided here that a library could decide. Results go to standard output, words about them to standard error,
//! and the exit code says which it was: 0 done, 1 refused or something is wrong, 2 the command line itself is wrong.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod commands;
mod failure;
mod files;
mod moments;
mod notify;
mod place;
mod table;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::terminal::Out;

/// An exchange makes and gives back some hundred pieces of memory, a few of them larger than what the system's allocator keeps at hand:
/// this one takes a twentieth of a gateway's time away, for 8 MiB more. Without huge pages, which would take fifty.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Asks other members' systems, and answers them, through gateways that sign and record every exchange.
#[derive(Debug, Parser)]
#[command(name = "drawbridge", version, disable_help_subcommand = true, max_term_width = 110, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<commands::Command>,
}

/// What holds for every command.
const EXIT_CODES: &str = "\
Results go to standard output, words about them to standard error. Exit codes: 0 done, 1 refused or something is wrong, 2 the command \
line itself is wrong.";

/// What `drawbridge` alone says.
const WELCOME: &str = "\
drawbridge: a gateway between your systems and those of other organisations.

It puts a database or gRPC service behind a contract, and lets systems of other members ask it, and yours ask
theirs: only what both sides agreed and signed, every call recorded in both logs, so that it can be proven.

  drawbridge demo                                     see it: three members on this machine ask one another
  drawbridge init --member council.example council    make the folder of a member, with keys and configuration
  drawbridge run --config council/gateway.toml        run its gateway

`drawbridge --help` lists all commands.
";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(command) => command.run(),
        None => Out::new().text(WELCOME),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
