//! Ids of members and of what belongs to them, parsed strictly and never changed by parsing.
//!
//! Two ids are the same exactly when their texts are the same bytes: upper case is refused rather than folded, so that no
//! two parts of the program can disagree about who somebody is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Longest member id, in bytes.
///
/// Source: RFC 1035, section 2.3.4, less the length octets of the first label and of the root.
pub const MAX_MEMBER_ID_BYTES: usize = 253;

/// Longest name of a system, gateway or auditor within its member, and longest label of a member id, in bytes.
///
/// Source: RFC 1035, section 2.3.4.
pub const MAX_NAME_BYTES: usize = 63;

/// Names one member: a lower-case DNS name that the member owns, such as `county.example`.
///
/// It is also the member's SPIFFE trust domain. At least two labels, so that it can be unique in the world; the last one
/// is not all digits, so that it cannot be taken for an address. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(Arc<str>);

impl MemberId {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name that this member's key has in notes: `<member>/member`.
    #[must_use]
    pub fn member_key_name(&self) -> String {
        format!("{self}/member")
    }
}

impl FromStr for MemberId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse = |why| Err(IdError { what: "member id", text: shown(text), why });
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > MAX_MEMBER_ID_BYTES {
            return refuse("it is longer than 253 characters");
        }
        for label in text.split('.') {
            if let Err(why) = check_label(label) {
                return refuse(why);
            }
        }
        match text.rsplit_once('.') {
            None => refuse("it has only one label; use a DNS name that the member owns, such as `county.example`"),
            Some((_, last)) if last.bytes().all(|byte| byte.is_ascii_digit()) => {
                refuse("its last label is a number, as in an address")
            }
            Some(_) => Ok(Self(text.into())),
        }
    }
}

impl AsRef<str> for MemberId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for MemberId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! owned_id {
    ($(#[$docs:meta])* $name:ident, $what:literal, $kind:literal) => {
        $(#[$docs])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            member: MemberId,
            name: Arc<str>,
        }

        impl $name {
            /// Joins a member and a name: 1 to 63 of `a-z`, `0-9` and `-`, not at either end.
            ///
            /// # Errors
            ///
            /// [`IdError`] for any other name.
            pub fn new(member: MemberId, name: &str) -> Result<Self, IdError> {
                match check_label(name) {
                    Ok(()) => Ok(Self { member, name: name.into() }),
                    Err(why) => Err(IdError { what: concat!("name of ", $what), text: shown(name), why }),
                }
            }

            /// Returns the member that it belongs to.
            #[must_use]
            pub fn member(&self) -> &MemberId {
                &self.member
            }

            /// Returns its name within the member.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.name
            }

            /// Returns the URI that stands in its certificates.
            #[must_use]
            pub fn spiffe(&self) -> String {
                format!(concat!("spiffe://{}/", $kind, "/{}"), self.member, self.name)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let Some((member, name)) = text.split_once('/') else {
                    return Err(IdError { what: concat!("id of ", $what), text: shown(text), why: "it is not of the form `member/name`" });
                };
                Self::new(member.parse()?, name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.member, self.name)
            }
        }

        text_id!($name);
    };
}

macro_rules! text_id {
    ($name:ident) => {
        impl TryFrom<&str> for $name {
            type Error = IdError;

            fn try_from(text: &str) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_id!(MemberId);

owned_id! {
    /// Names one information system of a member, such as `county.example/housing`. Cheap to clone.
    SystemId, "a system", "system"
}

owned_id! {
    /// Names one gateway of a member, such as `county.example/main`. Cheap to clone.
    GatewayId, "a gateway", "gateway"
}

owned_id! {
    /// Names one person or body that may read a member's exchange log, such as `county.example/internal-audit`. Cheap to clone.
    AuditorId, "an auditor", "auditor"
}

impl GatewayId {
    /// Returns the name that this gateway's key has in notes: `<member>/gateway/<gateway>`.
    #[must_use]
    pub fn gateway_key_name(&self) -> String {
        format!("{}/gateway/{}", self.member, self.name)
    }

    /// Returns the origin of this gateway's log, which is also the name of its log key: `<member>/log/<gateway>`.
    #[must_use]
    pub fn log_origin(&self) -> String {
        format!("{}/log/{}", self.member, self.name)
    }
}

/// A text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a {what}: {why}")]
pub struct IdError {
    what: &'static str,
    text: String,
    why: &'static str,
}

/// Accepts 1 to 63 of `a-z`, `0-9` and `-`, not at either end.
fn check_label(label: &str) -> Result<(), &'static str> {
    if label.is_empty() {
        return Err("a part of it is empty");
    }
    if label.len() > MAX_NAME_BYTES {
        return Err("a part of it is longer than 63 characters");
    }
    if label.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("it has capital letters; write it in lower case");
    }
    if !label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        return Err("only `a` to `z`, `0` to `9` and `-` may stand in it");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("a hyphen may not stand at either end of a part");
    }
    Ok(())
}

/// Returns what of a refused text is fit to be shown: a bounded piece without control characters.
fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut piece: String = text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        piece.push('…');
    }
    piece
}

#[cfg(test)]
mod tests;
