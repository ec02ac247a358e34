//! Takes what a binding of kind `mock` needs out of the connector's table.

use std::path::{Path, PathBuf};

use crate::bindings::Complaint;
use crate::config::ConnectorConfig;

/// Messages of an answer that is a stream, unless configured.
const ROWS: u32 = 3;

/// How a method is mocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MockBinding {
    /// What is made up follows from it and from the question.
    pub(crate) seed: u64,
    /// Messages of an answer that is a stream.
    pub(crate) rows: u32,
    /// File with examples.
    pub(crate) examples: Option<PathBuf>,
}

impl MockBinding {
    /// Reads the table, or says everything that is wrong with it.
    pub(crate) fn read(config: &ConnectorConfig, folder: &Path) -> Result<Self, Vec<Complaint>> {
        let complaints = config.foreign(&["seed", "rows", "examples"]);
        if !complaints.is_empty() {
            return Err(complaints);
        }
        Ok(Self {
            seed: config.seed.unwrap_or_default(),
            rows: config.rows.unwrap_or(ROWS),
            examples: config.examples.as_ref().map(|path| folder.join(path)),
        })
    }
}
