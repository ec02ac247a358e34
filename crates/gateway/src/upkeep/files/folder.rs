//! A folder that is looked at again and again, and what its files last said.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use problem::Problem;

use super::kept::Kept;

/// A folder, how it stood when it was last looked at, and the good texts in it.
#[derive(Clone, Default)]
pub(super) struct Folder {
    path: PathBuf,
    seen: BTreeMap<PathBuf, (Option<SystemTime>, u64)>,
    kept: Kept,
}

impl Folder {
    /// Looks at the folder, and returns whether it has changed. Another folder than before has.
    pub(super) fn look(&mut self, path: &Path) -> bool {
        let now = stand(path);
        if self.path == path && self.seen == now {
            return false;
        }
        if self.path != path {
            *self = Self { path: path.to_owned(), ..Self::default() };
        }
        self.seen = now;
        true
    }

    /// Reads it again, and returns what is wrong with its files; see [`Kept::refresh`].
    pub(super) fn refresh(
        &mut self,
        endings: &[&str],
        usable: impl Fn(&Path, &str) -> Result<(), Vec<Problem>>,
    ) -> Vec<Problem> {
        self.kept.refresh(&self.path, endings, usable)
    }

    /// Returns the good texts, in the order of their paths.
    pub(super) fn texts(&self) -> impl Iterator<Item = (PathBuf, &str)> {
        self.kept.texts().map(|(path, text)| (path.to_owned(), text))
    }
}

fn stand(folder: &Path) -> BTreeMap<PathBuf, (Option<SystemTime>, u64)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            Some((entry.path(), (metadata.modified().ok(), metadata.len())))
        })
        .collect()
}
