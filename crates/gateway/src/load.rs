//! From files to everything a gateway runs on: each file read once, every problem of all of them reported together.

mod in_force;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use connectors::{Bindings, Setup};
use contract::{Contracts, Source};
use federation::{
    Directory, Federation, GatewayId, MemberId, SystemId,
    trust::{RevocationList, TlsIdentity, Trust},
};
use note::SigningKey;
use policy::{Loaded as LoadedAgreements, Loader};
use problem::Problem;

use crate::{accepted, config::ConfigFile, telemetry};

/// Everything read from files, consistent and checked.
pub struct Prepared {
    /// The configuration.
    pub file: ConfigFile,
    /// This gateway.
    pub gateway: GatewayId,
    /// Signs claims.
    pub gateway_key: SigningKey,
    /// Signs checkpoints.
    pub log_key: SigningKey,
    /// What this gateway presents in TLS.
    pub tls: TlsIdentity,
    /// Who is who.
    pub trust: Trust,
    /// What can be asked.
    pub contracts: Contracts,
    /// Who may ask it.
    pub agreements: LoadedAgreements,
    /// Remembers what it has verified, for the next look.
    pub loader: Loader,
    /// Which legacy system answers which method.
    pub bindings: Bindings,
    /// What is asked by default, by system.
    pub systems: BTreeMap<SystemId, Option<MemberId>>,
    /// How telemetry is exported, where it is.
    pub telemetry: Option<telemetry::Plan>,
    /// What someone should know though it does not hinder the start.
    pub warnings: Vec<String>,
}

impl Prepared {
    /// Reads and checks everything that the configuration names. Must run within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Every problem at once, in the order of the configuration.
    pub async fn load(file: ConfigFile, now: SystemTime) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let gateway = keep(&mut problems, gateway(&file));
        let gateway_key = keep(&mut problems, key(&file, "keys.gateway", &file.config.keys.gateway));
        let log_key = keep(&mut problems, key(&file, "keys.log", &file.config.keys.log));
        let tls = keep(&mut problems, tls(&file));
        let systems = keep(&mut problems, systems(&file, gateway.as_ref()));
        problems.extend(settings(&file));
        let telemetry = keep_all(&mut problems, telemetry::Plan::load(&file)).flatten();
        let trust = match &gateway {
            Some(gateway) => keep_all(&mut problems, trust(&file, gateway.member())),
            None => None,
        };
        let contracts = keep_all(&mut problems, contracts(&file));
        let mut loader = Loader::new();
        let mut agreements = None;
        if let (Some(trust), Some(contracts)) = (&trust, &contracts) {
            let loaded = load_agreements(&file, &mut loader, trust.federation(), contracts);
            agreements = keep_all(&mut problems, loaded);
        }
        let bindings = match &contracts {
            None => None,
            Some(contracts) => keep_all(&mut problems, Box::pin(bindings(&file, contracts)).await),
        };
        let mut warnings = Vec::new();
        if let (Some(gateway), Some(trust), Some(tls)) = (&gateway, &trust, &tls) {
            problems.extend(identity(&file, gateway, trust, tls, (gateway_key.as_ref(), log_key.as_ref()), now));
            warnings.extend(trust.warnings(now).iter().map(ToString::to_string));
        }
        if let (Some(gateway), Some(agreements)) = (&gateway, &agreements) {
            // A broken agreement permits nothing and hinders nobody: a warning at start, an error in `drawbridge check`.
            for problem in &agreements.problems {
                warnings.push(format!("an agreement cannot be used: {}", problem.what));
            }
            for waiting in &agreements.waiting {
                warnings.push(format!("the agreement `{}` is not signed by both members yet", waiting.agreement.id()));
            }
            for agreement in agreements.agreements.iter().filter(|a| !a.is_party(gateway.member())) {
                warnings.push(format!("the agreement `{}` is between other members", agreement.id()));
            }
        }
        if !problems.is_empty() {
            // It does not start anyhow: then everything is told at once.
            problems.extend(agreements.iter().flat_map(|loaded| loaded.problems.clone()));
        }
        match (gateway, gateway_key, log_key, tls, trust, contracts, agreements, bindings, systems) {
            (
                Some(gateway),
                Some(gateway_key),
                Some(log_key),
                Some(tls),
                Some(trust),
                Some(contracts),
                Some(agreements),
                Some(bindings),
                Some(systems),
            ) if problems.is_empty() => Ok(Self {
                file,
                gateway,
                gateway_key,
                log_key,
                tls,
                trust,
                contracts,
                agreements,
                loader,
                bindings,
                systems,
                telemetry,
                warnings,
            }),
            _ => Err(problems),
        }
    }
}

fn keep<T>(problems: &mut Vec<Problem>, result: Result<T, Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

fn keep_all<T>(problems: &mut Vec<Problem>, result: Result<T, Vec<Problem>>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

pub(crate) fn gateway(file: &ConfigFile) -> Result<GatewayId, Problem> {
    let config = &file.config;
    let member: MemberId = config.member.parse().map_err(|e: federation::IdError| {
        file.toml
            .problem("member", format!("`{}` is not a member id", config.member))
            .cause(e.to_string())
            .help("a lower-case DNS name, as in \"county.example\"")
    })?;
    format!("{member}/{}", config.gateway).parse().map_err(|e: federation::IdError| {
        file.toml.problem("gateway", format!("`{}` is not a name", config.gateway)).cause(e.to_string())
    })
}

fn key(file: &ConfigFile, setting: &str, path: &Path) -> Result<SigningKey, Problem> {
    let path = file.path(path);
    SigningKey::read_file(&path).map_err(|error| {
        let problem =
            file.toml.problem(setting, format!("cannot use the key in `{}`", path.display())).cause(chain(&error));
        problem.help("`drawbridge init` makes keys; only the gateway's user may read them (`chmod 600`)")
    })
}

pub(crate) fn tls(file: &ConfigFile) -> Result<TlsIdentity, Problem> {
    let config = &file.config.tls;
    let chain_text = read(file, "tls.certificate", &config.certificate)?;
    let key_text = read(file, "tls.key", &config.key)?;
    TlsIdentity::from_pem(&chain_text, &key_text).map_err(|error| {
        file.toml
            .problem("tls.certificate", "cannot use the TLS certificate and key")
            .cause(chain(&error))
            .help("issue one with `drawbridge certificate gateway`")
    })
}

fn read(file: &ConfigFile, setting: &str, path: &Path) -> Result<String, Problem> {
    let path = file.path(path);
    std::fs::read_to_string(&path).map_err(|error| {
        file.toml.problem(setting, format!("cannot read `{}`", path.display())).cause(error.to_string())
    })
}

fn systems(file: &ConfigFile, gateway: Option<&GatewayId>) -> Result<BTreeMap<SystemId, Option<MemberId>>, Problem> {
    let mut systems = BTreeMap::new();
    let Some(gateway) = gateway else { return Ok(systems) };
    for (at, system) in file.config.system.iter().enumerate() {
        let id: SystemId =
            format!("{}/{}", gateway.member(), system.name).parse().map_err(|e: federation::IdError| {
                file.toml
                    .problem(&format!("system[{at}].name"), format!("`{}` is not a name", system.name))
                    .cause(e.to_string())
            })?;
        let provider = match &system.provider {
            None => None,
            Some(text) => Some(text.parse::<MemberId>().map_err(|e| {
                file.toml
                    .problem(&format!("system[{at}].provider"), format!("`{text}` is not a member id"))
                    .cause(e.to_string())
            })?),
        };
        if systems.insert(id, provider).is_some() {
            return Err(file
                .toml
                .problem(&format!("system[{at}].name"), format!("`{}` stands twice", system.name))
                .help("leave one of them"));
        }
    }
    Ok(systems)
}

/// Settings that contradict one another.
fn settings(file: &ConfigFile) -> Vec<Problem> {
    let config = &file.config;
    let mut problems = Vec::new();
    if config.links.is_none() && config.clients.is_none() {
        let help = "set `links.listen` to answer other members, `clients.listen` to ask them, or both";
        problems.push(file.toml.problem("gateway", "this gateway listens to nobody").help(help));
    }
    if let Some(clients) = &config.clients
        && clients.dangerous_plaintext_system.is_some()
    {
        let key = "clients.dangerous_plaintext_system";
        if !config.development {
            problems.push(
                file.toml
                    .problem(key, "plain text is taken in development only")
                    .help("set `development = true`, or leave this setting out"),
            );
        }
        if !clients.listen.ip().is_loopback() {
            let what = format!("plain text is taken on loopback only, not on {}", clients.listen.ip());
            problems.push(file.toml.problem(key, what).help("listen on 127.0.0.1, or leave this setting out"));
        }
    }
    let mut ports: BTreeMap<std::net::SocketAddr, &str> = BTreeMap::new();
    let listens = [
        config.links.as_ref().map(|l| ("links.listen", l.listen)),
        config.clients.as_ref().map(|c| ("clients.listen", c.listen)),
        Some(("operations.listen", config.operations.listen)),
    ];
    for (key, address) in listens.into_iter().flatten().filter(|(_, a)| a.port() != 0) {
        if let Some(other) = ports.insert(address, key) {
            problems.push(
                file.toml
                    .problem(key, format!("`{other}` has the same address and port"))
                    .help("give each port an address of its own"),
            );
        }
    }
    let data = file.path(&config.data.folder);
    if data.join("offline").exists() {
        let what =
            format!("the folder `offline` with the member's keys lies inside the data folder `{}`", data.display());
        problems.push(
            file.toml
                .problem("data.folder", what)
                .help("move `offline` to a medium that is not connected to this machine"),
        );
    }
    problems
}

/// Reads directory and revocation lists, as the configuration names them.
///
/// # Errors
///
/// Every problem of them.
pub fn trust(file: &ConfigFile, own: &MemberId) -> Result<Trust, Vec<Problem>> {
    let mut problems = Vec::new();
    let path = file.path(&file.config.directory.file);
    let federation =
        read(file, "directory.file", &file.config.directory.file)
            .map_err(|problem| {
                vec![problem.help(
                    "ask another member for its directory, or start one with `drawbridge directory add entry.note`",
                )]
            })
            .and_then(|text| Directory::parse(&path, &text))
            .and_then(|directory| Federation::load(directory, accepted::read(file)?.as_ref()));
    let federation = keep_all(&mut problems, federation);
    if let Some(federation) = federation {
        trust_in(file, own, Arc::new(federation))
    } else {
        problems.extend(revocation_lists(file).err().unwrap_or_default());
        Err(problems)
    }
}

/// Returns what certificates are verified against: `federation`, and the revocation lists in their folder.
///
/// # Errors
///
/// Every problem of the lists.
pub fn trust_in(file: &ConfigFile, own: &MemberId, federation: Arc<Federation>) -> Result<Trust, Vec<Problem>> {
    trust_with(file, own, federation, revocation_lists(file)?)
}

/// Returns what certificates are verified against: `federation` and these revocation lists.
///
/// # Errors
///
/// Every problem of the lists.
pub(crate) fn trust_with(
    file: &ConfigFile,
    own: &MemberId,
    federation: Arc<Federation>,
    lists: Vec<RevocationList>,
) -> Result<Trust, Vec<Problem>> {
    let trust = Trust::new(own.clone(), federation, lists)?;
    Ok(if file.config.development { trust } else { trust.refusing_development() })
}

/// How the names of files with revocation lists end.
pub(crate) const REVOCATION_ENDINGS: &[&str] = &["pem"];

/// Reads all revocation lists in their folder. No folder means none.
///
/// # Errors
///
/// Every list that cannot be read.
pub fn revocation_lists(file: &ConfigFile) -> Result<Vec<RevocationList>, Vec<Problem>> {
    let folder = file.path(&file.config.revocation.folder);
    let mut problems = Vec::new();
    let mut lists = Vec::new();
    for Text { path, text } in texts(&folder, REVOCATION_ENDINGS).map_err(|problem| vec![problem])? {
        match text.map_err(|problem| vec![problem]).and_then(|text| revocation_list(&path, &text)) {
            Ok(found) => lists.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(lists) } else { Err(problems) }
}

/// Reads the revocation lists of one file, which is named after the member that issued them.
///
/// # Errors
///
/// Every list that cannot be read.
pub(crate) fn revocation_list(path: &Path, text: &str) -> Result<Vec<RevocationList>, Vec<Problem>> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some(member) = name.strip_suffix(".crl.pem").and_then(|m| m.parse::<MemberId>().ok()) else {
        return Err(vec![
            Problem::new(path, "the file's name names no member")
                .help("name it `<member>.crl.pem`, as in `county.example.crl.pem`"),
        ]);
    };
    RevocationList::parse_all(&member, path, text)
}

/// Loads the contracts that the configuration names.
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
                problems.push(file.toml.problem(&format!("contracts.sources[{at}]"), what).cause(error.to_string()));
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
    Ok(contracts)
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

/// Loads the agreements and end notes in their folder.
///
/// # Errors
///
/// Files that cannot be read. Agreements with problems are in the result.
pub fn load_agreements(
    file: &ConfigFile,
    loader: &mut Loader,
    federation: &Federation,
    contracts: &Contracts,
) -> Result<LoadedAgreements, Vec<Problem>> {
    let folder = file.path(&file.config.agreements.folder);
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for Text { path, text } in texts(&folder, AGREEMENT_ENDINGS).map_err(|problem| vec![problem])? {
        match text {
            Ok(text) => files.push((path, text)),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let keys = |member: &MemberId| federation.member_keys(member);
    Ok(loader.load(files.iter().map(|(path, text)| (path.clone(), text.as_str())), &keys, contracts))
}

/// How the names of files with agreements and end notes end.
pub(crate) const AGREEMENT_ENDINGS: &[&str] = &["toml", "note"];

/// A file and what it says, or why it cannot be read.
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    pub(crate) text: Result<String, Problem>,
}

/// Reads the files of a folder that have one of these endings, sorted. A folder that is not there has none.
///
/// # Errors
///
/// When the folder cannot be read.
pub(crate) fn texts(folder: &Path, endings: &[&str]) -> Result<Vec<Text>, Problem> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Problem::new(folder, "cannot read the folder").cause(error.to_string())),
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let hidden = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with('.'));
        endings.contains(&ending) && !hidden
    });
    paths.sort();
    let mut texts = Vec::new();
    for path in paths {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            // Taken away between listing and reading: the next look sees it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => Err(Problem::new(&path, "cannot read the file").cause(error.to_string())),
        };
        texts.push(Text { path, text });
    }
    Ok(texts)
}

async fn bindings(file: &ConfigFile, contracts: &Contracts) -> Result<Bindings, Vec<Problem>> {
    let config = &file.config;
    let setup = Setup { bindings: &config.binding, databases: &config.database, contracts, folder: &file.folder };
    let bindings = Bindings::prepare(setup).await.map_err(|found| {
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

/// Whether keys and certificate are those that the directory lists for this gateway.
fn identity(
    file: &ConfigFile,
    gateway: &GatewayId,
    trust: &Trust,
    tls: &TlsIdentity,
    keys: (Option<&SigningKey>, Option<&SigningKey>),
    now: SystemTime,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if tls.is_development() && !file.config.development {
        let what = "the TLS certificate is NOT FOR PRODUCTION";
        problems.push(
            file.toml
                .problem("tls.certificate", what)
                .help("issue one with the member's own authority, or set `development = true`"),
        );
    }
    match trust.check_own(tls, now) {
        Err(distrust) => {
            problems.push(
                file.toml
                    .problem("tls.certificate", "others would refuse the TLS certificate")
                    .cause(distrust.to_string())
                    .help(distrust.help()),
            );
        }
        Ok(presented) if presented != *gateway => {
            let what = format!("the TLS certificate is that of `{presented}`, not of `{gateway}`");
            problems.push(
                file.toml
                    .problem("tls.certificate", what)
                    .help("set `gateway` to the name in the certificate, or issue another"),
            );
        }
        Ok(_) => {}
    }
    let Some(entry) = trust.federation().gateway(gateway) else {
        let what = format!("the directory does not list the gateway `{gateway}`");
        problems.push(file.toml.problem("gateway", what).help("add it to the member's entry and sign that anew"));
        return problems;
    };
    let pairs = [("keys.gateway", keys.0, &entry.gateway_key), ("keys.log", keys.1, &entry.log_key)];
    for (setting, key, listed) in pairs {
        if key.is_some_and(|key| key.verifier() != *listed) {
            let what = "the key is not the one that the directory lists for this gateway";
            problems.push(
                file.toml
                    .problem(setting, what)
                    .help("use the listed key, or list this one in a new version of the member's entry"),
            );
        }
    }
    problems
}

/// Returns an error with its causes on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
