//! Real handshakes in memory, for every way in which a certificate is accepted or refused.

mod handshakes;
mod lists;
mod words;

use std::io;
use std::sync::Mutex;

use rustls::{AlertDescription, ClientConfig, NamedGroup, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::authority::Issued;
use crate::testing::{Member, Presented, federation};

/// Two members who know each other, seen from the gateway of `county.example`.
struct World {
    county: Member,
    trust: Member,
    store: TrustStore,
    seen: Arc<Mutex<Vec<Distrust>>>,
}

impl World {
    fn new() -> Self {
        Self::with(Member::new("county.example", 10), Member::new("trust.example", 20))
    }

    fn with(county: Member, trust: Member) -> Self {
        let entries = [county.entry(), trust.entry()];
        let seen = Arc::new(Mutex::new(Vec::new()));
        let observer = {
            let seen = Arc::clone(&seen);
            Arc::new(move |distrust: &Distrust| seen.lock().unwrap().push(distrust.clone()))
        };
        let store =
            TrustStore::observed(Trust::new(county.id.clone(), federation(entries), Vec::new()).unwrap(), observer);
        Self { county, trust, store, seen }
    }

    /// Replaces the trust by one with other entries and lists.
    fn reload(&self, entries: impl IntoIterator<Item = crate::Entry>, lists: &[(&Member, &str)]) {
        let lists = lists
            .iter()
            .flat_map(|(member, pem)| RevocationList::parse_all(&member.id, "member.crl.pem", pem).unwrap())
            .collect();
        self.store.replace(Trust::new(self.county.id.clone(), federation(entries), lists).unwrap());
    }

    fn reload_lists(&self, lists: &[(&Member, &str)]) {
        self.reload([self.county.entry(), self.trust.entry()], lists);
    }

    fn county_gateway(&self) -> TlsIdentity {
        identity(&self.county.issue_gateway(SystemTime::now()))
    }

    fn links(&self) -> Arc<ServerConfig> {
        server_config(&self.county_gateway(), self.store.links_verifier(), &TlsOptions::default()).unwrap()
    }

    fn clients(&self) -> Arc<ServerConfig> {
        server_config(&self.county_gateway(), self.store.clients_verifier(), &TlsOptions::default()).unwrap()
    }

    /// What somebody else uses to connect to the gateway of `county.example`.
    fn caller(&self, presented: Option<Presented>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider(&TlsOptions::default()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(self.fresh_store().gateway_verifier(self.county.gateway()));
        Arc::new(match presented {
            Some(presented) => builder.with_client_auth_cert(presented.chain, presented.key).unwrap(),
            None => builder.with_no_client_auth(),
        })
    }

    /// A store that nobody observes and nothing is revoked in.
    fn fresh_store(&self) -> TrustStore {
        TrustStore::new(
            Trust::new(self.trust.id.clone(), federation([self.county.entry(), self.trust.entry()]), Vec::new())
                .unwrap(),
        )
    }

    fn last_seen(&self) -> Option<Distrust> {
        self.seen.lock().unwrap().last().cloned()
    }
}

fn identity(issued: &Issued) -> TlsIdentity {
    TlsIdentity::from_pem(&issued.certificate_pem, &issued.key_pem).unwrap()
}

/// How both ends of one connection fared, a byte each way included.
struct Outcome {
    server: io::Result<Negotiated>,
    client: io::Result<Negotiated>,
}

#[derive(Debug)]
struct Negotiated {
    group: NamedGroup,
    protocol: Option<Vec<u8>>,
    handshake: rustls::HandshakeKind,
    presented: usize,
}

impl Negotiated {
    fn of(connection: &rustls::CommonState) -> Self {
        Self {
            group: connection.negotiated_key_exchange_group().unwrap().name(),
            protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
            handshake: connection.handshake_kind().unwrap(),
            presented: connection.peer_certificates().map_or(0, <[_]>::len),
        }
    }
}

impl Outcome {
    fn is_accepted(&self) -> bool {
        self.server.is_ok() && self.client.is_ok()
    }

    fn alert_at_client(&self) -> Option<AlertDescription> {
        alert(&self.client)
    }
}

fn alert(result: &io::Result<Negotiated>) -> Option<AlertDescription> {
    let error = result.as_ref().err()?.get_ref()?.downcast_ref::<rustls::Error>()?;
    if let rustls::Error::AlertReceived(alert) = error { Some(*alert) } else { None }
}

async fn connect(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Outcome {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serving = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"s").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok(Negotiated::of(stream.get_ref().1))
    };
    let calling = async {
        let name = ServerName::try_from("anything.example").unwrap();
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        stream.write_all(b"c").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok(Negotiated::of(stream.get_ref().1))
    };
    let (server, client) = tokio::join!(serving, calling);
    Outcome { server, client }
}
