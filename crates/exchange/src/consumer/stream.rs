//! An answer of many messages, passed on as it comes, recorded as it goes, and only called OK once its evidence holds.

use std::{future::poll_fn, task::Poll};

use bytes::Bytes;
use federation::GatewayId;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use ledger::Caller;
use prost::Message as _;
use proto::link::ProviderOpening;
use records::receipt;

use super::{
    Consumer, Head, Refused, UnaryAnswer,
    evidence::{Proven, mismatch},
    metadata,
    permit::Permitted,
    send::{Sent, unanswered},
    upload::{Outgoing, upload},
};
use crate::{
    application::{ApplicationMetadata, Prelude, Said},
    digests,
    framing::{FramingError, MessageWalker},
    headers::Signed,
    intake::{Intake, Running, Streamed},
    pipe,
    ports::{Outlet, ReplyBody},
    refusal::{Hop, Reason, Refusal},
    trace::Verb,
    watch::{Permission as _, Watch},
};

/// An answer under way.
pub struct StreamAnswer {
    /// Initial metadata.
    pub head: Head,
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
    watch: Watch,
    nonce: Bytes,
    outgoing: Option<pipe::Sender>,
    /// Tells the ledger of it until it is settled.
    _caller: Option<Caller>,
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
            watch: Watch::new(&self.house, permitted.cancel.clone(), permitted.deadline),
            digest: digests::Running::new(&nonce),
            walker: MessageWalker::new(self.house.limits.message()),
            prelude: (!permitted.plan.application_metadata.is_empty()).then(Prelude::default),
            initial: None,
            permitted,
            gateway,
            body: Some(reply.body),
            opened: only.is_none(),
            only,
            nonce,
            outgoing,
            _caller: None,
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
    /// The same, counted among those who are going to append.
    pub(super) fn counted_as(self, caller: Caller) -> Self {
        Self { _caller: Some(caller), ..self }
    }

    /// Runs the stream to its end and settles it. The caller's trailers go out after that.
    pub async fn run<O: Outlet>(mut self, consumer: &Consumer, outlet: &mut O) -> UnaryAnswer {
        self.watch.request = self.start_upload(consumer);
        let end = self.pass_on(outlet).await;
        // Resets the stream where it has not ended, before anything is written down about it.
        drop(self.body.take());
        let uploaded = match self.watch.request.take() {
            Some(upload) => upload.end().await,
            None => None,
        };
        self.settle(consumer, end, uploaded).await
    }

    /// Lets a streamed request go out beside the answer. None where the provider has refused already.
    fn start_upload(&mut self, consumer: &Consumer) -> Option<Running> {
        let (body, outgoing) = (self.permitted.stream.take()?, self.outgoing.take()?);
        if self.only.is_some() {
            return None;
        }
        let intake = Intake {
            house: consumer.house.clone(),
            method: self.permitted.method.clone(),
            account: self.permitted.account.clone(),
            hop: Hop::Consumer,
            body,
            nonce: self.nonce.clone(),
            activity: self.watch.activity.clone(),
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
        loop {
            let Some(body) = self.body.as_mut() else { return Err(unanswered("the stream has no body")) };
            let frame = tokio::select! {
                biased;
                () = outlet.gone() => return Err(Permitted::cancelled()),
                looked = self.watch.look((&*self.permitted, &self.digest)) => {
                    looked?;
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
                Ok(chunk) => self.hand_on(chunk, outlet).await?,
                Err(frame) => {
                    return frame.into_trailers().map_err(|_| unanswered("the stream ended without trailers"));
                }
            }
        }
    }

    /// Hands a chunk on as the reader reads. Waiting for it, the stream still ends with its agreement.
    async fn hand_on<O: Outlet>(&mut self, chunk: Bytes, outlet: &mut O) -> Result<(), Refusal> {
        let Some(chunk) = self.after_prelude(chunk, outlet)? else { return Ok(()) };
        let before = self.walker.messages();
        self.walker.feed(&chunk).map_err(|error| framing(&error))?;
        self.digest.update(&chunk);
        self.permitted.account.shared.messages = self.walker.messages();
        self.permitted.counted.passed(self.walker.messages().saturating_sub(before));
        // Nothing goes on of a message too many, which a provider that keeps the agreement never sends.
        self.permitted.counted.holds(self.walker.begun())?;
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.watch.activity.passed(bytes, self.walker.messages() > before);
        let standing = (&*self.permitted, &self.digest);
        self.watch.room(bytes, standing).await?;
        self.watch.release(bytes);
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
                    result.map_err(|_| Permitted::cancelled())?;
                    break;
                }
                () = &mut hoarding, if slow && !hoarded => hoarded = true,
                looked = self.watch.look(standing) => {
                    looked?;
                    slow = true;
                }
            }
        }
        self.watch.activity.note();
        self.watch.keep_up(standing);
        Ok(())
    }

    /// Takes what opens the answer off its first chunks. `None` where nothing else is there yet.
    fn after_prelude<O: Outlet>(&mut self, chunk: Bytes, outlet: &mut O) -> Result<Option<Bytes>, Refusal> {
        let Some(prelude) = &mut self.prelude else { return Ok(Some(chunk)) };
        let opened = prelude.feed(chunk).map_err(|_| mismatch("the metadata that opens the answer is malformed"))?;
        let Some((initial, rest)) = opened else { return Ok(None) };
        self.prelude = None;
        self.watch.activity.note();
        metadata::all_named(&self.permitted, &initial)?;
        outlet.begin(&initial);
        self.initial = Some(initial);
        Ok((!rest.is_empty()).then_some(rest))
    }

    async fn settle(
        self,
        consumer: &Consumer,
        end: Result<HeaderMap, Refusal>,
        uploaded: Option<Streamed>,
    ) -> UnaryAnswer {
        let Self { head, mut permitted, gateway, opened, digest, walker, watch, initial, nonce, .. } = self;
        permitted.account.begin(Verb::Settle);
        let whole = walker.at_boundary();
        permitted.account.shared.messages = walker.messages();
        permitted.account.shared.running_digest = digest.so_far().to_vec().into();
        permitted.account.private.bytes = watch.released();
        if let Some(uploaded) = &uploaded {
            uploaded.note(&mut permitted.account);
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
        match consumer.house.write(account.last_record(&consumer.house), None).await {
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

fn framing(error: &FramingError) -> Refusal {
    match error {
        FramingError::TooLarge { .. } => Refusal::new(Reason::TooLarge, Hop::Consumer, error.to_string()),
        FramingError::Compressed | FramingError::Truncated | FramingError::NotOne { .. } => {
            mismatch(&error.to_string())
        }
    }
}
