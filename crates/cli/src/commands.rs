//! The commands, one file each.

mod agreement;
mod call;
mod certificate;
mod check;
mod completions;
mod contract;
mod demo;
mod directory;
mod doctor;
mod entry;
mod explain;
mod init;
mod key;
mod log;
mod man;
mod mock;
mod receipt;
mod run;
mod status;

use clap::Subcommand;

use crate::failure::{Outcome, because};

/// What can be typed after `drawbridge`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Demo),
    Mock(mock::Mock),
    Init(init::Init),
    Check(check::Check),
    Run(run::Run),
    Status(status::Show),
    Doctor(doctor::Doctor),
    Call(call::Call),
    Explain(explain::Explain),
    #[command(subcommand)]
    Agreement(agreement::Agreement),
    #[command(subcommand)]
    Contract(contract::Contract),
    #[command(subcommand)]
    Log(log::Log),
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    #[command(subcommand)]
    Directory(directory::Directory),
    #[command(subcommand)]
    Entry(entry::Entry),
    #[command(subcommand)]
    Certificate(certificate::Certificate),
    #[command(subcommand)]
    Key(key::Key),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    /// Does it.
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Demo(demo) => demo.run(),
            Self::Mock(mock) => mock.run(),
            Self::Init(init) => init.run(),
            Self::Check(check) => check.run(),
            Self::Run(run) => run.run(),
            Self::Status(status) => status.run(),
            Self::Doctor(doctor) => doctor.run(),
            Self::Call(call) => call.run(),
            Self::Explain(explain) => explain.run(),
            Self::Agreement(agreement) => agreement.run(),
            Self::Contract(contract) => contract.run(),
            Self::Log(log) => log.run(),
            Self::Receipt(receipt) => receipt.run(),
            Self::Directory(directory) => directory.run(),
            Self::Entry(entry) => entry.run(),
            Self::Certificate(certificate) => certificate.run(),
            Self::Key(key) => key.run(),
            Self::Completions(completions) => completions.run(),
            Self::Man(man) => man.run(),
        }
    }
}

/// Runs a future to its end. What it spawns goes on while the caller's thread waits for a terminal or a pipe.
fn block_on<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| because("cannot start", &error))?;
    let outcome = runtime.block_on(Box::pin(future));
    // A thread that still reads standard input or a slow file must not keep the process.
    runtime.shutdown_background();
    outcome
}
