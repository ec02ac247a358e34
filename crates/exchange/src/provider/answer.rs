//! A unary question: ask the legacy system, withhold what is not agreed, sign, record, and only then let it go.

use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use proto::link::ProviderClosing;
use tonic::Code;

use super::{Provider, Whole, permit::Permitted, whole};
use crate::{
    application::Said,
    deadline, digests, framing,
    ports::{LegacyError, Requests},
    refusal::{Hop, Reason, Refusal, Status},
    trace::Verb,
};

/// A permitted question with what came of it.
pub(super) struct Answered {
    pub(super) permitted: Box<Permitted>,
    pub(super) result: Result<(Answer, Said), Refusal>,
}

pub(super) enum Answer {
    /// The message, without prefix, minimised.
    Message(Bytes),
    /// The legacy system's own status.
    Status(Status),
}

impl Answer {
    /// Adds the application's metadata that came with it.
    pub(super) fn with_metadata(self, permitted: &Permitted) -> Result<(Self, Said), Refusal> {
        let said = match &self {
            Self::Message(_) => permitted.said(&Status::OK),
            Self::Status(status) => permitted.said(status),
        };
        Ok((self, said?))
    }
}

impl Provider {
    /// Asks the legacy system and withholds what the agreement does not name. An error from the legacy system is an answer
    /// too.
    pub(super) async fn answer(&self, mut permitted: Box<Permitted>) -> Answered {
        permitted.verified.account.begin(Verb::Answer);
        let cancel = permitted.verified.cancel.clone();
        let until = deadline::reserve(permitted.deadline());
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(cancelled()),
            () = deadline::wait(until) => Err(timeout()),
            result = self.ask(&permitted, until) => result,
        };
        let result = result.and_then(|answer| answer.with_metadata(&permitted));
        Answered { permitted, result }
    }

    async fn ask(&self, permitted: &Permitted, until: Option<Instant>) -> Result<Answer, Refusal> {
        match self.only_answer(permitted, until).await {
            Ok(message) => permitted.minimise(message, self.house.limits.message()).map(Answer::Message),
            Err(error) => answered_or_refused(error),
        }
    }

    /// Puts the question to the legacy system, and takes the one message that it answers with.
    pub(super) async fn only_answer(
        &self,
        permitted: &Permitted,
        until: Option<Instant>,
    ) -> Result<Bytes, LegacyError> {
        let request = Requests::One(permitted.verified.request.clone());
        let mut messages = permitted.legacy().answer(permitted.question(request, until)).await?;
        let none = || LegacyError::Unusable("it ended without an answer".to_owned());
        let message = messages.next().await.ok_or_else(none)??;
        match messages.next().await {
            None => Ok(message),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => Err(LegacyError::Unusable("it gave more than one answer".to_owned())),
        }
    }

    /// Signs and records the outcome; when this returns it is durable, and the answer may leave.
    pub(super) async fn settle(&self, answered: Answered) -> Whole {
        let Answered { mut permitted, result } = answered;
        let result = result.and_then(|answer| match answer.0 {
            // Of a command it would be too late to say that nothing was done.
            Answer::Message(_) => permitted.counted.row().map(|()| answer).map_err(Refusal::unknown),
            Answer::Status(_) => Ok(answer),
        });
        let mut digest = digests::Running::new(&permitted.verified.claims.nonce);
        let (message, said, status, refusal) = match result {
            Ok((Answer::Message(message), said)) => {
                let framed = framing::framed(&message);
                digest.update(&framed);
                (Some(framed), said, Status::OK, None)
            }
            Ok((Answer::Status(status), said)) => (None, said, status, None),
            Err(refusal) => (None, Said::default(), permitted.verified.account.status(&refusal), Some(refusal)),
        };
        let metadata_digest = said.digest(&permitted.verified.claims.nonce);
        let (mut account, plan) = permitted.into_account();
        account.begin(Verb::Settle);
        account.private.answer_metadata = said.keys();
        account.shared.messages = u64::from(message.is_some());
        account.private.bytes = message.as_ref().map_or(0, |m| m.len() as u64);
        account.end(refusal.as_ref(), status.code);
        let closing = ProviderClosing {
            response_digest: digest.close(&status).to_vec().into(),
            metadata_digest,
            released_digest: plan.released_digest(),
            withheld_digest: plan.withheld_digest(),
            ..self.closing(&account, &status)
        };
        match self.close(&mut account, closing).await {
            Ok((signed, index)) => {
                let settled = account.settled(refusal.as_ref(), status.code, Some(index));
                let mut whole = whole(message, &status, Some(&signed), settled);
                said.write_to_link(&mut whole.trailers);
                whole
            }
            Err(error) => {
                let told = "the provider's gateway could not record the outcome, so the answer is withheld";
                self.unrecorded(
                    &account,
                    &Refusal::new(Reason::Unsettled, Hop::Provider, told).detail(error.detail).unknown(),
                )
            }
        }
    }
}

/// A status of the legacy system's own is an answer; the rest is the gateway's refusal.
pub(super) fn answered_or_refused(error: LegacyError) -> Result<Answer, Refusal> {
    match error {
        LegacyError::Status(status) => Ok(Answer::Status(status)),
        LegacyError::Undone(error) => answered_or_refused(*error).map_err(undone),
        LegacyError::Timeout
        | LegacyError::Unfit(_)
        | LegacyError::Failed(_)
        | LegacyError::Unusable(_)
        | LegacyError::Stalled
        | LegacyError::AlreadyDone => Err(legacy_refusal(error)),
    }
}

pub(super) fn legacy_refusal(error: LegacyError) -> Refusal {
    match error {
        LegacyError::Timeout => timeout(),
        LegacyError::Unfit(what) => {
            Refusal::new(Reason::Malformed, Hop::Legacy, format!("the provider's system cannot be asked this: {what}"))
        }
        LegacyError::Failed(detail) => failed(&detail),
        LegacyError::Unusable(detail) => unusable(&detail),
        LegacyError::Stalled => {
            let told =
                "the reader took nothing while others waited for the provider's system, so the stream was closed";
            Refusal::new(Reason::Cancelled, Hop::Provider, told)
        }
        LegacyError::AlreadyDone => {
            let told = "the provider's system remembers that the command of this key was carried out; there is no answer of it";
            Refusal::new(Reason::AlreadyDone, Hop::Legacy, told)
        }
        LegacyError::Undone(error) => undone(legacy_refusal(*error)),
        LegacyError::Status(status) => failed(&format!("it ended with status {}", status.code)),
    }
}

/// Of a command: the caller learns that it can be asked for again.
fn undone(mut refusal: Refusal) -> Refusal {
    refusal.told.push_str("; nothing of the command was done, and its key may be used again");
    refusal
}

/// The caller learns that it failed, the own record why.
pub(super) fn failed(detail: &str) -> Refusal {
    Refusal::new(Reason::ConnectorFailed, Hop::Legacy, "the provider's system could not answer").detail(detail)
}

/// As [`failed`], where asking again would not help: no retry policy takes the status for an invitation.
pub(super) fn unusable(detail: &str) -> Refusal {
    let told = "what the provider's system answers cannot be passed on; asking again does not help";
    Refusal::new(Reason::ConnectorFailed, Hop::Legacy, told).detail(detail).prescribed(Code::Internal)
}

pub(super) fn timeout() -> Refusal {
    Refusal::new(Reason::ConnectorTimeout, Hop::Legacy, "the provider's system did not answer in time; it was stopped")
}

pub(super) fn cancelled() -> Refusal {
    Refusal::new(Reason::Cancelled, Hop::Link, "the caller went away; the provider's system was stopped")
}
