//! An answer of many messages, passed on as it comes, recorded as it goes, and only called OK once its evidence holds.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

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
    metadata,
    permit::Permitted,
    send::{Sent, late, unanswered},
    upload::{Outgoing, Uploaded, upload},
};
use crate::{
    account::Account,
    application::{ApplicationMetadata, Prelude, Said},
    deadline, digests,
    framing::{FramingError, MessageWalker},
    headers::Signed,
    house::House,
    intake::{Activity, Intake, Running},
    pipe,
    ports::{Outlet, ReplyBody},
    progress::{Direction, Progress},
    refusal::{Hop, Reason, Refusal},
    trace::Verb,
};

/// How often an open stream looks whether it still may go on.
const LOOK: Duration = Duration::from_millis(500);

/// An answer under way.
pub struct StreamAnswer {
    /// Initial metadata.
    pub head: Head,
    house: Arc<House>,
    permitted: Box<Permitted>,
    gateway: GatewayId,
    body: Option<ReplyBody>,
    /// The reply was trailers only.
    only: Option<HeaderMap>,
    /// The reply came with opening claims.
    opened: bool,
    digest: digests::Running,
    walker: MessageWalker,
    /// Until it is known what opens the answer; none where the agreement lets no metadata cross.
    prelude: Option<Prelude>,
    /// The application's metadata that opened it.
    initial: Option<ApplicationMetadata>,
    progress: Progress,
    activity: Arc<Activity>,
    nonce: Bytes,
    outgoing: Option<pipe::Sender>,
    /// A streamed request under way.
    upload: Option<Running<Uploaded>>,
}

impl Consumer {
    /// Holds the provider's opening claims against their signature; the caller then gets its headers.
    pub(super) fn open(&self, sent: Sent) -> Result<StreamAnswer, Box<Refused>> {
        let Sent { mut permitted, gateway, nonce, reply, outgoing } = sent;
        permitted.account.begin(Verb::Verify);
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
            walker: MessageWalker::new(self.house.limits.message()),
            prelude: (!permitted.plan.application_metadata.is_empty()).then(Prelude::default),
            initial: None,
            progress: Progress::new(&self.house, Direction::Answers),
            permitted,
            gateway,
            body: Some(reply.body),
            opened: only.is_none(),
            only,
            activity: Activity::new(),
            nonce,
            outgoing,
            upload: None,
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
            && claims.provider == gateway.member().as_ref()
            && claims.provider_gateway == gateway.name();
        shared.provider_opening = signed.claims;
        shared.provider_opening_seal = signed.seal;
        shared.provider_opening_leaf = signed.leaf;
        if !fits {
            return Err(mismatch("the opening claims are of another exchange"));
        }
        let opens = shared.provider_opening_leaf.as_ref().is_some_and(|l| l.salt.len() == 32 && l.private.len() == 32);
        let promise = promise.ok_or_else(|| mismatch("the stream opens without a promise of its record"))?;
        if !opens {
            return Err(mismatch("the promise of the stream's record is malformed"));
        }
        self.promises.made(gateway, &promise);
        Ok(())
    }
}

impl StreamAnswer {
    /// Runs the stream to its end and settles it. The caller's trailers go out after that.
    pub async fn run<O: Outlet>(mut self, consumer: &Consumer, outlet: &mut O) -> UnaryAnswer {
        self.upload = self.start_upload();
        let end = self.pass_on(outlet).await;
        // Resets the stream where it has not ended, before anything is written down about it.
        drop(self.body.take());
        let uploaded = match self.upload.take() {
            Some(upload) => upload.end().await,
            None => None,
        };
        self.settle(consumer, end, uploaded).await
    }

    /// Lets a streamed request go out beside the answer. None where the provider has refused already.
    fn start_upload(&mut self) -> Option<Running<Uploaded>> {
        let (body, outgoing) = (self.permitted.stream.take()?, self.outgoing.take()?);
        if self.only.is_some() {
            return None;
        }
        let intake = Intake {
            house: self.house.clone(),
            method: self.permitted.method.clone(),
            account: self.permitted.account.clone(),
            hop: Hop::Consumer,
            body,
            nonce: self.nonce.clone(),
            activity: self.activity.clone(),
            sink: Outgoing(outgoing),
        };
        Some(Running::start(|stop| upload(intake, stop)))
    }

    async fn pass_on<O: Outlet>(&mut self, outlet: &mut O) -> Result<HeaderMap, Refusal> {
        if let Some(only) = self.only.take() {
            return Ok(only);
        }
        if self.prelude.is_none() {
            outlet.begin(&ApplicationMetadata::default());
        }
        let cancel = self.permitted.cancel.clone();
        let mut look = tokio::time::interval(LOOK);
        loop {
            let Some(body) = self.body.as_mut() else { return Err(unanswered("the stream has no body")) };
            let frame = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(gone()),
                () = outlet.gone() => return Err(gone()),
                () = deadline::wait(self.permitted.deadline) => return Err(too_late()),
                refusal = refused(&mut self.upload) => return Err(refusal),
                result = self.progress.settle_pending() => {
                    result.map_err(|e| unsettled(&e))?;
                    continue;
                }
                _ = look.tick() => {
                    may_go_on(&self.house, &self.permitted, &self.activity)?;
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
        let Some(chunk) = self.after_prelude(chunk, outlet)? else { return Ok(()) };
        let before = self.walker.messages();
        self.walker.feed(&chunk).map_err(|error| framing(&error))?;
        self.digest.update(&chunk);
        self.permitted.account.shared.messages = self.walker.messages();
        self.permitted.counted.passed(self.walker.messages().saturating_sub(before));
        // Nothing goes on of a message too many, which a provider that keeps the agreement never sends.
        self.permitted.counted.holds(self.walker.begun())?;
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.activity.passed(bytes, self.walker.messages() > before);
        let cancel = self.permitted.cancel.clone();
        let admitted = self.progress.admit(bytes, (&self.house, &self.permitted.account, &self.digest));
        // A disk that hangs holds the stream back, not its end.
        tokio::select! {
            biased;
            result = admitted => result.map_err(|e| unsettled(&e))?,
            () = cancel.cancelled() => return Err(gone()),
            () = ends(&self.house, &self.permitted, &self.activity) => {
                may_go_on(&self.house, &self.permitted, &self.activity)?;
                return Err(too_late());
            }
        }
        let mut sent = std::pin::pin!(outlet.send(chunk));
        let mut body = self.body.as_mut();
        let mut hoarding = std::pin::pin!(poll_fn(|context| match body.as_mut() {
            Some(body) => body.as_mut().poll_hoard(context),
            None => Poll::Ready(()),
        }));
        // A reader that is back at once costs nothing more.
        let (mut slow, mut hoarded) = (false, false);
        loop {
            tokio::select! {
                biased;
                result = &mut sent => {
                    result.map_err(|_| gone())?;
                    break;
                }
                () = &mut hoarding, if slow && !hoarded => hoarded = true,
                () = cancel.cancelled() => return Err(gone()),
                () = deadline::wait(self.permitted.deadline) => return Err(too_late()),
                refusal = refused(&mut self.upload) => return Err(refusal),
                result = self.progress.settle_pending() => result.map_err(|e| unsettled(&e))?,
                _ = look.tick() => {
                    slow = true;
                    may_go_on(&self.house, &self.permitted, &self.activity)?;
                    self.progress.keep_up((&self.house, &self.permitted.account, &self.digest));
                }
            }
        }
        self.activity.note();
        self.progress.keep_up((&self.house, &self.permitted.account, &self.digest));
        Ok(())
    }

    /// Takes what opens the answer off its first chunks. `None` where nothing else is there yet.
    fn after_prelude<O: Outlet>(&mut self, chunk: Bytes, outlet: &mut O) -> Result<Option<Bytes>, Refusal> {
        let Some(prelude) = &mut self.prelude else { return Ok(Some(chunk)) };
        let opened = prelude.feed(chunk).map_err(|_| mismatch("the metadata that opens the answer is malformed"))?;
        let Some((initial, rest)) = opened else { return Ok(None) };
        self.prelude = None;
        self.activity.note();
        metadata::all_named(&self.permitted, &initial)?;
        outlet.begin(&initial);
        self.initial = Some(initial);
        Ok((!rest.is_empty()).then_some(rest))
    }

    async fn settle(
        self,
        consumer: &Consumer,
        end: Result<HeaderMap, Refusal>,
        uploaded: Option<Uploaded>,
    ) -> UnaryAnswer {
        let Self { head, mut permitted, gateway, opened, digest, walker, progress, initial, nonce, .. } = self;
        permitted.account.begin(Verb::Settle);
        let whole = walker.at_boundary();
        permitted.account.shared.messages = walker.messages();
        permitted.account.shared.running_digest = digest.so_far().to_vec().into();
        permitted.account.private.bytes = progress.released();
        if let Some(uploaded) = &uploaded {
            note(&mut permitted.account, uploaded);
        }
        let proven = end.and_then(|trailers| {
            if !whole {
                return Err(mismatch("the stream ended inside a message"));
            }
            let messages = walker.messages();
            let proven = consumer.prove(&mut permitted, &gateway, &trailers, (digest, messages), uploaded.as_ref())?;
            if proven.refusal.is_none() && !opened {
                return Err(mismatch("the stream is answered without having been opened"));
            }
            let counted = permitted.method.shape().streams_answers() || messages == 1 || proven.status.code != 0;
            if proven.refusal.is_none() && !counted {
                return Err(mismatch("the answer is not one message"));
            }
            let said = match proven.refusal {
                None => metadata::of_answer(&mut permitted, &nonce, &trailers, initial)?,
                Some(_) => Said::default(),
            };
            Ok((said, proven))
        });
        let (said, status, refusal) = match proven {
            Ok((said, Proven { status, refusal })) => (said, status, refusal),
            Err(refusal) => (Said::default(), permitted.account.status(&refusal), Some(refusal)),
        };
        permitted.counted.end(refusal.as_ref(), &mut permitted.account);
        let mut account = permitted.account;
        account.end(refusal.as_ref(), status.code);
        let kind = if refusal.is_some() { Kind::Refusal } else { Kind::Outcome };
        match consumer.house.write(account.record(&consumer.house, kind), None).await {
            Ok(recorded) => UnaryAnswer {
                head,
                message: None,
                said,
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

/// Notes what was sent of a streamed request.
fn note(account: &mut Account, uploaded: &Uploaded) {
    let shared = &mut account.shared;
    shared.request_messages = uploaded.messages;
    shared.request_digest = uploaded.digest.to_vec().into();
    if let Some(closing) = &uploaded.closing {
        shared.consumer_closing = closing.claims.clone();
        shared.consumer_closing_seal.clone_from(&closing.seal);
    }
    account.private.bytes = account.private.bytes.saturating_add(uploaded.bytes);
}

/// Waits until the request may not go on; for ever where it may, or is no stream.
async fn refused(upload: &mut Option<Running<Uploaded>>) -> Refusal {
    let Some(upload) = upload else { return std::future::pending().await };
    loop {
        if let Some(refusal) = upload.ended().await.and_then(|uploaded| uploaded.refusal.clone()) {
            return refusal;
        }
    }
}

/// Waits until the stream may not go on.
async fn ends(house: &House, permitted: &Permitted, activity: &Activity) {
    let mut look = tokio::time::interval(LOOK);
    let stops = async {
        while may_go_on(house, permitted, activity).is_ok() {
            look.tick().await;
        }
    };
    tokio::select! {
        () = stops => {}
        () = deadline::wait(permitted.deadline) => {}
    }
}

/// Checked again although permit looked: an agreement can end while a stream is open.
fn may_go_on(house: &House, permitted: &Permitted, activity: &Activity) -> Result<(), Refusal> {
    permitted.still_permitted(house)?;
    activity.within(house.limits.stream_idle(), Hop::Consumer)
}

fn too_late() -> Refusal {
    late("the deadline passed in the middle of the stream")
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
