//! What an authority took back so far: a small text beside its key, from which every revocation list is made whole.

use std::fmt;
use std::fmt::Write as _;
use std::time::SystemTime;

use problem::{Problem, TomlFile};
use rcgen::RevocationReason;
use serde::Deserialize;
use thiserror::Error;
use toml_edit::Datetime;

use crate::entry::check_format;
use crate::time::{from_rfc3339, rfc3339};
use crate::{Identity, MemberId, certificate};

/// First line of the text, as `format`.
pub const REVOCATIONS_FORMAT: &str = "drawbridge.revocations/v1";

/// Most certificates that one text revokes.
const MAX_REVOCATIONS: usize = 100_000;

/// The revocations of one member's authority, in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    member: MemberId,
    /// The number of the last list that was made; 0 before the first.
    number: u64,
    revoked: Vec<Revocation>,
}

/// One certificate that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its serial number, in lower-case hexadecimal digits, two per byte.
    pub serial: String,
    /// Whose certificate it was, where that is known.
    pub identity: Option<Identity>,
    /// When it was taken back.
    pub at: SystemTime,
    /// Why.
    pub reason: Reason,
}

/// Why a certificate was taken back.
///
/// Source: RFC 5280, section 5.3.1, without those that a single authority has no use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// `unspecified`
    Unspecified,
    /// `key-compromise`: somebody else may have the private key.
    KeyCompromise,
    /// `affiliation-changed`: its owner has another name or place.
    AffiliationChanged,
    /// `superseded`: there is a newer certificate.
    Superseded,
    /// `cessation`: its owner is no more.
    Cessation,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Unspecified, Self::KeyCompromise, Self::AffiliationChanged, Self::Superseded, Self::Cessation];

    /// Returns the code of RFC 5280. `unspecified` is left out of lists, as the RFC asks.
    pub(super) fn code(self) -> Option<RevocationReason> {
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(RevocationReason::KeyCompromise),
            Self::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
            Self::Superseded => Some(RevocationReason::Superseded),
            Self::Cessation => Some(RevocationReason::CessationOfOperation),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::Cessation => "cessation",
        })
    }
}

impl std::str::FromStr for Reason {
    type Err = RevocationError;

    fn from_str(text: &str) -> Result<Self, RevocationError> {
        Self::ALL.into_iter().find(|reason| reason.to_string() == text).ok_or(RevocationError::Reason)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRevocations {
    #[expect(dead_code, reason = "checked before anything else is read")]
    format: String,
    member: String,
    number: u64,
    #[serde(default)]
    revoked: Vec<RawRevocation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRevocation {
    serial: String,
    identity: Option<String>,
    at: Datetime,
    reason: Reason,
}

impl Revocations {
    /// Starts without any, for the authority of `member`.
    #[must_use]
    pub fn new(member: MemberId) -> Self {
        Self { member, number: 0, revoked: Vec::new() }
    }

    /// Reads the text that [`Revocations::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// Every problem at once.
    pub fn parse(toml: &TomlFile) -> Result<Self, Vec<Problem>> {
        check_format(toml, REVOCATIONS_FORMAT).map_err(|problem| vec![problem])?;
        let raw: RawRevocations = toml.read().map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let member = match raw.member.parse::<MemberId>() {
            Ok(member) => Some(member),
            Err(error) => {
                problems.push(toml.problem("member", error.to_string()));
                None
            }
        };
        if raw.revoked.len() > MAX_REVOCATIONS {
            problems.push(toml.problem("revoked", format!("there are more than {MAX_REVOCATIONS} revocations")));
        }
        let mut revoked = Vec::new();
        for (place, raw) in raw.revoked.into_iter().enumerate().take(MAX_REVOCATIONS) {
            let path = |key: &str| format!("revoked[{place}].{key}");
            let serial = normal_serial(&raw.serial)
                .map_err(|error| problems.push(toml.problem(&path("serial"), error.to_string())))
                .ok();
            let at = from_rfc3339(&raw.at.to_string());
            if at.is_none() {
                problems.push(
                    toml.problem(&path("at"), "this is not a moment with date, time and offset")
                        .help("write it as 2027-11-01T00:00:00Z"),
                );
            }
            let identity = raw.identity.map(|text| text.parse::<Identity>()).transpose();
            if let Err(error) = &identity {
                problems.push(
                    toml.problem(&path("identity"), "this is not an identity")
                        .help("write it as `spiffe://<member>/<kind>/<name>`")
                        .cause(error.to_string()),
                );
            }
            if let (Some(serial), Some(at), Ok(identity)) = (serial, at, identity) {
                revoked.push(Revocation { serial, identity, at, reason: raw.reason });
            }
        }
        match member {
            Some(member) if problems.is_empty() => Ok(Self { member, number: raw.number, revoked }),
            Some(_) | None => Err(problems),
        }
    }

    /// Returns the member whose authority they are of.
    #[must_use]
    pub fn member(&self) -> &MemberId {
        &self.member
    }

    /// Returns all, in the order in which they were made.
    #[must_use]
    pub fn all(&self) -> &[Revocation] {
        &self.revoked
    }

    /// Takes back the certificate with this serial number (hexadecimal digits; colons between them are left aside).
    /// Returns whether it was still standing: a certificate is taken back once, and stays so.
    ///
    /// # Errors
    ///
    /// [`RevocationError::Serial`] for what is not a serial number.
    pub fn revoke(
        &mut self,
        serial: &str,
        identity: Option<Identity>,
        reason: Reason,
        now: SystemTime,
    ) -> Result<bool, RevocationError> {
        let serial = normal_serial(serial)?;
        if self.revoked.iter().any(|revocation| revocation.serial == serial) {
            return Ok(false);
        }
        self.revoked.push(Revocation { serial, identity, at: now, reason });
        Ok(true)
    }

    /// Writes the text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            let written = writeln!(out, "{text}");
            debug_assert!(written.is_ok(), "writing to a string does not fail");
        };
        line(format!("format = \"{REVOCATIONS_FORMAT}\""));
        line(format!("member = \"{}\"", self.member));
        line("# of the last list that was made; a number is never used twice".to_owned());
        line(format!("number = {}", self.number));
        for Revocation { serial, identity, at, reason } in &self.revoked {
            line(format!("\n[[revoked]]\nserial = \"{serial}\""));
            if let Some(identity) = identity {
                line(format!("identity = \"{identity}\""));
            }
            line(format!("at = {}\nreason = \"{reason}\"", rfc3339(*at)));
        }
        out
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.number = self.number.saturating_add(1);
        self.number
    }
}

impl Revocation {
    pub(super) fn serial_bytes(&self) -> Vec<u8> {
        // Checked where it came in.
        hex::decode(&self.serial).unwrap_or_default()
    }
}

/// A certificate cannot be taken back that way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RevocationError {
    /// Not a serial number.
    #[error("this is not a serial number: expected up to 40 hexadecimal digits, two per byte")]
    Serial,
    /// Not a reason.
    #[error(
        "this is not a reason: use one of `unspecified`, `key-compromise`, `affiliation-changed`, `superseded`, `cessation`"
    )]
    Reason,
}

/// Brings a serial number into the form in which it is compared: lower case, without colons and leading zero bytes.
fn normal_serial(text: &str) -> Result<String, RevocationError> {
    /// Source: RFC 5280, section 4.1.2.2.
    const MAX_BYTES: usize = 20;
    let digits: String = text.chars().filter(|c| *c != ':').take(2 * MAX_BYTES + 3).collect();
    let bytes = hex::decode(digits).map_err(|_| RevocationError::Serial)?;
    if bytes.is_empty() || bytes.len() > MAX_BYTES + 1 {
        Err(RevocationError::Serial)
    } else {
        Ok(certificate::serial(&bytes))
    }
}

#[cfg(test)]
mod tests;
