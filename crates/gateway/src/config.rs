//! The configuration of one gateway: one TOML file, read strictly, with the environment laid over it.
//!
//! Every key has a default that is safe to run, or has to be given. What is unsafe is named `dangerous_…`.

mod salvage;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use connectors::{BindingConfig, DatabaseConfig, Size, Timeout};
use problem::{Problem, TomlFile};
use serde::{Deserialize, Deserializer, de::Error as _};

pub use salvage::Salvaged;

use crate::access::{self, Kept};
pub use crate::telemetry::config::{OtlpProtocol, TelemetryConfig};

/// First line of a configuration file.
pub const FORMAT: &str = "drawbridge.gateway/v1";
/// Environment variables that begin with this lie over the file: `DRAWBRIDGE__CLIENTS__LISTEN` is `clients.listen`.
pub const ENVIRONMENT_PREFIX: &str = "DRAWBRIDGE";

/// The configuration of one gateway. Paths are relative to the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `drawbridge.gateway/v1`.
    pub format: String,
    /// Id of the member whose gateway this is: a lower-case DNS name.
    pub member: String,
    /// Name of this gateway within the member.
    pub gateway: String,
    /// Allows keys that say NOT FOR PRODUCTION, and settings named `dangerous_…`. Default: false.
    #[serde(default)]
    pub development: bool,
    /// Where the exchange log lies.
    #[serde(default)]
    pub data: DataConfig,
    /// The gateway's signing keys.
    #[serde(default)]
    pub keys: KeysConfig,
    /// The gateway's TLS identity.
    #[serde(default)]
    pub tls: TlsConfig,
    /// The port for other gateways. Absent: this gateway asks, and answers nobody.
    pub links: Option<ListenConfig>,
    /// The port for systems of one's own member. Absent: this gateway answers, and asks nobody.
    pub clients: Option<ClientsConfig>,
    /// The port for metrics and health, in plain HTTP.
    #[serde(default)]
    pub operations: OperationsConfig,
    /// The list of members.
    #[serde(default)]
    pub directory: DirectoryConfig,
    /// Revocation lists.
    #[serde(default)]
    pub revocation: RevocationConfig,
    /// Agreements and end notes.
    #[serde(default)]
    pub agreements: FolderConfig,
    /// Contracts.
    #[serde(default)]
    pub contracts: ContractsConfig,
    /// The application log. The exchange log is not affected.
    #[serde(default)]
    pub log: LogConfig,
    /// Limits.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Commands that this gateway takes.
    #[serde(default)]
    pub commands: CommandsConfig,
    /// Traces and metrics for a collector.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Settings of one's own systems, by name.
    #[serde(default)]
    pub system: Vec<SystemConfig>,
    /// Databases that bindings name.
    #[serde(default)]
    pub database: BTreeMap<String, DatabaseConfig>,
    /// Which legacy system answers which method.
    #[serde(default)]
    pub binding: Vec<BindingConfig>,
}

/// `[data]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Folder of the exchange log. Default: `data`.
    pub folder: PathBuf,
}

/// `[keys]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// File of the key that signs claims. Default: `keys/gateway.key`.
    pub gateway: PathBuf,
    /// File of the key that signs checkpoints. Default: `keys/log.key`.
    pub log: PathBuf,
}

/// `[tls]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM chain, the gateway's own certificate first. A renewed one is taken up while the gateway runs. Default: `tls/gateway.pem`.
    pub certificate: PathBuf,
    /// PEM private key. Default: `tls/gateway.key.pem`.
    pub key: PathBuf,
    /// Whether to offer X25519MLKEM768 first. Set to false only where a middlebox drops its larger first message.
    /// Default: true.
    pub post_quantum: bool,
}

/// `[links]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Address and port, as in `0.0.0.0:8443`.
    #[serde(deserialize_with = "with_port")]
    pub listen: SocketAddr,
}

/// `[clients]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsConfig {
    /// Address and port, as in `0.0.0.0:8444`.
    #[serde(deserialize_with = "with_port")]
    pub listen: SocketAddr,
    /// Whether contracts can also be asked as JSON over HTTP, and by gRPC-Web, which lets HTTP/1.1 in beside HTTP/2. The rules of certificates,
    /// permission and records are those of gRPC. Default: true.
    #[serde(default = "yes")]
    pub rest: bool,
    /// Takes calls in plain text, without any certificate, as if they came from the system of this name. For development
    /// only, and only on loopback. Default: none.
    pub dangerous_plaintext_system: Option<String>,
}

/// `[operations]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OperationsConfig {
    /// Address and port. Whoever reaches it can read metrics. Default: `127.0.0.1:9464`.
    #[serde(deserialize_with = "with_port")]
    pub listen: SocketAddr,
}

/// `[directory]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DirectoryConfig {
    /// The directory file. Default: `directory.note`.
    pub file: PathBuf,
}

/// `[revocation]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RevocationConfig {
    /// Folder of `<member>.crl.pem`, looked at each second. Default: `revocation`.
    pub folder: PathBuf,
}

/// `[agreements]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FolderConfig {
    /// Folder of signed agreements and end notes, looked at each second. Default: `agreements`.
    pub folder: PathBuf,
}

/// `[contracts]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContractsConfig {
    /// Folders of `.proto` files, and files with a descriptor set. Default: `["proto"]`.
    pub sources: Vec<PathBuf>,
    /// Earlier versions of them that agreements are still about, where this gateway has not loaded these itself before: folders and files
    /// as in `sources`, each a version by itself. Default: none.
    pub earlier: Vec<PathBuf>,
}

/// `[log]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `human` or `json`. Default: `human`.
    pub format: LogFormat,
    /// `off`, `error`, `warn`, `info`, `debug`, `trace`; or with levels of parts, as in `info,drawbridge_link=debug`. Default: `info`.
    pub level: Option<String>,
}

/// How the application log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Exchanges at once, on both ports together; one more is refused. Held until the answer has left. Default: 4,096.
    pub exchanges: usize,
    /// Largest message, request or answer. Default: `"4MiB"`, gRPC's own limit.
    pub message: Size,
    /// Streams at once on one connection. Default: 1,024 (gRPC's common 100 lets 512 callers wait for one another).
    pub streams: u32,
    /// Largest header list of a request. Default: `"16KiB"`.
    pub header: Size,
    /// Time for a complete header block. Default: `"10s"`.
    pub header_timeout: Timeout,
    /// Time for a TLS handshake. Default: `"5s"`.
    pub handshake_timeout: Timeout,
    /// TLS handshakes at once. Default: 64.
    pub handshakes: usize,
    /// Connections at once on one port. Default: 1,024.
    pub connections: usize,
    /// Time after which a silent connection is asked whether it is alive. Default: `"30s"`.
    pub keepalive: Timeout,
    /// Age at which a connection is asked to end with its last stream. Default: `"1h"`.
    pub connection_age: Timeout,
    /// Time to read a request once its headers are there. Default: `"30s"`.
    pub request_timeout: Timeout,
    /// Time in which something has to pass on a stream. One whose reader takes nothing for so long, or whose writer sends nothing, is closed:
    /// `CANCELLED`. A caller that goes on taking nothing of any answer for a quarter longer is let go. Default: `"60s"`.
    pub stream_idle: Timeout,
    /// Worker threads. Default: one a core.
    pub workers: Option<usize>,
    /// How long open exchanges may go on after SIGTERM. Default: `"30s"`.
    pub drain: Timeout,
}

/// `[commands]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommandsConfig {
    /// How long the answer of a command is kept, encrypted in the data folder, for who asks again with the same key. That it was carried
    /// out is remembered for as long as the log. Default: `"24h"`.
    pub keep: Timeout,
    /// Largest size of all kept answers together; where there is no room the oldest go. Default: `"256MiB"`.
    pub room: Size,
}

/// `[[system]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemConfig {
    /// Name of the system, as in its certificate.
    pub name: String,
    /// The member that is asked when a call names none.
    pub provider: Option<String>,
}

fn yes() -> bool {
    true
}

macro_rules! defaults {
    ($($type:ident { $($field:ident: $value:expr),* $(,)? })*) => {
        $(impl Default for $type {
            fn default() -> Self {
                Self { $($field: $value),* }
            }
        })*
    };
}

/// Reads where to listen.
fn with_port<'de, D: Deserializer<'de>>(value: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(value)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "`{text}` is not an address with a port, as in `0.0.0.0:8443`, or `[::]:8443` for IPv6 (names are not looked up)"
        ))
    })
}

fn seconds(seconds: u64) -> Timeout {
    std::time::Duration::from_secs(seconds).into()
}

defaults! {
    DataConfig { folder: "data".into() }
    KeysConfig { gateway: "keys/gateway.key".into(), log: "keys/log.key".into() }
    TlsConfig { certificate: "tls/gateway.pem".into(), key: "tls/gateway.key.pem".into(), post_quantum: true }
    OperationsConfig { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    DirectoryConfig { file: "directory.note".into() }
    RevocationConfig { folder: "revocation".into() }
    FolderConfig { folder: "agreements".into() }
    ContractsConfig { sources: vec!["proto".into()], earlier: Vec::new() }
    CommandsConfig { keep: seconds(24 * 60 * 60), room: (256 * 1024 * 1024).into() }
    LimitsConfig {
        exchanges: 4096,
        message: (4 * 1024 * 1024).into(),
        streams: 1024,
        header: (16 * 1024).into(),
        header_timeout: seconds(10),
        handshake_timeout: seconds(5),
        handshakes: 64,
        connections: 1024,
        keepalive: seconds(30),
        connection_age: seconds(3600),
        request_timeout: seconds(30),
        stream_idle: seconds(60),
        workers: None,
        drain: seconds(30),
    }
}

/// A configuration with the file it came from.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// What it says, with the environment laid over it.
    pub config: Config,
    /// The file, for messages.
    pub toml: TomlFile,
    /// Folder that relative paths are relative to.
    pub folder: PathBuf,
    /// Names of the environment variables that lie over the file.
    pub overridden: Vec<String>,
    /// Those variables, for when the file is read again.
    variables: BTreeMap<String, String>,
}

impl ConfigFile {
    /// Reads `file` and lays the variables in `environment` over it.
    ///
    /// # Errors
    ///
    /// Every unknown key, and the first [`Problem`] of syntax or type, with their lines; or that of a variable, with its name.
    pub fn read(file: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<Problem>> {
        let bytes = std::fs::read(file).map_err(|error| vec![unreadable(file, &error)])?;
        let text = String::from_utf8(bytes).map_err(|error| vec![not_text(file, error.as_bytes())])?;
        let toml = TomlFile::parse(file, text).map_err(|problem| vec![problem])?;
        let config: Config = toml.read_all()?;
        if config.format != FORMAT {
            let what = format!("this version reads `{FORMAT}`, not `{}`", config.format);
            return Err(vec![toml.problem("format", what).help(format!("set it to \"{FORMAT}\""))]);
        }
        let (variables, folder) = (variables_of(environment), folder_of(file));
        let overridden: Vec<String> = variables.keys().cloned().collect();
        let config = if overridden.is_empty() { config } else { layered(file, &toml, variables.clone())? };
        Ok(Self { config, toml, folder, overridden, variables })
    }

    /// Reads the same file once more, with the same environment laid over it.
    ///
    /// # Errors
    ///
    /// As [`ConfigFile::read`].
    pub fn again(&self) -> Result<Self, Vec<Problem>> {
        Self::read(self.toml.name(), self.variables.clone())
    }

    /// Returns a problem of a setting, which is in the file or in the variable of the environment that lies over it.
    pub fn problem(&self, setting: &str, what: impl Into<String>) -> Problem {
        let variable = format!("{ENVIRONMENT_PREFIX}__{}", setting.replace('.', "__"));
        let Some(name) = self.overridden.iter().find(|name| name.eq_ignore_ascii_case(&variable)) else {
            return self.toml.problem(setting, what);
        };
        let mut problem = Problem::new(self.toml.name(), what.into())
            .cause(format!("`{name}` in the environment lies over the file"));
        problem.key = Some(setting.to_owned());
        problem
    }

    /// Returns a path of the configuration, made absolute or relative to the working directory.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

/// Returns those variables that lie over a configuration.
fn variables_of(environment: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let prefix = format!("{ENVIRONMENT_PREFIX}__");
    environment.into_iter().filter(|(name, _)| name.starts_with(&prefix)).collect()
}

/// Returns the folder that relative paths in a configuration are relative to.
fn folder_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).filter(|f| !f.as_os_str().is_empty()).unwrap_or_else(|| ".".into())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Problem {
    let problem = Problem::new(file, "cannot read the configuration").cause(error.to_string());
    match access::cure(file, error, Kept::Open) {
        Some(help) => problem.help(help),
        None if error.kind() == std::io::ErrorKind::NotFound => problem.help("`drawbridge init` makes one"),
        None => problem,
    }
}

/// A file that holds bytes which are no text, with the place of the first.
fn not_text(file: &Path, bytes: &[u8]) -> Problem {
    let before = bytes.utf8_chunks().next().map(|chunk| chunk.valid()).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    Problem::new(file, "the configuration is not UTF-8 text")
        .within(&text, &(before.len()..before.len()))
        .help("save the file as UTF-8; in an editor, or with `iconv -f latin1 -t utf-8`")
}

/// Lays the variables over the file. Of several that do not fit each is told.
fn layered(file: &Path, toml: &TomlFile, variables: BTreeMap<String, String>) -> Result<Config, Vec<Problem>> {
    let names: Vec<_> = variables.keys().map(|name| format!("`{name}`")).collect();
    let error = match laid(toml, variables.clone()) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let what = "the environment does not fit the configuration";
    let help = format!(
        "these variables lie over the file: {}; `DRAWBRIDGE__CLIENTS__LISTEN` is `clients.listen`",
        names.join(", ")
    );
    // What only lacks another setting may have it from another variable.
    let alone = variables.into_iter().filter_map(|(name, value)| {
        let error = laid(toml, BTreeMap::from([(name.clone(), value)])).err()?.to_string();
        (!error.contains("missing")).then_some((name, error))
    });
    let mut problems: Vec<Problem> = alone
        .map(|(name, error)| {
            let what = format!("`{name}` in the environment does not fit the configuration");
            Problem::new(file, what).cause(error).help(help.clone())
        })
        .collect();
    if problems.is_empty() {
        problems.push(Problem::new(file, what).cause(error.to_string()).help(help));
    }
    Err(problems)
}

fn laid(toml: &TomlFile, variables: BTreeMap<String, String>) -> Result<Config, config::ConfigError> {
    let environment = config::Environment::with_prefix(ENVIRONMENT_PREFIX)
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true)
        .source(Some(variables.into_iter().collect()));
    config::Config::builder()
        .add_source(config::File::from_str(toml.text(), config::FileFormat::Toml))
        .add_source(environment)
        .build()
        .and_then(config::Config::try_deserialize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<ConfigFile, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        ConfigFile::read(&file, environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    const LEAST: &str = "format = \"drawbridge.gateway/v1\"\nmember = \"county.example\"\ngateway = \"main\"\n";

    #[test]
    fn the_least_configuration_has_safe_defaults() {
        let config = read(LEAST, &[]).unwrap().config;
        assert!(!config.development && config.links.is_none() && config.clients.is_none());
        assert!(config.operations.listen.ip().is_loopback());
    }

    #[test]
    fn the_environment_lies_over_the_file() {
        let text = format!("{LEAST}[clients]\nlisten = \"127.0.0.1:1\"\n[database.Legacy]\nurl = \"sqlite:A.db\"\n");
        let file = read(&text, &[("DRAWBRIDGE__CLIENTS__LISTEN", "127.0.0.1:2"), ("OTHER", "x")]).unwrap();
        assert_eq!(file.config.clients.unwrap().listen.port(), 2);
        assert_eq!(file.overridden, ["DRAWBRIDGE__CLIENTS__LISTEN"]);
        assert!(file.config.database.contains_key("Legacy"));
        let problem = read(&text, &[("DRAWBRIDGE__CLIENTS__LISTEN", "nowhere")]).unwrap_err()[0].to_string();
        assert!(problem.contains("DRAWBRIDGE__CLIENTS__LISTEN"), "{problem}");
        let wrong = [
            ("DRAWBRIDGE__CLIENTS__LISTEN", "nowhere"),
            ("DRAWBRIDGE__LIMITS__MESSAGE", "much"),
            ("DRAWBRIDGE__LIMITS__EXCHANGES", "many"),
            ("DRAWBRIDGE__OPERATIONS__LISTEN", "127.0.0.1:7"),
        ];
        let problems = read(&text, &wrong).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        for ((name, _), problem) in wrong.iter().take(2).zip([&problems[0], &problems[2]]) {
            assert!(problem.what.contains(&format!("`{name}`")), "{problem}");
        }
        for listen in ["127.0.0.1", "localhost:8444", ":8444"] {
            let problem = read(&format!("{LEAST}[clients]\nlisten = \"{listen}\"\n"), &[]).unwrap_err()[0].to_string();
            assert!(
                problem.contains(&format!("`{listen}` is not an address with a port, as in `0.0.0.0:8443`")),
                "{problem}"
            );
            assert!(problem.contains("(clients.listen)"), "{problem}");
        }
    }

    #[test]
    fn every_unknown_key_is_named_with_its_line() {
        let text = "operatoins = 1\n[limits]\nmesage = \"1MiB\"\n[[system]]\nname = \"one\"\nsecret = true\n\
                    [[binding]]\nmethod = \"a.B/C\"\nconnector = { kind = \"sql\", querry = \"x\" }\ntimeuot = \"1s\"\n";
        let problems = read(&format!("{LEAST}{text}"), &[]).unwrap_err();
        let mut lines: Vec<_> = problems.iter().map(|problem| problem.line.unwrap()).collect();
        lines.sort_unstable();
        assert_eq!(lines, [4, 6, 9, 12, 13], "{problems:?}");
        assert!(problems.iter().any(|problem| problem.to_string().contains("message")), "{problems:?}");
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let problem = read(&LEAST.replace("/v1", "/v2"), &[]).unwrap_err()[0].to_string();
        assert!(problem.contains("drawbridge.gateway/v2"), "{problem}");
    }
}
