//! The one answer to a streamed request, kept until it is known to hold.
//!
//! So it has an HTTP status of its own, as the answer to one message has.

use bytes::{Bytes, BytesMut};
use exchange::{
    framing,
    ports::{Gone, Outlet},
};

pub(super) struct OneAnswer {
    kept: BytesMut,
    /// Largest message, in bytes.
    limit: usize,
}

impl OneAnswer {
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: BytesMut::new(), limit: limit.saturating_add(framing::PREFIX) }
    }

    /// Returns the message with its prefix.
    pub(super) fn message(self) -> Bytes {
        self.kept.freeze()
    }
}

impl Outlet for OneAnswer {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Gone> {
        // What is more than one message is refused at the end, and does not have to be kept until then.
        if self.kept.len() < self.limit {
            self.kept.extend_from_slice(&chunk);
        }
        Ok(())
    }

    /// That the caller has gone away is told by the exchange's own token, as it waits for the head.
    async fn gone(&mut self) {
        std::future::pending::<()>().await;
    }
}
