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

/// How often a stream is read after writing has failed, at most.
const LAST_READS: usize = 64;

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

impl<S: AsyncRead + Unpin> Noting<S> {
    fn note(&self, error: &io::Error) {
        eprintln!("DBG note {error:?}");
        if let Some(error) = tls::failed(error) {
            // The first reason is the one that counts.
            let _ = self.noted.set(error);
        }
    }

    /// Reads what the peer sent before it went, after writing has failed: HTTP/2 will not read any more.
    fn look_for_a_reason(&mut self, context: &mut Context<'_>) {
        let mut scratch = [0; 1024];
        for _ in 0..LAST_READS {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Err(error)) => return self.note(&error),
                Poll::Ready(Ok(())) | Poll::Pending => return,
            }
        }
    }

    fn written<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(e)) = &written { eprintln!("DBG write err {e:?}"); }
        if let Poll::Ready(Err(error)) = &written {
            self.note(error);
            self.look_for_a_reason(context);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        eprintln!("DBG read {read:?} {}", buffer.filled().len());
        if let Poll::Ready(Err(error)) = &read {
            self.note(error);
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Noting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.written(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
