//! `drawbridge entry`: what a member tells the others about itself.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand};
use federation::{
    Address, Entry as Signed, EntryDraft, FormerKey, GatewayEntry, GatewayId, authority::ROOT_VALIDITY, certificate,
};
use gateway::ConfigFile;
use note::{SigningKey, VerifierKey};
use problem::Problem;

use super::directory;
use crate::{
    failure::{Failure, Outcome},
    files, moments,
    place::{ConfigOption, own_gateway, read_directory, read_key},
    terminal::{Out, shown, warn},
};

/// How long others go by a new version of an entry.
pub(crate) const VALIDITY: Duration = Duration::from_hours(365 * 24);

/// Shows and renews a member's own entry
#[derive(Debug, Subcommand)]
pub(crate) enum Entry {
    Show(Show),
    Sign(Box<Sign>),
}

/// Shows an entry
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The entry file. Default: `entry.note` beside the configuration
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOption,
}

/// Signs the next version of the own entry: with the gateway's present keys, the contracts that it offers, and another year
#[derive(Debug, Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    config: ConfigOption,
    /// The member key, `offline/member.key` for most
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The member key until now, where `--key` is a new one
    #[arg(long, value_name = "FILE")]
    former_key: Option<PathBuf>,
    /// Where other gateways reach this one from now on, as in gw.county.example:8443
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<Address>,
    /// The member's name for people
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// How long the gateway key until now counts beside a new one, so that the others can take the entry and the gateway be restarted;
    /// 0s where somebody else may have it
    #[arg(long, value_name = "TIME", default_value = "1day", value_parser = moments::parse_overlap)]
    overlap: Duration,
    /// The certificate, in PEM, of an authority to change to: it is listed beside the present roots, and certificates of either are taken
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// The entry file. Default: `entry.note` beside the configuration
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
}

impl Entry {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Show(show) => show.run(),
            Self::Sign(sign) => sign.run(),
        }
    }
}

impl Show {
    fn run(self) -> Outcome {
        let path = entry_path(self.file, &self.config)?;
        let mut out = Out::new();
        show(&read(&path)?, &mut out)?;
        out.flush()
    }
}

fn entry_path(given: Option<PathBuf>, config: &ConfigOption) -> Outcome<PathBuf> {
    match given {
        Some(path) => Ok(path),
        None => Ok(config.read()?.path(Path::new("entry.note"))),
    }
}

fn read(path: &Path) -> Outcome<Signed> {
    Ok(Signed::parse(path, &files::read(path)?)?)
}

/// Writes what an entry says.
pub(crate) fn show(entry: &Signed, out: &mut Out) -> Outcome {
    out.heading(format_args!("{}, {}", entry.member, shown(&entry.display_name)))?;
    out.line(format_args!("  version     {}", entry.version))?;
    out.line(format_args!("  good until  {}", moments::to_the_minute(entry.valid_until)))?;
    out.line(format_args!("  digest      {}", entry.digest()))?;
    out.line(format_args!("  member key  {}", entry.member_key))?;
    former(&entry.former_member_keys, out)?;
    for root in entry.roots.iter().filter_map(|root| certificate::Facts::read(root).ok()) {
        let development = if root.is_development { ", NOT FOR PRODUCTION" } else { "" };
        out.line(format_args!(
            "  root        serial {}, until {}{development}",
            root.serial,
            moments::to_the_minute(root.not_after)
        ))?;
    }
    for gateway in &entry.gateways {
        out.line(format_args!("  gateway     {}", gateway.id))?;
        match &gateway.address {
            Some(address) => out.line(format_args!("    address     {address}"))?,
            None => out.line("    address     none: it asks, and answers nobody")?,
        }
        if let Some(retired) = gateway.retired {
            out.line(format_args!("    retired     {}", moments::to_the_minute(retired)))?;
        }
        out.line(format_args!("    key         {}", gateway.gateway_key))?;
        former(&gateway.former_gateway_keys, out)?;
        out.line(format_args!("    log         {}", gateway.log_origin))?;
        out.line(format_args!("    log key     {}", gateway.log_key))?;
        former(&gateway.former_log_keys, out)?;
    }
    for (service, digest) in &entry.contracts {
        out.line(format_args!("  offers      {service}, {digest}"))?;
    }
    Ok(())
}

fn former(keys: &[FormerKey], out: &mut Out) -> Outcome {
    keys.iter().try_for_each(|former| {
        out.line(format_args!("    until {}: {}", moments::to_the_minute(former.until), former.key))
    })
}

impl Sign {
    fn run(self) -> Outcome {
        let file = self.config.read()?;
        let gateway = own_gateway(&file)?;
        let path = self.entry.clone().unwrap_or_else(|| file.path(Path::new("entry.note")));
        let now = read(&path)?;
        if now.member != *gateway.member() {
            let what = format!("the entry is of `{}`, not of `{}`", now.member, gateway.member());
            return Err(Problem::new(&path, what).help("name the own entry with `--entry`").into());
        }
        let key = read_key(&self.key, "the member key")?;
        let former = self.former_key.as_deref().map(|path| read_key(path, "the former member key")).transpose()?;
        let draft = self.draft(&file, &gateway, &now, &key.verifier())?;
        let former: Vec<&SigningKey> = former.iter().collect();
        let own = draft.gateways.iter().find(|entry| entry.id == gateway);
        let until = own.filter(|own| {
            now.gateways.iter().any(|before| before.id == own.id && before.gateway_key != own.gateway_key)
        });
        let until = until.and_then(|own| Some(own.former_gateway_keys.first()?.until));
        let next = draft.sign(&key, &former)?;
        next.check_succession(&now).map_err(|error| error.problem(&path))?;
        files::replace(&path, &next.note().to_string(), files::PUBLIC)?;
        let mut out = Out::new();
        out.line(format_args!("signed {}, version {}", path.display(), next.version))?;
        let directory_path = file.path(&file.config.directory.file);
        if directory_path.exists() {
            let mut members = read_directory(&directory_path)?;
            members.add(next).map_err(|error| error.problem(&directory_path))?;
            directory::write(&directory_path, &members)?;
            out.line(format_args!("it is in {}", directory_path.display()))?;
        }
        let then = "give it to the other members, who take it with `drawbridge directory add`";
        match until {
            None => out.line(format_args!("next: {then}"))?,
            Some(until) => {
                let until = moments::to_the_minute(until);
                out.line(format_args!("the gateway key until now counts beside the new one until {until}"))?;
                out.line(format_args!("next, all before then: 1. {then}"))?;
                out.line("                       2. once all have, restart the gateway: until then it signs with the key until now")?;
            }
        }
        out.flush()
    }

    fn draft(&self, file: &ConfigFile, gateway: &GatewayId, now: &Signed, key: &VerifierKey) -> Outcome<EntryDraft> {
        let mut draft = EntryDraft::following(now);
        let at = moments::now();
        draft.valid_until = at.checked_add(VALIDITY).unwrap_or(draft.valid_until);
        if *key != now.member_key {
            if self.former_key.is_none() {
                let what = format!("the key in `{}` is not the member key that the entry names", self.key.display());
                return Err(Failure::usage(
                    what,
                    "to change to it, name the one until now with `--former-key`; it signs as well",
                ));
            }
            draft.rotate_member_key(key.clone(), at);
        }
        if let Some(name) = &self.name {
            draft.display_name.clone_from(name);
        }
        if let Some(path) = &self.root {
            let roots =
                certificate::read_pem(&files::read(path)?).map_err(|error| Problem::new(path, error.to_string()))?;
            draft.roots.extend(roots.into_iter().filter(|root| !now.roots.contains(root)));
        }
        self.gateway(file, gateway, &mut draft)?;
        draft.contracts = offered(file)?;
        Ok(draft)
    }

    /// Puts the keys that the gateway has now into its part of the entry, and its address.
    fn gateway(&self, file: &ConfigFile, id: &GatewayId, draft: &mut EntryDraft) -> Outcome {
        let gateway_key = read_key(&file.path(&file.config.keys.gateway), "the gateway key")?.verifier();
        let log_key = read_key(&file.path(&file.config.keys.log), "the log key")?.verifier();
        let at = moments::now();
        match draft.gateways.iter_mut().find(|gateway| gateway.id == *id) {
            None => draft.gateways.push(GatewayEntry::new(id.clone(), self.address.clone(), gateway_key, log_key)),
            Some(gateway) => {
                let replaced = |listed: &mut VerifierKey, present: VerifierKey, until: SystemTime| {
                    (*listed != present).then(|| FormerKey { key: std::mem::replace(listed, present), until })
                };
                let until = at.checked_add(self.overlap).unwrap_or(at);
                let former = replaced(&mut gateway.gateway_key, gateway_key, until);
                gateway.former_gateway_keys.splice(0..0, former);
                let former = replaced(&mut gateway.log_key, log_key, at);
                gateway.former_log_keys.splice(0..0, former);
                if let Some(address) = &self.address {
                    gateway.address = Some(address.clone());
                }
            }
        }
        Ok(())
    }
}

/// The services that a gateway has a binding for, with the digests of their contracts.
fn offered(file: &ConfigFile) -> Outcome<Vec<(String, String)>> {
    let contracts = gateway::load::contracts(file)?;
    let bound = |service: &&contract::Service| {
        let prefix = format!("{}/", service.name);
        file.config.binding.iter().any(|binding| binding.method.trim_start_matches('/').starts_with(&prefix))
    };
    let mut offered: Vec<(String, String)> =
        contracts.services().filter(bound).map(|service| (service.name.clone(), service.digest.to_string())).collect();
    offered.sort();
    if offered.is_empty() {
        warn("no method is bound, so the entry offers no contract");
    }
    Ok(offered)
}

const _: () = assert!(VALIDITY.as_secs() < ROOT_VALIDITY.as_secs(), "an entry is renewed well before its root ends");
