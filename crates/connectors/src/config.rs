//! The tables `[[binding]]` and `[database.<name>]` of the configuration file.
//!
//! The connector's table is read flat, and each kind takes its own keys out of it: so a key of the wrong kind is reported at
//! its own line, which an internally tagged enum cannot do.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::bindings::Complaint;

/// Ties one method to one legacy system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingConfig {
    /// The method, as in `health.v1.Patients/Find`.
    pub method: String,
    /// How long the legacy system may take, for the whole answer.
    /// Default: the contract's deadline. It may be shorter, never longer.
    pub timeout: Option<Timeout>,
    /// Largest message that the legacy system may answer with. Default: 4 MiB.
    pub max_message: Option<Size>,
    /// The legacy system and how its answers become messages.
    pub connector: ConnectorConfig,
}

/// The legacy system of a binding. `kind` says which of the other keys it may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectorConfig {
    /// `sql`, `grpc` or `mock`.
    pub kind: String,

    /// `sql`: name of the table `[database.<name>]` to ask.
    pub database: Option<String>,
    /// `sql`: one statement that reads. `:field.path` stands for a field of the request and is always bound, never pasted.
    /// Its columns fill the fields of the answer that have their names; `AS "name.family"` fills a nested one.
    pub query: Option<String>,
    /// `sql`, of a command: the statements that carry it out, in one transaction. The last one's columns fill the answer, as with
    /// `RETURNING`; without columns the answer is empty.
    pub statements: Option<Vec<String>>,
    /// `sql`: fields for columns that are named otherwise, as in `{ pat_nm = "name.family" }`.
    pub columns: BTreeMap<String, String>,
    /// `sql`: how columns (or, as `":field"`, parameters) are written, as in `{ dob = "%d/%m/%Y", balance = "decimal(2)" }`.
    pub formats: BTreeMap<String, String>,
    /// `sql`: what the codes of a column (or of a parameter) mean, as in `{ sex = { M = "MALE", F = "FEMALE", "*" = "UNKNOWN" } }`.
    pub values: BTreeMap<String, BTreeMap<String, String>>,
    /// `sql`: what separates several values in one column, as in `{ tags = ";" }`. It fills a repeated field.
    pub separators: BTreeMap<String, String>,
    /// `sql`: the repeated field that gathers the rows of a unary answer.
    pub gather: Option<String>,
    /// `sql`: time zone of dates with times that do not say theirs, as in `Europe/London`. Default: UTC.
    pub timezone: Option<String>,
    /// `sql`: which of two is meant by a time that came twice, since clocks were put back: `earlier` or `later`. Default: neither; such
    /// a time is an error.
    pub ambiguous: Option<String>,

    /// `grpc`: where the back end listens, as in `https://backend.internal:50051`.
    pub address: Option<String>,
    /// `grpc`: PEM file with the certificates that the back end's own is verified against.
    pub ca: Option<PathBuf>,
    /// `grpc`: PEM file with the certificate to present to the back end, leaf first.
    pub certificate: Option<PathBuf>,
    /// `grpc`: PEM file with the key of `certificate`.
    pub key: Option<PathBuf>,
    /// `grpc`: how many HTTP/2 connections each of the gateway's workers keeps. Default: 1.
    pub connections: Option<NonZeroU16>,
    /// `grpc`: speak without TLS. For development only, and only to an address of this machine itself. Default: false.
    pub dangerous_plaintext: Option<bool>,

    /// `mock`: what is made up follows from this number and from the question. Default: 0.
    pub seed: Option<u64>,
    /// `mock`: how many messages a stream of answers has. Default: 3.
    pub rows: Option<u32>,
    /// `mock`: JSON or TOML file with examples, which come before what is made up. Default: none.
    pub examples: Option<PathBuf>,
}

impl ConnectorConfig {
    /// Complains of every key that is not one of `own`, those of its kind.
    pub(crate) fn foreign(&self, own: &[&str]) -> Vec<Complaint> {
        let keys = [
            ("database", self.database.is_some()),
            ("query", self.query.is_some()),
            ("statements", self.statements.is_some()),
            ("columns", !self.columns.is_empty()),
            ("formats", !self.formats.is_empty()),
            ("values", !self.values.is_empty()),
            ("separators", !self.separators.is_empty()),
            ("gather", self.gather.is_some()),
            ("timezone", self.timezone.is_some()),
            ("ambiguous", self.ambiguous.is_some()),
            ("address", self.address.is_some()),
            ("ca", self.ca.is_some()),
            ("certificate", self.certificate.is_some()),
            ("key", self.key.is_some()),
            ("connections", self.connections.is_some()),
            ("dangerous_plaintext", self.dangerous_plaintext.is_some()),
            ("seed", self.seed.is_some()),
            ("rows", self.rows.is_some()),
            ("examples", self.examples.is_some()),
        ];
        let foreign = keys.into_iter().filter(|(key, present)| *present && !own.contains(key));
        foreign
            .map(|(key, _)| {
                let what = format!("a connector of kind `{}` has no key `{key}`", self.kind);
                Complaint::new(key, what, "leave it out")
            })
            .collect()
    }
}

/// A database that bindings of kind `sql` ask. It is opened to read only, except for commands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Where it is. `sqlite:legacy.db`; a relative path is relative to the configuration file, and `?immutable=true` is for a
    /// file on a medium that nobody can write to. `postgres://role@host:5432/database`, or
    /// `postgres://role@/database?host=/run/postgresql` for a socket in a folder. Never with a password.
    pub url: String,
    /// PostgreSQL: file that holds the role's password, which is read for each new connection. Default: no password.
    pub password_file: Option<PathBuf>,
    /// PostgreSQL: PEM file with the authorities that the server's certificate may come from, besides the public ones.
    pub ca: Option<PathBuf>,
    /// PostgreSQL: PEM file with the certificate to present to the server, leaf first.
    pub certificate: Option<PathBuf>,
    /// PostgreSQL: PEM file with the key of `certificate`.
    pub key: Option<PathBuf>,
    /// PostgreSQL: speak without TLS to another machine. For development only. Default: false.
    pub dangerous_plaintext: Option<bool>,
    /// Largest number of connections, which is the number of statements that run at once. Default: 4.
    pub connections: Option<NonZeroU16>,
    /// Lets bindings of this database carry out commands, and names the table in which each leaves its key, within its own
    /// transaction: `drawbridge_keys (key, exchange)`, both text, `key` unique. Default: none, and nothing is written.
    pub commands: Option<String>,
    /// How long a statement waits while another program holds the database. Default: 2 s.
    pub lock_timeout: Option<Timeout>,
    /// How long the reader of a stream may take nothing while other questions wait for a connection; then they have it, and the stream ends
    /// with `CANCELLED`. Default: 5 s.
    pub patience: Option<Timeout>,
}

/// A positive length of time, written with its unit, as in `"3s"` or `"250ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(Duration);

impl Timeout {
    /// Returns the length of time.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Timeout {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Timeout;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time with its unit, as in \"3s\" or \"250ms\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Timeout, E> {
                match humantime::parse_duration(text) {
                    Ok(Duration::ZERO) => Err(E::custom("a length of time must be longer than nothing")),
                    Ok(duration) => Ok(Timeout(duration)),
                    Err(_) => Err(E::custom(format_args!(
                        "`{text}` is not a length of time; write it with its unit, as in \"3s\" or \"250ms\""
                    ))),
                }
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A positive number of bytes, written with its unit, as in `"4MiB"`.
///
/// Units: `B`, `KiB`, `MiB`, `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

impl Size {
    /// Returns the number of bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let factor: usize = match unit.trim_start() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        let bytes = number.parse::<usize>().ok()?.checked_mul(factor)?;
        (bytes > 0).then_some(Self(bytes))
    }
}

impl From<usize> for Size {
    fn from(bytes: usize) -> Self {
        Self(bytes)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size with its unit, as in \"4MiB\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).ok_or_else(|| {
                    E::custom(format_args!(
                        "`{text}` is not a size; write it with its unit, as in \"512KiB\" or \"4MiB\""
                    ))
                })
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Both {
        time: Timeout,
        size: Size,
    }

    fn read(text: &str) -> Result<Both, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn times_and_sizes_carry_their_unit() {
        let both = read("time = \"1m 30s\"\nsize = \"4MiB\"").unwrap();
        assert_eq!(both.time.duration(), Duration::from_secs(90));
        assert_eq!(both.time.to_string(), "1m 30s");
        assert_eq!(both.size.bytes(), 4 * 1024 * 1024);
        assert_eq!(Size::parse("7 KiB"), Some(Size(7168)));
    }

    #[test]
    fn what_is_no_time_or_size_is_refused_with_a_cure() {
        for (text, says) in [
            ("time = \"3\"\nsize = \"4MiB\"", "as in \"3s\""),
            ("time = \"0s\"\nsize = \"4MiB\"", "longer than nothing"),
            ("time = 3\nsize = \"4MiB\"", "with its unit"),
            ("time = \"3s\"\nsize = \"4MB\"", "as in \"512KiB\""),
            ("time = \"3s\"\nsize = \"0B\"", "as in \"512KiB\""),
            ("time = \"3s\"\nsize = \"99999999999999GiB\"", "as in \"512KiB\""),
            ("time = \"3s\"\nsize = \"MiB\"", "as in \"512KiB\""),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let text = "method = \"a.B/C\"\nconnector = { kind = \"sql\", querry = \"SELECT 1\" }";
        let problem = toml::from_str::<BindingConfig>(text).unwrap_err();
        assert!(problem.message().contains("querry"), "{problem}");
    }
}
