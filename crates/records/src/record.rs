//! A record as it is read back.

use std::fmt;

use ledger::{Leaf, Seal, Stored};
use prost::Message;
use proto::{
    link::{ConsumerClaims, ProviderClosing},
    records::{Body, Kind, Private, Shared, Side},
};

use crate::{ExchangeId, half_hash};

/// One entry of the exchange log, opened.
#[derive(Clone, Debug)]
pub struct Record {
    /// Place in the log, from 0.
    pub index: u64,
    /// The commitment in the tree.
    pub leaf: Leaf,
    /// The gateway's own signature that lies beside the leaf, where it gave one.
    pub seal: Option<Seal>,
    /// The opened halves; `None` once the record has been erased.
    pub opened: Option<Halves>,
}

/// Both halves of a record with what is needed to disclose the shared one.
#[derive(Clone)]
pub struct Halves {
    /// The shared half, in the bytes that were hashed.
    pub shared_bytes: bytes_of::Shared,
    /// Salt of the shared half.
    pub salt: [u8; 32],
    /// The shared half.
    pub shared: Shared,
    /// The private half.
    pub private: Private,
    /// The consumer's claims, where the record has some that can be read.
    pub claims: Option<ConsumerClaims>,
    /// The provider's closing claims, likewise.
    pub closing: Option<ProviderClosing>,
}

/// None of it is for debug output: it tells of persons.
impl fmt::Debug for Halves {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Halves(hidden)")
    }
}

/// Names for bytes that are kept as they were hashed.
pub mod bytes_of {
    /// A [`Shared`](super::Shared) in the bytes that were hashed.
    pub type Shared = Vec<u8>;
}

/// A body does not belong to its leaf.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are not a record.
    #[error("the body of index {index} is not a record")]
    NotARecord {
        /// Place in the log.
        index: u64,
    },
    /// The body hashes to something else than the leaf.
    #[error("the body of index {index} does not match its leaf: one of them was changed")]
    OtherLeaf {
        /// Place in the log.
        index: u64,
    },
}

impl Record {
    /// Opens a stored entry and holds its body against its leaf.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] when the body is not a record, or not this leaf's.
    pub fn open(stored: Stored) -> Result<Self, Unreadable> {
        let Stored { index, leaf, seal, body, .. } = stored;
        let Some(body) = body else {
            return Ok(Self { index, leaf, seal, opened: None });
        };
        let not_a_record = |_| Unreadable::NotARecord { index };
        let body = Body::decode(body.as_slice()).map_err(not_a_record)?;
        let matches = half_hash(&body.shared_salt, &body.shared) == leaf.shared
            && half_hash(&body.private_salt, &body.private) == leaf.private;
        if !matches {
            return Err(Unreadable::OtherLeaf { index });
        }
        let shared = Shared::decode(body.shared.clone()).map_err(not_a_record)?;
        let private = Private::decode(body.private.clone()).map_err(not_a_record)?;
        let salt = body.shared_salt.as_ref().try_into().map_err(|_| Unreadable::NotARecord { index })?;
        let claims = Some(&shared.consumer_claims).filter(|c| !c.is_empty());
        let claims = claims.and_then(|c| ConsumerClaims::decode(c.clone()).ok());
        let closing = Some(&shared.provider_closing).filter(|c| !c.is_empty());
        let closing = closing.and_then(|c| ProviderClosing::decode(c.clone()).ok());
        let shared_bytes = body.shared.to_vec();
        Ok(Self { index, leaf, seal, opened: Some(Halves { shared_bytes, salt, shared, private, claims, closing }) })
    }

    /// Returns what kind of record it is; unspecified once erased.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.opened.as_ref().map_or(Kind::Unspecified, |o| o.shared.kind())
    }

    /// Returns which side of the exchange this gateway was.
    #[must_use]
    pub fn side(&self) -> Side {
        self.opened.as_ref().map_or(Side::Unspecified, |o| o.shared.side())
    }

    /// Returns the exchange that it belongs to, where it belongs to one.
    #[must_use]
    pub fn exchange(&self) -> Option<ExchangeId> {
        self.opened.as_ref().and_then(|o| ExchangeId::from_bytes(&o.shared.exchange_id).ok())
    }

    /// Returns whether it ends an exchange: an outcome or a refusal.
    #[must_use]
    pub fn settles(&self) -> bool {
        matches!(self.kind(), Kind::Outcome | Kind::Refusal)
    }
}

impl Halves {
    /// Returns why the exchange was refused, empty where it was not: what this side wrote, else what the provider signed.
    ///
    /// The provider's shared half holds nothing that the consumer could not recompute, so there it stands in the closing
    /// claims alone.
    #[must_use]
    pub fn refusal(&self) -> &str {
        let signed = self.closing.as_ref().map_or("", |c| c.refusal.as_str());
        if self.shared.refusal.is_empty() { signed } else { &self.shared.refusal }
    }

    /// Returns the gRPC status code that the exchange ended with.
    #[must_use]
    pub fn status(&self) -> u32 {
        let signed = self.closing.as_ref().map_or(0, |c| c.status);
        if self.shared.status == 0 { signed } else { self.shared.status }
    }

    /// Returns how many messages of the answer passed.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.shared.messages.max(self.closing.as_ref().map_or(0, |c| c.messages))
    }
}
