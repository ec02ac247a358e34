//! The developer's commands: `cargo xtask <command>`.
//!
//! Nothing here is shipped. Every step can be run alone, and one that fails says how.

mod bench;
mod certs;
mod check;
mod deb;
mod fuzz;
mod install;
mod node;
mod python;
mod step;
mod supply;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a developer of Drawbridge types.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, tidiness, lints, documentation and dependencies: everything but tests.
    Check(check::Options),
    /// Everything: installs what is missing, builds, runs all tests, then the checks.
    Test(test::Options),
    /// Holds the crate map against the real dependency graph, and the source files against the house rules.
    Tidy,
    /// Licences, sources, forbidden and doubled dependencies, from `deny.toml`.
    Deny,
    /// Fills `certs-dev/` with certificates for two sample members, not for production.
    Certs,
    /// Builds a Debian package of the program, its manual, completions and service.
    Deb(deb::Options),
    /// Runs the parsers of what peers, clients and disks hand in under libFuzzer.
    Fuzz(fuzz::Options),
    /// Compares the gateways' speed with the direct call and with pairs of nginx and `HAProxy`.
    Bench(bench::Options),
    /// The plain gRPC back end that the comparison runs against; ends when its standard input closes.
    #[command(hide = true)]
    BenchBackend,
}

fn main() -> ExitCode {
    let done = workspace::program().and_then(|_| run(CommandLine::parse().task));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Check(options) => check::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Tidy => tidy::run(),
        Task::Deny => supply::run(),
        Task::Certs => certs::run(),
        Task::Deb(options) => deb::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::BenchBackend => bench::backend(),
    }
}
