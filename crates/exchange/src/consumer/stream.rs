//! An answer of many messages, passed on as it comes, recorded as it goes, and only called OK once its evidence holds.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use federation::GatewayId;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use prost::Message as _;
use proto::{link::ProviderOpening, records::Kind};
use records::receipt;

use super::{
    Consumer, Head, Refused, UnaryAnswer,
    evidence::{Proven, mismatch},
    permit::Permitted,
    send::{Sent, late, unanswered},
};
use crate::{
    deadline, digests,
    framing::{FramingError, MessageWalker},
    headers::Signed,
    house::House,
    ports::{Outlet, ReplyBody},
    progress::Progress,
    refusal::{Hop, Reason, Refusal},
};

/// How often an open stream looks whether it still may go on.
const LOOK: Duration = Duration::from_millis(500);

/// An answer under way.
pub struct StreamAnswer {
    /// Initial metadata.
    pub head: Head,
    house: Arc<House>,
    permitted: Permitted,
    gateway: GatewayId,
    body: Option<ReplyBody>,
    /// The reply was trailers only.
    only: Option<HeaderMap>,
    digest: digests::Running,
    walker: MessageWalker,
    progress: Progress,
    last: Instant,
}

impl Consumer {
    /// Holds the provider's opening claims against their signature; the caller then gets its headers.
    pub(super) fn open(&self, sent: Sent) -> Result<StreamAnswer, Box<Refused>> {
        let Sent { mut permitted, gateway, nonce, reply } = sent;
        let only = crate::headers::read_status(&reply.headers).map(|_| reply.headers.clone());
        if only.is_none()
            && let Err(refusal) = self.check_opening(&mut permitted, &gateway, &reply.headers)
        {
            return Err(permitted.refuse(refusal));
        }
        let head = Head { exchange: permitted.account.id, withheld: Some(permitted.plan.withheld_digest.0) };
        Ok(StreamAnswer {
            head,
            house: self.house.clone(),
            digest: digests::Running::new(&nonce),
            walker: MessageWalker::new(self.house.limits.message),
            progress: Progress::new(&self.house),
            permitted,
            gateway,
            body: Some(reply.body),
            only,
            last: Instant::now(),
        })
    }

    fn check_opening(
        &self,
        permitted: &mut Permitted,
        gateway: &GatewayId,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let signed = Signed::read(headers).ok_or_else(|| mismatch("the stream opens without signed claims"))?;
        let claims = ProviderOpening::decode(signed.claims.clone())
            .map_err(|_| mismatch("the opening claims cannot be read"))?;
        let promise = self.check_signature(permitted, gateway, &signed, receipt::PROVIDER_OPENING)?;
        let shared = &mut permitted.account.shared;
        let fits = claims.exchange_id == shared.exchange_id
            && claims.consumer_claims_digest.as_ref() == digests::plain(&shared.consumer_claims)
            && claims.provider == gateway.member().as_ref();
        shared.provider_opening = signed.claims;
        shared.provider_opening_seal = signed.seal;
        shared.provider_opening_leaf = signed.leaf;
        if !fits {
            return Err(mismatch("the opening claims are of another exchange"));
        }
        let promise = promise.ok_or_else(|| mismatch("the stream opens without a promise of its record"))?;
        self.promises.made(gateway, &promise);
        Ok(())
    }
}

impl StreamAnswer {
    /// Runs the stream to its end and settles it. The caller's trailers go out after that.
    pub async fn run<O: Outlet>(mut self, consumer: &Consumer, outlet: &mut O) -> UnaryAnswer {
        let end = self.pass_on(outlet).await;
        // Resets the stream where it has not ended, before anything is written down about it.
        drop(self.body.take());
        self.settle(consumer, end).await
    }

    async fn pass_on<O: Outlet>(&mut self, outlet: &mut O) -> Result<HeaderMap, Refusal> {
        if let Some(only) = self.only.take() {
            return Ok(only);
        }
        let cancel = self.permitted.cancel.clone();
        let mut look = tokio::time::interval(LOOK);
        loop {
            let Some(body) = self.body.as_mut() else { return Err(unanswered("the stream has no body")) };
            let frame = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(gone()),
                () = outlet.gone() => return Err(gone()),
                result = self.progress.settle_pending() => {
                    result.map_err(|e| unsettled(&e))?;
                    continue;
                }
                _ = look.tick() => {
                    may_go_on(&self.house, &self.permitted, self.last)?;
                    self.progress.keep_up((&self.house, &self.permitted.account, &self.digest));
                    continue;
                }
                frame = body.frame() => frame,
            };
            let frame = match frame {
                None => return Err(unanswered("the stream ended without trailers")),
                Some(Err(error)) => {
                    return Err(unanswered("the link was cut in the middle of the stream").detail(error.to_string()));
                }
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(chunk) => self.hand_on(chunk, outlet, &mut look).await?,
                Err(frame) => {
                    return frame.into_trailers().map_err(|_| unanswered("the stream ended without trailers"));
                }
            }
        }
    }

    /// Hands a chunk on as the reader reads. Waiting for it, the stream still ends with its agreement.
    async fn hand_on<O: Outlet>(
        &mut self,
        chunk: Bytes,
        outlet: &mut O,
        look: &mut tokio::time::Interval,
    ) -> Result<(), Refusal> {
        self.walker.feed(&chunk).map_err(|error| framing(&error))?;
        self.digest.update(&chunk);
        self.permitted.account.shared.messages = self.walker.messages();
        self.last = Instant::now();
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.progress
            .admit(bytes, (&self.house, &self.permitted.account, &self.digest))
            .await
            .map_err(|e| unsettled(&e))?;
        let cancel = self.permitted.cancel.clone();
        let mut sent = std::pin::pin!(outlet.send(chunk));
        loop {
            tokio::select! {
                biased;
                result = &mut sent => {
                    result.map_err(|_| gone())?;
                    break;
                }
                () = cancel.cancelled() => return Err(gone()),
                result = self.progress.settle_pending() => result.map_err(|e| unsettled(&e))?,
                _ = look.tick() => {
                    may_go_on(&self.house, &self.permitted, self.last)?;
                    self.progress.keep_up((&self.house, &self.permitted.account, &self.digest));
                }
            }
        }
        self.last = Instant::now();
        self.progress.keep_up((&self.house, &self.permitted.account, &self.digest));
        Ok(())
    }

    async fn settle(self, consumer: &Consumer, end: Result<HeaderMap, Refusal>) -> UnaryAnswer {
        let Self { head, mut permitted, gateway, digest, walker, progress, .. } = self;
        let whole = walker.at_boundary();
        permitted.account.shared.messages = walker.messages();
        permitted.account.shared.running_digest = digest.so_far().to_vec().into();
        permitted.account.private.bytes = progress.released();
        let proven = end.and_then(|trailers| {
            if !whole {
                return Err(mismatch("the stream ended inside a message"));
            }
            consumer.prove(&mut permitted, &gateway, &trailers, digest, walker.messages())
        });
        let (status, refusal) = match proven {
            Ok(Proven { status, refusal }) => (status, refusal),
            Err(refusal) => (refusal.status(permitted.account.id), Some(refusal)),
        };
        let mut account = permitted.account;
        account.end(refusal.as_ref(), status.code);
        let kind = if refusal.is_some() { Kind::Refusal } else { Kind::Outcome };
        match consumer.house.records.append(account.draft(&consumer.house, kind), None).await {
            Ok(recorded) => UnaryAnswer {
                head,
                message: None,
                hop: refusal.as_ref().map(|r| r.hop).or((status.code != 0).then_some(Hop::Legacy)),
                settled: account.settled(refusal.as_ref(), status.code, Some(recorded.index)),
                status,
            },
            Err(error) => {
                let told = "the consumer's gateway could not record how the stream ended";
                consumer.unrecorded(
                    &account,
                    &Refusal::new(Reason::Unsettled, Hop::Consumer, told).detail(error.to_string()),
                )
            }
        }
    }
}

/// Checked again although permit looked: an agreement can end while a stream is open.
fn may_go_on(house: &House, permitted: &Permitted, last: Instant) -> Result<(), Refusal> {
    permitted.still_permitted(house)?;
    if permitted.deadline.is_some_and(|until| Instant::now() >= until) {
        return Err(late("the deadline passed in the middle of the stream"));
    }
    if last.elapsed() >= deadline::STREAM_IDLE {
        return Err(Refusal::new(
            Reason::Cancelled,
            Hop::Consumer,
            "nothing passed for 60 s, so the stream was closed",
        ));
    }
    Ok(())
}

fn gone() -> Refusal {
    Refusal::new(Reason::Cancelled, Hop::Consumer, "the caller went away")
}

fn framing(error: &FramingError) -> Refusal {
    match error {
        FramingError::TooLarge { .. } => Refusal::new(Reason::TooLarge, Hop::Consumer, error.to_string()),
        FramingError::Compressed | FramingError::Truncated | FramingError::NotOne { .. } => {
            mismatch(&error.to_string())
        }
    }
}

fn unsettled(error: &ledger::AppendError) -> Refusal {
    let told = "the consumer's gateway can no longer record, so the stream was closed";
    Refusal::new(Reason::Unsettled, Hop::Consumer, told).detail(error.to_string())
}
