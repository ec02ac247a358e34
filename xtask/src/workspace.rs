//! The workspace as cargo sees it: packages, who depends on whom, which files are in it.
//!
//! Only what a real build on this machine takes part in counts: optional dependencies that no feature asks for are
//! in the lock file, but not here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::step;

/// The root of the workspace: the parent of this crate's folder.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The folder that cargo builds into.
///
/// # Errors
///
/// When this program does not lie in it, as it does when cargo runs it.
pub(crate) fn target() -> Result<PathBuf> {
    let program = program()?;
    // <target>/<profile>/xtask
    let target = program.parent().and_then(Path::parent).context("this program does not lie in a build folder")?;
    Ok(target.to_owned())
}

/// Where this program lies. The first call decides: `main` asks before any build, since one that replaces the file makes the
/// system call the running program deleted.
///
/// # Errors
///
/// When the system cannot tell.
pub(crate) fn program() -> Result<&'static Path> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(known) = PROGRAM.get() {
        return Ok(known);
    }
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    Ok(PROGRAM.get_or_init(|| program))
}

/// What `cargo metadata` says.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

/// One package in the graph, ours or other people's.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) license_file: Option<PathBuf>,
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    dependencies: Vec<Declared>,
}

/// A dependency as the manifest declares it, whether or not a feature asks for it.
#[derive(Deserialize)]
struct Declared {
    name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

impl Package {
    /// The names of the packages that this one may use in what it ships: its normal and build dependencies.
    pub(crate) fn shipped_dependencies(&self) -> impl Iterator<Item = &str> {
        let shipped = self.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        shipped.map(|dependency| dependency.name.as_str())
    }

    /// A package from the registry, for tests.
    #[cfg(test)]
    pub(crate) fn sample(name: &str, version: &str, licence: &str) -> Self {
        Self {
            id: format!("{name}@{version}"),
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some(licence.to_owned()),
            license_file: None,
            source: Some("registry+https://github.com/rust-lang/crates.io-index".to_owned()),
            manifest_path: PathBuf::new(),
            features: BTreeMap::new(),
            dependencies: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
}

impl Metadata {
    /// Asks cargo, for this machine's platform, without the network.
    ///
    /// # Errors
    ///
    /// When cargo fails, for example because the lock file is not up to date.
    pub(crate) fn load() -> Result<Self> {
        let host = host()?;
        let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &host];
        let text = step::output(&mut step::cargo(arguments))?;
        serde_json::from_str(&text).context("cannot read what `cargo metadata` printed")
    }

    /// The workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Every package that takes part in a build of the workspace on this machine, its tests included.
    ///
    /// Asked of `cargo tree`, which resolves features as a build does; `cargo metadata` still counts optional
    /// dependencies of dependencies that nothing asks for.
    ///
    /// # Errors
    ///
    /// When cargo fails.
    pub(crate) fn built(&self) -> Result<Vec<&Package>> {
        let tree =
            step::output(&mut step::cargo(["tree", "--workspace", "--locked", "--prefix", "none", "--format", "{p}"]))?;
        // `name v1.2.3 (where from) (*)`
        let named = |line: &str| -> Option<(String, String)> {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
        };
        let built: BTreeSet<(String, String)> = tree.lines().filter_map(named).collect();
        let built = |package: &&Package| built.contains(&(package.name.clone(), package.version.clone()));
        Ok(self.packages.iter().filter(built).collect())
    }

    /// Which packages depend on `package` directly, for a message that says where something comes from.
    pub(crate) fn dependents(&self, package: &Package) -> Vec<&str> {
        let ids: BTreeSet<&str> = self
            .resolve
            .nodes
            .iter()
            .filter(|node| node.deps.iter().any(|dependency| dependency.pkg == package.id))
            .map(|node| node.id.as_str())
            .collect();
        self.packages.iter().filter(|each| ids.contains(each.id.as_str())).map(|each| each.name.as_str()).collect()
    }
}

/// Every file of the workspace that is, or would be, under version control, relative to the root.
///
/// # Errors
///
/// When git fails, for example outside a work tree.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]).current_dir(root());
    let listed = step::output(&mut git)?;
    let mut files: Vec<PathBuf> = listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    // A file that was deleted but is still in git's index.
    files.retain(|file| root().join(file).exists());
    files.sort();
    files.dedup();
    Ok(files)
}

/// The target triple that this machine builds for.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = step::output(std::process::Command::new(rustc).arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}
