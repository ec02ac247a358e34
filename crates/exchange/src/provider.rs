//! One exchange at the side that answers.
//!
//! [`Provider::serve`] reads from top to bottom like the column of verbs in `crates/README.md`. Each verb takes what the
//! one before it has proven, so a step cannot be left out.

mod answer;
mod command;
mod outcome;
mod permit;
mod requests;
mod stream;
pub(crate) mod verify;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use federation::GatewayId;
use http::HeaderMap;
use ledger::SealInput;
use prost::Message as _;
use proto::{link::ProviderClosing, records::Side};
use records::{Commands, receipt};
use tokio_util::sync::CancellationToken;

pub use self::stream::Stream;
use self::{permit::Permitted, verify::Verifiers};
use crate::{
    account::{Account, Settled},
    digests,
    headers::{self, Signed},
    house::House,
    ports::{Answers, Request},
    refusal::{Reason, Refusal, Status},
    replay::Sessions,
    trace::Verb,
};

/// Answers the exchanges that other gateways open.
pub struct Provider {
    pub(crate) house: Arc<House>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) answers: Arc<dyn Answers>,
    pub(crate) verifiers: Verifiers,
}

/// A request as it came over a link.
pub struct Call {
    /// The gateway in the link's certificate.
    pub peer: GatewayId,
    /// The HTTP/2 path.
    pub path: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The request; a stream where the contract's method takes one.
    pub request: Request,
    /// When the consumer's gateway stops waiting.
    pub deadline: Option<Instant>,
    /// Fires when the consumer's gateway has gone away.
    pub cancel: CancellationToken,
}

/// What goes back over the link.
#[expect(clippy::large_enum_variant, reason = "the unary variant is the hot one, and is moved once")]
pub enum Reply {
    /// All of it.
    Whole(Whole),
    /// Headers now, the rest as it comes.
    Stream(Box<Stream>),
}

/// A reply that is complete.
pub struct Whole {
    /// The answer, with its prefix; `None` when there is none.
    pub message: Option<Bytes>,
    /// Status, closing claims and promise.
    pub trailers: HeaderMap,
    /// For log and metrics.
    pub settled: Settled,
}

/// An exchange that was refused, with what was known of it.
pub(crate) struct Refused {
    pub(crate) account: Box<Account>,
    pub(crate) refusal: Refusal,
    /// Provider's clock less the claims' time, where that is why.
    pub(crate) clock_difference: i64,
    /// The consumer's nonce, where the claims had a usable one.
    pub(crate) nonce: Bytes,
}

impl Provider {
    /// Makes the answering side of a gateway. Sessions, commands and answers are shared by all of its runtimes.
    #[must_use]
    pub fn new(
        house: Arc<House>,
        sessions: Arc<Sessions>,
        (commands, answers): (Arc<Commands>, Arc<dyn Answers>),
    ) -> Self {
        Self { house, sessions, commands, answers, verifiers: Verifiers::default() }
    }

    /// Carries one exchange from arrival to answer. Every refusal is signed and recorded; a flood of them in aggregate.
    ///
    /// Has to be run to its end: that the caller goes away is an input (`call.cancel`), and the exchange settles even
    /// then.
    pub async fn serve(&self, call: Call) -> Reply {
        // Tells the ledger how many may still come, so that it gathers them into one commit.
        let caller = self.house.records.ledger().caller();
        match self.exchange(call).await {
            Ok(Reply::Stream(stream)) => Reply::Stream(Box::new(stream.counted_as(caller))),
            Ok(reply @ Reply::Whole(_)) => reply,
            Err(refused) => Reply::Whole(self.refuse(*refused).await),
        }
    }

    async fn exchange(&self, call: Call) -> Result<Reply, Box<Refused>> {
        let verified = self.verify(call)?;
        let permitted = self.able_to_record(self.permit(verified)?)?;
        if let Some(command) = permitted.command {
            return Ok(Reply::Whole(Box::pin(self.command(permitted, command)).await?));
        }
        if permitted.streams() {
            let recorded = self.record(permitted).await?;
            return Ok(Reply::Stream(Box::new(self.open(recorded))));
        }
        let answered = self.answer(permitted).await;
        Ok(Reply::Whole(self.settle(answered).await))
    }

    /// Asks no system what could not be recorded: once the log has failed it stays so until the next start.
    fn able_to_record(&self, permitted: Box<Permitted>) -> Result<Box<Permitted>, Box<Refused>> {
        match self.house.records.ledger().healthy() {
            Ok(()) => Ok(permitted),
            Err(error) => Err(permitted.verified.refuse(not_recorded(&error))),
        }
    }

    /// Records a refusal and signs it. Refusing never fails: where nothing can be recorded the refusal goes out all the
    /// same, as `NOT_RECORDED` without a promise.
    async fn refuse(&self, refused: Refused) -> Whole {
        let Refused { mut account, refusal, clock_difference, nonce } = refused;
        account.begin(Verb::Settle);
        let status = account.status(&refusal);
        account.end(Some(&refusal), status.code);
        // What was declined before the legacy system was asked counts against no limit.
        account.private.counted_grant = 0;
        let closing = ProviderClosing {
            response_digest: if nonce.is_empty() {
                Bytes::new()
            } else {
                digests::Running::new(&nonce).close(&status).to_vec().into()
            },
            clock_difference,
            ..self.closing(&account, &status)
        };
        if !self.house.flood.admits(&account, self.house.millis()) {
            let claims = closing.encode_to_vec();
            let seal = self.house.sealer.seal(receipt::PROVIDER_CLOSING, claims.clone()).await;
            let signed = Signed { claims: claims.into(), seal: Some(receipt::seal_to_wire(&seal)), leaf: None };
            return whole(None, &status, Some(&signed), account.settled(Some(&refusal), status.code, None));
        }
        match self.close(&mut account, closing).await {
            Ok((signed, index)) => {
                whole(None, &status, Some(&signed), account.settled(Some(&refusal), status.code, Some(index)))
            }
            Err(refusal) => self.unrecorded(&account, &refusal),
        }
    }

    /// Seals the closing claims together with the promise of the leaf that records them.
    ///
    /// # Errors
    ///
    /// The reason that goes out instead when the ledger does not take the record.
    pub(crate) async fn close(
        &self,
        account: &mut Account,
        closing: ProviderClosing,
    ) -> Result<(Signed, u64), Refusal> {
        let claims = Bytes::from(closing.encode_to_vec());
        account.shared.provider_closing = claims.clone();
        let record = account.last_record(&self.house);
        let seal = SealInput { tag: receipt::PROVIDER_CLOSING, claims: claims.to_vec() };
        let recorded = self.house.write(record, Some(seal)).await.map_err(|error| not_recorded(&error))?;
        let seal = recorded.seal.as_ref().map(receipt::seal_to_wire);
        Ok((Signed { claims, seal, leaf: Some(recorded.opening) }, recorded.index))
    }

    /// Returns closing claims with what every one of them says, once it is noted how the exchange ended.
    pub(crate) fn closing(&self, account: &Account, status: &Status) -> ProviderClosing {
        ProviderClosing {
            exchange_id: account.shared.exchange_id.clone(),
            provider: self.house.gateway.member().to_string(),
            provider_gateway: self.house.gateway.name().to_owned(),
            consumer_claims_digest: digests::plain(&account.shared.consumer_claims).to_vec().into(),
            time: self.house.millis(),
            status: u32::try_from(status.code).unwrap_or(2),
            refusal: account.shared.refusal.clone(),
            messages: account.shared.messages,
            ..ProviderClosing::default()
        }
    }

    /// The ledger took nothing: the caller is told so, without claims.
    #[expect(clippy::unused_self, reason = "the provider's word, though it needs nothing of it")]
    pub(crate) fn unrecorded(&self, account: &Account, refusal: &Refusal) -> Whole {
        tracing::error!(exchange.id = %account.id, reason = %refusal.reason, detail = %refusal.detail, "cannot record");
        let status = account.status(refusal);
        whole(None, &status, None, account.settled(Some(refusal), status.code, None))
    }

    /// Opens an account for a request that has not been read yet.
    pub(crate) fn account(&self, call: &Call) -> Box<Account> {
        let mut account = Account::open(&self.house, self.house.new_id(), Side::Provider);
        account.private.consumer = call.peer.member().to_string();
        account.private.provider = self.house.gateway.member().to_string();
        account
    }
}

impl Refused {
    pub(crate) fn new(account: Box<Account>, refusal: Refusal) -> Box<Self> {
        Box::new(Self { account, refusal, clock_difference: 0, nonce: Bytes::new() })
    }
}

fn not_recorded(error: &ledger::AppendError) -> Refusal {
    Refusal::new(Reason::NotRecorded, crate::Hop::Provider, "the provider's gateway cannot record")
        .detail(error.to_string())
}

pub(crate) fn whole(message: Option<Bytes>, status: &Status, signed: Option<&Signed>, settled: Settled) -> Whole {
    let mut trailers = HeaderMap::new();
    headers::write_status(status, &mut trailers);
    if let Some(signed) = signed {
        signed.write(&mut trailers);
    }
    Whole { message, trailers, settled }
}
