//! Earlier versions of contracts: those that the configuration names, and those that this gateway had loaded before.
//!
//! The gateway keeps what it loads, a descriptor set for each version of each service, in `contracts/` of the data folder: an agreement
//! is about one version and goes on under a later, compatible one, and only the earlier one says what was agreed on. A file's first line
//! holds a digest of the rest: damage is found at once, and not by the first agreement that needs it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use contract::{Contracts, Digest, Kept, Source};
use ledger::Hash;
use problem::Problem;

use super::contracts::contract_source;
use crate::config::ConfigFile;

/// What a file's first line begins with; the SHA-256 of all that follows the line, a descriptor set, comes after a space.
const FORMAT: &str = "drawbridge.kept-contract/v1";
/// How the names of kept versions end. Before it stand the service's full name, `@` and the digest in hexadecimal.
const ENDING: &str = ".contract";
/// How to mend it. Of the version that is loaded a new file is made.
const HELP: &str = "restore the file from a backup; or remove it, and if agreements are about this version and another is loaded, name it in \
                    `earlier` of `[contracts]`";
/// What a digest begins with, and names of files need not repeat.
const PREFIX: &str = "sha256:";

fn folder(file: &ConfigFile) -> PathBuf {
    file.path(&file.config.data.folder).join("contracts")
}

fn name(service: &str, digest: &Digest) -> String {
    let digest = digest.to_string();
    format!("{service}@{}{ENDING}", digest.strip_prefix(PREFIX).unwrap_or(&digest))
}

/// Lets agreements be about earlier versions of `contracts` too.
///
/// # Errors
///
/// Every problem of those that the configuration names, and damage to those that were kept.
pub(super) fn with_earlier(file: &ConfigFile, contracts: Contracts) -> Result<Contracts, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut named = Vec::new();
    for (at, path) in file.config.contracts.earlier.iter().enumerate() {
        let path = file.path(path);
        match contract_source(&path) {
            // Each by itself: versions of one contract have the same names in them.
            Ok(source) => match Contracts::load(&[source]) {
                Ok(loaded) => named.push(loaded),
                Err(found) => problems.extend(found),
            },
            Err(error) => {
                let what = format!("cannot read the contracts in `{}`", path.display());
                problems.push(file.toml.problem(&format!("contracts.earlier[{at}]"), what).cause(error.to_string()));
            }
        }
    }
    let kept = kept(&folder(file), &mut problems);
    if problems.is_empty() { Ok(contracts.with_earlier(&named, kept)) } else { Err(problems) }
}

/// Reads what was kept.
fn kept(folder: &Path, problems: &mut Vec<Problem>) -> Vec<Kept> {
    const UNREAD: &str = "cannot read a contract that was kept";
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // Who looks at a configuration need not see into the data folder. A gateway that may not starts no log in it either.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => return Vec::new(),
        Err(error) => {
            problems.push(Problem::new(folder, UNREAD).cause(error.to_string()));
            return Vec::new();
        }
    };
    let mut kept = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Some((service, digest)) = path.file_name().and_then(|name| parted(name.to_str()?)) else { continue };
        match std::fs::read(&path).map(|bytes| open(&bytes).map(<[u8]>::to_vec)) {
            Ok(Ok(bytes)) => {
                let source = Source::DescriptorSet { name: path.display().to_string(), bytes };
                kept.push(Kept { service, digest, source });
            }
            Ok(Err(what)) => {
                problems.push(Problem::new(&path, "a contract that was kept is damaged").cause(what).help(HELP));
            }
            Err(error) => problems.push(Problem::new(&path, UNREAD).cause(error.to_string())),
        }
    }
    kept
}

/// Returns the descriptor set behind the first line, once it fits the digest in it.
fn open(bytes: &[u8]) -> Result<&[u8], String> {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let line = parts.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let set = parts.next().unwrap_or_default();
    let (format, digest) = line.split_once(' ').unwrap_or((line, ""));
    if format != FORMAT {
        let newer = format.starts_with("drawbridge.kept-contract/");
        return Err(if newer {
            format!("this version reads `{FORMAT}`, not a newer format")
        } else {
            format!("it does not begin with `{FORMAT}`")
        });
    }
    if digest != Hash::of(set).to_string() {
        return Err("its digest does not fit what follows".to_owned());
    }
    Ok(set)
}

fn closed(set: &[u8]) -> Vec<u8> {
    [format!("{FORMAT} {}\n", Hash::of(set)).as_bytes(), set].concat()
}

fn parted(name: &str) -> Option<(String, Digest)> {
    let (service, digest) = name.strip_suffix(ENDING)?.rsplit_once('@')?;
    Some((service.to_owned(), format!("{PREFIX}{digest}").parse().ok()?))
}

/// Keeps what is loaded, for when a later version is.
///
/// # Errors
///
/// What the file system says.
pub(crate) fn keep_contracts(file: &ConfigFile, contracts: &Contracts) -> std::io::Result<()> {
    let folder = folder(file);
    std::fs::create_dir_all(&folder)?;
    for service in contracts.services() {
        let path = folder.join(name(&service.name, &service.digest));
        let kept = closed(&contracts.kept_set(&service.name));
        // A version has one digest, and its comments may change.
        if std::fs::read(&path).ok().as_ref() != Some(&kept) {
            crate::ends::write_bytes_atomically(&path, &kept)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_service_and_digest() {
        let digest = Digest([7; 32]);
        let name = name("health.v1.Patients", &digest);
        assert_eq!(parted(&name), Some(("health.v1.Patients".to_owned(), digest)));
        for wrong in
            ["health.v1.Patients.contract", "a@07.contract", &name.replace(".contract", ""), &format!(".{name}.12")]
        {
            assert_eq!(parted(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn any_change_is_found() {
        let set = b"\x0a\x03abc\n";
        let whole = closed(set);
        assert_eq!(open(&whole).unwrap(), set);
        for length in 0..whole.len() {
            assert!(open(&whole[..length]).is_err(), "cut to {length}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x01;
            assert!(open(&flipped).is_err(), "byte {at}");
        }
        assert!(open(b"drawbridge.kept-contract/v2 x\n").unwrap_err().contains("newer"));
    }
}
