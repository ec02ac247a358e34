//! Earlier versions of contracts: those that the configuration names, and those that this gateway had loaded before.
//!
//! The gateway keeps what it loads, a descriptor set for each version of each service, in `contracts/` of the data folder: an agreement
//! is about one version and goes on under a later, compatible one, and only the earlier one says what was agreed on.

use std::path::{Path, PathBuf};

use contract::{Contracts, Digest, Kept, Source};
use problem::Problem;

use super::contracts::contract_source;
use crate::config::ConfigFile;

/// How the names of kept versions end. Before it stand the service's full name, `@` and the digest in hexadecimal.
const ENDING: &str = ".binpb";
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
/// Every problem of those that the configuration names, and a folder that cannot be read. What is wrong with a kept version is told by
/// the agreements that are about it.
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
    let kept = kept(&folder(file), &contracts).unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    if problems.is_empty() { Ok(contracts.with_earlier(&named, kept)) } else { Err(problems) }
}

/// Reads what was kept, without what is loaded.
fn kept(folder: &Path, loaded: &Contracts) -> Result<Vec<Kept>, Problem> {
    let unread = |path: &Path, error: &std::io::Error| {
        Problem::new(path, "cannot read the contracts that were kept").cause(error.to_string())
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unread(folder, &error)),
    };
    let mut kept = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unread(folder, &error))?.path();
        let Some((service, digest)) = path.file_name().and_then(|name| parted(name.to_str()?)) else { continue };
        if loaded.service(&service).is_none_or(|loaded| loaded.digest == digest) {
            continue;
        }
        let bytes = std::fs::read(&path).map_err(|error| unread(&path, &error))?;
        let source = Source::DescriptorSet { name: path.display().to_string(), bytes };
        kept.push(Kept { service, digest, source });
    }
    Ok(kept)
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
        if !path.exists() {
            crate::ends::write_bytes_atomically(&path, &contracts.kept_set(&service.name))?;
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
        for wrong in ["health.v1.Patients.binpb", "a@07.binpb", &name.replace(".binpb", ""), &format!(".{name}.12")] {
            assert_eq!(parted(wrong), None, "{wrong}");
        }
    }
}
