//! A mock of any contract: two members on this machine, one that would ask and one that makes its answers up, with an agreement
//! between them. A partner writes its side against it before the other side is ready.
//!
//! Everything but the answers is real: both gateways are processes of this very binary, their folders are what `drawbridge init`
//! makes, and what goes between them is permitted, signed and recorded like any exchange.

mod setting;
mod snippets;
mod source;
mod told;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use problem::Problem;

use crate::{
    members::MembersError,
    story::{self, command::Place, process::Process, teller::Teller},
};
use setting::Setting;
use source::Contract;

/// The folder of the member whose system is not ready yet.
const PROVIDER: &str = "provider";
/// The folder of the member that asks.
const PARTNER: &str = "partner";

/// What is mocked, and for whom.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folders of .proto files, single ones, or descriptor sets.
    pub contracts: Vec<PathBuf>,
    /// The services to mock. Default: all of the contracts.
    pub services: Vec<String>,
    /// File with examples, which come before what is made up.
    pub examples: Option<PathBuf>,
    /// What is made up follows from it.
    pub seed: u64,
    /// Messages of an answer that is a stream.
    pub rows: u32,
    /// Id of the member that answers.
    pub provider: String,
    /// Id of the member that asks.
    pub consumer: String,
    /// Systems of the member that asks.
    pub systems: Vec<String>,
    /// Purposes that the agreement names.
    pub purposes: Vec<String>,
    /// Where the asking member's gateway listens for its systems. Default: a free port of the loopback address.
    pub clients: Option<SocketAddr>,
    /// The entry of a member that asks through a gateway of its own; then only the answering one is made.
    pub entry: Option<PathBuf>,
    /// Where that gateway reaches the answering one. Default: a free port of the loopback address.
    pub links: Option<SocketAddr>,
    /// Where the folders are written, and stay. Default: a temporary folder that is removed at the end.
    pub keep: Option<PathBuf>,
    /// The binary `drawbridge`. Default: the one that is running.
    pub binary: Option<PathBuf>,
}

/// Why there is no mock.
#[derive(Debug, thiserror::Error)]
pub enum MockError {
    /// The contract cannot be loaded, or has no such service.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Contract(Vec<Problem>),
    /// A file of the contract cannot be read.
    #[error("cannot read the contract `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder to keep holds something else.
    #[error("`{}` holds something that is no mock; name a folder that is empty, or that does not exist yet", .0.display())]
    NotEmpty(PathBuf),
    /// The folder cannot be made, or the binary not found.
    #[error("cannot prepare the mock")]
    Prepare(#[source] io::Error),
    /// The folders of the members could not be written.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// A command that makes them did not do so.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// A gateway did not start, or ended.
    #[error("{0}")]
    Gateway(String),
    /// It was told to stop before it was ready.
    #[error("interrupted before the mock was ready")]
    Interrupted,
}

/// Makes the mock and serves it until Ctrl-C.
///
/// # Errors
///
/// [`MockError`] when it cannot go on. The gateways have been stopped in every case.
///
/// # Cancel safety
///
/// Dropping the future kills the gateways.
pub async fn run(options: Options) -> Result<(), MockError> {
    let contract = Contract::read(&options.contracts, &options.services)?;
    let temporary = match options.keep {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("drawbridge-mock-").tempdir().map_err(MockError::Prepare)?),
    };
    let folder = match (&options.keep, &temporary) {
        (Some(keep), _) => kept(keep)?,
        (None, Some(temporary)) => temporary.path().canonicalize().map_err(MockError::Prepare)?,
        (None, None) => return Err(MockError::Prepare(io::Error::other("no folder"))),
    };
    let binary = options.binary.clone().map_or_else(std::env::current_exe, Ok).map_err(MockError::Prepare)?;
    let place = Place { folder, binary };
    let setting = Setting::make(&place, &options, &contract).await?;
    let mut processes = vec![Process::new(place.clone(), PROVIDER, setting.provider.operations)];
    processes.extend(setting.partner.as_ref().map(|partner| Process::new(place.clone(), PARTNER, partner.operations)));
    // One for both: a signal that comes between them counts.
    let mut interrupted = std::pin::pin!(story::interrupted());
    let mut served = tokio::select! {
        started = start(&mut processes) => started,
        () = &mut interrupted => Err(MockError::Interrupted),
    };
    if served.is_ok() {
        told::tell(&mut Teller::on_stdout(), &place, &options, &contract, &setting);
        served = tokio::select! {
            () = &mut interrupted => Ok(()),
            ended = somebody_ends(&mut processes) => Err(MockError::Gateway(ended)),
        };
    }
    for process in processes.iter_mut().rev() {
        // A gateway that does not end by itself has been killed; there is nothing more to do about it.
        let _ = process.stop().await;
    }
    served
}

async fn start(processes: &mut [Process]) -> Result<(), MockError> {
    for process in processes {
        process.start().await.map_err(|error| MockError::Gateway(error.to_string()))?;
    }
    Ok(())
}

async fn somebody_ends(processes: &mut [Process]) -> String {
    match processes {
        [provider, partner] => tokio::select! {
            said = provider.ended() => said,
            said = partner.ended() => said,
        },
        [provider, ..] => provider.ended().await,
        [] => std::future::pending().await,
    }
}

/// Makes a folder, or takes one that is empty or holds a mock. Returns its absolute path.
fn kept(folder: &Path) -> Result<PathBuf, MockError> {
    std::fs::create_dir_all(folder).map_err(MockError::Prepare)?;
    let mut entries = std::fs::read_dir(folder).map_err(MockError::Prepare)?;
    if entries.next().is_some() && !folder.join(PROVIDER).join("gateway.toml").exists() {
        return Err(MockError::NotEmpty(folder.to_owned()));
    }
    folder.canonicalize().map_err(MockError::Prepare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(kept(&folder.path().join("new")).is_ok());
        assert!(matches!(kept(folder.path()), Err(MockError::NotEmpty(_))));
        std::fs::create_dir(folder.path().join("provider")).unwrap();
        std::fs::write(folder.path().join("provider/gateway.toml"), "").unwrap();
        assert!(kept(folder.path()).is_ok());
    }
}
