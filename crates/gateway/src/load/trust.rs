//! Who is who: the directory, and what has been revoked.

use std::{path::Path, sync::Arc};

use federation::{
    Directory, Federation, MemberId,
    trust::{RevocationList, Trust},
};
use problem::Problem;

use super::{
    files::{Text, read, texts},
    keep_all,
};
use crate::{accepted, config::ConfigFile};

/// Reads directory and revocation lists, as the configuration names them.
///
/// # Errors
///
/// Every problem of them.
pub fn trust(file: &ConfigFile, own: &MemberId) -> Result<Trust, Vec<Problem>> {
    let mut problems = Vec::new();
    let federation = keep_all(&mut problems, directory(file));
    if let Some(federation) = federation {
        trust_in(file, own, federation)
    } else {
        problems.extend(revocation_lists(file).err().unwrap_or_default());
        Err(problems)
    }
}

/// Reads the directory that the configuration names, which may not be older than the one accepted last.
///
/// # Errors
///
/// Every problem of it.
pub(crate) fn directory(file: &ConfigFile) -> Result<Arc<Federation>, Vec<Problem>> {
    let path = file.path(&file.config.directory.file);
    let text = read(file, "directory.file", &file.config.directory.file).map_err(|problem| {
        let missing = "ask another member for its directory, or start one with `drawbridge directory add entry.note`";
        vec![if problem.help.is_none() { problem.help(missing) } else { problem }]
    })?;
    let directory = Directory::parse(&path, &text)?;
    Federation::load(directory, accepted::read(file)?.as_ref()).map(Arc::new)
}

/// Returns what certificates are verified against: `federation`, and the revocation lists in their folder.
///
/// # Errors
///
/// Every problem of the lists.
pub fn trust_in(file: &ConfigFile, own: &MemberId, federation: Arc<Federation>) -> Result<Trust, Vec<Problem>> {
    trust_with(file, own, federation, revocation_lists(file)?)
}

/// Returns what certificates are verified against: `federation` and these revocation lists.
///
/// # Errors
///
/// Every problem of the lists.
pub(crate) fn trust_with(
    file: &ConfigFile,
    own: &MemberId,
    federation: Arc<Federation>,
    lists: Vec<RevocationList>,
) -> Result<Trust, Vec<Problem>> {
    let trust = Trust::new(own.clone(), federation, lists)?;
    Ok(if file.config.development { trust } else { trust.refusing_development() })
}

/// How the names of files with revocation lists end.
pub(crate) const REVOCATION_ENDINGS: &[&str] = &["pem"];

/// Reads all revocation lists in their folder. No folder means none.
///
/// # Errors
///
/// Every list that cannot be read.
pub fn revocation_lists(file: &ConfigFile) -> Result<Vec<RevocationList>, Vec<Problem>> {
    let folder = file.path(&file.config.revocation.folder);
    let mut problems = Vec::new();
    let mut lists = Vec::new();
    for Text { path, text } in texts(&folder, REVOCATION_ENDINGS).map_err(|problem| vec![problem])? {
        match text.map_err(|problem| vec![problem]).and_then(|text| revocation_list(&path, &text)) {
            Ok(found) => lists.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(lists) } else { Err(problems) }
}

/// Reads the revocation lists of one file, which is named after the member that issued them.
///
/// # Errors
///
/// Every list that cannot be read.
pub(crate) fn revocation_list(path: &Path, text: &str) -> Result<Vec<RevocationList>, Vec<Problem>> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some(member) = name.strip_suffix(".crl.pem").and_then(|m| m.parse::<MemberId>().ok()) else {
        return Err(vec![
            Problem::new(path, "the file's name names no member")
                .help("name it `<member>.crl.pem`, as in `county.example.crl.pem`"),
        ]);
    };
    RevocationList::parse_all(&member, path, text)
}
