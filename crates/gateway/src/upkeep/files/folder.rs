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
    /// There were files in it, and now the folder itself is not there.
    gone: bool,
    problems: Vec<Problem>,
}

impl Folder {
    /// Looks at the folder, and returns whether it has changed. Another folder than before has.
    pub(super) fn look(&mut self, path: &Path) -> bool {
        let now = stand(path);
        let gone = self.path == path && !self.seen.is_empty() && now.is_empty() && !path.is_dir();
        if gone || self.gone && self.path == path {
            // Whoever takes a whole folder away means no end of everything in it.
            let changed = gone != self.gone;
            self.gone = gone;
            if gone {
                return changed;
            }
        } else if self.path == path && self.seen == now {
            return false;
        }
        if self.path != path {
            *self = Self { path: path.to_owned(), ..Self::default() };
        }
        self.seen = now;
        true
    }

    /// Reads it again, and returns what is wrong with it or its files; see [`Kept::refresh`]. Of a folder that is gone all stays as it was.
    pub(super) fn refresh(
        &mut self,
        endings: &[&str],
        usable: impl Fn(&Path, &str) -> Result<(), Vec<Problem>>,
    ) -> &[Problem] {
        self.problems = if self.gone {
            vec![
                Problem::new(
                    &self.path,
                    "the folder is gone; what its files said stays in force until the gateway starts again",
                )
                .help("put it back; to take something back, remove its file from the folder"),
            ]
        } else {
            self.kept.refresh(&self.path, endings, usable)
        };
        &self.problems
    }

    /// Returns what was wrong when it was last read.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the last good text of a file.
    pub(super) fn text(&self, path: &Path) -> Option<&str> {
        self.kept.text(path)
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
