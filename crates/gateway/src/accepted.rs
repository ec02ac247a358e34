//! The directory that this gateway accepted last, remembered in the data folder so that an older one is not taken after it.
//!
//! Entries are signed one by one, so a file that lost one of them would still read well: its first line holds a digest of the rest.

use std::path::PathBuf;

use federation::{Directory, Federation};
use ledger::Hash;
use problem::Problem;

use crate::config::ConfigFile;

/// What the file's first line begins with; the SHA-256 of all that follows the line comes after a space.
const FORMAT: &str = "drawbridge.accepted/v1";
/// How to mend it. Losing the memory is harmless when the directory in use is known to be the newest.
const HELP: &str =
    "restore the file from a backup; or make sure that `directory.file` is the newest directory, and remove this one";

fn path(file: &ConfigFile) -> PathBuf {
    file.path(&file.config.data.folder).join("directory.accepted")
}

/// Returns the directory that was accepted last, if there ever was one.
pub(crate) fn read(file: &ConfigFile) -> Result<Option<Federation>, Vec<Problem>> {
    let path = path(file);
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(vec![
                Problem::new(&path, "cannot read the directory that was accepted last").cause(error.to_string()),
            ]);
        }
    };
    let text = text.map_err(|_| vec![damaged(&path, "it is not text")])?;
    let directory = open(&text).map_err(|what| vec![damaged(&path, &what)])?;
    Directory::parse(&path, directory).and_then(|directory| Federation::load(directory, None)).map(Some)
}

fn damaged(path: &std::path::Path, what: &str) -> Problem {
    Problem::new(path, "the directory that was accepted last is damaged").cause(what).help(HELP)
}

/// Returns what follows the first line, once it fits the digest in it.
fn open(text: &str) -> Result<&str, String> {
    let (line, directory) = text.split_once('\n').unwrap_or((text, ""));
    let (format, digest) = line.split_once(' ').unwrap_or((line, ""));
    if format != FORMAT {
        let newer = format.starts_with("drawbridge.accepted/");
        return Err(if newer {
            format!("this version reads `{FORMAT}`, not a newer format")
        } else {
            format!("it does not begin with `{FORMAT}`")
        });
    }
    if digest != Hash::of(directory.as_bytes()).to_string() {
        return Err("its digest does not fit what follows".to_owned());
    }
    Ok(directory)
}

fn closed(directory: &str) -> String {
    format!("{FORMAT} {}\n{directory}", Hash::of(directory.as_bytes()))
}

/// Remembers `federation` as the directory that was accepted last.
pub(crate) fn write(file: &ConfigFile, federation: &Federation) -> std::io::Result<()> {
    let (path, text) = (path(file), closed(&federation.directory().to_text()));
    if std::fs::read(&path).is_ok_and(|known| known == text.as_bytes()) {
        return Ok(());
    }
    crate::write_atomically(&path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_is_found() {
        let text = closed("format = \"drawbridge.directory/v1\"\n");
        assert_eq!(open(&text).unwrap(), "format = \"drawbridge.directory/v1\"\n");
        for length in 0..text.len() {
            assert!(open(&text[..length]).is_err(), "cut to {length}");
        }
        for at in 0..text.len() {
            let mut flipped = text.clone().into_bytes();
            flipped[at] ^= 0x01;
            assert!(open(std::str::from_utf8(&flipped).unwrap()).is_err(), "byte {at}");
        }
        assert!(open(&text.replacen("/v1", "/v2", 1)).unwrap_err().contains("newer"));
    }
}
