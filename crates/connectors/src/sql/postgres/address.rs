//! Where a PostgreSQL server is, and how it is let know who asks: the table `[database.<name>]` read.
//!
//! A password is in a file of its own and is read for each new connection, so a new one is taken up without a restart.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::ConnectorError;
use crate::config::DatabaseConfig;
use crate::sql::Misconfigured;

const EXAMPLE: &str = "write it as in `postgres://role@host:5432/database`, or `postgres://role@/database?host=/run/postgresql` for a socket";

/// How many statements each connection keeps compiled.
const STATEMENTS: usize = 256;

/// What the gateway calls itself in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "drawbridge";

/// Where the server is and who asks.
#[derive(Clone, Debug)]
pub(super) struct Address {
    options: PgConnectOptions,
    password_file: Option<PathBuf>,
    /// The other machine, if questions go there in plain text.
    pub(super) plaintext: bool,
}

impl Address {
    /// Reads the table, or says everything that is wrong with it.
    pub(super) fn read(config: &DatabaseConfig, folder: &Path) -> Result<Self, Vec<Misconfigured>> {
        let url = Url::parse(&config.url).map_err(|what| vec![Misconfigured::new("url", what, EXAMPLE)])?;
        let mut wrong = Vec::new();
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| folder.join(path));
        let (password_file, ca) = (file(&config.password_file), file(&config.ca));
        for (key, path) in [("password_file", &password_file), ("ca", &ca), ("certificate", &file(&config.certificate))]
        {
            if let Some(Err(error)) = path.as_ref().map(std::fs::File::open) {
                let what = format!("`{key}` cannot be read: {}", error.kind());
                wrong.push(Misconfigured::new(
                    key,
                    what,
                    "name a file that the gateway may read; it is relative to this file",
                ));
            }
        }
        let plain = config.dangerous_plaintext.unwrap_or_default();
        if plain && (ca.is_some() || url.place.is_here()) {
            let (what, help) = if ca.is_some() {
                ("`ca` is for TLS, and `dangerous_plaintext` is for none", "leave one of them out")
            } else {
                ("the server is on this machine, so no plain text crosses a network", "leave `dangerous_plaintext` out")
            };
            wrong.push(Misconfigured::new("dangerous_plaintext", what, help));
        }
        // Everything that the driver would else take from the environment is said here.
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(url.place.host())
            .port(url.port)
            .username(&url.role)
            .database(&url.database)
            .password("")
            .application_name(APPLICATION)
            .statement_cache_capacity(STATEMENTS)
            .ssl_mode(PgSslMode::Disable)
            .ssl_root_cert_from_pem(Vec::new())
            // The driver would log statements; the gateway has its own log.
            .disable_statement_logging();
        if let Place::Socket(folder) = &url.place {
            options = options.socket(folder);
        } else if ca.is_some() || (!url.place.is_here() && !plain) {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        if let Some(ca) = ca {
            options = options.ssl_root_cert(ca);
        }
        match (file(&config.certificate), file(&config.key)) {
            (Some(certificate), Some(key)) => options = options.ssl_client_cert(certificate).ssl_client_key(key),
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => wrong.push(Misconfigured::new(
                "certificate",
                "`certificate` and `key` belong together",
                "name both files, or neither",
            )),
        }
        if wrong.is_empty() {
            Ok(Self { options, password_file, plaintext: plain && !url.place.is_here() })
        } else {
            Err(wrong)
        }
    }

    /// Returns what a connection is opened with, the password as its file has it now.
    pub(super) async fn options(&self) -> Result<PgConnectOptions, ConnectorError> {
        let Some(file) = &self.password_file else {
            return Ok(self.options.clone());
        };
        let text = tokio::fs::read_to_string(file).await.map_err(|error| ConnectorError::Credentials {
            why: format!("the file of the password cannot be read: {}", error.kind()).into(),
        })?;
        Ok(self.options.clone().password(text.trim_end_matches(['\r', '\n'])))
    }
}

/// The parts of a URL.
struct Url {
    role: String,
    place: Place,
    port: u16,
    database: String,
}

enum Place {
    Host(String),
    /// The folder of a Unix socket.
    Socket(String),
}

impl Place {
    fn host(&self) -> &str {
        match self {
            Self::Host(host) => host,
            Self::Socket(_) => "localhost",
        }
    }

    /// Whether it is this machine itself.
    fn is_here(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Host(host) => {
                host.eq_ignore_ascii_case("localhost")
                    || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
        }
    }
}

impl Url {
    /// Reads `postgres://role@host:port/database?host=/folder`. The error is what is wrong, and shows nothing of it.
    fn parse(url: &str) -> Result<Self, &'static str> {
        let rest = super::SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or("the URL cannot be read")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').ok_or("the URL names no database")?;
        let (role, place) = authority.rsplit_once('@').ok_or("the URL names no role")?;
        if role.contains(':') {
            return Err("the URL holds a password, which belongs in `password_file`");
        }
        let decoded = |text: &str| {
            percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| "the URL is not UTF-8")
        };
        let (role, database) = (decoded(role)?, decoded(database)?);
        if role.is_empty() {
            return Err("the URL names no role");
        }
        if database.is_empty() || database.contains('/') {
            return Err("the URL names no database");
        }
        let (host, port) = split_port(place)?;
        let place = match (host, query.strip_prefix("host=")) {
            ("", Some(folder)) if decoded(folder)?.starts_with('/') => Place::Socket(decoded(folder)?),
            ("", _) => return Err("the URL names no host"),
            (host, None) if query.is_empty() => Place::Host(host.to_owned()),
            _ => return Err("the URL has options, which are keys of the table or the gateway's own"),
        };
        Ok(Self { role, place, port, database })
    }
}

/// Splits `host:port`, where the host may be `[::1]`.
fn split_port(place: &str) -> Result<(&str, u16), &'static str> {
    let bracketed = place.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    match port {
        None => Ok((host, 5432)),
        Some(port) => port.parse().map(|port| (host, port)).map_err(|_| "the URL's port is not a number up to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Address, String> {
        let config: DatabaseConfig = toml::from_str(text).unwrap();
        Address::read(&config, Path::new("/nowhere"))
            .map_err(|wrong| wrong.into_iter().map(|wrong| wrong.what).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn what_leaves_this_machine_is_encrypted_unless_dangerously_not() {
        for (text, mode, plaintext) in [
            ("url = 'postgres://r@localhost/d'", PgSslMode::Disable, false),
            ("url = 'postgresql://r@127.0.0.1:5433/d'", PgSslMode::Disable, false),
            ("url = 'postgres://r@[::1]:5433/d'", PgSslMode::Disable, false),
            ("url = 'postgres://r@/d?host=/run/postgresql'", PgSslMode::Disable, false),
            ("url = 'postgres://r@db.example/d'", PgSslMode::VerifyFull, false),
            ("url = 'postgres://r@db.example/d'\ndangerous_plaintext = true", PgSslMode::Disable, true),
        ] {
            let address = read(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"));
            assert!(matches!(
                (address.options.get_ssl_mode(), mode),
                (PgSslMode::Disable, PgSslMode::Disable) | (PgSslMode::VerifyFull, PgSslMode::VerifyFull)
            ));
            assert_eq!(address.plaintext, plaintext, "{text}");
        }
        let socket = read("url = 'postgres://r%40x@:5433/d?host=%2Frun%2Fpg'").unwrap().options;
        assert_eq!(socket.get_username(), "r@x");
        assert_eq!((socket.get_port(), socket.get_socket()), (5433, Some(&PathBuf::from("/run/pg"))));
        assert_eq!(socket.get_database(), Some("d"));
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for (text, says) in [
            ("url = 'postgres://r:SECRET@h/d'", "the URL holds a password, which belongs in `password_file`"),
            ("url = 'postgres://h/d'", "names no role"),
            ("url = 'postgres://r@h'", "names no database"),
            ("url = 'postgres://r@h/'", "names no database"),
            ("url = 'postgres://r@/d'", "names no host"),
            ("url = 'postgres://r@h:port/d'", "port is not a number"),
            ("url = 'postgres://r@h/d?sslmode=disable'", "has options"),
            ("url = 'postgres://r@localhost/d'\ndangerous_plaintext = true", "on this machine"),
            ("url = 'postgres://r@h/d'\npassword_file = 'no'", "`password_file` cannot be read: entity not found"),
            ("url = 'postgres://r@h/d'\nkey = 'no'", "belong together"),
        ] {
            let wrong = read(text).err().unwrap_or_default();
            assert!(wrong.contains(says), "{text}: {wrong}");
            assert!(!wrong.contains("SECRET"));
        }
    }
}
