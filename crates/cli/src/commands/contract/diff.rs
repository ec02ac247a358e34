//! `drawbridge contract diff`: whether agreements about one version of a contract go on under another, and if not, why.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Args;
use contract::{Change, Contracts, Service, Version};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, Outcome, because},
    terminal::{Out, shown, some},
};

/// Compares two versions of a contract: exit code 0 when agreements about the old one go on under the new one
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The earlier version: a folder of .proto files, or a descriptor set
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The later version
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// One service in both versions.
struct Compared<'c> {
    old: Option<&'c Service>,
    new: Option<&'c Service>,
    changes: Vec<Change>,
}

impl Diff {
    pub(super) fn run(self) -> Outcome {
        let (old, new) = (load(&self.old)?, load(&self.new)?);
        let names: BTreeSet<&str> = old.services().chain(new.services()).map(|service| service.name.as_str()).collect();
        let compared: Vec<(&str, Compared<'_>)> =
            names.into_iter().map(|name| (name, Compared::of(old.service(name), new.service(name)))).collect();
        let compatible = compared.iter().all(|(_, compared)| compared.is_compatible());
        let mut out = Out::new();
        if self.json {
            let services = compared.iter().map(|(name, compared)| compared.json(name));
            out.line(json!({ "compatible": compatible, "services": services.collect::<Vec<_>>() }))?;
        } else {
            for (name, compared) in &compared {
                self.show(&mut out, name, compared)?;
            }
        }
        out.flush()?;
        if compatible { Ok(()) } else { Err(Failure::told()) }
    }

    fn show(&self, out: &mut Out, name: &str, compared: &Compared<'_>) -> Outcome {
        let name = shown(name);
        let verdict = match (compared.old, compared.new) {
            (Some(_), None) => "NOT compatible: the service is removed".to_owned(),
            (None, _) => "a new service".to_owned(),
            (Some(old), Some(new)) if old.digest == new.digest => "the same".to_owned(),
            (Some(_), Some(_)) => {
                let breaking = compared.changes.iter().filter(|change| change.breaks).count() as u64;
                match breaking {
                    0 => format!("compatible, with {}", some(compared.changes.len() as u64, "addition")),
                    _ => {
                        format!("NOT compatible, with {} that agreements cannot go on under", some(breaking, "change"))
                    }
                }
            }
        };
        out.heading(format_args!("{name}: {verdict}"))?;
        for change in &compared.changes {
            let mark = if change.breaks { "breaks" } else { "fits  " };
            let place = self.place(change).map(|place| format!("  ({place})")).unwrap_or_default();
            out.line(format_args!("  {mark}  {}{}", shown(&change.to_string()), shown(&place)))?;
        }
        Ok(())
    }

    /// Where a change stands, as a path from where the command runs, and the line.
    fn place(&self, change: &Change) -> Option<String> {
        let place = change.place.as_ref()?;
        let source = match place.version {
            Version::Earlier => &self.old,
            Version::Later => &self.new,
        };
        let file = if source.is_dir() { source.join(&place.file) } else { PathBuf::from(&place.file) };
        Some(format!("{}:{}", file.display(), place.line))
    }
}

impl<'c> Compared<'c> {
    fn of(old: Option<&'c Service>, new: Option<&'c Service>) -> Self {
        let changes = old.zip(new).map(|(old, new)| old.changes_to(new)).unwrap_or_default();
        Self { old, new, changes }
    }

    fn is_compatible(&self) -> bool {
        (self.old.is_none() || self.new.is_some()) && !self.changes.iter().any(|change| change.breaks)
    }

    fn json(&self, name: &str) -> Value {
        let changes = self.changes.iter().map(|change| {
            let version = change.place.as_ref().map(|place| match place.version {
                Version::Earlier => "old",
                Version::Later => "new",
            });
            json!({
                "element": change.element,
                "what": change.what,
                "breaks": change.breaks,
                "version": version,
                "file": change.place.as_ref().map(|place| &place.file),
                "line": change.place.as_ref().map(|place| place.line),
            })
        });
        json!({
            "service": name,
            "compatible": self.is_compatible(),
            "old": self.old.map(|service| service.digest.to_string()),
            "new": self.new.map(|service| service.digest.to_string()),
            "changes": changes.collect::<Vec<_>>(),
        })
    }
}

fn load(path: &Path) -> Outcome<Contracts> {
    if path.is_file() && path.extension().is_some_and(|extension| extension == "proto") {
        let what = format!("`{}` is one file of a contract", path.display());
        return Err(Failure::usage(what, "name the folder that imports are relative to, or a descriptor set"));
    }
    let source = gateway::load::contract_source(path)
        .map_err(|error| because(format!("cannot read the contract in `{}`", path.display()), &error))?;
    Contracts::load(&[source]).map_err(Failure::from)
}
