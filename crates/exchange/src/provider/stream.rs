//! An answer of many messages: opened once its intent is durable, recorded as it goes, closed with signed claims.

use std::{
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, poll};
use http::HeaderMap;
use ledger::SealInput;
use prost::Message as _;
use proto::{
    link::{ProviderClosing, ProviderOpening},
    records::Kind,
};
use records::receipt;

use super::{
    Provider, Refused, Whole,
    answer::{cancelled, legacy_refusal, timeout},
    permit::Permitted,
    whole,
};
use crate::{
    deadline, digests, framing,
    headers::Signed,
    house::House,
    ports::{LegacyError, Messages, Outlet},
    progress::Progress,
    refusal::{Hop, Reason, Refusal, Status},
};

/// How often an open stream looks whether it still may go on.
const LOOK: Duration = Duration::from_millis(500);
/// Messages that are ready together leave together, up to about so many bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// A permitted question whose intent is durable.
pub(super) struct Recorded {
    permitted: Permitted,
    opening: Signed,
}

/// An answer under way.
pub struct Stream {
    house: Arc<House>,
    permitted: Permitted,
    opening: Signed,
    messages: Option<Messages>,
    /// It ended before the legacy system's first message.
    failed: Option<End>,
    digest: digests::Running,
    progress: Progress,
    until: Option<Instant>,
    last: Instant,
}

/// What ended a stream.
type End = Result<Status, Refusal>;

impl Provider {
    /// Makes the intent durable, and signs opening claims with the promise of its leaf.
    pub(super) async fn record(&self, permitted: Permitted) -> Result<Recorded, Box<Refused>> {
        let account = &permitted.verified.account;
        let claims = ProviderOpening {
            exchange_id: account.shared.exchange_id.clone(),
            provider: self.house.gateway.member().to_string(),
            provider_gateway: self.house.gateway.name().to_owned(),
            consumer_claims_digest: digests::plain(&account.shared.consumer_claims).to_vec().into(),
            time: self.house.millis(),
        };
        let claims = Bytes::from(claims.encode_to_vec());
        let mut draft = account.draft(&self.house, Kind::Intent);
        draft.shared.provider_opening = claims.clone();
        let seal = SealInput { tag: receipt::PROVIDER_OPENING, claims: claims.to_vec() };
        match self.house.records.append(draft, Some(seal)).await {
            Ok(recorded) => {
                let seal = recorded.seal.as_ref().map(receipt::seal_to_wire);
                Ok(Recorded { permitted, opening: Signed { claims, seal, leaf: Some(recorded.opening) } })
            }
            Err(error) => {
                let refusal = Refusal::new(Reason::NotRecorded, Hop::Provider, "the provider's gateway cannot record");
                Err(permitted.verified.refuse(refusal.detail(error.to_string())))
            }
        }
    }

    /// Puts the question to the legacy system and waits for its answer to begin.
    ///
    /// However that ends, the reply is opened: its intent is in the log, and its closing claims settle it.
    pub(super) async fn open(&self, recorded: Recorded) -> Stream {
        let Recorded { mut permitted, opening } = recorded;
        permitted.verified.account.shared.provider_opening = opening.claims.clone();
        let until = deadline::reserve(permitted.deadline());
        let cancel = permitted.verified.cancel.clone();
        let begun = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Err(cancelled())),
            () = deadline::wait(until) => Err(Err(timeout())),
            begun = self.begin(&permitted, until) => begun.map_err(ended),
        };
        let (messages, failed) = match begun {
            Ok(messages) => (Some(messages), None),
            Err(end) => (None, Some(end)),
        };
        Stream {
            house: self.house.clone(),
            digest: digests::Running::new(&permitted.verified.claims.nonce),
            progress: Progress::new(&self.house),
            permitted,
            opening,
            messages,
            failed,
            until,
            last: Instant::now(),
        }
    }
}

impl Stream {
    /// Returns the headers that open the reply.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.opening.write(&mut headers);
        headers
    }

    /// Runs the stream to its end and settles it. The reply's trailers go out after that.
    pub async fn run<O: Outlet>(mut self, provider: &Provider, outlet: &mut O) -> Whole {
        let end = self.pass_on(outlet).await;
        // Stops the legacy system before anything is written down about it.
        drop(self.messages.take());
        self.settle(provider, end).await
    }

    async fn pass_on<O: Outlet>(&mut self, outlet: &mut O) -> End {
        if let Some(end) = self.failed.take() {
            return end;
        }
        let cancel = self.permitted.verified.cancel.clone();
        let mut look = tokio::time::interval(LOOK);
        loop {
            let Some(messages) = self.messages.as_mut() else { return Ok(Status::OK) };
            let next = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(cancelled()),
                () = outlet.gone() => return Err(cancelled()),
                result = self.progress.settle_pending() => {
                    result.map_err(|e| unsettled(&e))?;
                    continue;
                }
                _ = look.tick() => {
                    self.still_may()?;
                    self.progress.keep_up((&self.house, &self.permitted.verified.account, &self.digest));
                    continue;
                }
                next = messages.next() => next,
            };
            let (chunk, count, end) = self.gather(next).await?;
            if !chunk.is_empty() {
                self.digest.update(&chunk);
                let shared = &mut self.permitted.verified.account.shared;
                shared.messages = shared.messages.saturating_add(count);
                self.last = Instant::now();
                self.hand_on(chunk, outlet, &mut look).await?;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Takes what is ready together with `first`, minimised and framed.
    async fn gather(
        &mut self,
        first: Option<Result<Bytes, LegacyError>>,
    ) -> Result<(Bytes, u64, Option<End>), Refusal> {
        let mut chunk = BytesMut::new();
        let mut count = 0_u64;
        let mut next = first;
        loop {
            match next {
                None => return Ok((chunk.freeze(), count, Some(Ok(Status::OK)))),
                Some(Err(error)) => return Ok((chunk.freeze(), count, Some(ended(error)))),
                Some(Ok(message)) => {
                    let message = match self.permitted.minimise(message, self.house.limits.message) {
                        Ok(message) => message,
                        Err(refusal) => return Ok((chunk.freeze(), count, Some(Err(refusal)))),
                    };
                    framing::write_framed(&mut chunk, &message);
                    count = count.saturating_add(1);
                }
            }
            let Some(messages) = self.messages.as_mut() else { return Ok((chunk.freeze(), count, None)) };
            if chunk.len() >= CHUNK_BYTES {
                return Ok((chunk.freeze(), count, None));
            }
            match poll!(messages.next()) {
                Poll::Ready(ready) => next = ready,
                Poll::Pending => return Ok((chunk.freeze(), count, None)),
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
        let cancel = self.permitted.verified.cancel.clone();
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let account = &self.permitted.verified.account;
        self.progress.admit(bytes, (&self.house, account, &self.digest)).await.map_err(|e| unsettled(&e))?;
        let mut sent = std::pin::pin!(outlet.send(chunk));
        loop {
            tokio::select! {
                biased;
                result = &mut sent => {
                    result.map_err(|_| cancelled())?;
                    break;
                }
                () = cancel.cancelled() => return Err(cancelled()),
                result = self.progress.settle_pending() => result.map_err(|e| unsettled(&e))?,
                _ = look.tick() => {
                    may_go_on(&self.house, &self.permitted, self.until, self.last)?;
                    self.progress.keep_up((&self.house, &self.permitted.verified.account, &self.digest));
                }
            }
        }
        self.last = Instant::now();
        self.progress.keep_up((&self.house, &self.permitted.verified.account, &self.digest));
        Ok(())
    }

    fn still_may(&self) -> Result<(), Refusal> {
        may_go_on(&self.house, &self.permitted, self.until, self.last)
    }

    async fn settle(self, provider: &Provider, end: End) -> Whole {
        let Self { permitted, digest, progress, .. } = self;
        let (mut account, plan) = permitted.into_account();
        let (status, refusal) = match end {
            Ok(status) => (status, None),
            Err(refusal) => (refusal.status(account.id), Some(refusal)),
        };
        account.private.bytes = progress.released();
        account.end(refusal.as_ref(), status.code);
        let closing = ProviderClosing {
            refusal: refusal.as_ref().map(|r| r.reason.as_str().to_owned()).unwrap_or_default(),
            response_digest: digest.close(&status).to_vec().into(),
            released_digest: plan.released_digest(),
            withheld_digest: plan.withheld_digest(),
            ..provider.closing(&account, &status)
        };
        let kind = if refusal.is_some() { Kind::Refusal } else { Kind::Outcome };
        match provider.close(&mut account, kind, closing).await {
            Ok((signed, index)) => {
                whole(None, &status, Some(&signed), account.settled(refusal.as_ref(), status.code, Some(index)))
            }
            Err(error) => {
                let told = "the provider's gateway could not record how the stream ended";
                provider
                    .unrecorded(&account, &Refusal::new(Reason::Unsettled, Hop::Provider, told).detail(error.detail))
            }
        }
    }
}

/// Checked again although permit looked: an agreement can end while a stream is open.
fn may_go_on(house: &House, permitted: &Permitted, until: Option<Instant>, last: Instant) -> Result<(), Refusal> {
    permitted.still_permitted(house)?;
    if until.is_some_and(|until| Instant::now() >= until) {
        return Err(timeout());
    }
    if last.elapsed() >= deadline::STREAM_IDLE {
        return Err(Refusal::new(
            Reason::Cancelled,
            Hop::Provider,
            "nothing passed for 60 s, so the stream was closed",
        ));
    }
    Ok(())
}

fn ended(error: LegacyError) -> End {
    match error {
        LegacyError::Status(status) => Ok(status),
        LegacyError::Timeout | LegacyError::Unfit(_) | LegacyError::Failed(_) => Err(legacy_refusal(error)),
    }
}

fn unsettled(error: &ledger::AppendError) -> Refusal {
    let told = "the provider's gateway can no longer record, so the stream was closed";
    Refusal::new(Reason::Unsettled, Hop::Provider, told).detail(error.to_string())
}
