//! The files of a folder, and files that a setting names.

use std::path::{Path, PathBuf};

use problem::Problem;

use crate::config::ConfigFile;

/// A file and what it says, or why it cannot be read.
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    pub(crate) text: Result<String, Problem>,
}

/// Reads the files of a folder that have one of these endings, sorted. A folder that is not there has none.
///
/// # Errors
///
/// When the folder cannot be read.
pub(crate) fn texts(folder: &Path, endings: &[&str]) -> Result<Vec<Text>, Problem> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Problem::new(folder, "cannot read the folder").cause(error.to_string())),
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let hidden = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with('.'));
        endings.contains(&ending) && !hidden
    });
    paths.sort();
    let mut texts = Vec::new();
    for path in paths {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            // Taken away between listing and reading: the next look sees it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => Err(Problem::new(&path, "cannot read the file").cause(error.to_string())),
        };
        texts.push(Text { path, text });
    }
    Ok(texts)
}

/// Reads the file that a setting names.
pub(super) fn read(file: &ConfigFile, setting: &str, path: &Path) -> Result<String, Problem> {
    let path = file.path(path);
    std::fs::read_to_string(&path).map_err(|error| {
        file.toml.problem(setting, format!("cannot read `{}`", path.display())).cause(error.to_string())
    })
}
