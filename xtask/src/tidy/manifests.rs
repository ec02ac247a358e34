//! The manifests: every crate takes the workspace's lints and dependencies, and is named after its folder.
//!
//! One place for versions and features is also what keeps builds short: each crate alone builds the very
//! dependencies that all together do.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use crate::{
    tidy::Finding,
    workspace::{self, Metadata},
};

const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Holds generated code alone, for which the workspace's lints are not meant.
const GENERATED: &str = "drawbridge-proto";

pub(super) fn check(metadata: &Metadata, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let root = workspace::root();
    let map = fs::read_to_string(root.join("crates/README.md")).unwrap_or_default();
    let mut findings = Vec::new();
    for package in metadata.members() {
        let path = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
        let text =
            fs::read_to_string(&package.manifest_path).with_context(|| format!("cannot read {}", path.display()))?;
        let manifest: Table = text.parse().with_context(|| format!("cannot parse {}", path.display()))?;
        findings.extend(judge(&path.display().to_string(), &package.name, &manifest));
        findings.extend(unused(path, &manifest, files)?);
        let folder = path.parent().and_then(|folder| folder.strip_prefix("crates").ok());
        if let Some(folder) = folder
            && !map.contains(&format!("`{}`", folder.display()))
        {
            findings.push(Finding::new(
                "crates/README.md",
                format!("the architecture does not mention the crate `{}`", folder.display()),
                "give it a line in the map: which question it answers, and what it stays out of",
            ));
        }
    }
    Ok(findings)
}

/// Finds dependencies that no source file of the crate names.
fn unused(path: &Path, manifest: &Table, files: &[PathBuf]) -> Result<Vec<Finding>> {
    let folder = path.parent().unwrap_or(path);
    let mut sources = String::new();
    for file in
        files.iter().filter(|file| file.starts_with(folder) && file.extension().is_some_and(|ending| ending == "rs"))
    {
        sources += &fs::read_to_string(workspace::root().join(file))
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    let place = path.display().to_string();
    let generated = manifest.get("package").and_then(|package| package.get("name")) == Some(&Value::from(GENERATED));
    let unused = names(manifest).filter(|(_, name)| !generated && !sources.contains(&name.replace('-', "_")));
    Ok(unused
        .map(|(table, name)| {
            Finding::new(&place, format!("`{table}.{name}` is used by no source file"), "take it out of the manifest")
        })
        .collect())
}

/// The dependencies of a manifest, each with its table.
fn names(manifest: &Table) -> impl Iterator<Item = (&'static str, &String)> {
    TABLES.iter().flat_map(|table| {
        let dependencies = manifest.get(*table).and_then(Value::as_table);
        dependencies.into_iter().flat_map(|dependencies| dependencies.keys()).map(|name| (*table, name))
    })
}

/// Judges one manifest at `place`.
fn judge(place: &str, name: &str, manifest: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder = place.rsplit('/').nth(1).unwrap_or_default();
    if name != folder && name != format!("drawbridge-{folder}") {
        findings.push(Finding::new(
            place,
            format!("the package in the folder `{folder}` is called `{name}`"),
            format!("call it `drawbridge-{folder}`"),
        ));
    }
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    if lints != Some(&Value::Boolean(true)) && name != GENERATED {
        findings.push(Finding::new(
            place,
            "the crate does not take the workspace's lints",
            "add `[lints]` with `workspace = true`",
        ));
    }
    for table in TABLES {
        let dependencies = manifest.get(table).and_then(Value::as_table).into_iter().flatten();
        for (dependency, value) in dependencies {
            if value.get("workspace") != Some(&Value::Boolean(true)) {
                findings.push(Finding::new(
                    place,
                    format!("`{table}.{dependency}` does not come from the workspace"),
                    "name version and features in the root's `[workspace.dependencies]`, and `workspace = true` here",
                ));
            }
            // Stubs of services are asked for by those who serve, so that what is pure stays so.
            if value.get("features").is_some() && dependency != "proto" {
                findings.push(Finding::new(
                    place,
                    format!("`{table}.{dependency}` names features of its own"),
                    "name them in the root's `[workspace.dependencies]`, so that one set is built",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(manifest: &str) -> Vec<String> {
        let findings = judge("crates/note/Cargo.toml", "drawbridge-note", &manifest.parse().unwrap());
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_manifest_in_order_passes() {
        assert!(found("lints.workspace = true\n[dependencies]\nbytes.workspace = true").is_empty());
    }

    #[test]
    fn a_version_or_a_feature_outside_the_workspace_is_found() {
        let found = found(
            "lints.workspace = true\n[dependencies]\nbytes = \"1\"\n[dev-dependencies]\ntokio = { workspace = true, features = [\"full\"] }",
        );
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("dependencies.bytes"));
        assert!(found[1].contains("dev-dependencies.tokio"));
    }

    #[test]
    fn missing_lints_are_found() {
        assert!(found("[dependencies]")[0].contains("lints"));
    }

    #[test]
    fn a_package_that_is_not_named_after_its_folder_is_found() {
        let manifest = "lints.workspace = true".parse().unwrap();
        let findings = judge("crates/note/Cargo.toml", "drawbridge-keys", &manifest);
        assert!(findings[0].what.contains("`drawbridge-keys`"), "{findings:?}");
    }
}
