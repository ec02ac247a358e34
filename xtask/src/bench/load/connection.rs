//! Opens one HTTP/2 connection, in plain text or over TLS, and drives it on the current thread.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use h2::client::SendRequest;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::Target;

/// Receive window of a stream, in bytes. Large enough that the generator never holds a stream back.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Receive window of a connection, in bytes.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

pub(super) async fn open(target: &Target) -> Result<SendRequest<Bytes>> {
    let tcp = TcpStream::connect(target.address).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = &target.tls else {
        return shake_hands(tcp).await;
    };
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(std::sync::Arc::clone(tls)).connect(name, tcp).await.context("TLS")?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        bail!("the other side does not speak HTTP/2");
    }
    shake_hands(stream).await
}

async fn shake_hands(io: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<SendRequest<Bytes>> {
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false)
        .handshake(io)
        .await?;
    // It ends with the last handle; what went wrong is seen by the calls on it.
    drop(tokio::task::spawn_local(connection));
    Ok(send)
}
