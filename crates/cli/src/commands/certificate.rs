//! `drawbridge certificate`: what the member's own authority issues, and takes back.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use federation::{
    Identity, SystemId,
    authority::{Authority, Issued, LIST_VALIDITY, Reason, Revocations},
    certificate::{Facts, read_pem},
};
use gateway::ConfigFile;
use problem::{Problem, TomlFile};

use super::init;
use crate::{
    failure::{Failure, Outcome, because},
    files, moments,
    place::{ConfigOption, SYSTEM_FOLDERS, own_gateway},
    table::{Column, Table},
    terminal::{Out, some, warn},
};

/// Fewest and most digits of a serial number. The authority that `drawbridge init` makes gives 32; others give 8 to 20 random bytes.
const SERIAL_DIGITS: std::ops::RangeInclusive<usize> = 16..=40;

/// Issues, lists and takes back certificates of the member's own gateways and systems
#[derive(Debug, Subcommand)]
pub(crate) enum Certificate {
    Gateway(Gateway),
    System(System),
    Revoke(Revoke),
    List(List),
}

/// Names the authority.
#[derive(Debug, Args)]
struct AuthorityOption {
    /// The folder with `authority.pem` and `authority.key.pem`. Default: `offline` beside the configuration
    #[arg(long, value_name = "FOLDER")]
    authority: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigOption,
}

/// Issues a new certificate for the gateway, in the place of the present one
#[derive(Debug, Args)]
pub(crate) struct Gateway {
    #[command(flatten)]
    authority: AuthorityOption,
    /// A host name or IP address by which the member's systems reach the gateway. May be given more than once, and all have to be
    /// named again. Default: those of the directory's address and of this machine itself
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

/// Issues a certificate for a system of the member
#[derive(Debug, Args)]
pub(crate) struct System {
    /// The system's name within the member
    name: String,
    #[command(flatten)]
    authority: AuthorityOption,
}

/// Takes a certificate back: links and clients that present it are turned away within seconds
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The certificate's file, or its serial number as `drawbridge certificate list` shows it
    certificate: String,
    /// Why: unspecified, key-compromise, affiliation-changed, superseded or cessation
    #[arg(long, default_value = "unspecified")]
    reason: Reason,
    #[command(flatten)]
    authority: AuthorityOption,
}

/// Lists the certificates that lie beside the configuration, the gateway's and those of systems, and until when each is good
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    authority: AuthorityOption,
}

impl Certificate {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Gateway(gateway) => gateway.run(),
            Self::System(system) => system.run(),
            Self::Revoke(revoke) => revoke.run(),
            Self::List(list) => list.run(),
        }
    }
}

impl AuthorityOption {
    fn folder(&self, file: &ConfigFile) -> PathBuf {
        self.authority.clone().unwrap_or_else(|| file.path(Path::new("offline")))
    }

    fn open(&self, file: &ConfigFile) -> Outcome<Authority> {
        let folder = self.folder(file);
        let missing = |problem: Problem| match problem.help {
            Some(_) => problem,
            None => problem.help("name the folder with the authority's files with `--authority`"),
        };
        let with_help =
            |failure: Failure| Failure::from(failure.into_problems().into_iter().map(missing).collect::<Vec<_>>());
        let certificate = files::read(&folder.join("authority.pem")).map_err(with_help)?;
        let key = files::read_secret(&folder.join("authority.key.pem")).map_err(with_help)?;
        Ok(Authority::open(&certificate, &key)
            .map_err(|error| because(format!("cannot use the authority in `{}`", folder.display()), &error))?)
    }

    fn revocations(&self, file: &ConfigFile) -> Outcome<Option<Revocations>> {
        revocations(&self.folder(file).join("revocations.toml"))
    }

    /// What is to be known of the certificate that lies where the next one is written.
    fn before(&self, file: &ConfigFile, certificate: &Path) -> Outcome<Option<String>> {
        let Some(facts) = facts_of(certificate) else { return Ok(None) };
        let revocations = self.revocations(file)?;
        let mut revoked = revocations.iter().flat_map(Revocations::all);
        let end = moments::to_the_minute(facts.not_after);
        Ok(Some(if revoked.any(|revocation| revocation.serial == facts.serial) {
            format!("the one before, serial {}, is revoked", facts.serial)
        } else if facts.not_after <= moments::now() {
            format!("the one before ended on {end}")
        } else {
            format!(
                "the one before stays good until {end}; to take it back: drawbridge certificate revoke {}{}",
                facts.serial,
                self.config.again()
            )
        }))
    }
}

impl Gateway {
    fn run(self) -> Outcome {
        let file = self.authority.config.read()?;
        let gateway = own_gateway(&file)?;
        let authority = self.authority.open(&file)?;
        let hosts = if self.hosts.is_empty() { default_hosts(&file)? } else { self.hosts.clone() };
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let issued =
            authority.issue_gateway(&gateway, &hosts, moments::now()).map_err(|error| init::certificate(&error))?;
        let (certificate, key) = (file.path(&file.config.tls.certificate), file.path(&file.config.tls.key));
        let before = self.authority.before(&file, &certificate)?;
        write(&issued, (&certificate, &key), before, "a running gateway takes it up within seconds")
    }
}

/// Where the gateway is reached, as the directory says and on this machine itself.
fn default_hosts(file: &ConfigFile) -> Outcome<Vec<String>> {
    let federation = crate::place::federation_of(file)?;
    let gateway = own_gateway(file)?;
    let address = federation.gateway(&gateway).and_then(|entry| entry.address.clone());
    Ok(init::hosts(address.as_ref(), &[]))
}

impl System {
    fn run(self) -> Outcome {
        let file = self.authority.config.read()?;
        let system = SystemId::new(own_gateway(&file)?.member().clone(), &self.name)?;
        let authority = self.authority.open(&file)?;
        let issued = authority.issue_system(&system, moments::now()).map_err(|error| init::certificate(&error))?;
        let folder = file.path(Path::new("tls/systems"));
        let (certificate, key) =
            (folder.join(format!("{}.pem", self.name)), folder.join(format!("{}.key.pem", self.name)));
        let before = self.authority.before(&file, &certificate)?;
        write(&issued, (&certificate, &key), before, "give both files to the system, and nobody else")
    }
}

/// Writes a certificate and its key in the place of those that may be there.
fn write(issued: &Issued, (certificate, key): (&Path, &Path), before: Option<String>, then: &str) -> Outcome {
    files::replace(key, &issued.key_pem, files::SECRET)?;
    files::replace(certificate, &issued.certificate_pem, files::PUBLIC)?;
    let mut out = Out::new();
    out.line(format_args!("issued {} for {}", certificate.display(), issued.identity))?;
    out.line(format_args!("  serial {}, good until {}; {then}", issued.serial, moments::to_the_minute(issued.ends)))?;
    if let Some(before) = before {
        out.line(format_args!("  {before}"))?;
    }
    out.flush()
}

fn facts_of(path: &Path) -> Option<Facts> {
    let text = std::fs::read_to_string(path).ok()?;
    Facts::read(read_pem(&text).ok()?.first()?).ok()
}

impl Revoke {
    fn run(self) -> Outcome {
        let file = self.authority.config.read()?;
        let authority = self.authority.open(&file)?;
        let member = authority.member().clone();
        let path = self.authority.folder(&file).join("revocations.toml");
        let mut revocations = revocations(&path)?.unwrap_or_else(|| Revocations::new(member.clone()));
        let (serial, identity) = self.which(&file)?;
        let now = moments::now();
        let fresh = revocations
            .revoke(&serial, identity.clone(), self.reason, now)
            .map_err(|error| Problem::new("", error.to_string()))?;
        let list = authority
            .revocation_list(&mut revocations, now, LIST_VALIDITY)
            .map_err(|error| because("cannot make the revocation list", &error))?;
        // The list's number is on disk before the list is: a number is never used twice.
        files::replace(&path, &revocations.to_text(), files::PUBLIC)?;
        let crl = file.path(&file.config.revocation.folder).join(format!("{member}.crl.pem"));
        files::replace(&crl, &list, files::PUBLIC)?;
        let mut out = Out::new();
        let whose = identity.map_or_else(String::new, |identity| format!(" of {identity}"));
        if fresh {
            out.line(format_args!("revoked {serial}{whose}: {}", self.reason))?;
        } else {
            out.line(format_args!("{serial} was revoked already; the list is made anew"))?;
        }
        out.line(format_args!(
            "  {} is looked at within a second or two by the gateway that runs here",
            crl.display()
        ))?;
        out.line("  give it to the other members too: each gateway looks into its own folder of revocation lists")?;
        out.flush()
    }

    /// The serial number, and whose certificate it is where that is known.
    fn which(&self, file: &ConfigFile) -> Outcome<(String, Option<Identity>)> {
        let path = Path::new(&self.certificate);
        if !path.is_file() {
            return self.by_serial(file);
        }
        let certificates = read_pem(&files::read(path)?).map_err(|error| Problem::new(path, error.to_string()))?;
        let Some(certificate) = certificates.first() else { return Ok((self.certificate.clone(), None)) };
        let facts = Facts::read(certificate).map_err(|error| Problem::new(path, error.to_string()))?;
        Ok((facts.serial, Identity::from_certificate(certificate).ok()))
    }

    /// One of a certificate that does not lie here may have been issued elsewhere, so it is taken, if it can be one of this authority's.
    fn by_serial(&self, file: &ConfigFile) -> Outcome<(String, Option<Identity>)> {
        let serial = self.certificate.replace(':', "").to_lowercase();
        let is_serial = SERIAL_DIGITS.contains(&serial.len()) && serial.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_serial {
            let what = format!("`{}` is neither a file nor the serial number of a certificate", self.certificate);
            let help = "a serial number has 32 hexadecimal digits, as `drawbridge certificate list` shows them";
            return Err(Problem::new("", what).help(help).into());
        }
        for path in beside(file) {
            let Some(certificate) =
                std::fs::read_to_string(path).ok().and_then(|text| read_pem(&text).ok()?.into_iter().next())
            else {
                continue;
            };
            if Facts::read(&certificate).is_ok_and(|facts| facts.serial == serial) {
                return Ok((serial, Identity::from_certificate(&certificate).ok()));
            }
        }
        warn(format_args!(
            "no certificate that lies beside the configuration has the serial number {serial}; see that it is the right one"
        ));
        Ok((serial, None))
    }
}

fn revocations(path: &Path) -> Outcome<Option<Revocations>> {
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(Revocations::parse(&TomlFile::parse(path, files::read(path)?)?)?))
}

/// The certificates that lie beside a configuration: the gateway's and those of systems.
fn beside(file: &ConfigFile) -> Vec<PathBuf> {
    let mut paths = vec![file.path(&file.config.tls.certificate)];
    for folder in SYSTEM_FOLDERS.map(|folder| file.path(Path::new(folder))) {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let is_certificate =
            |name: &str| name.strip_suffix(".pem").is_some_and(|name| name.strip_suffix(".key").is_none());
        found.retain(|path| path.to_str().is_some_and(is_certificate));
        found.sort();
        paths.extend(found);
    }
    paths
}

impl List {
    fn run(self) -> Outcome {
        let file = self.authority.config.read()?;
        let revocations = self.authority.revocations(&file)?;
        let mut out = Out::new();
        let mut table = Table::new([
            Column::left("WHOSE"),
            Column::left("SERIAL"),
            Column::left("GOOD UNTIL"),
            Column::left("FILE"),
        ]);
        for path in beside(&file) {
            let certificates =
                read_pem(&files::read(&path)?).map_err(|error| Problem::new(&path, error.to_string()))?;
            let Some(certificate) = certificates.first() else { continue };
            let facts = Facts::read(certificate).map_err(|error| Problem::new(&path, error.to_string()))?;
            let whose = Identity::from_certificate(certificate)
                .map_or_else(|error| error.to_string(), |identity| identity.to_string());
            let revoked = revocations
                .as_ref()
                .and_then(|all| all.all().iter().find(|revocation| revocation.serial == facts.serial));
            let until = match revoked {
                Some(revocation) => format!("revoked {}: {}", moments::to_the_minute(revocation.at), revocation.reason),
                None => moments::to_the_minute(facts.not_after),
            };
            table.row([whose, facts.serial, until, path.display().to_string()], &mut out)?;
        }
        table.finish(&mut out)?;
        let shown = revocations.iter().flat_map(Revocations::all).count();
        if shown > 0 {
            out.line(format_args!("{} so far", some(shown as u64, "revocation")))?;
        }
        out.flush()
    }
}
