//! What a back end says beside its messages, caught as it comes.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::SetOnce;

use super::{ApplicationMetadata, MAX_ANSWER_BYTES, Unfit};
use crate::{
    digests, headers,
    refusal::{Hop, Reason, Refusal, Status},
};

/// Most bytes of a status and the metadata beside it, as they stand in trailers: the header list of a link has room for the claims too.
const MAX_TRAILERS_BYTES: usize = 12 * 1024;

/// Hears a back end, and keeps only the metadata that the agreement names.
#[derive(Debug)]
pub struct Heard {
    named: Arc<BTreeSet<String>>,
    initial: SetOnce<Result<ApplicationMetadata, Unfit>>,
    trailing: OnceLock<Result<ApplicationMetadata, Unfit>>,
}

/// The application's metadata of an answer.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Goes before the messages.
    pub initial: ApplicationMetadata,
    /// Goes with the status.
    pub trailing: ApplicationMetadata,
}

impl Heard {
    /// Listens for what is named. `None` where the agreement names nothing.
    pub(crate) fn new(named: &Arc<BTreeSet<String>>) -> Option<Arc<Self>> {
        if named.is_empty() {
            return None;
        }
        Some(Arc::new(Self { named: named.clone(), initial: SetOnce::new(), trailing: OnceLock::new() }))
    }

    /// Hears the headers that open an answer. Only the first count.
    pub fn initial(&self, headers: &HeaderMap) {
        let _ = self.initial.set(self.select(headers));
    }

    /// Hears what came with the status. Only the first counts.
    pub fn trailing(&self, headers: &HeaderMap) {
        let _ = self.trailing.set(self.select(headers));
    }

    fn select(&self, headers: &HeaderMap) -> Result<ApplicationMetadata, Unfit> {
        ApplicationMetadata::select(headers, &self.named, MAX_ANSWER_BYTES)
    }

    /// Waits until the answer is opened.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn opened(&self) {
        self.initial.wait().await;
    }

    /// Returns what opened the answer, once it is opened.
    ///
    /// # Errors
    ///
    /// What the exchange is refused for.
    pub(crate) fn opening(&self) -> Result<Option<ApplicationMetadata>, Refusal> {
        self.initial.get().map(|initial| initial.clone().map_err(|unfit| refusal(&unfit))).transpose()
    }

    /// Returns all of it, once the answer is complete with `status`.
    ///
    /// # Errors
    ///
    /// What the exchange is refused for.
    pub(crate) fn said(&self, status: &Status) -> Result<Said, Refusal> {
        let initial = self.opening()?.unwrap_or_default();
        let trailing = self.trailing.get().cloned().unwrap_or_else(|| Ok(ApplicationMetadata::default()));
        let said = Said { initial, trailing: trailing.map_err(|unfit| refusal(&unfit))? };
        let mut trailers = HeaderMap::new();
        headers::write_status(status, &mut trailers);
        said.write_to_link(&mut trailers);
        let size: usize = trailers.values().map(http::HeaderValue::len).sum();
        if size > MAX_TRAILERS_BYTES && !said.is_empty() {
            let told = format!(
                "status and metadata of the provider's system are above the limit of {MAX_TRAILERS_BYTES} bytes together"
            );
            return Err(Refusal::new(Reason::TooLarge, Hop::Legacy, told));
        }
        Ok(said)
    }
}

impl Said {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.initial.is_empty() && self.trailing.is_empty()
    }

    /// Returns what the provider signs of it; empty where there is none.
    pub(crate) fn digest(&self, nonce: &[u8]) -> Bytes {
        digests::of_answer_metadata(nonce, &self.initial.encode(), &self.trailing.encode())
    }

    /// Returns the keys, each once, for the record.
    pub(crate) fn keys(&self) -> Vec<String> {
        let keys: BTreeSet<_> = self.initial.keys().into_iter().chain(self.trailing.keys()).collect();
        keys.into_iter().collect()
    }

    /// Adds the headers that carry it over a link, where there is any.
    pub(crate) fn write_to_link(&self, trailers: &mut HeaderMap) {
        for (name, metadata) in [(headers::INITIAL_METADATA, &self.initial), (headers::METADATA, &self.trailing)] {
            if !metadata.is_empty() {
                trailers.insert(name, headers::binary(&metadata.encode()));
            }
        }
    }

    /// Reads what is kept of an answer, as far as `named` lets it cross.
    pub(crate) fn kept((initial, trailing): (&Bytes, &Bytes), named: &BTreeSet<String>) -> Self {
        let read = |block| {
            let metadata = ApplicationMetadata::decode(block, MAX_ANSWER_BYTES).unwrap_or_default();
            if metadata.unnamed(named).is_some() { ApplicationMetadata::default() } else { metadata }
        };
        Self { initial: read(initial), trailing: read(trailing) }
    }

    /// Reads the headers that carry it over a link. `None` where they are malformed or above their limits.
    pub(crate) fn read(trailers: &HeaderMap) -> Option<Self> {
        let read = |name| ApplicationMetadata::decode(&headers::read_block(trailers, &name)?, MAX_ANSWER_BYTES);
        Some(Self { initial: read(headers::INITIAL_METADATA)?, trailing: read(headers::METADATA)? })
    }
}

/// What a back end says too much of, or what no gRPC server may say.
fn refusal(unfit: &Unfit) -> Refusal {
    let reason = match unfit {
        Unfit::TooMany(_) | Unfit::TooLong { .. } => Reason::TooLarge,
        Unfit::NotBase64(_) | Unfit::NotText(_) => Reason::ConnectorFailed,
    };
    Refusal::new(reason, Hop::Legacy, format!("of an answer of the provider's system {unfit}"))
}
