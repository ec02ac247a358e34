//! A stream that notes why TLS failed while it was read.
//!
//! With TLS 1.3 a peer refuses a certificate after the handshake, as an alert in place of its first bytes. HTTP/2 keeps of such
//! an error its text alone, so it is noted on the way.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ConnectorError;
use crate::grpc::tls;

/// How often a stream is read after writing has failed, at most.
const LAST_READS: usize = 64;

/// A stream, and what was noted of its end.
pub(crate) struct Noting<S> {
    stream: S,
    /// The error of a write, kept back until what the peer said before has been read.
    unwritten: Option<io::Error>,
    noted: Arc<OnceLock<ConnectorError>>,
}

impl<S> Noting<S> {
    pub(crate) fn around(stream: S) -> Self {
        Self { stream, unwritten: None, noted: Arc::default() }
    }

    /// Returns where the reason will be, if TLS is the reason.
    pub(crate) fn noted(&self) -> Arc<OnceLock<ConnectorError>> {
        Arc::clone(&self.noted)
    }
}

impl<S: AsyncRead + Unpin> Noting<S> {
    fn note(&self, error: &io::Error) {
        if let Some(error) = tls::failed(error) {
            // The first reason is the one that counts.
            let _ = self.noted.set(error);
        }
    }

    /// Reads what the peer sent before it went, after writing has failed: HTTP/2 will not read any more.
    ///
    /// Whoever cannot be written to has closed, so there is an end to be read, if not at once.
    fn look_for_a_reason(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 1024];
        for _ in 0..LAST_READS {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) => break,
                Err(error) => {
                    self.note(&error);
                    break;
                }
            }
        }
        Poll::Ready(())
    }

    /// Writes, but tells an error only when the reason for it was looked for.
    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.unwritten.is_none() {
            match ready!(write(Pin::new(&mut self.stream), context)) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(error) => {
                    self.note(&error);
                    self.unwritten = Some(error);
                }
            }
        }
        ready!(self.look_for_a_reason(context));
        let error = self.unwritten.take();
        Poll::Ready(Err(error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read {
            self.note(error);
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Noting<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
