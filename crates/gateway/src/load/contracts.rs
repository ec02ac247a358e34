//! What can be asked, and which legacy system answers it.

use std::path::Path;

use connectors::{Bindings, Setup};
use contract::{Contracts, Source};
use problem::Problem;

use super::files::with_cure;
use crate::{
    access::{self, Kept},
    config::ConfigFile,
};

/// Loads the contracts that the configuration names, with the earlier versions that agreements may be about.
///
/// # Errors
///
/// Every problem of them.
pub fn contracts(file: &ConfigFile) -> Result<Contracts, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut sources = Vec::new();
    for (at, source) in file.config.contracts.sources.iter().enumerate() {
        let path = file.path(source);
        match contract_source(&path) {
            Ok(source) => sources.push(source),
            Err(error) => {
                let what = format!("cannot read the contracts in `{}`", path.display());
                let cure = access::cure(&access::denied_in(&path), &error, Kept::Open);
                let problem = file.toml.problem(&format!("contracts.sources[{at}]"), what).cause(error.to_string());
                problems.push(with_cure(problem, cure));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let contracts = Contracts::load(&sources)?;
    if file.config.clients.as_ref().is_some_and(|clients| clients.rest) {
        rest::Routes::of(&contracts)?;
    }
    super::earlier::with_earlier(file, contracts)
}

/// Reads a folder of `.proto` files, or a descriptor set.
///
/// # Errors
///
/// What the file system says.
pub fn contract_source(path: &Path) -> std::io::Result<Source> {
    let name = path.display().to_string();
    if path.is_dir() {
        let mut files = Vec::new();
        protos(path, path, &mut files)?;
        files.sort();
        return Ok(Source::Protos { name, files });
    }
    Ok(Source::DescriptorSet { name, bytes: std::fs::read(path)? })
}

fn protos(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            protos(root, &path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            let import = path.strip_prefix(root).unwrap_or(&path);
            let import = import.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
            files.push((import, std::fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// Prepares the bindings, and keeps of `previous` what has not changed.
///
/// # Errors
///
/// Every problem of them.
pub(super) async fn bindings(
    file: &ConfigFile,
    contracts: &Contracts,
    previous: &Bindings,
) -> Result<Bindings, Vec<Problem>> {
    let config = &file.config;
    let bindings = Bindings::prepare_after(setup(file, contracts), previous).await.map_err(|found| {
        let problem = |p: connectors::BindingProblem| {
            let problem = file.toml.problem(&p.key, p.what);
            match p.help {
                Some(help) => problem.help(help),
                None => problem,
            }
        };
        found.into_iter().map(problem).collect::<Vec<_>>()
    })?;
    let plain = bindings.iter().any(connectors::Binding::dangerous_plaintext);
    if plain && !config.development {
        let what = "a binding speaks plain text to its back end, which is for development only";
        return Err(vec![
            file.toml.problem("binding", what).help("set `development = true`, or give the back end TLS"),
        ]);
    }
    let mocks = config.binding.iter().enumerate().filter(|(_, binding)| binding.connector.kind == "mock");
    let refused = |(index, _)| {
        let what = "a connector of kind `mock` makes its answers up, which is for development only";
        let help = "set `development = true`, or bind the method to the system that knows the answer";
        file.toml.problem(&format!("binding[{index}].connector.kind"), what).help(help)
    };
    let problems: Vec<Problem> = mocks.filter(|_| !config.development).map(refused).collect();
    if problems.is_empty() { Ok(bindings) } else { Err(problems) }
}

/// Prepares the bindings with which nothing is wrong, whatever is with others.
pub(crate) async fn sound_bindings(file: &ConfigFile, contracts: &Contracts) -> Bindings {
    Bindings::prepare_what_fits(setup(file, contracts), &Bindings::default()).await.0
}

fn setup<'a>(file: &'a ConfigFile, contracts: &'a Contracts) -> Setup<'a> {
    let config = &file.config;
    Setup { bindings: &config.binding, databases: &config.database, contracts, folder: &file.folder }
}
