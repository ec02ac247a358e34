//! One exchange at the side that asks.
//!
//! [`Consumer::serve`] reads from top to bottom like the column of verbs in `crates/README.md`.

mod evidence;
mod left_open;
mod metadata;
mod outcome;
mod permit;
mod send;
mod session;
mod stream;
mod upload;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use federation::SystemId;
use http::HeaderMap;
use ledger::SealInput;
use proto::records::{Kind, Side};
use records::ExchangeId;
use tokio_util::sync::CancellationToken;

pub use self::left_open::{Asked, LeftOpen};
pub(crate) use self::send::shape_of;
pub use self::stream::StreamAnswer;
use self::{evidence::Verified, permit::Permitted, session::OwnSessions};
use crate::{
    account::{Account, Settled},
    application::Said,
    house::House,
    ports::{Peers, Promises, Request},
    provider::verify::Verifiers,
    refusal::{Hop, Reason, Refusal, Status},
    trace::{self, Verb},
};

/// Asks other members for the systems of its own.
pub struct Consumer {
    pub(crate) house: Arc<House>,
    pub(crate) peers: Arc<dyn Peers>,
    promises: Arc<dyn Promises>,
    sessions: OwnSessions,
    verifiers: Verifiers,
}

/// A question of one of our own systems.
pub struct Query {
    /// The system in the caller's certificate.
    pub system: SystemId,
    /// The member that is asked when the call does not say.
    pub default_provider: Option<federation::MemberId>,
    /// `/package.Service/Method`.
    pub path: String,
    /// The call's metadata.
    pub headers: HeaderMap,
    /// The request; a stream where the contract's method takes one.
    pub request: Request,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Fires when the caller has gone away.
    pub cancel: CancellationToken,
}

/// What goes back to the caller.
#[expect(clippy::large_enum_variant, reason = "the unary variant is the hot one, and is moved once")]
pub enum Answer {
    /// All of it: a unary answer, or a refusal.
    Unary(UnaryAnswer),
    /// Headers now, the rest as it comes.
    Stream(Box<StreamAnswer>),
}

/// What stands in the initial metadata.
#[derive(Clone, Debug)]
pub struct Head {
    /// The exchange's id.
    pub exchange: ExchangeId,
    /// Digest of the withheld list, once there is an answer.
    pub withheld: Option<[u8; 32]>,
}

/// An answer that is complete.
pub struct UnaryAnswer {
    /// Initial metadata.
    pub head: Head,
    /// The message, with its prefix.
    pub message: Option<Bytes>,
    /// The application's metadata that came with it.
    pub said: Said,
    /// How it ended.
    pub status: Status,
    /// Where it failed.
    pub hop: Option<Hop>,
    /// For log and metrics.
    pub settled: Settled,
}

/// An exchange that was refused, with what was known of it.
pub(crate) struct Refused {
    pub(crate) account: Box<Account>,
    pub(crate) refusal: Refusal,
}

impl Refused {
    pub(crate) fn new(account: Box<Account>, refusal: Refusal) -> Box<Self> {
        Box::new(Self { account, refusal })
    }
}

impl Consumer {
    /// Makes the asking side of a gateway.
    #[must_use]
    pub fn new(house: Arc<House>, peers: Arc<dyn Peers>, promises: Arc<dyn Promises>) -> Self {
        Self { house, peers, promises, sessions: OwnSessions::default(), verifiers: Verifiers::default() }
    }

    /// Carries one exchange from arrival to answer. Every refusal is recorded.
    ///
    /// Has to be run to its end: that the caller goes away is an input (`query.cancel`), and the exchange settles even
    /// then.
    pub async fn serve(&self, query: Query) -> Answer {
        // Tells the ledger how many may still come, so that it gathers them into one commit.
        let caller = self.house.records.ledger().caller();
        match self.exchange(query).await {
            Ok(Answer::Stream(stream)) => Answer::Stream(Box::new(stream.counted_as(caller))),
            Ok(answer @ Answer::Unary(_)) => answer,
            Err(refused) => Answer::Unary(self.refuse(*refused).await),
        }
    }

    async fn exchange(&self, query: Query) -> Result<Answer, Box<Refused>> {
        let identified = self.identify(Box::new(query))?;
        let permitted = self.able_to_record(self.permit(identified)?)?;
        let streams = permitted.streams();
        let sent = self.send(permitted).await?; // signed first; a stream's intent is durable before it leaves
        if streams {
            return Ok(Answer::Stream(Box::new(self.open(sent)?)));
        }
        let verified = self.verify(sent).await?;
        Ok(Answer::Unary(self.settle(verified).await))
    }

    /// Sends nothing that could not be recorded: once the log has failed it stays so until the next start.
    fn able_to_record(&self, permitted: Box<Permitted>) -> Result<Box<Permitted>, Box<Refused>> {
        match self.house.records.ledger().healthy() {
            Ok(()) => Ok(permitted),
            Err(error) => Err(permitted.refuse(not_recorded(&error))),
        }
    }

    /// Makes the intent durable before anything is sent.
    async fn record(&self, permitted: &mut Permitted) -> Result<(), Refusal> {
        let intent = permitted.account.record(&self.house, Kind::Intent);
        self.house.write(intent, None).await.map(drop).map_err(|error| not_recorded(&error))
    }

    /// Makes the outcome durable; when this returns the answer may be handed over.
    async fn settle(&self, verified: Verified) -> UnaryAnswer {
        let Verified { mut account, message, said, status, refusal, withheld } = verified;
        account.begin(Verb::Settle);
        account.shared.messages = u64::from(message.is_some());
        account.private.bytes = message.as_ref().map_or(0, |m| m.len() as u64);
        account.end(refusal.as_ref(), status.code);
        match self.house.write(account.last_record(&self.house), None).await {
            Ok(recorded) => UnaryAnswer {
                head: Head { exchange: account.id, withheld: Some(withheld) },
                message,
                said,
                hop: refusal.as_ref().map(|r| r.hop).or((status.code != 0).then_some(Hop::Legacy)),
                settled: account.settled(refusal.as_ref(), status.code, Some(recorded.index)),
                status,
            },
            Err(error) => {
                let told = "the consumer's gateway could not record the outcome, so the answer is withheld";
                self.unrecorded(
                    &account,
                    &Refusal::new(Reason::Unsettled, Hop::Consumer, told).detail(error.to_string()).unknown(),
                )
            }
        }
    }

    /// Records a refusal, signed by this gateway where it is its own.
    async fn refuse(&self, refused: Refused) -> UnaryAnswer {
        let Refused { mut account, refusal } = refused;
        account.begin(Verb::Settle);
        let status = account.status(&refusal);
        account.end(Some(&refusal), status.code);
        let sent = !account.shared.consumer_claims.is_empty();
        if !sent && !self.house.flood.admits(&account, self.house.millis()) {
            let settled = account.settled(Some(&refusal), status.code, None);
            return refusal_answer(account.id, &refusal, status, settled);
        }
        let record = account.last_record(&self.house);
        let seal = SealInput { tag: records::receipt::LOCAL_REFUSAL, claims: account.id.as_bytes().to_vec() };
        match self.house.write(record, Some(seal)).await {
            Ok(recorded) => {
                let settled = account.settled(Some(&refusal), status.code, Some(recorded.index));
                refusal_answer(account.id, &refusal, status, settled)
            }
            Err(error) if refusal.unknown => {
                let told = "the consumer's gateway could not record that nobody knows what became of the question";
                let unsettled = Refusal::new(Reason::Unsettled, Hop::Consumer, told).detail(error.to_string());
                self.unrecorded(&account, &unsettled.unknown())
            }
            Err(error) => self.unrecorded(&account, &not_recorded(&error)),
        }
    }

    #[expect(clippy::unused_self, reason = "the consumer's word, though it needs nothing of it")]
    fn unrecorded(&self, account: &Account, refusal: &Refusal) -> UnaryAnswer {
        tracing::error!(exchange.id = %account.id, reason = %refusal.reason, detail = %refusal.detail, "cannot record");
        let status = account.status(refusal);
        let settled = account.settled(Some(refusal), status.code, None);
        refusal_answer(account.id, refusal, status, settled)
    }

    /// Opens an account for a call that has not been read yet.
    fn account(&self, query: &Query) -> Box<Account> {
        let mut account = Account::open(&self.house, self.house.new_id(), Side::Consumer);
        account.enter(&self.house, trace::of_headers(&query.headers), Verb::Identify);
        account.private.consumer = query.system.member().to_string();
        account.private.system = query.system.name().to_owned();
        // A path that no contract has is free text, and stays out of the record.
        if let Some(method) = self.house.rules.load().contracts.method(&query.path) {
            method.path().clone_into(&mut account.private.method);
        }
        account
    }
}

fn not_recorded(error: &ledger::AppendError) -> Refusal {
    Refusal::new(Reason::NotRecorded, Hop::Consumer, "the consumer's gateway cannot record").detail(error.to_string())
}

fn refusal_answer(exchange: ExchangeId, refusal: &Refusal, status: Status, settled: Settled) -> UnaryAnswer {
    let (head, said) = (Head { exchange, withheld: None }, Said::default());
    UnaryAnswer { head, message: None, said, status, hop: Some(refusal.hop), settled }
}
