//! A stream that notes why TLS failed while it was read.
//!
//! With TLS 1.3 a peer refuses a certificate after the handshake, as an alert in place of its first bytes. HTTP/2 keeps of such
//! an error its text alone, so it is noted on the way.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ConnectorError;
use crate::grpc::tls;

/// A stream, and what was noted of its end.
pub(crate) struct Noting<S> {
    stream: S,
    noted: Arc<OnceLock<ConnectorError>>,
}

impl<S> Noting<S> {
    pub(crate) fn around(stream: S) -> Self {
        Self {
            stream,
            noted: Arc::default(),
        }
    }

    /// Returns where the reason will be, if TLS is the reason.
    pub(crate) fn noted(&self) -> Arc<OnceLock<ConnectorError>> {
        Arc::clone(&self.noted)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read
            && let Some(error) = tls::failed(error)
        {
            // The first reason is the one that counts.
            let _ = self.noted.set(error);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
