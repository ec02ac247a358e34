//! `cargo xtask deny`: what comes from other people, held against `deny.toml`.
//!
//! The file is cargo-deny's own. Where that tool is installed it runs too, and looks at advisories, for which it wants
//! the network; what is here needs nothing but cargo.

mod licence;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    step,
    tidy::count,
    workspace::{self, Metadata, Package},
};

/// The one place that packages come from, as cargo writes it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The parts of `deny.toml` that are judged here.
#[derive(Deserialize)]
struct Rules {
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    reason: String,
    /// The crate is welcome, but only once.
    #[serde(default, rename = "deny-multiple-versions")]
    single: bool,
}

/// Looks at the licence, the source and the versions of everything that takes part in a build.
///
/// # Errors
///
/// When something is not allowed; it has been printed by then.
pub(crate) fn run() -> Result<()> {
    let text = fs::read_to_string(workspace::root().join("deny.toml")).context("cannot read deny.toml")?;
    let rules: Rules = toml::from_str(&text).context("cannot read deny.toml")?;
    let metadata = Metadata::load()?;
    let mut foreign = metadata.built()?;
    foreign.retain(|package| package.source.is_some());
    let mut findings = licences(&rules.licenses, &foreign);
    findings.extend(bans(&rules.bans, &foreign).into_iter().map(|(finding, package)| match package {
        Some(package) => format!("{finding}; it is used by `{}`", metadata.dependents(package).join("`, `")),
        None => finding,
    }));
    findings.extend(sources(&foreign));
    for finding in &findings {
        eprintln!("error: {finding}\n");
    }
    if !findings.is_empty() {
        bail!("{} against deny.toml", count(findings.len(), "finding"));
    }
    eprintln!("deny: {} packages of other people's in order", foreign.len());
    if step::present("cargo-deny") {
        step::run(&mut step::cargo(["deny", "check"]))?;
    } else {
        eprintln!("note: advisories were not looked at; `cargo install --locked cargo-deny` brings the tool that does");
    }
    Ok(())
}

fn licences(rules: &Licences, packages: &[&Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let named = format!("`{} {}`", package.name, package.version);
        let exception = rules.exceptions.iter().find(|exception| exception.name == package.name);
        let allowed = |licence: &str| {
            rules.allow.contains(licence) || exception.is_some_and(|exception| exception.allow.contains(licence))
        };
        match &package.license {
            None => {
                let beside = package.license_file.as_ref().map(|file| format!(" but the file {}", file.display()));
                findings.push(format!("{named} names no licence{}", beside.unwrap_or_default()));
            }
            Some(text) => match licence::permits(text, allowed) {
                Ok(true) => {}
                Ok(false) => findings.push(format!("{named} is under `{text}`, which deny.toml does not allow")),
                Err(error) => findings.push(format!("{named} has a licence that cannot be read: `{text}`: {error}")),
            },
        }
    }
    findings
}

/// Findings, each with the package to be explained.
fn bans<'p>(rules: &Bans, packages: &[&'p Package]) -> Vec<(String, Option<&'p Package>)> {
    let mut by_name: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for &package in packages {
        by_name.entry(&package.name).or_default().push(package);
    }
    let mut findings = Vec::new();
    for ban in &rules.deny {
        let found = by_name.get(ban.name.as_str()).map_or(&[][..], Vec::as_slice);
        match found {
            [package, ..] if !ban.single => {
                findings.push((format!("`{}` is in the build: {}", ban.name, ban.reason), Some(*package)));
            }
            [] | [_] => {}
            [first, ..] => {
                let versions: Vec<&str> = found.iter().map(|package| package.version.as_str()).collect();
                findings.push((format!("`{}` is in the build as {}", ban.name, versions.join(" and ")), Some(*first)));
            }
        }
    }
    let doubled: Vec<String> = by_name
        .iter()
        .filter(|(_, found)| found.len() > 1)
        .map(|(name, found)| format!("{name} ×{}", found.len()))
        .collect();
    if !doubled.is_empty() {
        eprintln!("note: in more than one version: {}", doubled.join(", "));
    }
    findings
}

fn sources(packages: &[&Package]) -> Vec<String> {
    packages
        .iter()
        .filter_map(|package| {
            let source = package.source.as_deref()?;
            (source != REGISTRY)
                .then(|| format!("`{} {}` comes from `{source}`, not from the registry", package.name, package.version))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let text = fs::read_to_string(workspace::root().join("deny.toml")).unwrap();
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_found() {
        let (good, bad) = (Package::sample("a", "1.0.0", "MIT OR GPL-3.0"), Package::sample("b", "1.0.0", "AGPL-3.0"));
        let found = licences(&rules().licenses, &[&good, &bad]);
        assert_eq!(found, ["`b 1.0.0` is under `AGPL-3.0`, which deny.toml does not allow"]);
    }

    #[test]
    fn a_package_without_a_licence_is_found() {
        let mut package = Package::sample("a", "1.0.0", "");
        package.license = None;
        assert_eq!(licences(&rules().licenses, &[&package]), ["`a 1.0.0` names no licence"]);
    }

    #[test]
    fn a_second_crypto_provider_and_a_second_tokio_are_found() {
        let packages = [
            Package::sample("ring", "0.17.0", "ISC"),
            Package::sample("tokio", "1.0.0", "MIT"),
            Package::sample("tokio", "2.0.0", "MIT"),
            Package::sample("syn", "1.0.0", "MIT"),
            Package::sample("syn", "2.0.0", "MIT"),
        ];
        let packages: Vec<&Package> = packages.iter().collect();
        let found: Vec<String> = bans(&rules().bans, &packages).into_iter().map(|(finding, _)| finding).collect();
        assert_eq!(
            found,
            ["`ring` is in the build: a second crypto provider", "`tokio` is in the build as 1.0.0 and 2.0.0"]
        );
    }

    #[test]
    fn a_package_from_elsewhere_is_found() {
        let mut package = Package::sample("a", "1.0.0", "MIT");
        package.source = Some("git+https://git.example/a".into());
        assert!(sources(&[&package])[0].contains("git.example"));
    }
}
