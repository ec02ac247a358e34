//! Writes the folders of the three sample members: keys, certificates, directory, agreements, contracts, bindings and the
//! legacy system behind each.
//!
//! A folder is what `drawbridge init` makes and an operator completes; nothing in it is special to the demonstration. Keys and
//! certificates are made anew each time.

mod agreements;
mod identities;
mod ports;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use contract::{Contracts, Source};
use problem::Problem;

use crate::{
    contracts::PROTOS,
    legacy::{self, LegacyError},
};

pub use ports::Ports;
pub(crate) use ports::free as free_ports;

/// A sample member.
#[derive(Debug)]
pub struct Member {
    /// Its id: a name that nobody can own.
    pub id: &'static str,
    /// Its folder, below the demonstration's.
    pub folder: &'static str,
    /// What it is, for people.
    pub name: &'static str,
    /// Systems of its own that ask others.
    pub systems: &'static [&'static str],
    /// Services that it offers to others.
    pub services: &'static [&'static str],
    /// Its configuration, with placeholders for the ports.
    configuration: &'static str,
}

/// An NHS trust with a patient administration system.
pub const TRUST: Member = Member {
    id: "trust.example",
    folder: "trust",
    name: "An NHS trust",
    systems: &["discharge"],
    services: &["health.v1.Encounters", "health.v1.Patients"],
    configuration: include_str!("../members/trust/gateway.toml"),
};

/// A police force with a gazetteer.
pub const POLICE: Member = Member {
    id: "police.example",
    folder: "police",
    name: "A police force",
    systems: &["control-room"],
    services: &["police.v1.Neighbourhoods", "police.v1.Stations"],
    configuration: include_str!("../members/police/gateway.toml"),
};

/// A county council with the register of local authorities.
pub const COUNCIL: Member = Member {
    id: "council.example",
    folder: "council",
    name: "A county council",
    systems: &["planning", "social-care"],
    services: &["council.v1.Authorities"],
    configuration: include_str!("../members/council/gateway.toml"),
};

/// All three.
pub const ALL: [&Member; 3] = [&TRUST, &POLICE, &COUNCIL];

/// The folders that were written.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The folder that holds the members' own.
    pub root: PathBuf,
    /// The ports of each member, in the order of [`ALL`].
    pub ports: [Ports; 3],
}

/// Why the folders could not be written.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No free port was found on the loopback address.
    #[error("no free port on the loopback address")]
    Ports(#[source] io::Error),
    /// A legacy system could not be built.
    #[error(transparent)]
    Legacy(#[from] LegacyError),
    /// A key, certificate, contract or agreement was not taken by the crate it is for.
    #[error("cannot make {what}: {why}")]
    Make {
        /// What was being made.
        what: String,
        /// What was wrong with it.
        why: String,
    },
}

impl MembersError {
    pub(crate) fn make(what: impl Into<String>, why: impl std::fmt::Display) -> MembersError {
        MembersError::Make { what: what.into(), why: why.to_string() }
    }

    pub(crate) fn problems(what: impl Into<String>, problems: &[Problem]) -> MembersError {
        let why: Vec<String> = problems.iter().map(ToString::to_string).collect();
        MembersError::make(what, why.join("\n"))
    }
}

/// Writes the three folders below `root`, which may exist and must not hold one of them yet.
///
/// Agreements are in force from an hour before `now`, for a year. Ports are free ones of the loopback address.
///
/// # Errors
///
/// [`MembersError`]; what was written until then stays.
pub async fn write(root: &Path, now: SystemTime) -> Result<Folders, MembersError> {
    let ports = ports::free().map_err(MembersError::Ports)?;
    let contracts = contracts()?;
    for (member, ports) in ALL.into_iter().zip(&ports) {
        let folder = root.join(member.folder);
        make_folder(root)?;
        fs::create_dir(&folder).map_err(|source| MembersError::Write { path: folder.clone(), source })?;
        for inner in ["agreements", "data", "revocation"] {
            make_folder(&folder.join(inner))?;
        }
        write_text(&folder.join("gateway.toml"), &ports.fill(member.configuration))?;
        for (path, text) in PROTOS.into_iter().chain([(contract::OPTIONS_PATH, contract::OPTIONS_PROTO)]) {
            write_text(&folder.join("proto").join(path), text)?;
        }
    }
    let keys = identities::write(root, &ports, &contracts, now)?;
    agreements::write(root, &keys, &contracts, now)?;
    for (path, text) in REQUESTS {
        write_text(&root.join("requests").join(path), text)?;
    }
    write_text(&root.join("ask.py"), include_str!("../members/ask.py"))?;
    let legacy = |member: &Member| root.join(member.folder).join("legacy.db");
    let (trust, police, council) = (legacy(&TRUST), legacy(&POLICE), legacy(&COUNCIL));
    tokio::try_join!(legacy::trust(&trust), legacy::police(&police), legacy::council(&council))?;
    Ok(Folders { root: root.to_owned(), ports })
}

/// The first patient of the hospital: the one whom the story asks about.
pub const REQUESTED_NHS_NUMBER: &str = "9990000018";
/// Rows of the largest table of all, which the police have.
pub const NEIGHBOURHOODS: u64 = 4581;
/// Encounters of the hospital.
pub const ENCOUNTERS: u64 = 604;

/// The questions of the story, ready to be asked.
const REQUESTS: [(&str, &str); 5] = [
    ("patient.json", "{\"nhsNumber\": \"9990000018\"}\n"),
    ("kent.json", "{\"force\": \"kent\"}\n"),
    ("all.json", "{}\n"),
    ("authority.json", "{\"code\": \"KEN\"}\n"),
    ("clusters.json", "{\"days\": 3}\n"),
];

/// The contracts of all three members, compiled.
///
/// # Errors
///
/// [`MembersError::Make`] with every problem.
pub fn contracts() -> Result<Contracts, MembersError> {
    let files = PROTOS.map(|(path, text)| (path.to_owned(), text.to_owned())).to_vec();
    let source = Source::Protos { name: "proto".to_owned(), files };
    Contracts::load(&[source]).map_err(|problems| MembersError::problems("the contracts", &problems))
}

pub(crate) fn make_folder(path: &Path) -> Result<(), MembersError> {
    fs::create_dir_all(path).map_err(|source| MembersError::Write { path: path.to_owned(), source })
}

pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), MembersError> {
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    fs::write(path, text).map_err(|source| MembersError::Write { path: path.to_owned(), source })
}

/// Writes what only its owner may read.
fn write_secret(path: &Path, text: &str) -> Result<(), MembersError> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};

    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| MembersError::Write { path: path.to_owned(), source })
}
