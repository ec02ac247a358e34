//! Is the answer what the provider's gateway signed, and is the promise of its record true to it?

use bytes::{Bytes, BytesMut};
use federation::GatewayId;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use ledger::Promise;
use prost::Message as _;
use proto::link::ProviderClosing;
use records::{provider_leaf_of, receipt};

use super::{
    Consumer, Refused, metadata,
    permit::Permitted,
    send::{Sent, unanswered, within},
};
use crate::{
    account::Account,
    application::Said,
    digests, framing,
    headers::{self, Signed},
    intake::Streamed,
    ports::{LinkError, ReplyBody},
    refusal::{Hop, Reason, Refusal, Status},
    trace::Verb,
};

/// An answer whose evidence holds, or the refusal that takes its place.
pub(super) struct Verified {
    pub(super) account: Box<Account>,
    /// The message, with its prefix.
    pub(super) message: Option<Bytes>,
    pub(super) status: Status,
    pub(super) said: Said,
    pub(super) refusal: Option<Refusal>,
    pub(super) withheld: [u8; 32],
}

/// What the trailers of a reply prove.
pub(super) struct Proven {
    pub(super) status: Status,
    /// The provider's own refusal.
    pub(super) refusal: Option<Refusal>,
}

impl Consumer {
    /// Reads a unary reply to its end and holds it against its evidence.
    pub(super) async fn verify(&self, sent: Sent) -> Result<Verified, Box<Refused>> {
        let Sent { mut permitted, gateway, nonce, reply, .. } = sent;
        permitted.account.begin(Verb::Verify);
        let (until, cancel) = (permitted.deadline, permitted.while_waiting());
        let limit = self.house.limits.message().saturating_add(framing::PREFIX);
        let read = within(until, &cancel, collect(reply.body, limit)).await.and_then(|r| r);
        let read = read.and_then(|(data, trailers)| {
            let trailers = trailers.unwrap_or(reply.headers);
            let whole = headers::read_status(&trailers).is_some();
            if whole {
                Ok((data, trailers))
            } else {
                Err(unanswered("the link was cut before the answer was complete"))
            }
        });
        let read = match read {
            Err(lost) if lost.unknown && permitted.command.is_some() => {
                Box::pin(self.find_out(&permitted, &gateway, lost)).await
            }
            read => read,
        };
        let (data, trailers) = match read {
            Ok(read) => read,
            Err(refusal) => return Err(permitted.refuse(refusal)),
        };
        let mut digest = digests::Running::new(&nonce);
        digest.update(&data);
        let message = (!data.is_empty()).then_some(data);
        let one = message.as_ref().is_none_or(|m| framing::single(m, self.house.limits.message()).is_ok());
        let count = u64::from(message.is_some());
        let proven = if one {
            self.prove(&mut permitted, &gateway, &trailers, (digest, count), None)
        } else {
            Err(mismatch("the answer is not one message"))
        };
        let withheld = permitted.plan.withheld_digest.0;
        let proven = proven.and_then(|proven| match proven.refusal {
            None => Ok((metadata::of_answer(&mut permitted, &nonce, &trailers, None)?, proven)),
            Some(_) => Ok((Said::default(), proven)),
        });
        match proven {
            Ok((said, Proven { status, refusal })) => {
                permitted.counted.passed(count);
                permitted.counted.end(refusal.as_ref(), &mut permitted.account);
                let message = if status.code == 0 { message } else { None };
                Ok(Verified { account: permitted.account, message, status, said, refusal, withheld })
            }
            Err(refusal) => Err(permitted.refuse(refusal)),
        }
    }

    /// Holds trailers against what passed: signature, digests, counts, lists, and the promised leaf.
    ///
    /// What the provider signed goes into the account even when it does not fit: it is evidence.
    pub(super) fn prove(
        &self,
        permitted: &mut Permitted,
        gateway: &GatewayId,
        trailers: &HeaderMap,
        (digest, messages): (digests::Running, u64),
        uploaded: Option<&Streamed>,
    ) -> Result<Proven, Refusal> {
        let status = headers::read_status(trailers)
            .ok_or_else(|| unanswered("the link was cut before the answer was complete"))?;
        let Some(signed) = Signed::read(trailers) else {
            return unsigned(status);
        };
        let closing = ProviderClosing::decode(signed.claims.clone())
            .map_err(|_| mismatch("the closing claims cannot be read"))?;
        let promise = self.check_signature(permitted, gateway, &signed, receipt::PROVIDER_CLOSING)?;
        let account = &mut permitted.account;
        account.shared.provider_closing = signed.claims.clone();
        account.shared.provider_closing_seal = signed.seal.clone();
        account.shared.provider_closing_leaf = signed.leaf.clone();
        let refusal = provider_refusal(&closing, &status)?;
        let fits = closing.exchange_id == account.shared.exchange_id
            && closing.consumer_claims_digest.as_ref() == digests::plain(&account.shared.consumer_claims)
            && closing.provider == gateway.member().as_ref()
            && closing.provider_gateway == gateway.name();
        if !fits {
            // Claims that the provider could not take for ours it cannot name either.
            return match refusal {
                Some(refusal) if refusal.reason == Reason::BadClaims => {
                    account.shared.provider_closing_leaf = None;
                    Ok(Proven { status, refusal: Some(refusal) })
                }
                _ => Err(mismatch("the closing claims are of another exchange")),
            };
        }
        if i64::from(closing.status) != i64::from(status.code) {
            return Err(mismatch("the status is not the one that was signed"));
        }
        let digested = refusal.is_some() && closing.response_digest.is_empty();
        if !digested && closing.response_digest.as_ref() != digest.close(&status) {
            return Err(mismatch("the answer is not the one that was signed"));
        }
        if closing.messages != messages {
            return Err(mismatch("another number of messages arrived than was signed"));
        }
        check_requests(&closing, uploaded)?;
        let plan = &permitted.plan;
        let lists = closing.released_digest.as_ref() == plan.released_digest.0
            && closing.withheld_digest.as_ref() == plan.withheld_digest.0;
        if refusal.is_none() && !lists {
            return Err(mismatch("the provider released other fields than the agreement names"));
        }
        match promise {
            Some(promise) => self.check_leaf(permitted, gateway, &signed, (&promise, &closing))?,
            None if refusal.is_none() => return Err(mismatch("the answer comes without a promise of its record")),
            None => {}
        }
        Ok(Proven { status, refusal })
    }

    /// Returns the reason of a refusal that the provider's gateway signed in `trailers`.
    pub(super) fn signed_refusal(
        &self,
        permitted: &Permitted,
        gateway: &GatewayId,
        trailers: &HeaderMap,
    ) -> Option<Reason> {
        let signed = Signed::read(trailers)?;
        self.check_signature(permitted, gateway, &signed, receipt::PROVIDER_CLOSING).ok()?;
        ProviderClosing::decode(signed.claims).ok()?.refusal.parse().ok()
    }

    /// Checks the signature over claims and promise; returns the promise.
    pub(super) fn check_signature(
        &self,
        permitted: &Permitted,
        gateway: &GatewayId,
        signed: &Signed,
        tag: &str,
    ) -> Result<Option<Promise>, Refusal> {
        let entry = permitted
            .rules
            .federation
            .gateway(gateway)
            .ok_or_else(|| mismatch("the directory no longer lists the gateway"))?;
        let seal = signed
            .seal
            .as_ref()
            .and_then(receipt::seal_from_wire)
            .ok_or_else(|| mismatch("the signature is missing or malformed"))?;
        let promise = match &signed.leaf {
            None => None,
            Some(leaf) => Some(receipt::promise_of(leaf).ok_or_else(|| mismatch("the promise is malformed"))?),
        };
        if promise.as_ref().is_some_and(|p| p.origin != entry.log_origin) {
            return Err(mismatch("the promise is of another log than the gateway's"));
        }
        let verifiers = self.verifiers.of_gateway(entry, (self.house.clock)());
        verifiers
            .verify(tag, &signed.claims, promise.as_ref(), &seal)
            .map_err(|_| mismatch("the signature is not by the provider's gateway over these claims"))?;
        Ok(promise)
    }

    /// Recomputes the provider's leaf from both sides' claims.
    fn check_leaf(
        &self,
        permitted: &Permitted,
        gateway: &GatewayId,
        signed: &Signed,
        (promise, closing): (&Promise, &ProviderClosing),
    ) -> Result<(), Refusal> {
        let shared = receipt::providers_shared(&permitted.account.shared, closing);
        let leaf = signed.leaf.as_ref().and_then(|opening| provider_leaf_of(&shared, opening));
        if leaf.map(|l| l.hash()) != Some(promise.leaf) {
            return Err(mismatch("the promised leaf does not hold what both sides signed"));
        }
        self.promises.made(gateway, promise);
        Ok(())
    }
}

/// Holds what the provider has read of a streamed request against what was sent.
///
/// Of an answer that came before the request's end the digest can be held against the own one only where as much was sent as
/// was read.
fn check_requests(closing: &ProviderClosing, uploaded: Option<&Streamed>) -> Result<(), Refusal> {
    let Some(uploaded) = uploaded else {
        return if closing.request_closed {
            Err(mismatch("the provider closed a request that was none"))
        } else {
            Ok(())
        };
    };
    let whole = uploaded.closing.is_some() && closing.request_messages == uploaded.messages;
    if closing.request_closed && !whole || closing.request_messages > uploaded.messages {
        return Err(mismatch("the provider read more of the request than was sent"));
    }
    let comparable = closing.request_messages == uploaded.messages;
    if comparable && closing.request_messages > 0 && closing.request_digest.as_ref() != uploaded.digest {
        return Err(mismatch("the request that the provider read is not the one that was sent"));
    }
    Ok(())
}

/// Without claims a provider can only say that it cannot record, or that it has no room.
fn unsigned(status: Status) -> Result<Proven, Refusal> {
    let reason = status.reason().filter(|r| matches!(r, Reason::NotRecorded | Reason::Unsettled | Reason::Overloaded));
    let reason = reason.ok_or_else(|| mismatch("the answer comes without signed claims"))?;
    let refusal = Refusal::new(reason, Hop::Provider, status.message.clone());
    Ok(Proven { status, refusal: Some(refusal) })
}

fn provider_refusal(closing: &ProviderClosing, status: &Status) -> Result<Option<Refusal>, Refusal> {
    if closing.refusal.is_empty() {
        return Ok(None);
    }
    let reason: Reason =
        closing.refusal.parse().map_err(|()| mismatch("the provider refused for a reason that is not known here"))?;
    if status.reason() != Some(reason) {
        return Err(mismatch("the refusal is not the one that was signed"));
    }
    // The provider says whether it was its own gateway or the system behind it; the details are in the signed digest.
    let hop = if status.hop() == Some(Hop::Legacy) { Hop::Legacy } else { Hop::Provider };
    Ok(Some(Refusal::new(reason, hop, status.message.clone())))
}

pub(super) fn mismatch(told: &str) -> Refusal {
    Refusal::new(Reason::EvidenceMismatch, Hop::Consumer, told)
}

async fn collect(mut body: ReplyBody, limit: usize) -> Result<(Bytes, Option<HeaderMap>), Refusal> {
    let mut first = Bytes::new();
    let mut more: Option<BytesMut> = None;
    let mut size = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error {
            LinkError::NotSent(what) | LinkError::Cut(what) => {
                unanswered("the link was cut before the answer was complete").detail(what)
            }
        })?;
        match frame.into_data() {
            Ok(data) => {
                size = size.saturating_add(data.len());
                if size > limit {
                    return Err(Refusal::new(
                        Reason::TooLarge,
                        Hop::Consumer,
                        format!("the answer is above the limit of {limit} bytes"),
                    ));
                }
                if first.is_empty() && more.is_none() {
                    first = data;
                } else {
                    more.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&data);
                }
            }
            Err(frame) => {
                let data = more.map_or(first, BytesMut::freeze);
                return Ok((data, frame.into_trailers().ok()));
            }
        }
    }
    Ok((more.map_or(first, BytesMut::freeze), None))
}
