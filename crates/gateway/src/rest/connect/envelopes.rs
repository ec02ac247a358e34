//! A stream of answers in the Connect protocol's envelopes, which are gRPC's own but for the last one.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use contract::framing::prefixed;
use exchange::{
    ApplicationMetadata, UnaryAnswer, framing,
    ports::{Gone, Outlet},
};
use http::Response;
use rest::{Failure, Lines, NoJson, Violation};
use serde_json::{Map, Value, json};

use super::{
    failures::{failure, no_form, told, trailers},
    form::{Codec, Form},
};
use crate::{
    clients::ClientBody,
    compression::Packer,
    ports::BodyOutlet,
    rest::{Begun, Call},
};

/// The flag of a message that is compressed.
pub(super) const COMPRESSED: u8 = 0x01;
/// The flag of the envelope that ends a stream.
pub(super) const END: u8 = 0x02;

/// Takes the only message of a body out of its envelope, with whether it is compressed.
pub(super) fn unwrapped(body: &Bytes) -> Option<(bool, Bytes)> {
    let [flag, length @ ..] = body.first_chunk::<{ framing::PREFIX }>()?;
    let message = body.slice(framing::PREFIX..);
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (*flag <= COMPRESSED && message.len() == length).then_some((*flag == COMPRESSED, message))
}

/// The envelope that ends a stream.
pub(super) fn end(failure: &Failure<'_>, answer: &UnaryAnswer) -> Bytes {
    let mut metadata = Map::new();
    for (name, value) in trailers(answer) {
        if let Value::Array(values) = metadata.entry(name).or_insert_with(|| json!([])) {
            values.push(value.into());
        }
    }
    let mut end = Map::new();
    if failure.code != 0 {
        end.insert("error".to_owned(), failure.connect_error());
    }
    if !metadata.is_empty() {
        end.insert("metadata".to_owned(), metadata.into());
    }
    prefixed(END, Value::Object(end).to_string().as_bytes())
}

/// A stream of answers in envelopes.
pub(super) struct Envelopes {
    outlet: BodyOutlet,
    /// Until what opens the answer is known: where the head goes, and the head.
    waiting: Option<(Begun, Response<ClientBody>)>,
    form: Form,
    /// Compresses the messages, where the caller takes that.
    packer: Option<Packer>,
    call: Arc<Call>,
    limit: usize,
    lines: Lines,
    /// What a message has no form in JSON for; nothing follows it.
    broken: Option<NoJson>,
}

impl Envelopes {
    pub(super) fn new(
        outlet: BodyOutlet,
        waiting: (Begun, Response<ClientBody>),
        (form, packer): (Form, Option<Packer>),
        (call, limit): (Arc<Call>, usize),
    ) -> Self {
        let (waiting, lines) = (Some(waiting), Lines::default());
        Self { outlet, waiting, form, packer, call, limit, lines, broken: None }
    }

    pub(super) async fn end(mut self, answer: &UnaryAnswer, violations: &[Violation]) {
        self.begin(&answer.said.initial);
        let end = match self.broken {
            Some(error) => end(&no_form(&told(error)), answer),
            None => end(&failure(answer, violations), answer),
        };
        // Who has gone away needs no end.
        let _ = self.outlet.send(end).await;
        self.outlet.0.finish(None);
    }

    /// Envelopes what came as JSON.
    fn in_json(&mut self, chunk: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        for message in self.lines.feed(chunk) {
            match self.call.answer(&message, self.limit) {
                Ok(json) => out.put_slice(&prefixed(0, &json)),
                Err(error) => {
                    self.broken = Some(error);
                    break;
                }
            }
        }
        out.freeze()
    }
}

impl Outlet for Envelopes {
    fn begin(&mut self, metadata: &ApplicationMetadata) {
        if let Some((begun, mut head)) = self.waiting.take() {
            metadata.write(head.headers_mut());
            // Where nobody waits any more the exchange learns it from the closed body.
            let _ = begun.send(head);
        }
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), Gone> {
        let out = match self.form.codec {
            Codec::Proto => chunk,
            Codec::Json => self.in_json(&chunk),
        };
        let out = match &mut self.packer {
            Some(packer) => packer.feed(&out),
            None => out,
        };
        if !out.is_empty() {
            self.outlet.send(out).await?;
        }
        // There is no more that could be shown, so the stream is given up.
        if self.broken.is_some() { Err(Gone) } else { Ok(()) }
    }

    async fn gone(&mut self) {
        self.outlet.gone().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_taken_out_of_its_envelope() {
        let check = |body: &[u8], expected: Option<(bool, &[u8])>| {
            let found = unwrapped(&Bytes::copy_from_slice(body));
            assert_eq!(found.as_ref().map(|(flag, message)| (*flag, &message[..])), expected, "{body:?}");
        };
        check(b"\0\0\0\0\x01x", Some((false, b"x")));
        check(b"\x01\0\0\0\x01x", Some((true, b"x")));
        check(b"\0\0\0\0\0", Some((false, b"")));
        for bad in [&b""[..], b"\0\0\0\0", b"\x02\0\0\0\x01x", b"\0\0\0\0\x02x", b"\0\0\0\0\x01x\0\0\0\0\0"] {
            check(bad, None);
        }
        assert_eq!(prefixed(END, b"{}"), &b"\x02\0\0\0\x02{}"[..]);
    }
}
