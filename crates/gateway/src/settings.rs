//! What changes of a gateway's configuration while it runs, in one snapshot: replaced whole, and taken once by each exchange and each
//! connection.
//!
//! Beside it stand the [`exchange::Rules`], which exchanges take, and the trust that certificates are verified against.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use connectors::{Binding, Bindings};
use federation::{
    MemberId, SystemId,
    trust::{ConfigError, TlsIdentity, TlsOptions, TrustStore, server_config},
};
use link::{
    Http2, Keepalive,
    server::{self, Transport},
};
use rustls::ServerConfig;

use crate::config::{Config, ConfigFile};

/// The settings in force, shared by everything that goes by them.
pub(crate) type InForce = Arc<ArcSwap<Settings>>;

/// The settings of one moment.
pub(crate) struct Settings {
    /// The configuration.
    pub(crate) file: ConfigFile,
    /// What this gateway presents in TLS.
    pub(crate) tls: TlsIdentity,
    /// How it connects.
    pub(crate) options: TlsOptions,
    /// What is asked by default, by system.
    pub(crate) systems: BTreeMap<SystemId, Option<MemberId>>,
    /// Which legacy system answers which method; the rules ask them.
    pub(crate) bindings: Bindings,
    links: Arc<ServerConfig>,
    clients: Arc<ServerConfig>,
}

/// What settings are made of.
pub(crate) struct Read {
    pub(crate) file: ConfigFile,
    pub(crate) tls: TlsIdentity,
    pub(crate) systems: BTreeMap<SystemId, Option<MemberId>>,
    pub(crate) bindings: Bindings,
}

impl Settings {
    /// Makes settings of what was read.
    ///
    /// # Errors
    ///
    /// When rustls refuses the certificate.
    pub(crate) fn new(read: Read, trust: &TrustStore) -> Result<Self, ConfigError> {
        let Read { file, tls, systems, bindings } = read;
        let options = TlsOptions { post_quantum: file.config.tls.post_quantum };
        let links = server_config(&tls, trust.links_verifier(), &options)?;
        let mut clients = server_config(&tls, trust.clients_verifier(), &options)?;
        if rest(&file.config) {
            // Behind `h2`, so that who knows both speaks HTTP/2.
            Arc::make_mut(&mut clients).alpn_protocols.push(server::ALPN_HTTP1.to_vec());
        }
        Ok(Self { file, tls, options, systems, bindings, links, clients })
    }

    /// Whether contracts can also be asked as JSON over HTTP.
    pub(crate) fn rest(&self) -> bool {
        rest(&self.file.config)
    }

    /// Time to read a request once its headers are there.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.file.config.limits.request_timeout.duration()
    }

    /// What the links' port allows. The exchanges of many systems share one connection, so there is room for all of its streams.
    pub(crate) fn links_limits(&self) -> server::Limits {
        let limits = self.limits();
        // What many systems give up crosses on few links.
        let resets = limits.http2.resets.saturating_mul(LINKS_RESETS);
        server::Limits { http2: Http2 { resets, ..limits.http2 }.with_room_for_all(), ..limits }
    }

    /// What the clients' port allows.
    pub(crate) fn clients_limits(&self) -> server::Limits {
        let limits = self.limits();
        let told_header_bytes = limits.http2.header_bytes.saturating_mul(TOLD_HEADERS);
        server::Limits { http1: self.rest(), http2: Http2 { told_header_bytes, ..limits.http2 }, ..limits }
    }

    /// Largest header list of a request.
    pub(crate) fn header(&self) -> usize {
        self.file.config.limits.header.bytes()
    }

    fn limits(&self) -> server::Limits {
        let config = &self.file.config.limits;
        let idle = config.stream_idle.duration();
        server::Limits {
            http2: Http2 {
                streams: config.streams,
                header_bytes: u32::try_from(config.header.bytes()).unwrap_or(u32::MAX),
                header_timeout: config.header_timeout.duration(),
                keepalive: Keepalive { interval: config.keepalive.duration(), ..Keepalive::default() },
                // A stream is closed first, with a reason, and its caller has some time to take that.
                stall: idle.saturating_add(idle / 4),
                ..Http2::default()
            },
            handshakes: server::Handshakes { timeout: config.handshake_timeout.duration(), at_once: config.handshakes },
            connections: config.connections,
            connection_age: Some(config.connection_age.duration()),
            ..server::Limits::default()
        }
    }
}

/// How many times more resets a link may bring than one client.
const LINKS_RESETS: u32 = 20;
/// How many times the limit a header list of a client may be to be refused in words; a longer one is answered with 431.
const TOLD_HEADERS: u32 = 4;

fn rest(config: &Config) -> bool {
    config.clients.as_ref().is_some_and(|clients| clients.rest)
}

/// TLS of the links' port, as it is when a connection comes.
pub(crate) fn links_transport(settings: &InForce) -> Transport {
    let settings = settings.clone();
    Transport::Tls(Arc::new(move || settings.load().links.clone()))
}

/// TLS of the clients' port, as it is when a connection comes.
pub(crate) fn clients_transport(settings: &InForce) -> Transport {
    let settings = settings.clone();
    Transport::Tls(Arc::new(move || settings.load().clients.clone()))
}

/// What an auditor should know of every record of a gateway with this configuration.
pub(crate) fn conditions(config: &Config, bindings: &Bindings) -> Vec<String> {
    let mut conditions = Vec::new();
    if config.development {
        conditions.push("development".to_owned());
    }
    if config.clients.as_ref().is_some_and(|clients| clients.dangerous_plaintext_system.is_some()) {
        conditions.push("plaintext-clients".to_owned());
    }
    if bindings.iter().any(Binding::dangerous_plaintext) {
        conditions.push("plaintext-legacy".to_owned());
    }
    if bindings.iter().any(Binding::makes_up) {
        conditions.push("mock-legacy".to_owned());
    }
    conditions
}
