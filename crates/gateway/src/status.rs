//! How a gateway stands at this moment: what `/status` on the operations port says.
//!
//! Members, gateways, systems and ids of agreements are named; persons, cases, and what was asked never are.

mod agreements;
mod fetch;
mod source;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use fetch::{FetchError, fetch};
pub(crate) use source::{AgreementLabels, Ending, Source};

/// The `format` of a status.
pub const STATUS_FORMAT: &str = "drawbridge.status/v1";

/// How a gateway stands. Moments are RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `drawbridge.status/v1`.
    pub format: String,
    /// The gateway: `county.example/main`.
    pub gateway: String,
    /// The version of the program that runs.
    pub version: String,
    /// When it was started.
    pub started: String,
    /// How long ago that was.
    pub uptime_seconds: u64,
    /// Whether it takes exchanges.
    pub health: Health,
    /// Where it listens.
    pub ports: Ports,
    /// Whether what lies in the files is in force.
    #[serde(default)]
    pub reload: Reload,
    /// Exchanges that go on.
    pub exchanges: Exchanges,
    /// The exchange log.
    pub log: Log,
    /// Gateways that this one has asked since its start, or that have a connection to it.
    pub peers: Vec<Peer>,
    /// Own systems that have a connection to it.
    pub systems: Vec<System>,
    /// Agreements of this member.
    pub agreements: Agreements,
    /// Until when things are valid: all of this gateway and member, and of others what ends within 30 days.
    pub certificates: Vec<Certificate>,
}

/// Whether a gateway takes exchanges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it does.
    pub serving: bool,
    /// Why not.
    pub why: Option<String>,
}

/// Where a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// For other members' gateways.
    pub links: Option<SocketAddr>,
    /// For systems of its own member.
    pub clients: Option<SocketAddr>,
    /// For its operator.
    pub operations: SocketAddr,
}

/// Whether what lies in a gateway's files is in force. Agreements and revocation lists are looked after file by file beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// When what is in force was read.
    pub in_force_since: String,
    /// How often the files were taken up since the start.
    pub taken: u64,
    /// What lies in the files now and is not in force, if that is so.
    pub refused: Option<RefusedReload>,
}

/// Files that are not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReload {
    /// Since when.
    pub since: String,
    /// Why: each problem as `drawbridge check` tells it.
    pub problems: Vec<String>,
}

/// Exchanges that go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanges {
    /// How many, on both ports together.
    pub now: usize,
    /// How many may: `limits.exchanges`.
    pub most: usize,
}

/// The exchange log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Its name.
    pub origin: String,
    /// Records on disk.
    pub records: u64,
    /// What they take on disk, in bytes, with what is laid out for the next ones.
    pub journal_bytes: u64,
    /// What is free on that disk for the gateway's user, in bytes.
    pub free_bytes: Option<u64>,
    /// Records that the newest checkpoint covers.
    pub checkpoint_records: u64,
    /// How long ago it was made. None is made while there is nothing new.
    pub checkpoint_age_seconds: Option<u64>,
}

/// Another gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Which.
    pub gateway: String,
    /// The link that this gateway dialled, to ask.
    pub dialled: Option<Dialled>,
    /// Connections of that gateway, to be answered.
    pub accepted: Option<Open>,
}

/// A link that was dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialled {
    /// What is open on it.
    #[serde(flatten)]
    pub open: Open,
    /// How the keys of a connection were agreed: `X25519MLKEM768` withstands quantum computers.
    pub key_exchange: Option<String>,
    /// Why there is no connection, where the last attempt failed.
    pub down: Option<Down>,
}

/// Connections and what is open on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Connections.
    pub connections: usize,
    /// Streams on all of them.
    pub streams: usize,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// Why.
    pub why: String,
    /// How to mend it.
    pub cure: String,
}

/// A system of the gateway's own member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// Which: `county.example/housing`.
    pub system: String,
    /// What is open.
    #[serde(flatten)]
    pub open: Open,
}

/// The agreements of a gateway's member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreements {
    /// How many permit something now.
    pub in_force: usize,
    /// How many would, and permit nothing since the contracts that are loaded do not fit.
    #[serde(default)]
    pub not_served: usize,
    /// How many will do so.
    pub to_come: usize,
    /// How many are over.
    pub ended: usize,
    /// Each of them: first those that somebody should look at, the soonest end first.
    #[serde(default)]
    pub each: Vec<Agreement>,
    /// Files in their folder that cannot be used, each as `drawbridge check` tells it: they permit nothing.
    #[serde(default)]
    pub broken: Vec<String>,
    /// What is used today, by UTC, of limits that agreements in force set for a day, as this gateway counts it.
    #[serde(default)]
    pub limits: Vec<DayLimit>,
}

/// How much is used of what a grant allows in a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayLimit {
    /// The agreement's id.
    pub agreement: String,
    /// The member that may ask.
    pub consumer: String,
    /// The member that answers.
    pub provider: String,
    /// The position of the grant in the agreement, from 1.
    pub grant: usize,
    /// Its service.
    pub service: String,
    /// `calls_per_day` or `rows_per_day`.
    pub limit: String,
    /// What is used.
    pub used: u64,
    /// What is allowed.
    pub most: u64,
}

/// An agreement that both members have signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Its id.
    pub agreement: String,
    /// The member that may ask.
    pub consumer: String,
    /// The member that answers.
    pub provider: String,
    /// How it stands.
    pub state: AgreementState,
    /// Whether somebody should look at it: it is not served, or not in full; it ends, or is to be reviewed, within 30 days, or that is
    /// past since no more than 30 days. One that a member ended by a note needs no look.
    pub look_at: bool,
    /// From when it is in force.
    pub from: String,
    /// When it ends or ended.
    pub until: String,
    /// How long until then; negative when it is past.
    pub ends_in_seconds: i64,
    /// The member that ended it, where one did.
    pub ended_by: Option<String>,
    /// The day on which the two members look at it again.
    pub review_on: String,
    /// Whether that day is past.
    pub review_overdue: bool,
    /// Its grants in the order of the text. Of one that is over there are none.
    pub grants: Vec<Grant>,
}

/// How an agreement stands. What comes first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgreementState {
    /// It is over.
    Ended,
    /// Its time has not come.
    ToCome,
    /// Its time is now, and it permits nothing: the contracts that are loaded do not fit.
    NotServed,
    /// Its time is now, and some of its grants permit nothing.
    ServedInPart,
    /// It permits what it says, and ends within 30 days.
    NearItsEnd,
    /// It permits what it says.
    InForce,
}

/// What one grant of an agreement comes to here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its service.
    pub service: String,
    /// The version of the service that was agreed on.
    pub agreed: String,
    /// The version that is loaded, where one is.
    pub loaded: Option<String>,
    /// How the one stands to the other.
    pub contract: ContractMatch,
    /// Whether the grant permits something.
    pub served: bool,
    /// Why not.
    pub why: Option<String>,
    /// How to mend it.
    pub cure: Option<String>,
}

/// How a loaded contract stands to the one that was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContractMatch {
    /// It is the same.
    Same,
    /// It came after it, and is backward compatible.
    Later,
    /// It is another one.
    Different,
    /// There is none with this service.
    NotLoaded,
}

/// Something with an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// What it is, in words.
    pub what: String,
    /// When it ends.
    pub until: String,
    /// How long until then; negative when it is past.
    pub ends_in_seconds: i64,
}
