//! Cuts a response's body into messages, as the reader pulls them.
//!
//! A message that lies within one piece of the body is a slice of it; only one that is spread over several is copied.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use contract::framing::PREFIX;
use http::HeaderMap;
use http_body::{Body, Frame};
use link::Incoming;
use tokio::time::Sleep;

use crate::grpc::channel::{End, Reply};
use crate::grpc::status;
use crate::{ConnectorError, Listener};

/// The messages of one response.
pub(crate) struct Messages {
    body: Incoming,
    cutter: Cutter,
    connection: End,
    timer: Option<Pin<Box<Sleep>>>,
    listener: Option<Arc<dyn Listener>>,
    /// The status, once it is known, which it may be from the head.
    status: Option<Result<(), ConnectorError>>,
}

impl Messages {
    /// Takes a response.
    ///
    /// # Errors
    ///
    /// If its head is not that of a gRPC response.
    pub(crate) fn of(
        reply: Reply,
        limit: usize,
        deadline: Option<Instant>,
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<Self, ConnectorError> {
        let (head, body) = reply.response.into_parts();
        status::check_size(&head.headers)?;
        status::check_head(head.status, &head.headers)?;
        let status = status::read(&head.headers);
        if let Some(listener) = &listener {
            // A status in the head makes it the trailers.
            match status {
                None => listener.initial(&head.headers),
                Some(_) => listener.trailing(&head.headers),
            }
        }
        Ok(Self {
            body,
            cutter: Cutter::new(limit),
            connection: reply.connection,
            timer: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into()))),
            listener,
            status,
        })
    }

    /// Returns the next message, or `None` after the last if the status is `OK`.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ConnectorError> {
        loop {
            if let Some(message) = self.cutter.cut()? {
                return Ok(Some(message));
            }
            match self.frame().await? {
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.cutter.push(data),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            status::check_size(&trailers)?;
                            self.end(&trailers);
                        }
                    }
                },
                None => return self.finish().map(|()| None),
            }
        }
    }

    fn end(&mut self, trailers: &HeaderMap) {
        if let Some(status) = status::read(trailers) {
            self.status = Some(status);
        }
        if let Some(listener) = &self.listener {
            listener.trailing(trailers);
        }
    }

    fn finish(&mut self) -> Result<(), ConnectorError> {
        let malformed = |what| Err(ConnectorError::Malformed { what });
        match self.status.take() {
            // The status goes before: an error may well come in the midst of a message.
            Some(Err(error)) => Err(error),
            Some(Ok(())) if self.cutter.is_between() => Ok(()),
            Some(Ok(())) => malformed("it ends within a message"),
            None => malformed("it ends without a status"),
        }
    }

    /// Returns the next piece of the body, in time.
    async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, ConnectorError> {
        let Self { body, timer, .. } = self;
        let frame = poll_fn(|context| {
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
                return Poll::Ready(Ok(frame));
            }
            match timer.as_mut().map(|timer| timer.as_mut().poll(context)) {
                Some(Poll::Ready(())) => Poll::Ready(Err(ConnectorError::Timeout)),
                Some(Poll::Pending) | None => Poll::Pending,
            }
        })
        .await?;
        match frame {
            None => Ok(None),
            Some(Ok(frame)) => Ok(Some(frame)),
            Some(Err(error)) => Err(self.connection.explain_body(&error).await),
        }
    }
}

/// Finds the messages in the pieces of a body.
#[derive(Debug)]
pub(crate) struct Cutter {
    limit: usize,
    /// The piece being cut.
    piece: Bytes,
    /// The beginning of a message whose rest is in pieces to come.
    begun: BytesMut,
}

impl Cutter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, piece: Bytes::new(), begun: BytesMut::new() }
    }

    /// Takes the next piece, after [`Cutter::cut`] has returned `None`.
    pub(crate) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "a piece is cut up before the next comes");
        self.piece = piece;
    }

    /// Whether no message is begun.
    pub(crate) fn is_between(&self) -> bool {
        self.piece.is_empty() && self.begun.is_empty()
    }

    /// Cuts off the next message. `None` if more is needed.
    pub(crate) fn cut(&mut self) -> Result<Option<Bytes>, ConnectorError> {
        if self.begun.is_empty() {
            if let Some(prefix) = self.piece.first_chunk::<PREFIX>() {
                let whole = PREFIX + self.length(*prefix)?;
                if self.piece.len() >= whole {
                    let mut message = self.piece.split_to(whole);
                    message.advance(PREFIX);
                    return Ok(Some(message));
                }
                self.begun.reserve(whole.min(64 * 1024));
            }
            self.begin(self.piece.len());
            return Ok(None);
        }
        if self.begun.len() < PREFIX {
            self.begin(PREFIX - self.begun.len());
        }
        let Some(prefix) = self.begun.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let whole = PREFIX + self.length(*prefix)?;
        self.begin(whole - self.begun.len());
        if self.begun.len() < whole {
            return Ok(None);
        }
        let mut message = self.begun.split().freeze();
        message.advance(PREFIX);
        Ok(Some(message))
    }

    /// Moves up to this many bytes of the piece to the message begun.
    fn begin(&mut self, bytes: usize) {
        let bytes = bytes.min(self.piece.len());
        self.begun.extend_from_slice(&self.piece.split_to(bytes));
    }

    fn length(&self, [flag, length @ ..]: [u8; PREFIX]) -> Result<usize, ConnectorError> {
        if flag != 0 {
            return Err(ConnectorError::Malformed { what: "a message is compressed, which was not offered" });
        }
        usize::try_from(u32::from_be_bytes(length))
            .ok()
            .filter(|length| *length <= self.limit)
            .ok_or(ConnectorError::TooLarge { limit: self.limit })
    }
}
