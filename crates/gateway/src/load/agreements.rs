//! Agreements and end notes, as they lie in their folder.

use contract::Contracts;
use federation::{Federation, MemberId};
use policy::{Loaded, Loader};
use problem::Problem;

use super::files::{Text, texts};
use crate::config::ConfigFile;

/// Loads the agreements and end notes in their folder.
///
/// # Errors
///
/// Files that cannot be read. Agreements with problems are in the result.
pub fn load_agreements(
    file: &ConfigFile,
    loader: &mut Loader,
    federation: &Federation,
    contracts: &Contracts,
) -> Result<Loaded, Vec<Problem>> {
    let folder = file.path(&file.config.agreements.folder);
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for Text { path, text } in texts(&folder, AGREEMENT_ENDINGS).map_err(|problem| vec![problem])? {
        match text {
            Ok(text) => files.push((path, text)),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let keys = |member: &MemberId| federation.member_keys(member);
    Ok(loader.load(files.iter().map(|(path, text)| (path.clone(), text.as_str())), &keys, contracts))
}

/// How the names of files with agreements and end notes end.
pub(crate) const AGREEMENT_ENDINGS: &[&str] = &["toml", "note"];
