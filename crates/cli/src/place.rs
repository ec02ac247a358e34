//! Where things are: the configuration, the directory that it names, and the folder of a log.

use std::path::{Path, PathBuf};

use clap::Args;
use federation::{Directory, Federation, GatewayId, MemberId};
use gateway::{ConfigFile, Salvaged, access};
use ledger::Reader;
use note::SigningKey;
use problem::Problem;

use crate::{
    failure::{Failure, Outcome, because},
    files,
    terminal::typed,
};

/// The configuration that is taken when none is named.
pub(crate) const CONFIG: &str = "gateway.toml";

/// Where the certificates of systems lie, beside the configuration; new ones are put into the first.
pub(crate) const SYSTEM_FOLDERS: [&str; 2] = ["tls/systems", "systems"];

/// Names the configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigOption {
    /// The gateway's configuration file. Default: `gateway.toml`
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl ConfigOption {
    /// Reads the configuration that is named, or `gateway.toml`.
    pub(crate) fn read(&self) -> Outcome<ConfigFile> {
        read_config(self.config.as_deref())
    }

    /// Returns how to name the same configuration in a command that comes next: nothing where none was named.
    pub(crate) fn again(&self) -> String {
        self.config.as_ref().map(|path| format!(" --config {}", typed(path))).unwrap_or_default()
    }

    /// Reads the configuration that is named, or `gateway.toml`, as far as it can be read.
    ///
    /// # Errors
    ///
    /// What is wrong, where nothing of it can be read.
    pub(crate) fn salvage(&self) -> Outcome<(ConfigFile, Salvaged)> {
        let path = self.config.as_deref().unwrap_or(Path::new(CONFIG));
        let salvaged = Salvaged::read(path, environment());
        match &salvaged.file {
            Some(file) => Ok((file.clone(), salvaged)),
            None => Err(salvaged.problems.into()),
        }
    }

    /// Reads the configuration that is named, or `gateway.toml` where there is one.
    pub(crate) fn read_if_there(&self) -> Outcome<Option<ConfigFile>> {
        if self.config.is_none() && !Path::new(CONFIG).exists() {
            return Ok(None);
        }
        self.read().map(Some)
    }
}

/// Reads a configuration, with the environment laid over it.
pub(crate) fn read_config(path: Option<&Path>) -> Outcome<ConfigFile> {
    let path = path.unwrap_or(Path::new(CONFIG));
    Ok(ConfigFile::read(path, environment())?)
}

/// A variable whose name or value is not text cannot be a setting; `vars` would panic at it.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Returns the gateway that a configuration is for.
pub(crate) fn own_gateway(file: &ConfigFile) -> Outcome<GatewayId> {
    let member: MemberId = file
        .config
        .member
        .parse()
        .map_err(|error: federation::IdError| file.toml.problem("member", error.to_string()))?;
    let gateway = GatewayId::new(member, &file.config.gateway);
    Ok(gateway.map_err(|error| file.toml.problem("gateway", error.to_string()))?)
}

/// Reads a directory file.
pub(crate) fn read_directory(path: &Path) -> Outcome<Directory> {
    Ok(Directory::parse(path, &files::read(path)?)?)
}

/// Reads a directory file, and makes a snapshot of it.
pub(crate) fn read_federation(path: &Path) -> Outcome<Federation> {
    Ok(Federation::load(read_directory(path)?, None)?)
}

/// Reads the directory that a configuration names.
pub(crate) fn federation_of(file: &ConfigFile) -> Outcome<Federation> {
    read_federation(&file.path(&file.config.directory.file))
}

/// Reads a signing key. `what` is what it is for.
pub(crate) fn read_key(path: &Path, what: &str) -> Outcome<SigningKey> {
    SigningKey::read_file(path).map_err(|error| {
        let problem = because(format!("cannot use {what} in `{}`", path.display()), &error);
        match access::cure_of_key(path, &error) {
            Some(help) => problem.help(help).into(),
            None => problem.into(),
        }
    })
}

/// Returns the parent of a file as a folder that can be opened.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Names the log that is read.
#[derive(Debug, Args)]
pub(crate) struct LogOption {
    /// The gateway's data folder. Default: that of the configuration
    #[arg(long, value_name = "FOLDER", conflicts_with = "config")]
    pub(crate) data: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) config: ConfigOption,
}

impl LogOption {
    /// Opens the log, also while a gateway writes it.
    pub(crate) fn open(&self) -> Outcome<Log> {
        if let Some(data) = &self.data {
            return Log::open(data);
        }
        let file = self.config.read()?;
        Log::open(&file.path(&file.config.data.folder))
    }
}

/// A log that is read.
pub(crate) struct Log {
    pub(crate) reader: Reader,
    /// Where it lies.
    pub(crate) folder: PathBuf,
}

impl Log {
    /// Opens the log in a data folder. The ledger's own folder is taken as well.
    pub(crate) fn open(data: &Path) -> Outcome<Self> {
        let inner = data.join("ledger");
        let folder = if inner.is_dir() || !data.join("journal").is_dir() { inner } else { data.to_owned() };
        let reader = Reader::open(&folder).map_err(|error| read_failure(&folder, &error))?;
        Ok(Self { reader, folder })
    }

    /// Returns the member and the gateway that keep the log, by its origin.
    pub(crate) fn keeper(&self) -> Outcome<GatewayId> {
        let origin = self.reader.origin();
        let keeper =
            origin.split_once("/log/").and_then(|(member, gateway)| GatewayId::new(member.parse().ok()?, gateway).ok());
        keeper.ok_or_else(|| {
            let what = format!("the log's origin is `{origin}`, which names no gateway");
            Problem::new(&self.folder, what).help("an origin is `<member>/log/<gateway>`").into()
        })
    }
}

/// Puts an error of the ledger's into words, with the file where one is concerned.
pub(crate) fn read_failure(folder: &Path, error: &ledger::ReadError) -> Failure {
    let problem = match error {
        ledger::ReadError::Damaged(damage) => return damaged(damage).into(),
        ledger::ReadError::NoLedger { .. } => Problem::new(folder, "there is no log in this folder")
            .help("name the gateway's data folder with `--data`, or its configuration with `--config`"),
        ledger::ReadError::NotThere { index, size } => {
            let newest = match size.checked_sub(1) {
                Some(newest) => format!("records are numbered from 0; the newest is {newest}"),
                None => "the log is empty".to_owned(),
            };
            Problem::new(folder, format!("there is no record {index} in this log")).help(newest)
        }
        ledger::ReadError::Storage(_) | ledger::ReadError::Newer { .. } => {
            Problem::new(folder, "cannot read the log").cause(gateway::load::chain(error))
        }
    };
    problem.into()
}

/// Puts damage into words: the file, the byte and the record.
pub(crate) fn damaged(damage: &ledger::Damage) -> Problem {
    let mut place = String::new();
    if let Some(index) = damage.index {
        place = format!(" at record {index}");
    }
    if let Some(offset) = damage.offset {
        place = format!("{place} (byte {offset} of the file)");
    }
    Problem::new(&damage.file, format!("the log is damaged{place}"))
        .cause(damage.what.clone())
        .help(ledger::Damage::HELP)
}
