//! An answer of many messages: opened once its intent is durable, recorded as it goes, closed with signed claims.

use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryFutureExt as _, poll};
use http::HeaderMap;
use ledger::{Caller, SealInput};
use prost::Message as _;
use proto::{
    link::{ProviderClosing, ProviderOpening},
    records::Kind,
};
use records::receipt;
use tokio_util::sync::CancellationToken;

use super::{
    Provider, Refused, Whole,
    answer::{cancelled, legacy_refusal, unusable},
    not_recorded,
    permit::Permitted,
    requests, whole,
};
use crate::{
    application::{self, Heard, Said},
    deadline, digests, framing,
    headers::Signed,
    intake::{Intake, Running, Streamed},
    ports::{LegacyError, Messages, Outlet, Question, Requests},
    refusal::{Hop, Reason, Refusal, Status},
    trace::Verb,
    watch::Watch,
};

/// Messages that are ready together leave together, up to about so many bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// A permitted question whose intent is durable.
pub(super) struct Recorded {
    permitted: Box<Permitted>,
    opening: Signed,
}

/// An answer under way.
pub struct Stream {
    permitted: Box<Permitted>,
    opening: Signed,
    messages: Option<Messages>,
    /// The legacy system has stopped it, because its reader takes nothing.
    stalled: CancellationToken,
    digest: digests::Running,
    watch: Watch,
    /// Largest message of an answer, in bytes.
    limit: usize,
    /// What the back end opened its answer with has gone out, or the first message without it.
    begun: bool,
    /// Tells the ledger of it until it is settled.
    _caller: Option<Caller>,
}

/// What ended a stream.
type End = Result<Status, Refusal>;

impl Provider {
    /// Makes the intent durable, and signs opening claims with the promise of its leaf.
    pub(super) async fn record(&self, mut permitted: Box<Permitted>) -> Result<Recorded, Box<Refused>> {
        permitted.verified.account.begin(Verb::Record);
        let account = &permitted.verified.account;
        let claims = ProviderOpening {
            exchange_id: account.shared.exchange_id.clone(),
            provider: self.house.gateway.member().to_string(),
            provider_gateway: self.house.gateway.name().to_owned(),
            consumer_claims_digest: digests::plain(&account.shared.consumer_claims).to_vec().into(),
            time: self.house.millis(),
        };
        let claims = Bytes::from(claims.encode_to_vec());
        // Of a copy: what is refused was never opened.
        let mut intent = account.clone();
        intent.shared.provider_opening = claims.clone();
        let seal = SealInput { tag: receipt::PROVIDER_OPENING, claims: claims.to_vec() };
        match self.house.write(intent.record(&self.house, Kind::Intent), Some(seal)).await {
            Ok(recorded) => {
                let seal = recorded.seal.as_ref().map(receipt::seal_to_wire);
                Ok(Recorded { permitted, opening: Signed { claims, seal, leaf: Some(recorded.opening) } })
            }
            Err(error) => Err(permitted.verified.refuse(not_recorded(&error))),
        }
    }

    /// Opens the reply: its intent is in the log, and its closing claims will settle it.
    pub(super) fn open(&self, recorded: Recorded) -> Stream {
        let Recorded { mut permitted, opening } = recorded;
        permitted.verified.account.begin(Verb::Answer);
        permitted.verified.account.shared.provider_opening = opening.claims.clone();
        let (cancel, until) = (permitted.verified.cancel.clone(), deadline::reserve(permitted.deadline()));
        Stream {
            digest: digests::Running::new(&permitted.verified.claims.nonce),
            watch: Watch::new(&self.house, cancel, until),
            limit: self.house.limits.message(),
            permitted,
            opening,
            messages: None,
            stalled: CancellationToken::new(),
            begun: false,
            _caller: None,
        }
    }
}

impl Stream {
    /// The same, counted among those who are going to append.
    pub(super) fn counted_as(self, caller: Caller) -> Self {
        Self { _caller: Some(caller), ..self }
    }

    /// Returns the headers that open the reply.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.opening.write(&mut headers);
        headers
    }

    /// Runs the stream to its end and settles it. The reply's trailers go out after that.
    pub async fn run<O: Outlet>(mut self, provider: &Provider, outlet: &mut O) -> Whole {
        let requests = self.take_requests(provider);
        // Asking is the first step of the answer: a legacy system may want messages before it begins.
        let (legacy, question) = (self.permitted.legacy().clone(), self.permitted.question(requests, self.watch.until));
        let question = Question { stalled: Some(self.stalled.clone()), ..question };
        let asked = async move { legacy.answer(question).await };
        self.messages = Some(asked.try_flatten_stream().boxed());
        let end = self.pass_on(outlet).await;
        // Stops the legacy system before anything is written down about it.
        drop(self.messages.take());
        let received = match self.watch.request.take() {
            Some(requests) => requests.end().await,
            None => None,
        };
        self.settle(provider, end, received).await
    }

    /// Returns what the legacy system is asked with; a streamed request is read beside the answer.
    fn take_requests(&mut self, provider: &Provider) -> Requests {
        let verified = &mut self.permitted.verified;
        let Some(body) = verified.stream.take() else { return Requests::One(verified.request.clone()) };
        let (sink, requests) = requests::channel();
        // As of the opening claims: one stream is signed with one key.
        let now = (provider.house.clock)();
        let entry = verified.rules.federation.gateway(&verified.peer);
        // Without a key in the directory the opening claims would not have been verified.
        let Some(verifiers) = entry.map(|entry| provider.verifiers.of_gateway(entry, now)) else { return requests };
        let intake = Intake {
            house: provider.house.clone(),
            method: self.permitted.method.clone(),
            account: verified.account.clone(),
            hop: Hop::Provider,
            body,
            nonce: verified.claims.nonce.clone(),
            activity: self.watch.activity.clone(),
            sink,
        };
        self.watch.request = Some(Running::start(|stop| requests::receive(intake, verifiers, stop)));
        requests
    }

    async fn pass_on<O: Outlet>(&mut self, outlet: &mut O) -> End {
        loop {
            let Some(messages) = self.messages.as_mut() else { return Ok(Status::OK) };
            let next = tokio::select! {
                biased;
                () = outlet.gone() => return Err(cancelled()),
                looked = self.watch.look((&*self.permitted, &self.digest)) => {
                    looked?;
                    continue;
                }
                () = opened(self.permitted.heard.as_deref()), if !self.begun => {
                    self.begin(outlet).await?;
                    continue;
                }
                next = messages.next() => next,
            };
            let (chunk, count, end) = self.gather(next).await?;
            if !chunk.is_empty() {
                self.begin(outlet).await?;
                self.watch.activity.note();
                self.hand_on(chunk.clone(), outlet).await?;
                // Once it has gone: what a reader has no room for is none of the answer that is signed, if the stream ends before.
                self.digest.update(&chunk);
                let shared = &mut self.permitted.verified.account.shared;
                shared.messages = shared.messages.saturating_add(count);
                self.watch.keep_up((&*self.permitted, &self.digest));
            }
            if let Some(end) = end {
                return self.one_answer(end);
            }
        }
    }

    /// Sends what the back end opened its answer with, before any message.
    async fn begin<O: Outlet>(&mut self, outlet: &mut O) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let initial = match &self.permitted.heard {
            Some(heard) => heard.opening()?,
            None => None,
        };
        match initial {
            Some(initial) => self.hand_on(application::framed(&initial), outlet).await,
            None => Ok(()),
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
                    let message = match self.permitted.minimise(message, self.limit) {
                        Ok(message) => message,
                        Err(refusal) => return Ok((chunk.freeze(), count, Some(Err(refusal)))),
                    };
                    if let Err(refusal) = self.permitted.counted.row() {
                        return Ok((chunk.freeze(), count, Some(Err(refusal))));
                    }
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

    /// Hands a chunk on as the reader reads, all of it or nothing. Waiting for it, the stream still ends with its agreement, and where the
    /// legacy system stops it.
    async fn hand_on<O: Outlet>(&mut self, chunk: Bytes, outlet: &mut O) -> Result<(), Refusal> {
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let standing = (&*self.permitted, &self.digest);
        self.watch.room(bytes, standing).await?;
        let mut sent = std::pin::pin!(outlet.send(chunk));
        loop {
            tokio::select! {
                biased;
                result = &mut sent => {
                    result.map_err(|_| cancelled())?;
                    break;
                }
                () = self.stalled.cancelled() => return Err(legacy_refusal(LegacyError::Stalled)),
                looked = self.watch.look(standing) => looked?,
            }
        }
        self.watch.release(bytes);
        self.watch.activity.note();
        Ok(())
    }

    /// A method that answers with one message has answered with exactly one when it ends well.
    fn one_answer(&self, end: End) -> End {
        let shared = &self.permitted.verified.account.shared;
        match end {
            Ok(Status { code: 0, .. }) if !self.permitted.method.shape().streams_answers() && shared.messages != 1 => {
                Err(unusable("it did not answer with one message"))
            }
            end => end,
        }
    }

    async fn settle(self, provider: &Provider, end: End, received: Option<Streamed>) -> Whole {
        let Self { permitted, digest, watch, begun, .. } = self;
        let ended = end.and_then(|status| permitted.said(&status).map(|said| (said, status)));
        let nonce = permitted.verified.claims.nonce.clone();
        let (mut account, plan) = permitted.into_account();
        account.begin(Verb::Settle);
        let (mut said, status, refusal) = match ended {
            Ok((said, status)) => (said, status, None),
            Err(refusal) => (Said::default(), account.status(&refusal), Some(refusal)),
        };
        account.private.answer_metadata = said.keys();
        let metadata_digest = said.digest(&nonce);
        if begun {
            // It has gone before.
            said.initial = application::ApplicationMetadata::default();
        }
        account.private.bytes = watch.released();
        if let Some(received) = &received {
            received.note(&mut account);
        }
        account.end(refusal.as_ref(), status.code);
        let closing = ProviderClosing {
            response_digest: digest.close(&status).to_vec().into(),
            metadata_digest,
            released_digest: plan.released_digest(),
            withheld_digest: plan.withheld_digest(),
            request_digest: account.shared.request_digest.clone(),
            request_messages: account.shared.request_messages,
            request_closed: received.is_some_and(|received| received.closing.is_some()),
            ..provider.closing(&account, &status)
        };
        match provider.close(&mut account, closing).await {
            Ok((signed, index)) => {
                let settled = account.settled(refusal.as_ref(), status.code, Some(index));
                let mut whole = whole(None, &status, Some(&signed), settled);
                said.write_to_link(&mut whole.trailers);
                whole
            }
            Err(error) => {
                let told = "the provider's gateway could not record how the stream ended";
                provider
                    .unrecorded(&account, &Refusal::new(Reason::Unsettled, Hop::Provider, told).detail(error.detail))
            }
        }
    }
}

/// Waits until the back end has opened its answer; for ever where nobody listens.
async fn opened(heard: Option<&Heard>) {
    match heard {
        Some(heard) => heard.opened().await,
        None => std::future::pending().await,
    }
}

fn ended(error: LegacyError) -> End {
    match error {
        LegacyError::Status(status) => Ok(status),
        LegacyError::Timeout
        | LegacyError::Unfit(_)
        | LegacyError::Failed(_)
        | LegacyError::Unusable(_)
        | LegacyError::Stalled
        | LegacyError::AlreadyDone
        | LegacyError::Undone(_) => Err(legacy_refusal(error)),
    }
}
