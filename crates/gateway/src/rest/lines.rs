//! A stream of answers as JSON lines.
//!
//! The surprising fact: the head waits for the first line, or for the end. A stream that fails before it said anything then fails with an
//! HTTP status, as a unary call does.

use std::sync::Arc;

use bytes::Bytes;
use exchange::{
    ApplicationMetadata,
    ports::{Gone, Outlet},
};
use http::Response;
use rest::{Lines, NoJson};

use super::{Begun, Call, answers, answers::Failed};
use crate::{clients::ClientBody, ports::BodyOutlet};

pub(super) struct JsonLines {
    outlet: BodyOutlet,
    /// Until the first line: where the head goes, and the head.
    waiting: Option<(Begun, Response<ClientBody>)>,
    call: Arc<Call>,
    limit: usize,
    lines: Lines,
    /// What a message has no form in JSON for; nothing follows it.
    broken: Option<NoJson>,
}

impl JsonLines {
    pub(super) fn new(
        outlet: BodyOutlet,
        waiting: (Begun, Response<ClientBody>),
        (call, limit): (Arc<Call>, usize),
    ) -> Self {
        Self { outlet, waiting: Some(waiting), call, limit, lines: Lines::default(), broken: None }
    }

    fn say_head(&mut self) {
        if let Some((begun, head)) = self.waiting.take() {
            // Where nobody waits any more the exchange learns it from the closed body.
            let _ = begun.send(head);
        }
    }

    /// Says how it ended: in a last line where it failed, and in trailers.
    pub(super) async fn end(mut self, failed: Failed<'_>) {
        let problem = match (self.broken, failed.head) {
            (Some(error), Some(head)) => Some(answers::no_form(head, error)),
            _ => (failed.status.code != 0).then(|| failed.problem()),
        };
        if let Some(problem) = problem {
            if let (None, Some((begun, _))) = (self.broken, self.waiting.take()) {
                let _ = begun.send(failed.response());
                return;
            }
            let line = format!("{}\n", serde_json::json!({"@problem": problem}));
            self.say_head();
            // Who has gone away needs no last line.
            let _ = self.outlet.send(Bytes::from(line)).await;
        }
        self.say_head();
        self.outlet.0.finish(Some(failed.trailers()));
    }
}

impl Outlet for JsonLines {
    fn begin(&mut self, metadata: &ApplicationMetadata) {
        if let Some((_, head)) = &mut self.waiting {
            metadata.write(head.headers_mut());
        }
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), Gone> {
        let mut text = Vec::new();
        for message in self.lines.feed(&chunk) {
            match self.call.answer(&message, self.limit) {
                Ok(line) => {
                    text.extend_from_slice(&line);
                    text.push(b'\n');
                }
                Err(error) => {
                    self.broken = Some(error);
                    break;
                }
            }
        }
        if !text.is_empty() {
            self.say_head();
            self.outlet.send(text.into()).await?;
        }
        // There is no more that could be shown, so the stream is given up.
        if self.broken.is_some() { Err(Gone) } else { Ok(()) }
    }

    async fn gone(&mut self) {
        self.outlet.gone().await;
    }
}
