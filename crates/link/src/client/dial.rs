//! From an address to a connection on which the peer has spoken.
//!
//! The surprising fact: with TLS 1.3 a client is done before the server has looked at its certificate. Only the peer's first frame
//! shows that it took us.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::connection::{Connection, first_word};
use super::{DialError, Ending, Limits, Target};
use crate::coalesce::CoalescedWrites;
use crate::guard::{Guarded, Pulse};
use crate::server::ALPN;
use crate::upkeep::Times;

/// Bytes that are read from a socket at once; see the server's.
const READ_AT_ONCE: usize = 32 * 1024;

pub(super) async fn dial(target: Target, limits: &Limits) -> Result<Connection, DialError> {
    let timeout = limits.connect_timeout;
    let dialled = tokio::time::timeout(timeout, dial_patiently(target, limits)).await;
    dialled.unwrap_or(Err(DialError::Timeout(timeout)))
}

/// Dials without speaking first, and returns why the peer refuses the connection; `None` when it does not, or says nothing.
///
/// A peer that refuses our certificate says so and closes. What was sent to it meanwhile makes the system cut the connection, and its
/// reason may be lost with it: so whoever wants to know the reason keeps silent.
pub async fn refusal(target: Target, patience: Duration) -> Option<DialError> {
    let dialled = async {
        let stream = TcpStream::connect(&target.address).await.map_err(DialError::Connect)?;
        let mut stream =
            TlsConnector::from(target.tls).connect(target.server_name, stream).await.map_err(DialError::Tls)?;
        match stream.read(&mut [0; 1]).await {
            Ok(0) => Err(DialError::Closed(None)),
            Ok(_) => Ok(()),
            Err(error) => Err(DialError::Tls(error)),
        }
    };
    tokio::time::timeout(patience, dialled).await.unwrap_or(Ok(())).err()
}

async fn dial_patiently(target: Target, limits: &Limits) -> Result<Connection, DialError> {
    let stream = TcpStream::connect(&target.address).await.map_err(DialError::Connect)?;
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    let stream = BufReader::with_capacity(READ_AT_ONCE, stream);
    let stream = TlsConnector::from(target.tls).connect(target.server_name, stream).await.map_err(DialError::Tls)?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(ALPN) {
        return Err(DialError::Protocol);
    }
    let key_exchange = session.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
    let certificates = session.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().cloned().map(rustls_pki_types::CertificateDer::into_owned).collect();

    let pulse = Arc::new(Pulse::default());
    let io = CoalescedWrites::new(Guarded::client(stream, &limits.http2, Arc::clone(&pulse)));
    let (requests, mut h2) =
        limits.http2.client().handshake(io).await.map_err(|error| DialError::Closed(Some(error)))?;
    let ping = h2.ping_pong();
    first_word(&mut h2, &pulse).await.map_err(DialError::Closed)?;
    let times = Times::of(&limits.http2, limits.age, limits.idle);
    let (connection, driven) = Connection::new(requests, h2, ping, pulse, times);
    let address = target.address;
    tokio::spawn(async move {
        match driven.await {
            Some(Ending::Breach(breach)) => {
                tracing::warn!(address, breach = &breach as &dyn Error, "connection closed");
            }
            Some(Ending::Broken(cause)) => tracing::debug!(address, cause = &cause as &dyn Error, "connection broke"),
            None => {}
        }
    });
    Ok(connection.shown(certificates).agreed_by(key_exchange))
}
