//! Who asks, and where: a system of the own member, at the clients' port of the own gateway.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;
use contract::Contracts;
use federation::{
    Identity, SystemId,
    trust::{TlsIdentity, TlsOptions, TrustStore, client_config},
};
use gateway::ConfigFile;
use problem::Problem;
use rustls_pki_types::ServerName;

use super::channel::{Parties, Target, Tls};
use crate::{
    failure::{Failure, Outcome, because},
    files,
    place::{ConfigOption, SYSTEM_FOLDERS, own_gateway},
};

/// Says which system asks, and through which gateway.
#[derive(Debug, Args)]
pub(in crate::commands) struct CallerOption {
    #[command(flatten)]
    config: ConfigOption,
    /// The own system that asks. Its certificate is `tls/systems/NAME.pem`, its key `NAME.key.pem` beside it. Default: the only one
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// Another certificate to present, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Where the own gateway takes clients. Default: as the configuration says
    #[arg(long, value_name = "IP:PORT")]
    gateway: Option<SocketAddr>,
}

/// A system that asks.
pub(super) struct Caller {
    pub(super) file: ConfigFile,
    pub(super) contracts: Contracts,
    /// The system, where it is known without TLS.
    pub(super) system: Option<SystemId>,
    target: Target,
}

impl CallerOption {
    /// Returns how to name the same caller in a command that comes next.
    pub(super) fn again(&self) -> String {
        let file = |path: &PathBuf| path.display().to_string();
        let given = [
            ("system", self.system.clone()),
            ("certificate", self.certificate.as_ref().map(file)),
            ("key", self.key.as_ref().map(file)),
            ("gateway", self.gateway.map(|address| address.to_string())),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some(format!(" --{name} {}", value?)));
        self.config.again() + &given.collect::<String>()
    }

    pub(super) fn read(&self) -> Outcome<Caller> {
        let file = self.config.read()?;
        let contracts = gateway::load::contracts(&file)?;
        let own = own_gateway(&file)?;
        let Some(clients) = &file.config.clients else {
            return Err(Problem::new(file.toml.name(), "this gateway takes no clients")
                .help("set `clients.listen`")
                .into());
        };
        let address = self.gateway.unwrap_or_else(|| dialled(clients.listen));
        if address.port() == 0 {
            return Err(Failure::usage(
                "the configuration leaves the clients' port to the system",
                "name the address that the gateway told at its start with `--gateway`",
            ));
        }
        if let Some(plain) = &clients.dangerous_plaintext_system {
            let system = SystemId::new(own.member().clone(), plain).ok();
            return Ok(Caller { contracts, system, target: Target { address, tls: None, parties: None }, file });
        }
        let (certificate, key) = self.credentials(&file)?;
        let identity = TlsIdentity::from_pem(&files::read(&certificate)?, &files::read_secret(&key)?)
            .map_err(|error| because(format!("cannot use the certificate in `{}`", certificate.display()), &error))?;
        let trust = TrustStore::new(gateway::load::trust(&file, own.member())?);
        let options = TlsOptions { post_quantum: file.config.tls.post_quantum };
        let config = client_config(&identity, trust.gateway_verifier(own.clone()), &options)
            .map_err(|error| because("cannot set up TLS", &error))?;
        let system = match identity.identity() {
            Identity::System(system) => Some(system.clone()),
            Identity::Gateway(_) | Identity::Auditor(_) => None,
        };
        let tls = Tls { config, name: ServerName::from(address.ip()) };
        let parties = Parties { presented: identity.identity().clone(), own: own.member().clone() };
        let target = Target { address, tls: Some(tls), parties: Some(parties) };
        Ok(Caller { file, contracts, system, target })
    }

    /// The files of certificate and key.
    fn credentials(&self, file: &ConfigFile) -> Outcome<(PathBuf, PathBuf)> {
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            return Ok((certificate.clone(), key.clone()));
        }
        let found = systems(file);
        let names = || found.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let chosen = match &self.system {
            Some(wanted) => found.iter().find(|(name, _)| name == wanted).ok_or_else(|| {
                let help = if found.is_empty() {
                    format!("`drawbridge certificate system {wanted}` issues one")
                } else {
                    format!("there is {}; `drawbridge certificate system {wanted}` issues another", names())
                };
                Failure::from(
                    Problem::new(
                        file.path(Path::new("tls/systems")),
                        format!("the system `{wanted}` has no certificate here"),
                    )
                    .help(help),
                )
            })?,
            None => match found.as_slice() {
                [one] => one,
                [] => {
                    return Err(Failure::usage(
                        "no system has a certificate here",
                        "`drawbridge certificate system NAME` issues one",
                    ));
                }
                _ => {
                    return Err(Failure::usage(
                        "several systems have a certificate here",
                        format!("name the one that asks with `--system`: {}", names()),
                    ));
                }
            },
        };
        let (name, folder) = chosen;
        Ok((folder.join(format!("{name}.pem")), folder.join(format!("{name}.key.pem"))))
    }
}

/// The systems with a certificate, and the folders where they lie.
fn systems(file: &ConfigFile) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for folder in SYSTEM_FOLDERS.map(|folder| file.path(Path::new(folder))) {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let names = names.filter_map(|name| {
            Some(name.strip_suffix(".pem").filter(|name| name.strip_suffix(".key").is_none())?.to_owned())
        });
        found.extend(names.map(|name| (name, folder.clone())));
    }
    found.sort();
    found
}

/// Where to dial what listens at `listen`: at every interface means at this machine itself too.
fn dialled(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => listen.ip(),
    };
    SocketAddr::new(ip, listen.port())
}

impl Caller {
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Largest message that the gateway passes on, in bytes.
    pub(super) fn message_limit(&self) -> usize {
        self.file.config.limits.message.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_dialled_on_this_machine() {
        for (listen, expected) in
            [("0.0.0.0:8444", "127.0.0.1:8444"), ("[::]:8444", "[::1]:8444"), ("10.0.0.7:1", "10.0.0.7:1")]
        {
            assert_eq!(dialled(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
