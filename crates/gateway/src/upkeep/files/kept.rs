//! The files of a folder as they were last good: one that is damaged or cannot be read takes nothing back of what it said.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use problem::Problem;

use crate::load::{self, Text};

/// Texts by their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    texts: BTreeMap<PathBuf, String>,
}

impl Kept {
    /// Reads the folder again. A file that is gone is forgotten; of one that cannot be read, or is not usable, the last good
    /// text stays. Returns what is wrong with those.
    pub(super) fn refresh(
        &mut self,
        folder: &Path,
        endings: &[&str],
        usable: impl Fn(&Path, &str) -> Result<(), Vec<Problem>>,
    ) -> Vec<Problem> {
        let found = match load::texts(folder, endings) {
            Ok(found) => found,
            Err(problem) => return vec![problem],
        };
        let mut problems = Vec::new();
        self.texts.retain(|path, _| found.iter().any(|text| text.path == *path));
        for Text { path, text } in found {
            match text.map_err(|problem| vec![problem]).and_then(|text| usable(&path, &text).map(|()| text)) {
                Ok(text) => {
                    self.texts.insert(path, text);
                }
                Err(found) => problems.extend(found),
            }
        }
        problems
    }

    /// Returns the last good text of a file.
    pub(super) fn text(&self, path: &Path) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Returns the good texts, in the order of their paths.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_path(), text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_becomes_unusable_keeps_its_last_good_text_and_hinders_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let usable = |path: &Path, text: &str| {
            if text.starts_with("good") { Ok(()) } else { Err(vec![Problem::new(path, "not good")]) }
        };
        let mut kept = Kept::default();
        let look = |kept: &mut Kept| kept.refresh(folder.path(), &["note"], usable).len();
        let texts = |kept: &Kept| kept.texts().map(|(_, text)| text.to_owned()).collect::<Vec<_>>();
        std::fs::write(path("a.note"), "good 1").unwrap();
        assert_eq!(look(&mut kept), 0);

        std::fs::write(path("a.note"), [0xff, 0xfe]).unwrap();
        std::fs::write(path("b.note"), "good 2").unwrap();
        std::fs::write(path("c.note"), "bad").unwrap();
        assert_eq!(look(&mut kept), 2);
        assert_eq!(texts(&kept), ["good 1", "good 2"]);

        std::fs::remove_file(path("a.note")).unwrap();
        look(&mut kept);
        assert_eq!(texts(&kept), ["good 2"]);
    }
}
