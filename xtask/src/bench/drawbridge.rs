//! Our pair: two gateways as two members would run them, with everything signed, durable and minimised.
//!
//! What differs from a real deployment: callers come in plain text where those of the peers do, which asks for development
//! mode, and the back end does so in any case. Between the gateways nothing is different.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, anyhow};
use contract::{Contracts, Source};
use federation::{
    Directory, EntryDraft, GatewayEntry, GatewayId, MemberId, SystemId,
    authority::{Authority, Flavour, Issued},
    certificate,
};
use jiff::{Timestamp, tz::Offset};
use note::SigningKey;
use policy::AgreementFile;
use problem::Problem;

use crate::workspace;

use super::{
    certificates,
    load::Target,
    process::{self, Process},
};

const PROTO: &str = include_str!("../../../benches/proto/bench/v1/echo.proto");
const CONSUMER: &str = "consumer.example";
const PROVIDER: &str = "provider.example";
const SYSTEM: &str = "caller";
const PURPOSE: &str = "comparison";

/// How long before now everything is in force, and how long after.
const DAY: Duration = Duration::from_hours(24);

/// The consumer's and the provider's gateway, and how to call the first.
pub(super) struct Pair {
    pub(super) target: Target,
    pub(super) consumer: Process,
    pub(super) provider: Process,
}

/// Starts both gateways afresh in `folder`, in front of `backend`.
///
/// # Errors
///
/// When something cannot be made or a gateway does not come up.
pub(super) fn start(folder: &Path, binary: &Path, backend: SocketAddr, client_tls: bool) -> Result<Pair> {
    let Several { mut askers, provider } = start_several(folder, binary, backend, (&[CONSUMER], client_tls))?;
    let (target, consumer) = askers.pop().context("no gateway asks")?;
    Ok(Pair { target, consumer, provider })
}

/// Several members' gateways that ask the same provider's, and how to call each.
pub(super) struct Several {
    pub(super) askers: Vec<(Target, Process)>,
    pub(super) provider: Process,
}

/// Starts gateways of these members afresh in `folder`, and of the provider that they ask, in front of `backend`.
///
/// # Errors
///
/// When something cannot be made or a gateway does not come up.
pub(super) fn start_several(
    folder: &Path,
    binary: &Path,
    backend: SocketAddr,
    (consumers, client_tls): (&[&str], bool),
) -> Result<Several> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let [links, operations, others @ ..]: [SocketAddr; 8] = process::free_ports()?;
    let now = SystemTime::now();
    let source = Source::Protos { name: "proto".into(), files: vec![("bench/v1/echo.proto".into(), PROTO.into())] };
    let contracts = Contracts::load(&[source]).map_err(|problems| told("the contract", &problems))?;
    let provider = Party::make(PROVIDER, Some(links), &contracts, now)?;
    let theirs = folder.join("provider");
    provider.write(&theirs, operations, &provider_tables(links, backend))?;
    let clients_table = if client_tls { String::new() } else { format!("dangerous_plaintext_system = \"{SYSTEM}\"\n") };
    let mut askers = Vec::new();
    for (id, ports) in consumers.iter().zip(others.chunks_exact(2)) {
        let &[clients, operations] = ports else { continue };
        let consumer = Party::make(id, None, &contracts, now)?;
        // The first is called as it always was.
        let ours = folder.join(if askers.is_empty() { "consumer" } else { id });
        consumer.write(&ours, operations, &format!("[clients]\nlisten = \"{clients}\"\n{clients_table}"))?;
        askers.push((consumer, ours, clients));
    }
    let mut directory = Directory::new();
    for member in askers.iter().map(|(consumer, ..)| consumer).chain([&provider]) {
        let entry = member.draft.sign(&member.member_key, &[]).map_err(|problems| told("an entry", &problems))?;
        directory.add(entry).context("the directory")?;
    }
    write(&theirs.join("directory.note"), &directory.to_text())?;
    for (consumer, ours, _) in &askers {
        write(&ours.join("directory.note"), &directory.to_text())?;
        let agreement = agreement(&contracts, &[consumer, &provider], now)?;
        for folder in [ours, &theirs] {
            write(&folder.join(format!("agreements/{}.note", consumer.id)), &agreement)?;
        }
    }

    // The provider first: a consumer may dial at once.
    let provider = run(binary, &theirs, links).context("the provider's gateway")?;
    let metadata = vec![("drawbridge-provider", PROVIDER.to_owned()), ("drawbridge-purpose", PURPOSE.to_owned())];
    let start = |(consumer, ours, clients): (Party, PathBuf, SocketAddr)| {
        let process = run(binary, &ours, clients).context("a consumer's gateway")?;
        let tls = client_tls.then(|| consumer.client()).transpose()?;
        Ok((Target { address: clients, tls, metadata: metadata.clone() }, process))
    };
    let askers = askers.into_iter().map(start).collect::<Result<_>>()?;
    Ok(Several { askers, provider })
}

fn provider_tables(links: SocketAddr, backend: SocketAddr) -> String {
    let mut text = format!("[links]\nlisten = \"{links}\"\n");
    for method in ["Say", "Rows"] {
        text.push_str("\n[[binding]]\nmethod = \"bench.v1.Echo/");
        text.push_str(method);
        text.push_str("\"\nconnector = { kind = \"grpc\", address = \"http://");
        text.push_str(&backend.to_string());
        text.push_str("\", dangerous_plaintext = true }\n");
    }
    text
}

/// Starts the gateway of `folder`, and waits until it listens.
fn run(binary: &Path, folder: &Path, listen: SocketAddr) -> Result<Process> {
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(folder.join("gateway.toml"));
    let mut process = Process::start(&command, folder.join("gateway.log"))?;
    process.wait_for(listen)?;
    Ok(process)
}

/// Everything that makes one member itself.
struct Party {
    id: MemberId,
    authority: Authority,
    member_key: SigningKey,
    gateway_key: SigningKey,
    log_key: SigningKey,
    gateway: Issued,
    system: Issued,
    draft: EntryDraft,
}

impl Party {
    fn make(id: &str, listen: Option<SocketAddr>, contracts: &Contracts, now: SystemTime) -> Result<Self> {
        let id: MemberId = id.parse()?;
        let gateway = GatewayId::new(id.clone(), "main")?;
        let member_key = SigningKey::generate(&id.member_key_name())?;
        let gateway_key = SigningKey::generate(&gateway.gateway_key_name())?;
        let log_key = SigningKey::generate(&gateway.log_origin())?;
        let authority = Authority::create(&id, Flavour::Development, now)?;
        let address = listen.map(|listen| listen.to_string().parse()).transpose()?;
        let entry = GatewayEntry::new(gateway.clone(), address, gateway_key.verifier(), log_key.verifier());
        let offered = contracts.services().filter(|_| listen.is_some());
        let draft = EntryDraft {
            member: id.clone(),
            display_name: id.to_string(),
            version: 1,
            valid_until: now + 30 * DAY,
            roots: vec![authority.certificate().clone()],
            member_key: member_key.verifier(),
            former_member_keys: Vec::new(),
            gateways: vec![entry],
            contracts: offered.map(|service| (service.name.clone(), service.digest.to_string())).collect(),
        };
        Ok(Self {
            gateway: authority.issue_gateway(&gateway, &["localhost", "127.0.0.1"], now)?,
            system: authority.issue_system(&SystemId::new(id.clone(), SYSTEM)?, now)?,
            id,
            authority,
            member_key,
            gateway_key,
            log_key,
            draft,
        })
    }

    /// Writes the folder of its gateway, but for what both members share.
    fn write(&self, folder: &Path, operations: SocketAddr, tables: &str) -> Result<()> {
        for inner in ["agreements", "data", "revocation"] {
            make_folder(&folder.join(inner))?;
        }
        let configuration = format!(
            "format = \"drawbridge.gateway/v1\"\nmember = \"{}\"\ngateway = \"main\"\ndevelopment = true\n\n\
             [operations]\nlisten = \"{operations}\"\n\n[log]\nlevel = \"warn\"\n\n{tables}",
            self.id
        );
        write(&folder.join("gateway.toml"), &configuration)?;
        write(&folder.join("keys/gateway.key"), &self.gateway_key.to_text())?;
        write(&folder.join("keys/log.key"), &self.log_key.to_text())?;
        write(&folder.join("tls/gateway.pem"), &self.gateway.certificate_pem)?;
        write(&folder.join("tls/gateway.key.pem"), &self.gateway.key_pem)?;
        write(&folder.join("proto/bench/v1/echo.proto"), PROTO)
    }

    /// How the member's own system calls its gateway over TLS.
    fn client(&self) -> Result<Arc<rustls::ClientConfig>> {
        let chain = certificate::read_pem(&self.system.certificate_pem)?;
        certificates::client(self.authority.certificate(), chain, &self.system.key_pem)
    }
}

/// The agreement that lets the one ask the other, signed by both.
fn agreement(contracts: &Contracts, members: &[&Party; 2], now: SystemTime) -> Result<String> {
    let [consumer, provider] = members;
    let service = contracts.service("bench.v1.Echo").context("the contract has lost its service")?;
    let instant = |time: SystemTime| Timestamp::from_second(Timestamp::try_from(time)?.as_second());
    let (from, until) = (instant(now - DAY)?, instant(now + 30 * DAY)?);
    let review = Offset::UTC.to_datetime(until).date();
    let text = format!(
        "format = \"{}\"\nid = \"comparison\"\nconsumer = \"{}\"\nprovider = \"{}\"\n\
         valid_from = {from}\nvalid_until = {until}\nreview_on = {review}\nretention = \"1 year\"\n\n\
         [purpose.{PURPOSE}]\nlegal_basis = \"none: nothing here is about anybody\"\n\n\
         [[grant]]\nservice = \"{}\"\ndigest = \"{}\"\nmethods = [\"Say\", \"Rows\"]\nsystems = [\"{SYSTEM}\"]\n\
         purposes = [\"{PURPOSE}\"]\nfields = \"all\"\n",
        policy::AGREEMENT_FORMAT,
        consumer.id,
        provider.id,
        service.name,
        service.digest,
    );
    let mut file =
        AgreementFile::parse("comparison.note", &text).map_err(|problems| told("the agreement", &problems))?;
    for member in members {
        file.sign(&member.member_key)?;
    }
    Ok(file.to_string())
}

fn told(what: &str, problems: &[Problem]) -> anyhow::Error {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow!("{what}: {}", all.join("\n"))
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Writes `text`; keys may be read by their owner only, or a gateway would not take them.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};

    path.parent().map_or(Ok(()), make_folder)?;
    let secret =
        path.components().any(|part| part.as_os_str() == "keys") || path.to_string_lossy().ends_with(".key.pem");
    let mode = if secret { 0o600 } else { 0o644 };
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The gateway's binary, beside this program's own.
///
/// # Errors
///
/// When it has not been built.
pub(super) fn binary() -> Result<PathBuf> {
    let binary = workspace::program()?.with_file_name("drawbridge");
    if !binary.is_file() {
        return Err(anyhow!("{} is not there; `cargo build` makes it", binary.display()));
    }
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agreement_is_taken_and_signed_by_both() {
        let source = Source::Protos { name: "proto".into(), files: vec![("bench/v1/echo.proto".into(), PROTO.into())] };
        let contracts = Contracts::load(&[source]).unwrap();
        let now = SystemTime::now();
        let consumer = Party::make(CONSUMER, None, &contracts, now).unwrap();
        let provider = Party::make(PROVIDER, Some("127.0.0.1:1".parse().unwrap()), &contracts, now).unwrap();
        let text = agreement(&contracts, &[&consumer, &provider], now).unwrap();
        let keys = |member: &MemberId| {
            let of = if member.as_str() == CONSUMER { &consumer } else { &provider };
            vec![of.member_key.verifier()]
        };
        let file = AgreementFile::parse("comparison.note", &text).unwrap();
        assert!(file.signatures(&keys).unwrap().complete());
    }
}
