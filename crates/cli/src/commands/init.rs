//! `drawbridge init`: the folder of a member, with everything that makes it one.

mod configuration;

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use clap::Args;
use federation::{
    Address, Directory, Entry, EntryDraft, GatewayEntry, GatewayId, IdError, MemberId, SystemId,
    authority::{Authority, AuthorityError, Flavour, Issued},
};
use note::SigningKey;
use problem::Problem;
use zeroize::Zeroizing;

use super::entry::VALIDITY;
use crate::{
    failure::{Failure, Outcome, because},
    files, moments,
    terminal::{Out, typed},
};
use configuration::Listens;

/// The port for links that others expect.
const LINKS_PORT: u16 = 8443;
/// The port for clients.
const CLIENTS_PORT: u16 = 8444;
/// The port for metrics and health.
const OPERATIONS_PORT: u16 = 9464;

/// Makes the folder of a member: keys, certificates, configuration and the member's entry
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The member's id: a DNS name of its own, as in county.example
    #[arg(long)]
    member: MemberId,
    /// The gateway's name within the member
    #[arg(long, default_value = "main")]
    gateway: String,
    /// The member's name for people. Default: its id
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Where other members' gateways reach this one. Without it, the gateway only asks, and answers nobody
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<Address>,
    /// A system of the member that will ask others, and gets a certificate. May be given more than once
    #[arg(long = "system", value_name = "NAME")]
    systems: Vec<String>,
    /// A further host name or IP address by which the member's systems reach the gateway, for its certificate. May be given more than
    /// once
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Where to listen for other gateways. Default: the port of `--address` on every interface
    #[arg(long, value_name = "IP:PORT")]
    links: Option<SocketAddr>,
    /// Where to listen for the member's systems. Default: port 8444, on loopback with `--development`, else on every interface
    #[arg(long, value_name = "IP:PORT")]
    clients: Option<SocketAddr>,
    /// Where to listen for metrics and health. Default: 127.0.0.1:9464
    #[arg(long, value_name = "IP:PORT")]
    operations: Option<SocketAddr>,
    /// For trying things out: keys that say NOT FOR PRODUCTION, and settings named `dangerous_…` are allowed
    #[arg(long)]
    development: bool,
    /// The folder to make
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Init {
    pub(crate) fn run(self) -> Outcome {
        let names = self.names()?;
        let address = self.address()?;
        let made = Made::make(&self, &names, address.as_ref())?;
        let files = made.files(&configuration::text(&self, &names, &self.listens(address.as_ref())));
        self.refuse_what_is_there(&files)?;
        files::make_folder(&self.folder, 0o755)?;
        for folder in ["offline", "keys"] {
            files::make_folder(&self.folder.join(folder), 0o700)?;
        }
        for folder in ["agreements", "data", "proto", "revocation", "tls/systems"] {
            files::make_folder(&self.folder.join(folder), if folder == "data" { 0o700 } else { 0o755 })?;
        }
        for (name, text, mode) in &files {
            files::create(&self.folder.join(name), text, *mode)?;
        }
        self.tell(&made)
    }

    fn names(&self) -> Outcome<Names> {
        let gateway = GatewayId::new(self.member.clone(), &self.gateway).map_err(|error| wrong("--gateway", &error))?;
        let systems = self.systems.iter().map(|name| SystemId::new(self.member.clone(), name));
        let mut systems = systems.collect::<Result<Vec<_>, _>>().map_err(|error| wrong("--system", &error))?;
        systems.sort();
        systems.dedup();
        Ok(Names { gateway, systems })
    }

    /// Where others reach this gateway: as given, or where it listens, if that is an address that others can dial.
    fn address(&self) -> Outcome<Option<Address>> {
        let Some(links) = self.links.filter(|_| self.address.is_none()) else { return Ok(self.address.clone()) };
        if links.ip().is_unspecified() || links.port() == 0 {
            let what = format!("`--links {links}` does not say where others reach this gateway");
            return Err(Failure::usage(what, "add `--address HOST:PORT`, as they will dial it"));
        }
        links.to_string().parse().map(Some).map_err(|error| wrong("--links", &error))
    }

    fn listens(&self, address: Option<&Address>) -> Listens {
        let anywhere = |port| SocketAddr::from(([0, 0, 0, 0], port));
        // Whoever dials an address of IPv6 does not reach what listens on those of IPv4 alone.
        let reached_at = |address: &Address| match address.host().parse::<Ipv6Addr>() {
            Ok(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port())),
            Err(_) => anywhere(address.port()),
        };
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Listens {
            links: self.links.or_else(|| address.map(reached_at)),
            clients: self
                .clients
                .unwrap_or_else(|| if self.development { loopback(CLIENTS_PORT) } else { anywhere(CLIENTS_PORT) }),
            operations: self.operations.unwrap_or_else(|| loopback(OPERATIONS_PORT)),
        }
    }

    fn refuse_what_is_there(&self, files: &[(String, Zeroizing<String>, u32)]) -> Outcome {
        let is_there = |name: &&str| self.folder.join(name).symlink_metadata().is_ok();
        let there: Vec<&str> = files.iter().map(|(name, ..)| name.as_str()).filter(is_there).collect();
        if there.is_empty() {
            return Ok(());
        }
        let what = format!("there is a member's folder already, and nothing of it is overwritten: {}", quoted(&there));
        Err(Problem::new(&self.folder, what).help("name a folder that is empty or does not exist yet").into())
    }

    fn tell(&self, made: &Made) -> Outcome {
        let folder = self.folder.display();
        let mut out = Out::new();
        out.line(format_args!("made {folder} for the gateway {}", made.names.gateway))?;
        out.line(format_args!("  {folder}/offline holds the member key and the authority: move it to a medium that is not connected to this machine"))?;
        out.line(format_args!("  {folder}/entry.note tells other members who this is; its member key is"))?;
        out.line(format_args!("    {}", made.entry.member_key))?;
        if made.entry.gateways.iter().all(|gateway| gateway.address.is_none()) {
            out.line("  the gateway only asks, and answers nobody; `drawbridge entry sign --address HOST:PORT` and `[links]` change that")?;
        }
        for (system, _) in &made.systems {
            out.line(format_args!(
                "  {folder}/tls/systems/{name}.pem and {name}.key.pem are for the system {system}",
                name = system.name()
            ))?;
        }
        let config = typed(&self.folder.join("gateway.toml"));
        out.line("next:")?;
        out.line(format_args!(
            "  drawbridge directory add --config {config} THEIR-ENTRY    for each member to exchange with"
        ))?;
        out.line(format_args!(
            "  drawbridge agreement new --config {config} --help         what may be asked, once both have the contracts"
        ))?;
        out.line(format_args!("  drawbridge check --config {config}"))?;
        out.line(format_args!("  drawbridge run --config {config}"))?;
        out.flush()
    }
}

/// Names files, and counts those beyond a few.
fn quoted(names: &[&str]) -> String {
    /// Most names.
    const MOST: usize = 3;
    let some: Vec<String> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MOST) {
        0 => some.join(", "),
        more => format!("{} and {more} more files", some.join(", ")),
    }
}

fn wrong(option: &str, error: &dyn std::error::Error) -> Failure {
    Failure::usage(format!("`{option}`: {error}"), "see `drawbridge init --help`")
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Problem::new("", error.to_string()).into()
    }
}

/// The names of what is made.
struct Names {
    gateway: GatewayId,
    systems: Vec<SystemId>,
}

/// Everything that makes a member, before it is written.
struct Made<'n> {
    names: &'n Names,
    member_key: SigningKey,
    gateway_key: SigningKey,
    log_key: SigningKey,
    authority: Authority,
    tls: Issued,
    systems: Vec<(&'n SystemId, Issued)>,
    entry: Entry,
}

impl<'n> Made<'n> {
    fn make(init: &Init, names: &'n Names, address: Option<&Address>) -> Outcome<Self> {
        let now = moments::now();
        let key = |name: &str| {
            SigningKey::generate(name).map_err(|error| Failure::from(because("cannot make a key", &error)))
        };
        let (member, gateway) = (&init.member, &names.gateway);
        let (member_key, gateway_key, log_key) =
            (key(&member.member_key_name())?, key(&gateway.gateway_key_name())?, key(&gateway.log_origin())?);
        let flavour = if init.development { Flavour::Development } else { Flavour::Production };
        let authority = Authority::create(member, flavour, now).map_err(|error| certificate(&error))?;
        let hosts = hosts(address, &init.hosts);
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let tls = authority.issue_gateway(gateway, &hosts, now).map_err(|error| certificate(&error))?;
        let mut systems = Vec::new();
        for system in &names.systems {
            systems.push((system, authority.issue_system(system, now).map_err(|error| certificate(&error))?));
        }
        let listed = GatewayEntry::new(gateway.clone(), address.cloned(), gateway_key.verifier(), log_key.verifier());
        let draft = EntryDraft {
            member: member.clone(),
            display_name: init.name.clone().unwrap_or_else(|| member.to_string()),
            version: 1,
            valid_until: now.checked_add(VALIDITY).unwrap_or(now),
            roots: vec![authority.certificate().clone()],
            member_key: member_key.verifier(),
            former_member_keys: Vec::new(),
            gateways: vec![listed],
            contracts: Vec::new(),
        };
        let entry = draft.sign(&member_key, &[])?;
        Ok(Self { names, member_key, gateway_key, log_key, authority, tls, systems, entry })
    }

    /// Returns the files: name within the folder, text and mode.
    fn files(&self, configuration: &str) -> Vec<(String, Zeroizing<String>, u32)> {
        let mut directory = Directory::new();
        let added = directory.add(self.entry.clone());
        debug_assert!(added.is_ok(), "an empty directory takes any entry");
        let mut files: Vec<(String, Zeroizing<String>, u32)> = Vec::new();
        let mut file =
            |name: &str, text: &str, mode: u32| files.push((name.to_owned(), Zeroizing::new(text.to_owned()), mode));
        file("gateway.toml", configuration, files::PUBLIC);
        file("keys/gateway.key", &self.gateway_key.to_text(), files::SECRET);
        file("keys/log.key", &self.log_key.to_text(), files::SECRET);
        file("offline/member.key", &self.member_key.to_text(), files::SECRET);
        file("offline/authority.pem", &self.authority.certificate_pem(), files::PUBLIC);
        file("offline/authority.key.pem", &self.authority.key_pem(), files::SECRET);
        file("tls/authority.pem", &self.authority.certificate_pem(), files::PUBLIC);
        file("tls/gateway.pem", &self.tls.certificate_pem, files::PUBLIC);
        file("tls/gateway.key.pem", &self.tls.key_pem, files::SECRET);
        for (system, issued) in &self.systems {
            file(&format!("tls/systems/{}.pem", system.name()), &issued.certificate_pem, files::PUBLIC);
            file(&format!("tls/systems/{}.key.pem", system.name()), &issued.key_pem, files::SECRET);
        }
        file(&format!("proto/{}", contract::OPTIONS_PATH), contract::OPTIONS_PROTO, files::PUBLIC);
        file("entry.note", &self.entry.note().to_string(), files::PUBLIC);
        file("directory.note", &directory.to_text(), files::PUBLIC);
        files
    }
}

/// By which names and addresses the member's systems may reach the gateway.
pub(crate) fn hosts(address: Option<&Address>, more: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> =
        address.map(|address| address.host().trim_matches(['[', ']']).to_owned()).into_iter().collect();
    hosts.extend(more.iter().cloned());
    hosts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    hosts
}

/// Puts an authority's refusal into words.
pub(crate) fn certificate(error: &AuthorityError) -> Problem {
    because("cannot issue the certificate", error)
}

/// The port that links are expected on, for the configuration's comment.
fn links_port(path: Option<SocketAddr>) -> SocketAddr {
    path.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], LINKS_PORT)))
}
