//! Takes what a binding of kind `grpc` needs out of the connector's table.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::bindings::Complaint;
use crate::config::ConnectorConfig;

/// HTTP/2 connections of each of the gateway's runtimes, unless configured. A runtime is a core, which frames about as much as one
/// connection carries.
const CONNECTIONS: u16 = 1;

/// The keys of the kind.
const KEYS: &[&str] = &["address", "ca", "certificate", "key", "connections", "dangerous_plaintext"];

/// Where a back end is and how it is spoken to. Bindings that agree in all of it share their connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrpcBinding {
    pub(crate) authority: Authority,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `None` for plain text.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) connections: u16,
}

/// The PEM files of a connection with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) ca: PathBuf,
    /// Certificate and key to present.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl GrpcBinding {
    /// Reads the table, or says everything that is wrong with it.
    pub(crate) fn read(config: &ConnectorConfig, folder: &Path) -> Result<Self, Vec<Complaint>> {
        let mut complaints = config.foreign(KEYS);
        let Some(address) = config.address.as_deref() else {
            complaints.push(Complaint::new(
                "",
                "a connector of kind `grpc` needs `address`",
                "write where the back end listens, as in `address = \"https://backend.internal:50051\"`",
            ));
            return Err(complaints);
        };
        let address = Address::parse(address);
        let tls = match &address {
            Err(complaint) => {
                complaints.push(complaint.clone());
                None
            }
            Ok(address) if address.plaintext => {
                complaints.extend(plaintext(config, &address.host));
                None
            }
            Ok(_) => match tls(config, folder) {
                Ok(files) => Some(files),
                Err(more) => {
                    complaints.extend(more);
                    None
                }
            },
        };
        match address {
            Ok(address) if complaints.is_empty() => Ok(Self {
                authority: address.authority,
                host: address.host,
                port: address.port,
                tls,
                connections: config.connections.map_or(CONNECTIONS, NonZeroU16::get),
            }),
            _ => Err(complaints),
        }
    }

    /// Whether the connection is without TLS.
    pub(crate) fn plaintext(&self) -> bool {
        self.tls.is_none()
    }

    /// Returns which files stand at the names of the PEM files now, and of when.
    pub(crate) fn files(&self) -> Files {
        let Some(tls) = &self.tls else { return Files::default() };
        let identity = tls.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        Files(std::iter::once(&tls.ca).chain(identity).map(|path| Stamp::of(path)).collect())
    }

    /// Names the back end, as the configuration does.
    pub(crate) fn address(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority)
    }

    /// Returns the scheme of the requests.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.plaintext() { Scheme::HTTP } else { Scheme::HTTPS }
    }
}

/// Files, each known by its inode, length and time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files(Vec<Option<Stamp>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().ok();
        Some(Self { device: metadata.dev(), inode: metadata.ino(), length: metadata.len(), modified })
    }
}

struct Address {
    authority: Authority,
    host: String,
    port: u16,
    plaintext: bool,
}

impl Address {
    fn parse(text: &str) -> Result<Self, Complaint> {
        let example = "write it as in `https://backend.internal:50051`";
        let wrong = |what: &str| Complaint::new("address", format!("`{text}` {what}"), example);
        let uri: Uri = text.parse().map_err(|_| wrong("is not an address"))?;
        let plaintext = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(wrong("does not begin with `https://`")),
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
            return Err(wrong("names no host"));
        };
        if authority.as_str().contains('@') {
            return Err(wrong("holds a user, which belongs in no configuration"));
        }
        if uri.path_and_query().is_some_and(|path| path != "/") {
            return Err(wrong("has a path, which gRPC has no use for"));
        }
        Ok(Self {
            authority: authority.clone(),
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if plaintext { 80 } else { 443 }),
            plaintext,
        })
    }
}

/// Plain text is for this machine itself, and has to be asked for by its name.
fn plaintext(config: &ConnectorConfig, host: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if config.dangerous_plaintext != Some(true) {
        complaints.push(Complaint::new(
            "address",
            "the address is one without TLS",
            "write `https://`; for development on one machine, `dangerous_plaintext = true`",
        ));
    } else if !local {
        complaints.push(Complaint::new(
            "address",
            format!("plain text would leave this machine for `{host}`"),
            "write `https://`, or an address of this machine itself, as in `http://127.0.0.1:50051`",
        ));
    }
    for (key, present) in
        [("ca", config.ca.is_some()), ("certificate", config.certificate.is_some()), ("key", config.key.is_some())]
    {
        if present {
            complaints.push(Complaint::new(
                key,
                format!("`{key}` has no use without TLS"),
                "leave it out, or write `https://`",
            ));
        }
    }
    complaints
}

fn tls(config: &ConnectorConfig, folder: &Path) -> Result<TlsFiles, Vec<Complaint>> {
    let mut complaints = Vec::new();
    if config.dangerous_plaintext == Some(true) {
        complaints.push(Complaint::new(
            "dangerous_plaintext",
            "the address is one with TLS",
            "leave `dangerous_plaintext` out",
        ));
    }
    if config.ca.is_none() {
        complaints.push(Complaint::new(
            "",
            "nothing says whose certificate the back end may present",
            "name a PEM file with the certificates of its authority: `ca = \"backend-ca.pem\"`",
        ));
    }
    let identity = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => Some((folder.join(certificate), folder.join(key))),
        (None, None) => None,
        (Some(_), None) => {
            complaints.push(Complaint::new(
                "certificate",
                "`certificate` is without its `key`",
                "name both, or neither",
            ));
            None
        }
        (None, Some(_)) => {
            complaints.push(Complaint::new("key", "`key` is without its `certificate`", "name both, or neither"));
            None
        }
    };
    match &config.ca {
        Some(ca) if complaints.is_empty() => Ok(TlsFiles { ca: folder.join(ca), identity }),
        _ => Err(complaints),
    }
}
