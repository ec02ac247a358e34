//! The story: three gateways ask one another real questions, are refused, stopped, killed and caught.
//!
//! Each step runs this very binary with the command line that is printed, and looks at what came back: nothing is told that
//! did not happen. A step that does not end as told is marked, and the whole then ends unsuccessfully.

mod chapters;
pub(crate) mod command;
pub(crate) mod process;
mod stage;
pub(crate) mod teller;

use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::members::{self, MembersError};
use command::Place;
use process::ProcessError;
use stage::Stage;
use teller::Teller;

/// How the story is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Ends after the last chapter, instead of staying up for the reader to try things.
    pub once: bool,
    /// Where the folders of the three members are written, and stay. Default: a temporary folder that is removed at the end.
    pub keep: Option<PathBuf>,
    /// The binary `drawbridge`. Default: the one that is running.
    pub binary: Option<PathBuf>,
}

/// How the story ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every step ended as told.
    AsTold,
    /// The titles of the chapters that did not.
    Broken(Vec<String>),
}

/// Why the story could not be told to its end.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// The folder to keep is not empty.
    #[error("`{}` is not empty; name a folder that is, or that does not exist yet", .0.display())]
    NotEmpty(PathBuf),
    /// The folder cannot be made, or the binary not found.
    #[error("cannot prepare the demonstration")]
    Prepare(#[source] io::Error),
    /// The members could not be written.
    #[error("cannot write the three members")]
    Members(#[from] MembersError),
    /// A gateway did not start.
    #[error("{0}")]
    Gateway(String),
    /// It was told to stop.
    #[error("interrupted before the end of the story")]
    Interrupted,
    /// What is told cannot be written.
    #[error("cannot write to standard output")]
    Unwritten(#[source] io::Error),
    /// A command could not be run at all.
    #[error("cannot run a command of the story")]
    Command(#[source] io::Error),
}

impl From<ProcessError> for StoryError {
    fn from(error: ProcessError) -> Self {
        StoryError::Gateway(error.to_string())
    }
}

impl From<io::Error> for StoryError {
    fn from(error: io::Error) -> Self {
        StoryError::Command(error)
    }
}

/// Tells the story on standard output. Unless it is told `once`, it then waits for Ctrl-C, with the gateways running.
///
/// # Errors
///
/// [`StoryError`] when it cannot go on. The gateways have been stopped in every case.
///
/// # Cancel safety
///
/// Dropping the future kills the gateways.
pub async fn run(options: Options) -> Result<Ending, StoryError> {
    let temporary = if options.keep.is_none() { Some(temporary_folder()?) } else { None };
    let folder = match (&options.keep, &temporary) {
        (Some(keep), _) => empty_folder(keep)?,
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => return Err(StoryError::Prepare(io::Error::other("no folder"))),
    };
    let binary = options.binary.map_or_else(std::env::current_exe, Ok).map_err(StoryError::Prepare)?;
    let folders = members::write(&folder, SystemTime::now()).await?;
    let mut stage = Stage::new(Place { folder, binary }, folders, Teller::on_stdout());
    let mut told = tokio::select! {
        told = chapters::tell(&mut stage) => told,
        () = interrupted() => Err(StoryError::Interrupted),
    };
    if told.is_ok() && !options.once {
        chapters::invite(&mut stage, options.keep.is_some());
        told = tokio::select! {
            () = interrupted() => Ok(()),
            ended = stage.somebody_ends() => ended,
        };
    }
    stage.stop().await;
    told?;
    if let Some(error) = stage.teller.unwritten() {
        return Err(StoryError::Unwritten(error));
    }
    let broken = stage.teller.broken().to_vec();
    Ok(if broken.is_empty() { Ending::AsTold } else { Ending::Broken(broken) })
}

/// Waits for Ctrl-C, for a request to end, or for the terminal to go away. Without it the gateways would outlive the story.
pub(crate) async fn interrupted() {
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            // Then the others have to do.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}

fn temporary_folder() -> Result<tempfile::TempDir, StoryError> {
    tempfile::Builder::new().prefix("drawbridge-demo-").tempdir().map_err(StoryError::Prepare)
}

/// Makes `folder`, or takes it when it is empty. Returns its absolute path.
fn empty_folder(folder: &Path) -> Result<PathBuf, StoryError> {
    std::fs::create_dir_all(folder).map_err(StoryError::Prepare)?;
    if std::fs::read_dir(folder).map_err(StoryError::Prepare)?.next().is_some() {
        return Err(StoryError::NotEmpty(folder.to_owned()));
    }
    folder.canonicalize().map_err(StoryError::Prepare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(empty_folder(&folder.path().join("new")).is_ok());
        assert!(matches!(empty_folder(folder.path()), Err(StoryError::NotEmpty(_))));
    }
}
