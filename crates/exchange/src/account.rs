//! What is known of an exchange while it runs, and how it is written down in the end.
//!
//! An account starts with the little that a request says of itself and fills up verb by verb, so that a refusal at any
//! point is recorded with what was known there.

use std::time::Instant;

use bytes::Bytes;
use ledger::AppendError;
use proto::{
    link::Seal,
    records::{Kind, Private, Shared, Side},
};
use records::{ExchangeId, Prepared};

use crate::{
    house::House,
    refusal::{Hop, Reason, Refusal, Status},
    trace::{Entered, Steps, Verb},
};

/// Most that a record says of why an exchange was refused, in bytes. A peer may have written it.
const MAX_DETAIL_BYTES: usize = 2048;

/// What is known of one exchange so far.
#[derive(Clone, Debug)]
pub struct Account {
    /// The exchange.
    pub id: ExchangeId,
    /// When the request arrived.
    pub arrived: Instant,
    /// Its side, claims and evidence.
    pub shared: Shared,
    /// What only this gateway keeps.
    pub private: Private,
    /// W3C trace context that it belongs to, as it is handed on.
    pub trace_parent: Option<String>,
    /// Whether it is a command, whose outcome may be unknown.
    pub command: bool,
    /// When its steps began, where it is traced.
    pub steps: Option<Box<Steps>>,
}

/// How an exchange ended, for the application log and metrics. Holds nothing about persons.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The exchange.
    pub id: ExchangeId,
    /// Which side this gateway was.
    pub side: Side,
    /// Member that asked.
    pub consumer: String,
    /// Member that was asked.
    pub provider: String,
    /// `/package.Service/Method`, where the contract has it; else empty.
    pub method: String,
    /// `answered`, `refused`, `cancelled`, `unanswered`, `failed`.
    pub outcome: &'static str,
    /// The reason of a refusal.
    pub refusal: Option<Reason>,
    /// The hop of a refusal.
    pub hop: Option<Hop>,
    /// The gRPC status code.
    pub status: i32,
    /// Messages of the answer.
    pub messages: u64,
    /// Where the record lies; `None` when it could not be recorded, or a flood is counted in aggregate.
    pub index: Option<u64>,
    /// From arrival to settling.
    pub took: std::time::Duration,
    /// W3C trace id that the exchange belongs to.
    pub trace: Option<String>,
    /// When its steps began, where it is traced.
    pub steps: Option<Box<Steps>>,
}

impl Account {
    /// Opens the account of an exchange that arrived now.
    ///
    /// Boxed: it goes through every verb by value.
    #[must_use]
    pub fn open(house: &House, id: ExchangeId, side: Side) -> Box<Self> {
        let shared = Shared { side: side.into(), exchange_id: id.as_bytes().to_vec().into(), ..Shared::default() };
        let private = Private { conditions: house.conditions.clone(), ..Private::default() };
        Box::new(Self { id, arrived: Instant::now(), shared, private, trace_parent: None, command: false, steps: None })
    }

    /// Takes up the trace of `parent`, or begins one. Its first step is `verb`, from the arrival on.
    pub(crate) fn enter(&mut self, house: &House, parent: Option<&str>, verb: Verb) {
        let Entered { onward, steps } = Entered::new(house.sampling, parent, self.shared.side());
        (self.trace_parent, self.steps) = (onward, steps);
        if let Some(steps) = &mut self.steps {
            steps.begin(verb, self.arrived);
        }
    }

    /// Notes that a step begins.
    pub(crate) fn begin(&mut self, verb: Verb) {
        if let Some(steps) = &mut self.steps {
            steps.begin(verb, Instant::now());
        }
    }

    /// Notes the consumer's claims and their signature.
    pub fn claims(&mut self, claims: Bytes, seal: Option<Seal>) {
        self.shared.consumer_claims = claims;
        self.shared.consumer_seal = seal;
    }

    /// Makes ready a record of `kind`, as things stand. Where it has to say more than they do, it is a copy that says so.
    ///
    /// # Errors
    ///
    /// As [`Prepared::new`].
    pub(crate) fn record(&mut self, house: &House, kind: Kind) -> Result<Prepared, AppendError> {
        self.shared.kind = kind.into();
        self.private.time = house.millis();
        self.private.duration = u64::try_from(self.arrived.elapsed().as_millis()).unwrap_or(u64::MAX);
        let settles = matches!(kind, Kind::Outcome | Kind::Refusal);
        if settles && self.shared.side() == Side::Provider {
            // The consumer recomputes its leaf.
            return Prepared::new(&records::provider_shared(kind, &self.shared), &self.private);
        }
        Prepared::new(&self.shared, &self.private)
    }

    /// Makes ready the record that settles it, once it is noted how it ended.
    ///
    /// # Errors
    ///
    /// As [`Prepared::new`].
    pub(crate) fn last_record(&mut self, house: &House) -> Result<Prepared, AppendError> {
        self.record(house, if self.shared.refusal.is_empty() { Kind::Outcome } else { Kind::Refusal })
    }

    /// Returns the status of a refusal: a command that may have been done all the same is `UNKNOWN`.
    #[must_use]
    pub fn status(&self, refusal: &Refusal) -> Status {
        if self.command && refusal.unknown {
            return refusal.clone().prescribed(tonic::Code::Unknown).status(self.id);
        }
        refusal.status(self.id)
    }

    /// Notes how it ended.
    pub fn end(&mut self, refusal: Option<&Refusal>, status: i32) {
        self.shared.status = u32::try_from(status).unwrap_or(2);
        self.shared.refusal = refusal.map(|r| r.reason.as_str().to_owned()).unwrap_or_default();
        self.private.outcome = outcome(refusal.map(|r| r.reason)).to_owned();
        if let Some(refusal) = refusal {
            self.private.hop = refusal.hop.as_str().to_owned();
            let mut detail = if refusal.detail.is_empty() {
                refusal.told.clone()
            } else {
                format!("{}; {}", refusal.told, refusal.detail)
            };
            // Whoever wrote it: a record that is too large could not be written.
            detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
            self.private.detail = detail;
        }
    }

    /// Returns the summary for log and metrics.
    #[must_use]
    pub fn settled(&self, refusal: Option<&Refusal>, status: i32, index: Option<u64>) -> Settled {
        let trace = self.trace_parent.as_deref().and_then(|t| t.split('-').nth(1)).map(str::to_owned);
        Settled {
            id: self.id,
            side: self.shared.side(),
            consumer: self.private.consumer.clone(),
            provider: self.private.provider.clone(),
            method: self.private.method.clone(),
            outcome: outcome(refusal.map(|r| r.reason)),
            refusal: refusal.map(|r| r.reason),
            hop: refusal.map(|r| r.hop),
            status,
            messages: self.shared.messages,
            index,
            took: self.arrived.elapsed(),
            trace,
            steps: self.steps.clone(),
        }
    }
}

/// The words for how an exchange ended, as its record has them.
pub const OUTCOMES: [&str; 5] = ["answered", "refused", "cancelled", "unanswered", "failed"];

/// Returns the word for how an exchange ended, one of [`OUTCOMES`].
#[must_use]
pub fn outcome(refusal: Option<Reason>) -> &'static str {
    match refusal {
        None => "answered",
        Some(Reason::Cancelled) => "cancelled",
        Some(Reason::Unanswered) => "unanswered",
        Some(
            Reason::ConnectorTimeout
            | Reason::ConnectorFailed
            | Reason::Unsettled
            | Reason::EvidenceMismatch
            | Reason::LinkDown,
        ) => "failed",
        Some(
            Reason::NoAgreement
            | Reason::WrongPurpose
            | Reason::AgreementEnded
            | Reason::UnknownMethod
            | Reason::ContractMismatch
            | Reason::Malformed
            | Reason::TooLarge
            | Reason::Metadata
            | Reason::BadClaims
            | Reason::Replayed
            | Reason::StaleSession
            | Reason::ClockSkew
            | Reason::NotRecorded
            | Reason::Overloaded
            | Reason::KeyRequired
            | Reason::KeyReused
            | Reason::InProgress
            | Reason::AlreadyDone
            | Reason::QuotaExceeded,
        ) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_one_of_the_words() {
        let ends = Reason::ALL.iter().copied().map(Some).chain([None]);
        let words: std::collections::BTreeSet<_> = ends.map(outcome).collect();
        assert_eq!(words, OUTCOMES.into());
    }

    #[test]
    fn what_a_peer_says_of_a_refusal_is_recorded_up_to_a_limit() {
        let id = ExchangeId::new(std::time::UNIX_EPOCH, [7; 10]);
        let (shared, private) = (Shared::default(), Private::default());
        let mut account =
            Account { id, arrived: Instant::now(), shared, private, trace_parent: None, command: false, steps: None };
        // Two bytes each, behind an odd number of them.
        let refusal = Refusal::new(Reason::ConnectorFailed, Hop::Legacy, "told").detail("\u{e9}".repeat(100_000));
        account.end(Some(&refusal), 14);
        assert!(account.private.detail.starts_with("told; \u{e9}"));
        assert_eq!(account.private.detail.len(), MAX_DETAIL_BYTES);
        let odd = Refusal::new(Reason::ConnectorFailed, Hop::Legacy, "odd").detail("\u{e9}".repeat(100_000));
        account.end(Some(&odd), 14);
        assert_eq!(account.private.detail.len(), MAX_DETAIL_BYTES - 1, "cut between two characters");
    }
}
