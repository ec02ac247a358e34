//! A command that an earlier run of this gateway left open, because it was killed in its midst: what became of it is asked after the
//! start, so that its own log says how it ended, with all evidence.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use contract::Digest;
use federation::{GatewayId, MemberId, SystemId};
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use policy::Ask;
use proto::link::ConsumerClaims;
use records::{ExchangeId, Record};
use tokio_util::sync::CancellationToken;

use super::{
    Consumer, UnaryAnswer,
    outcome::{question, settled},
    permit::Permitted,
    send::{Sent, unanswered},
};
use crate::{
    account::Account,
    application::ApplicationMetadata,
    house::Rules,
    metadata::CallMetadata,
    ports::{LinkError, LinkReply},
    quota::Counted,
};

/// Why its answer was lost.
const KILLED: &str = "the consumer's gateway stopped before it had an answer";

/// A command that was sent, or was about to be, when the gateway stopped.
pub struct LeftOpen {
    intent: Record,
    claims: ConsumerClaims,
    gateway: GatewayId,
}

/// What came of asking about a command that was left open.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The log says how it ended.
    Settled,
    /// It is still being carried out.
    Running,
    /// The gateway that knows cannot be asked.
    Away,
    /// What was agreed on is not at hand, so no answer could be held against it.
    NothingToHoldItAgainst,
    /// The log takes no records.
    NotRecorded,
}

impl LeftOpen {
    /// Takes an intent up, if it is that of a command which this gateway asked another for.
    #[must_use]
    pub fn of(intent: &Record) -> Option<Self> {
        let opened = intent.opened.as_ref()?;
        let claims = opened.claims.clone().filter(|claims| !claims.idempotency_key.is_empty())?;
        let is_consumer = opened.shared.side() == proto::records::Side::Consumer;
        let gateway = GatewayId::new(claims.provider.parse().ok()?, &claims.provider_gateway).ok()?;
        is_consumer.then(|| Self { intent: intent.clone(), claims, gateway })
    }

    /// Returns the gateway that was asked, which alone knows.
    #[must_use]
    pub fn gateway(&self) -> &GatewayId {
        &self.gateway
    }
}

impl Consumer {
    /// Asks once what became of a command that was left open, and settles it by what the provider's gateway says.
    pub async fn ask_about(&self, left: &LeftOpen) -> Asked {
        let rules = self.house.rules.load_full();
        let Some(permitted) = self.as_permitted(left, rules) else { return Asked::NothingToHoldItAgainst };
        let response = match self.peers.outcome(&left.gateway, question(&left.claims)).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%error, gateway = %left.gateway, "cannot ask yet what became of a command");
                return Asked::Away;
            }
        };
        let lost = unanswered(KILLED);
        let answer = match settled(response, &lost, KILLED) {
            None => return Asked::Running,
            Some(Err(refusal)) => self.refuse(*permitted.refuse(refusal)).await,
            Some(Ok((data, trailers))) => {
                let frames = [Ok::<_, LinkError>(Frame::data(data)), Ok(Frame::trailers(trailers))];
                let body = StreamBody::new(stream::iter(frames));
                let reply = LinkReply { headers: http::HeaderMap::new(), body: Box::pin(body) };
                let (gateway, nonce) = (left.gateway.clone(), left.claims.nonce.clone());
                self.settle_sent(Sent { permitted, gateway, nonce, reply, outgoing: None }).await
            }
        };
        let outcome = answer.settled.outcome;
        let Some(index) = answer.settled.index else { return Asked::NotRecorded };
        tracing::info!(exchange.id = %answer.settled.id, outcome, index, "a command that the last run left open is settled");
        Asked::Settled
    }

    /// Holds the answer against its evidence like any other.
    async fn settle_sent(&self, sent: Sent) -> UnaryAnswer {
        match self.verify(sent).await {
            Ok(verified) => self.settle(verified).await,
            Err(refused) => self.refuse(*refused).await,
        }
    }

    /// Returns the call as it was when its intent was recorded, as far as is needed to judge its answer.
    fn as_permitted(&self, left: &LeftOpen, rules: Arc<Rules>) -> Option<Box<Permitted>> {
        let (claims, opened) = (&left.claims, left.intent.opened.as_ref()?);
        let provider: MemberId = claims.provider.parse().ok()?;
        let system = SystemId::new(claims.consumer.parse().ok()?, &claims.consumer_system).ok()?;
        let digest = Digest(claims.agreement_digest.as_ref().try_into().ok()?);
        let agreement = rules.agreements.get(&digest)?.clone();
        let ask = Ask {
            consumer: system.member(),
            system: &system,
            provider: &provider,
            method: &claims.method,
            purpose: &claims.purpose,
            has_actor: true,
            has_case: true,
            has_justification: true,
        };
        let plan = rules.agreements.plan_of(&ask, &digest)?;
        let since = Duration::from_millis(self.house.millis().saturating_sub(opened.private.time));
        let account = Account {
            id: ExchangeId::from_bytes(&opened.shared.exchange_id).ok()?,
            arrived: Instant::now().checked_sub(since).unwrap_or_else(Instant::now),
            shared: opened.shared.clone(),
            private: opened.private.clone(),
            trace_parent: None,
            command: true,
            steps: None,
        };
        Some(Box::new(Permitted {
            account: Box::new(account),
            rules,
            metadata: CallMetadata::default(),
            application: ApplicationMetadata::default(),
            provider,
            method: plan.method.clone(),
            plan,
            agreement,
            message: Bytes::new(),
            stream: None,
            deadline: None,
            cancel: CancellationToken::new(),
            command: claims.idempotency_key.as_ref().try_into().ok(),
            counted: Counted::before(),
            system,
        }))
    }
}
