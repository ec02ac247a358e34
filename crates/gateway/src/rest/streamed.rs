//! A streamed request in JSON, made into gRPC's messages one by one as they come.
//!
//! The surprising fact: the first that is no message of the contract ends the request. The exchange refuses it then, and records that;
//! those before it have been asked.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use contract::Method;
use exchange::{
    Hop, Reason, Refusal,
    framing::{self, Cutter, FramingError},
    ports::{Broken, RequestBody},
};
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use rest::{Line, RequestLines};

use super::{Asked, Call, Flaws, read};

/// Makes messages of JSON lines, each of at most `limit` bytes.
pub(super) fn of_lines(body: RequestBody, call: Arc<Call>, limit: usize, flaws: Flaws) -> RequestBody {
    Streamed::new(body, Cut::Lines(RequestLines::new(limit)), (call, flaws)).body()
}

/// Makes messages of JSON in envelopes, each of at most `limit` bytes.
pub(super) fn of_envelopes(body: RequestBody, call: Arc<Call>, limit: usize, flaws: Flaws) -> RequestBody {
    Streamed::new(body, Cut::Envelopes(Cutter::new(limit), 0), (call, flaws)).body()
}

/// Where the texts of messages begin and end.
enum Cut {
    Lines(RequestLines),
    /// With how many there were.
    Envelopes(Cutter, u64),
}

impl Cut {
    fn push(&mut self, data: Bytes) {
        match self {
            Self::Lines(lines) => lines.push(&data),
            Self::Envelopes(cutter, _) => cutter.push(data),
        }
    }

    /// Says that nothing follows.
    fn end(&mut self) -> Result<(), Refusal> {
        match self {
            Self::Lines(lines) => {
                lines.end();
                Ok(())
            }
            Self::Envelopes(cutter, _) if cutter.at_boundary() => Ok(()),
            Self::Envelopes(..) => Err(refuse(Reason::Malformed, FramingError::Truncated.to_string())),
        }
    }

    /// Returns the next text, and what to call it.
    fn next(&mut self) -> Result<Option<(String, Bytes)>, Refusal> {
        match self {
            Self::Lines(lines) => match lines.next_line() {
                Ok(line) => Ok(line.map(|Line { number, text }| (format!("line {number}"), text.into()))),
                Err(long) => Err(refuse(Reason::TooLarge, long.to_string())),
            },
            Self::Envelopes(cutter, number) => match cutter.cut() {
                Ok(Some(message)) => {
                    *number = number.saturating_add(1);
                    Ok(Some((format!("message {number}"), message.slice(framing::PREFIX..))))
                }
                Ok(None) => Ok(None),
                Err(error @ FramingError::TooLarge { .. }) => Err(refuse(Reason::TooLarge, error.to_string())),
                Err(error @ FramingError::Compressed) => {
                    Err(refuse(Reason::Malformed, error.to_string()).prescribed(tonic::Code::Unimplemented))
                }
                Err(error) => Err(refuse(Reason::Malformed, error.to_string())),
            },
        }
    }
}

fn refuse(reason: Reason, told: String) -> Refusal {
    Refusal::new(reason, Hop::Consumer, told)
}

struct Streamed {
    body: RequestBody,
    cut: Cut,
    call: Arc<Call>,
    flaws: Flaws,
    /// What the request is refused for, once all before it is handed on.
    refused: Option<Refusal>,
    ended: bool,
}

impl Streamed {
    fn new(body: RequestBody, cut: Cut, (call, flaws): (Arc<Call>, Flaws)) -> Self {
        Self { body, cut, call, flaws, refused: None, ended: false }
    }

    fn body(self) -> RequestBody {
        let frames = stream::unfold(self, |mut streamed| async {
            let frame = streamed.frame().await?;
            Some((frame, streamed))
        });
        Box::pin(StreamBody::new(frames.fuse()))
    }

    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Broken>> {
        loop {
            if let Some(refusal) = self.refused.take() {
                self.ended = true;
                return Some(Err(Broken::Unfit(Box::new(refusal))));
            }
            if self.ended {
                return None;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.cut.push(data),
                    // Trailers of a partner system say nothing.
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                None => {
                    self.ended = true;
                    self.refused = self.cut.end().err();
                }
            }
            let messages = self.messages().await;
            if !messages.is_empty() {
                return Some(Ok(Frame::data(messages)));
            }
        }
    }

    /// Returns the messages that are whole now, in gRPC's frames, up to the first that is none.
    async fn messages(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        while self.refused.is_none() {
            let message = match self.cut.next() {
                Ok(Some((name, text))) => self.message(&name, text).await,
                Ok(None) => break,
                Err(refusal) => Err(refusal),
            };
            match message {
                Ok(message) => out.extend_from_slice(&message),
                Err(refusal) => self.refused = Some(refusal),
            }
        }
        out.freeze()
    }

    async fn message(&self, name: &str, text: Bytes) -> Result<Bytes, Refusal> {
        let Asked { message, unfit, .. } = read(&self.call, text).await;
        if let Some(unfit) = unfit {
            let told = format!("{name}: {unfit}");
            self.flaws.note(unfit.violations);
            return Err(refuse(Reason::Malformed, told));
        }
        // The exchange holds it against the contract too, but knows no line.
        let checked =
            self.method().map(|method| method.check_request(message.get(framing::PREFIX..).unwrap_or_default()));
        match checked {
            Some(Err(misfit)) => {
                let refusal = Refusal::misfit(misfit, Hop::Consumer);
                let told = format!("{name}: {}", refusal.told);
                Err(Refusal { told, ..refusal })
            }
            Some(Ok(())) | None => Ok(message),
        }
    }

    fn method(&self) -> Option<&Arc<Method>> {
        self.call.route.as_ref().map(|route| route.method())
    }
}

#[cfg(test)]
mod tests;
