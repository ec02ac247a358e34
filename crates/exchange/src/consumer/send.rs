//! Sign and send: one question, put to a gateway of the provider.
//!
//! Where nothing was sent the provider's next gateway is tried; a session that the provider no longer knows is opened anew
//! and the question sent once more, with new claims. Nothing else is ever sent twice.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use contract::Shape;
use federation::GatewayId;
use prost::Message as _;
use proto::link::{Actor, CallShape, ConsumerClaims};
use records::receipt;
use tokio_util::sync::CancellationToken;

use super::{Consumer, Refused, permit::Permitted, session::OwnSession};
use crate::{
    deadline, digests,
    headers::{self, Signed},
    pipe,
    ports::{LinkError, LinkReply, LinkRequest, Request},
    refusal::{Hop, Reason, Refusal},
    trace::Verb,
};

/// A question that went out and whose reply has begun.
pub(super) struct Sent {
    pub(super) permitted: Box<Permitted>,
    pub(super) gateway: GatewayId,
    pub(super) nonce: Bytes,
    pub(super) reply: LinkReply,
    /// Where the messages of a streamed request go.
    pub(super) outgoing: Option<pipe::Sender>,
}

/// What a gateway answered with, before it is looked at.
type Begun = (LinkReply, Bytes, Option<pipe::Sender>);

/// A question signed for one gateway.
struct SignedQuestion {
    gateway: GatewayId,
    session: Arc<OwnSession>,
    opening: Signed,
    nonce: Bytes,
}

/// Why one gateway did not take the question.
enum Miss {
    /// Nothing was sent: another gateway may be tried.
    Down(LinkError),
    /// The session was not known: the same gateway may be tried once more.
    Stale,
    /// That is the end of it.
    Refused(Refusal),
}

impl Consumer {
    /// Signs the question for a gateway of the provider and sends it.
    pub(super) async fn send(&self, mut permitted: Box<Permitted>) -> Result<Sent, Box<Refused>> {
        let entry = permitted.rules.federation.member(&permitted.provider);
        let gateways: Vec<GatewayId> =
            entry.iter().flat_map(|e| &e.gateways).filter(|g| g.address.is_some()).map(|g| g.id.clone()).collect();
        let mut last = format!("the directory lists no gateway of `{}` that can be reached", permitted.provider);
        // What is known of a command's key is known to the gateway that took it: no other one is tried.
        let most = if permitted.command.is_some() { 1 } else { usize::MAX };
        for gateway in gateways.into_iter().take(most) {
            let mut stale_before = false;
            loop {
                match self.try_gateway(&mut permitted, &gateway).await {
                    Ok((reply, nonce, outgoing)) => return Ok(Sent { permitted, gateway, nonce, reply, outgoing }),
                    Err(Miss::Refused(refusal)) => return Err(permitted.refuse(refusal)),
                    Err(Miss::Stale) if !stale_before => stale_before = true,
                    Err(Miss::Stale) => {
                        let told = "the provider's gateway knows none of the sessions that it gives";
                        return Err(permitted.refuse(Refusal::new(Reason::StaleSession, Hop::Provider, told)));
                    }
                    Err(Miss::Down(error)) => {
                        last = error.to_string();
                        break;
                    }
                }
            }
        }
        let told = format!("there is no link to `{}`; nothing was sent", permitted.provider);
        Err(permitted.refuse(Refusal::new(Reason::LinkDown, Hop::Consumer, told).detail(last)))
    }

    async fn try_gateway(&self, permitted: &mut Permitted, gateway: &GatewayId) -> Result<Begun, Miss> {
        let (until, cancel) = (permitted.deadline, permitted.cancel.clone());
        permitted.account.begin(Verb::Open);
        let session = within(until, &cancel, self.sessions.with(gateway, &*self.peers)).await;
        let session = session.map_err(|refusal| {
            if refusal.reason == Reason::Cancelled {
                return Miss::Refused(refusal);
            }
            let told = "no link was open in time; nothing was sent";
            Miss::Refused(Refusal::new(Reason::LinkDown, Hop::Consumer, told))
        })?;
        let session = session.map_err(Miss::Down)?;
        permitted.account.begin(Verb::Sign);
        let signed = self.sign(permitted, gateway, session).await.map_err(Miss::Refused)?;
        permitted.account.claims(signed.opening.claims.clone(), signed.opening.seal.clone());
        if permitted.streams() || permitted.command.is_some() {
            permitted.account.begin(Verb::Record);
            self.record(permitted).await.map_err(Miss::Refused)?;
        }
        let SignedQuestion { gateway, session, opening, nonce } = signed;
        let timeout = deadline::reserve(until).map(|d| d.saturating_duration_since(Instant::now()));
        // A streamed request goes out once the reply has begun: not a byte of it to a gateway that refuses.
        let (request, outgoing) = if permitted.stream.is_some() {
            let (sender, body) = pipe::pipe();
            (Request::Stream(Box::pin(body)), Some(sender))
        } else {
            (Request::One(permitted.message.clone()), None)
        };
        let request = LinkRequest {
            path: permitted.method.path().into(),
            opening,
            metadata: permitted.application.clone(),
            request,
            timeout,
            trace_parent: permitted.account.trace_parent.clone(),
        };
        // The reply to a stream begins with the provider's intent, which waits for nothing but its disk.
        let idle = self.house.limits.stream_idle();
        let idle = permitted.streams().then(|| Instant::now().checked_add(idle)).flatten();
        permitted.account.begin(Verb::Send);
        let asked = self.peers.ask(&gateway, request);
        // A command is carried out whether its caller waits or not.
        let cancel = permitted.while_waiting();
        let reply = within(deadline::earlier(until, idle), &cancel, asked).await.map_err(Miss::Refused)?;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error @ LinkError::NotSent(_)) => return Err(Miss::Down(error)),
            // Found out when the reply is read.
            Err(LinkError::Cut(what)) if permitted.command.is_some() => LinkReply::cut(what),
            Err(LinkError::Cut(what)) => {
                return Err(Miss::Refused(unanswered("the link was cut before the answer").detail(what)));
            }
        };
        if self.says_stale(permitted, &gateway, &reply) {
            self.sessions.forget(&gateway, &session);
            return Err(Miss::Stale);
        }
        Ok((reply, nonce, outgoing))
    }

    /// Signs claims over the digest of the request.
    async fn sign(
        &self,
        permitted: &Permitted,
        gateway: &GatewayId,
        session: Arc<OwnSession>,
    ) -> Result<SignedQuestion, Refusal> {
        let mut nonce = [0; 32];
        ledger::random::fill(&mut nonce)
            .map_err(|_| Refusal::new(Reason::NotRecorded, Hop::Consumer, "the system gives no random bytes"))?;
        let Permitted { account, metadata, method, plan, agreement, .. } = permitted;
        let own = &self.house.gateway;
        let claims = ConsumerClaims {
            exchange_id: account.shared.exchange_id.clone(),
            consumer: own.member().to_string(),
            consumer_gateway: own.name().to_owned(),
            consumer_system: permitted.system.name().to_owned(),
            provider: gateway.member().to_string(),
            provider_gateway: gateway.name().to_owned(),
            session: session.id.clone(),
            sequence: session.next(),
            method: method.path().to_owned(),
            contract_digest: Bytes::copy_from_slice(&method.contract_digest().0),
            agreement: agreement.id().to_owned(),
            agreement_digest: Bytes::copy_from_slice(&agreement.digest().0),
            purpose: plan.purpose.to_string(),
            legal_basis: plan.legal_basis.to_string(),
            actor: metadata.actor.clone().map(|(id, role)| Actor { id, role }),
            case_reference: metadata.case.clone().unwrap_or_default(),
            justification: metadata.justification.clone().unwrap_or_default(),
            trace_parent: account.trace_parent.clone().unwrap_or_default(),
            time: self.house.millis(),
            nonce: Bytes::copy_from_slice(&nonce),
            request_digest: match &permitted.stream {
                None => Bytes::copy_from_slice(&digests::of_request(&nonce, &permitted.message)),
                Some(_) => Bytes::new(),
            },
            metadata_digest: digests::of_request_metadata(&nonce, &permitted.application.encode()),
            idempotency_key: permitted.command.map(|key| key.to_vec().into()).unwrap_or_default(),
            shape: shape_of(method.shape()).into(),
        };
        let nonce = claims.nonce.clone();
        let claims = claims.encode_to_vec();
        let seal = self.house.sealer.seal(receipt::CONSUMER_CLAIMS, claims.clone()).await;
        let opening = Signed { claims: claims.into(), seal: Some(receipt::seal_to_wire(&seal)), leaf: None };
        Ok(SignedQuestion { gateway: gateway.clone(), session, opening, nonce })
    }

    /// Whether the reply is a signed `STALE_SESSION`. An unsigned one is left to the evidence to refuse.
    fn says_stale(&self, permitted: &Permitted, gateway: &GatewayId, reply: &LinkReply) -> bool {
        let Some(status) = headers::read_status(&reply.headers) else { return false };
        status.reason() == Some(Reason::StaleSession)
            && self.signed_refusal(permitted, gateway, &reply.headers).is_some_and(|r| r == Reason::StaleSession)
    }
}

/// Returns the word of claims for a shape.
pub(crate) fn shape_of(shape: Shape) -> CallShape {
    match shape {
        Shape::Unary => CallShape::Unary,
        Shape::ServerStream => CallShape::ServerStream,
        Shape::ClientStream => CallShape::ClientStream,
        Shape::Bidirectional => CallShape::Bidirectional,
    }
}

/// Waits for `future` until the deadline or the caller's leaving.
pub(super) async fn within<T>(
    until: Option<Instant>,
    cancel: &CancellationToken,
    future: impl Future<Output = T>,
) -> Result<T, Refusal> {
    tokio::select! {
        biased;
        value = future => Ok(value),
        () = cancel.cancelled() => Err(Refusal::new(Reason::Cancelled, Hop::Consumer, "the caller went away")),
        () = deadline::wait(until) => Err(late("the deadline passed before the provider's gateway answered")),
    }
}

/// The deadline passed: what gRPC calls so, whatever became of the question.
pub(super) fn late(told: &str) -> Refusal {
    unanswered(told).prescribed(tonic::Code::DeadlineExceeded)
}

pub(super) fn unanswered(told: &str) -> Refusal {
    Refusal::new(Reason::Unanswered, Hop::Link, told).unknown()
}
