//! The ports for links and for clients: what they listen on, and whom they let in.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::SystemTime,
};

use federation::{
    GatewayId, Identity, SystemId,
    trust::{Expected, TrustStore},
};
use link::server::{self, Event, Identified, Server, Sharing, Transport};
use rustls_pki_types::CertificateDer;

use crate::{
    config::ClientsConfig,
    gateway::StartError,
    security::Security,
    settings::{self, InForce},
};

/// What the ports for links and clients are made of.
pub(crate) struct Ports<'a> {
    pub(crate) settings: &'a InForce,
    pub(crate) trust: &'a TrustStore,
    /// Listeners of each: one for each runtime.
    pub(crate) count: usize,
    /// Told of who is turned away.
    pub(crate) security: &'a Arc<Security>,
}

/// A server, and the listeners of its address.
pub(crate) type Port<P> = (Server<P>, Vec<TcpListener>);

impl Ports<'_> {
    pub(crate) fn links(&self, address: SocketAddr) -> Result<Port<GatewayId>, StartError> {
        let transport = settings::links_transport(self.settings);
        let trust = self.trust.clone();
        let identify = move |certificates: &[CertificateDer<'static>]| {
            still_trusted(&trust, &Expected::Links, certificates)?;
            identify_gateway(certificates)
        };
        let server = Server::observed(self.settings.load().links_limits(), transport, identify, self.noted("links"));
        Ok((server, listeners(address, self.count, "links.listen")?))
    }

    pub(crate) fn clients(&self, config: &ClientsConfig, own: &GatewayId) -> Result<Port<SystemId>, StartError> {
        let transport = if config.dangerous_plaintext_system.is_some() {
            tracing::warn!(address = %config.listen, "DANGEROUS: clients are served in plain text, without certificates");
            Transport::Plain
        } else {
            settings::clients_transport(self.settings)
        };
        let plain = plain_system(own, config.dangerous_plaintext_system.as_deref())?;
        let trust = self.trust.clone();
        let identify = move |certificates: &[CertificateDer<'static>]| {
            still_trusted(&trust, &Expected::Clients, certificates)?;
            identify_system(certificates, plain.as_ref())
        };
        let server =
            Server::observed(self.settings.load().clients_limits(), transport, identify, self.noted("clients"));
        Ok((server, listeners(config.listen, self.count, "clients.listen")?))
    }

    fn noted(&self, port: &'static str) -> impl Fn(Event) + Send + Sync + use<> {
        let security = self.security.clone();
        move |event| security.on_port(port, &event)
    }
}

fn listeners(address: SocketAddr, count: usize, setting: &'static str) -> Result<Vec<TcpListener>, StartError> {
    let failed = |source| StartError::Listen { setting, address, source };
    // Alone first: another process on the port is refused rather than shared with.
    let probe = server::listener(address, Sharing::Alone).map_err(failed)?;
    let address = probe.local_addr().map_err(failed)?;
    drop(probe);
    (0..count).map(|_| server::listener(address, Sharing::Shared).map_err(failed)).collect()
}

type Turned = Box<dyn std::error::Error + Send + Sync>;

/// The trust may have been replaced while hands were shaken. Where there is plain text, there are no certificates.
fn still_trusted(
    trust: &TrustStore,
    expected: &Expected,
    certificates: &[CertificateDer<'static>],
) -> Result<(), Turned> {
    let Some((leaf, rest)) = certificates.split_first() else { return Ok(()) };
    Ok(trust.still_trusted(expected, leaf, rest, SystemTime::now())?)
}

fn identify_gateway(certificates: &[CertificateDer<'static>]) -> Result<Identified<GatewayId>, Turned> {
    let leaf = certificates.first().ok_or("no certificate")?;
    match Identity::from_certificate(leaf)? {
        Identity::Gateway(gateway) => Ok(Identified { name: gateway.member().to_string().into(), peer: gateway }),
        Identity::System(_) | Identity::Auditor(_) => Err("not a gateway's certificate".into()),
    }
}

fn identify_system(
    certificates: &[CertificateDer<'static>],
    plain: Option<&SystemId>,
) -> Result<Identified<SystemId>, Turned> {
    if let Some(system) = plain {
        return Ok(Identified { name: system.to_string().into(), peer: system.clone() });
    }
    let leaf = certificates.first().ok_or("no certificate")?;
    match Identity::from_certificate(leaf)? {
        Identity::System(system) => Ok(Identified { name: system.to_string().into(), peer: system }),
        Identity::Gateway(_) | Identity::Auditor(_) => Err("not a system's certificate".into()),
    }
}

fn plain_system(gateway: &GatewayId, name: Option<&str>) -> Result<Option<SystemId>, StartError> {
    let Some(name) = name else { return Ok(None) };
    let system = format!("{}/{name}", gateway.member()).parse();
    system
        .map(Some)
        .map_err(|_| StartError::Other(format!("`clients.dangerous_plaintext_system`: `{name}` is not a name")))
}
