//! The files of a folder, and files that a setting names.

use std::path::{Path, PathBuf};

use problem::Problem;

use crate::{
    access::{self, Kept},
    config::ConfigFile,
};

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
        Err(error) => {
            let cure = access::cure(&folder.join("."), &error, Kept::Open);
            return Err(with_cure(Problem::new(folder, "cannot read the folder").cause(error.to_string()), cure));
        }
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
            Err(error) => {
                let cure = access::cure(&path, &error, Kept::Open);
                Err(with_cure(Problem::new(&path, "cannot read the file").cause(error.to_string()), cure))
            }
        };
        texts.push(Text { path, text });
    }
    Ok(texts)
}

/// Adds the cure to a problem, where there is one.
pub(super) fn with_cure(problem: Problem, cure: Option<String>) -> Problem {
    match cure {
        Some(cure) => problem.help(cure),
        None => problem,
    }
}

/// Reads the file that a setting names.
pub(super) fn read(file: &ConfigFile, setting: &str, path: &Path) -> Result<String, Problem> {
    let path = file.path(path);
    std::fs::read_to_string(&path).map_err(|error| {
        let problem = file.toml.problem(setting, format!("cannot read `{}`", path.display())).cause(error.to_string());
        with_cure(problem, access::cure(&path, &error, if setting == "tls.key" { Kept::Secret } else { Kept::Open }))
    })
}
